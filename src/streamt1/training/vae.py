"""Training of the pocket VAE: both halves together, then the decoder alone on frozen, normalised latents."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor

from streamt1.decoders.pocket_vae import PocketDecoder, PocketVAE, group_frames, ungroup_frames
from streamt1.pocket.world import sample_clip
from streamt1.training.export import export_weights
from streamt1.training.loop import Progress, TrainOptions, run_loop
from streamt1.training.optim import Average, MuonAdam, warm_cosine
from streamt1.training.precision import mixed

FRAMES = 21
"""Pixel frames of a training clip (6 latent frames), more than the decoder's memory in time."""
JOINT_SHARE = 0.7
"""Share of the budget for encoder and decoder together; the rest is for the decoder."""
KL_WEIGHT = 5e-4
STEP_WEIGHT = 6.0
"""Of the error of the step from one frame to the next: what rests must not pulse at the borders of latents."""
LR = 2e-3
"""Of the learning rate, when training starts from the bundled weights."""


def clips(seed: int, step: int, count: int, frames: int = FRAMES) -> Tensor:
    """Training clips of one step, [B, T, 3, 64, 64] in [0, 1]."""
    rng = np.random.default_rng((seed, step))
    return torch.from_numpy(np.stack([sample_clip(rng, frames, two=0.15)[1] for _ in range(count)]))


def pixel_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1 + 2 MSE on grouped pixels in [-1, 1], and the L1 of the error's step from frame to frame."""
    gap = output.float() - target
    steps = ungroup_frames(gap, opening=True).diff(dim=1)
    return gap.abs().mean() + 2 * gap.square().mean() + STEP_WEIGHT * steps.abs().mean()


@torch.no_grad()
def measure_latents(vae: PocketVAE, seed: int, device: str, count: int = 64) -> None:
    """Stores the mean and the standard deviation of each latent channel over training clips."""
    parts = [vae.posterior(clips(seed, 10**6 + i, 8, 49).to(device))[0] for i in range(count // 8)]
    latents = torch.cat(parts).transpose(1, 2).flatten(2)
    vae.mean.copy_(latents.mean((0, 2)))
    vae.std.copy_(latents.transpose(0, 1).flatten(1).std(1))


def run(options: TrainOptions) -> None:
    """Trains both phases within one budget and exports `pocket_vae`."""
    torch.manual_seed(options.seed)
    vae = PocketDecoder.bundled().vae.requires_grad_(True).train() if options.warm else PocketVAE()
    vae.to(options.device)
    vae.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    average = Average(vae, 0.998)
    encoder, decoder = (torch.compile(half, dynamic=False) for half in (vae.encoder, vae.decoder))
    batch = options.batch or 8
    options = replace(options, batch=batch)

    def joint(progress: Progress, optimiser: MuonAdam) -> dict[str, float]:
        target = group_frames(clips(options.seed, progress.step, batch).to(options.device))
        noise = torch.Generator().manual_seed(options.seed * 10**6 + progress.step)
        with mixed(options.device):
            mean, spread = encoder(target)[0].float().chunk(2, dim=2)
            spread = spread.clamp(-20, 10)
            drawn = torch.randn(mean.shape, generator=noise).to(mean)
            output = decoder(mean + drawn * (spread / 2).exp())[0]
        pixels = pixel_loss(output, target)
        kl = 0.5 * (mean.square() + spread.exp() - 1 - spread).mean()
        (pixels + KL_WEIGHT * kl).backward()
        norm = optimiser.step(options.rate * warm_cosine(progress.share, floor=0.15))
        average.update(vae, progress.step)
        return {"pixels": pixels.item(), "kl": kl.item(), "norm": norm, "psnr": _psnr(output, target)}

    def polish(progress: Progress, optimiser: MuonAdam) -> dict[str, float]:
        target = group_frames(clips(options.seed + 1, progress.step, batch).to(options.device))
        with mixed(options.device):
            with torch.no_grad():
                mean = encoder(target)[0].float().chunk(2, dim=2)[0]
            jitter = torch.Generator().manual_seed(options.seed * 10**6 + progress.step)
            drawn = torch.randn(mean.shape, generator=jitter).to(mean) * (0.03 * vae.std[:, None, None])
            output = decoder(mean + drawn)[0]
        pixels = pixel_loss(output, target)
        pixels.backward()
        norm = optimiser.step(0.5 * options.rate * warm_cosine(progress.share, floor=0.02))
        average.update(vae, progress.step)
        return {"pixels": pixels.item(), "norm": norm, "psnr": _psnr(output, target)}

    optimiser = MuonAdam(vae, LR)
    first = _share(options, JOINT_SHARE)
    parts = {"model": vae, "average": average, "optimiser": optimiser}
    joined = run_loop(first, "vae", parts, lambda p: joint(p, optimiser))
    vae.load_state_dict(average.state_dict())
    measure_latents(vae, options.seed, options.device)
    vae.encoder.requires_grad_(False)
    average = Average(vae, 0.998)
    tail = MuonAdam(vae.decoder, LR)
    second = _share(options, 1 - JOINT_SHARE)
    parts = {"model": vae, "average": average, "optimiser": tail}
    run_loop(second, "vae_decoder", parts, lambda p: polish(p, tail), after={"vae": joined.step})
    if options.export:
        path = export_weights("pocket_vae", average.state_dict(), {"model": asdict(vae.config)})
        options.log(f"wrote {path}")


def _share(options: TrainOptions, share: float) -> TrainOptions:
    minutes = None if options.minutes is None else options.minutes * share
    steps = None if options.steps is None else max(1, round(options.steps * share))
    return replace(options, minutes=minutes, steps=steps)


def _psnr(output: Tensor, target: Tensor) -> float:
    error = ((output.detach().float() - target) / 2).square().mean()
    return float(-10 * torch.log10(error))
