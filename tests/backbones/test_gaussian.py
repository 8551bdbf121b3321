import torch

from streamt1.backbones.gaussian import GaussianBackbone
from streamt1.core.seeds import generator
from streamt1.core.types import Route


def test_chunks_have_the_mean_and_spread_that_they_should() -> None:
    backbone = GaussianBackbone(channels=1, memory=0.5, spread=2.0)
    branch = backbone.commit(backbone.start(""), torch.full(backbone.chunk_shape, 6.0), Route.EMA)
    generators = [generator(seed) for seed in range(4000)]
    noise = torch.stack([torch.randn(backbone.chunk_shape, generator=g) for g in generators])
    latents = backbone.propose([branch] * len(noise), noise, generators)
    assert abs(latents.mean().item() - 3.0) < 0.1
    assert abs(latents.std().item() - 2.0) < 0.1
    assert branch.routes == (Route.EMA,)
