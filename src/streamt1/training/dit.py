"""Training of the pocket transformer and its text encoder by teacher forcing (flow matching)."""

from __future__ import annotations

from dataclasses import asdict, replace

import torch
from torch import Tensor, nn

from streamt1.backbones.pocket.text import TextConfig, TextEncoder
from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import WanModel
from streamt1.core.weights import load_bundled, load_strictly
from streamt1.decoders.pocket_vae import PocketDecoder
from streamt1.pocket.vocabulary import TEXT_LENGTH
from streamt1.training.export import export_weights
from streamt1.training.forcing import CHUNK, forcing_pass
from streamt1.training.latents import LatentSet, build_latents
from streamt1.training.loop import Progress, TrainOptions, run_loop
from streamt1.training.optim import Average, MuonAdam, warm_cosine
from streamt1.training.precision import mixed

SIZES = WanConfig(
    dim=256, ffn_dim=1024, num_layers=6, num_heads=4, in_channels=8, out_channels=8, text_dim=128, text_len=TEXT_LENGTH
)
ADAM_NAMES = ("patch_embedding", "head.head", "words", "places", "time_")
"""Inputs, outputs and the time embedding: Adam, not Muon."""
CLIPS = 6400
LR = 2.5e-3
"""Of the learning rate, when training starts from the bundled weights."""
OBJECT_WEIGHT = 3.0
"""Backgrounds are most of a clip and are learned first; shapes come last. The best prediction stays what it is."""
SHIFT = 5.0
HISTORY_NOISE = 0.15
"""Largest standard deviation of the noise on clean history, so that the model forgives its own mistakes."""
TEXT_DROP = 0.1
"""Share of clips that are trained without their prompt, so that distillation can guide its teacher."""
FAR = 120
"""Largest extra distance of the sink, latent frames (30 s)."""


class Pocket(nn.Module):
    """Transformer and text encoder as one module, under the names that the weights file uses."""

    def __init__(self, sizes: WanConfig = SIZES) -> None:
        super().__init__()
        self.dit = WanModel(sizes)
        self.text = TextEncoder(TextConfig(dim=sizes.text_dim))
        nn.init.zeros_(self.dit.head.head.weight)

    def config(self) -> dict[str, object]:
        """What the weights file carries."""
        return {"model": asdict(self.dit.config), "text": asdict(self.text.config)}

    def flow(
        self, tokens: Tensor, clean: Tensor, noisy: Tensor, times: Tensor, gap: Tensor, appended: Tensor
    ) -> Tensor:
        """Flow of every noisy chunk under teacher forcing, see forcing_pass; tokens [B, L], or [B, K, L] by chunk."""
        text = self.dit.embed_text(self.text(tokens.flatten(0, -2)))
        return forcing_pass(self.dit, text, clean, noisy, times, gap, appended)

    def compile_blocks(self) -> None:
        """Compiles block by block: the whole model takes far longer to compile and is no faster."""
        torch._dynamo.config.recompile_limit = 64  # distillation runs three models, with and without gradients
        for block in self.dit.blocks:
            block.compile(dynamic=False)


def warm_start(pocket: Pocket) -> Pocket:
    """Puts the bundled base weights in; words that the bundled model does not know keep their random vectors."""
    weights, _ = load_bundled("pocket_dit_base")
    table = pocket.text.words.weight.detach().clone()
    known = weights["text.words.weight"]
    table[: len(known)] = known
    load_strictly(pocket, {**weights, "text.words.weight": table}, "pocket_dit_base")
    return pocket


def warp(uniform: Tensor, shift: float = SHIFT) -> Tensor:
    """Uniform times in [0, 1] -> noise levels with Wan's timestep shift (SPEC section 3)."""
    return shift * uniform / (1 + (shift - 1) * uniform)


def draw_memory(starts: Tensor, chunks: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random extra sink distance of each clip, [B], and its appended chunks, [B, APPENDED].

    Of two thirds of the clips, the first chunks of later scenes are appended, where `starts` [B, APPENDED] names some;
    of a third of the others any chunk is.
    """
    batch = len(starts)
    far = torch.rand(batch, generator=draw) < 0.5
    gap = torch.randint(0, FAR, (batch,), generator=draw) * far
    some = torch.rand(batch, generator=draw) < 0.3
    appended = torch.zeros_like(starts)
    appended[:, 0] = torch.randint(1, chunks - 3, (batch,), generator=draw) * some
    starts = torch.where(starts < chunks - 1, starts, 0)  # nothing comes after a last chunk
    scenes = (torch.rand(batch, generator=draw) < 0.65) & (starts > 0).any(1)
    return gap, torch.where(scenes[:, None], starts, appended)


def flow_loss(pocket: Pocket, clips: LatentSet, draw: torch.Generator, device: str) -> Tensor:
    """Velocity MSE with an independent noise level for each chunk; latents of objects count OBJECT_WEIGHT times."""
    x0, objects = clips.latents, clips.objects
    batch, frames = x0.shape[:2]
    level = warp(torch.rand(batch, frames // CHUNK, generator=draw))
    sigma = level.repeat_interleave(CHUNK, dim=1)
    noise = torch.randn(x0.shape, generator=draw)
    blur = torch.rand(batch, frames // CHUNK, generator=draw).repeat_interleave(CHUNK, dim=1) * HISTORY_NOISE
    history = x0 + blur[..., None, None, None] * torch.randn(x0.shape, generator=draw)
    spread = sigma[..., None, None, None]
    noisy = (1 - spread) * x0 + spread * noise
    gap, appended = draw_memory(clips.starts, frames // CHUNK, draw)
    tokens = clips.tokens * (torch.rand(batch, 1, 1, generator=draw) >= TEXT_DROP)
    inputs = (tokens, history, noisy, 1000 * sigma, gap, appended)
    with mixed(device):
        flow = pocket.flow(*(item.to(device) for item in inputs))
    error = (flow.float() - (noise - x0).to(device)).square().mean(2)
    weight = 1 + (OBJECT_WEIGHT - 1) * objects.to(device)
    return (error * weight).sum() / weight.sum()


def run(options: TrainOptions) -> None:
    """Encodes the training set where needed, trains within the budget, exports `pocket_dit_base` and `pocket_dit`."""
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    decoder = PocketDecoder.bundled(options.device)
    data = build_latents(options.out / "latents.pt", CLIPS, options.seed, decoder, options.log)
    pocket = warm_start(Pocket()) if options.warm else Pocket()
    pocket.to(options.device)
    average = Average(pocket, 0.995)
    pocket.compile_blocks()
    optimiser = MuonAdam(pocket, LR, adam_names=ADAM_NAMES, adam_scale=0.5)
    batch = options.batch or 8

    def step(progress: Progress) -> dict[str, float]:
        clips = data.batch(options.seed, progress.step, batch)
        draw = torch.Generator().manual_seed(options.seed * 10**7 + progress.step + 5 * 10**6)
        loss = flow_loss(pocket, clips, draw, options.device)
        loss.backward()
        norm = optimiser.step(options.rate * warm_cosine(progress.share))
        average.update(pocket, progress.step)
        return {"loss": loss.item(), "norm": norm}

    run_loop(replace(options, batch=batch), "dit", {"model": pocket, "average": average, "optimiser": optimiser}, step)
    if options.export:
        for name in ("pocket_dit_base", "pocket_dit"):
            options.log(f"wrote {export_weights(name, average.state_dict(), pocket.config())}")
