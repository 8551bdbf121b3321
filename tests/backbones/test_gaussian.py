import torch

from streamt1.backbones.gaussian import GaussianBackbone
from streamt1.core.seeds import generator
from streamt1.core.types import Route


def test_chunks_have_the_mean_and_spread_that_they_should() -> None:
    backbone = GaussianBackbone(channels=1, memory=0.5, spread=2.0)
    branch = backbone.commit(backbone.start(""), torch.full(backbone.chunk_shape, 6.0), Route.EMA)
    drawn = torch.randn(4000, 1 + backbone.draws, *backbone.chunk_shape, generator=generator(0))
    latents, _ = backbone.denoise([branch] * 4000, drawn[:, 0], drawn[:, 1:], range(backbone.steps))
    assert abs(latents.mean().item() - 3.0) < 0.1
    assert abs(latents.std().item() - 2.0) < 0.1
    assert branch.routes == (Route.EMA,)
