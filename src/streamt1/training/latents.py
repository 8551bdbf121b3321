"""The training set of the transformer: clips of the world, encoded once by the frozen VAE."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from streamt1.backbones.pocket.text import pad_tokens
from streamt1.core.errors import CheckpointError
from streamt1.core.files import whole_file
from streamt1.decoders.pocket_vae import PocketDecoder
from streamt1.pocket.paths import SIZE, Floats, sample_take
from streamt1.pocket.scenes import Scene, sample_scene
from streamt1.pocket.world import render
from streamt1.training.checkpoint import check_settings, read_tensors_of
from streamt1.training.loop import Log

FRAMES = 81
SHARD = 32


@dataclass(frozen=True)
class LatentSet:
    """Clips of the world as the transformer sees them.

    Attributes:
        latents: normalised, [S, 21, C, h, w] float16.
        tokens: of the prompts, [S, TEXT_LENGTH].
        objects: where a latent covers pixels of an object or a wall, [S, 21, h, w] bool.
    """

    latents: Tensor
    tokens: Tensor
    objects: Tensor

    def batch(self, seed: int, step: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """A random batch that follows from (seed, step): float32 latents, tokens, objects."""
        rows = torch.randint(len(self.latents), (count,), generator=torch.Generator().manual_seed(seed * 10**7 + step))
        return self.latents[rows].float(), self.tokens[rows], self.objects[rows]


def build_latents(file: Path, count: int, seed: int, decoder: PocketDecoder, log: Log) -> LatentSet:
    """Reads the set from `file`, or renders and encodes `count` clips and writes it there."""
    if file.is_file():
        return _read(file, seed)
    latents: list[Tensor] = []
    tokens: list[Tensor] = []
    objects: list[Tensor] = []
    for shard in range(count // SHARD):
        rng = np.random.default_rng((seed, 77, shard))
        drawn = [_draw(rng) for _ in range(SHARD)]
        pixels = torch.from_numpy(np.stack([clip for _, clip, _ in drawn]))
        objects.append(torch.from_numpy(np.stack([where for _, _, where in drawn])))
        with torch.autocast(decoder.vae.mean.device.type, torch.bfloat16):
            latents.append(decoder.encode(pixels).half().cpu())
        tokens.append(pad_tokens([scene.prompt for scene, _, _ in drawn]))
        if shard % 20 == 19:
            log(f"encoded {(shard + 1) * SHARD} of {count} clips")
    made = LatentSet(torch.cat(latents), torch.cat(tokens), torch.cat(objects))
    with whole_file(file) as part:
        torch.save({**made.__dict__, "seed": seed}, part)
    return made


def _read(file: Path, seed: int) -> LatentSet:
    """A stored set; those of 0.1 do not tell their seed. Raises ``CheckpointError`` and ``ConfigError``."""
    saved = read_tensors_of(file, "delete it to have it made again")
    check_settings(file, saved, {"seed": seed})
    try:
        return LatentSet(saved["latents"], saved["tokens"], saved["objects"])
    except KeyError as error:
        raise CheckpointError(f"{file} holds no {error}; delete it to have it made again") from error


def _draw(rng: np.random.Generator) -> tuple[Scene, Floats, np.ndarray]:
    """A training scene, its clip, and which latents cover more than background, [21, 8, 8] bool."""
    scene = sample_scene(rng)
    take = sample_take(rng, scene)
    clip = render(scene, take, FRAMES)
    bare = render(replace(scene, things=()), replace(take, paths=()), FRAMES)
    differs = np.abs(clip - bare).max(1) > 0.05
    cells = differs.reshape(FRAMES, 8, SIZE // 8, 8, SIZE // 8).any((2, 4))
    return scene, clip, np.concatenate([cells[:1], cells[1:].reshape(-1, 4, 8, 8).any(1)])
