"""The training set of the transformer: clips of the world, encoded once by the frozen VAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamt1.backbones.pocket.text import pad_tokens
from streamt1.core.errors import CheckpointError
from streamt1.core.files import whole_file
from streamt1.core.identity import weights_id
from streamt1.decoders.pocket_vae import PocketDecoder
from streamt1.pocket.paths import SIZE, Floats
from streamt1.pocket.stories import Story, render_story, sample_story
from streamt1.training.checkpoint import check_settings, read_tensors_of
from streamt1.training.forcing import APPENDED
from streamt1.training.loop import Log
from streamt1.training.precision import mixed

FRAMES = 81
SHARD = 32


@dataclass(frozen=True)
class LatentSet:
    """Clips of the world as the transformer sees them.

    Attributes:
        latents: normalised, [S, 21, C, h, w] float16.
        tokens: of the prompt of each chunk, [S, K, TEXT_LENGTH].
        starts: the chunks with which the second and the third scene begin, [S, APPENDED]; 0 for none.
        objects: where a latent covers pixels of an object or a wall, [S, 21, h, w] bool.
    """

    latents: Tensor
    tokens: Tensor
    starts: Tensor
    objects: Tensor

    def batch(self, seed: int, step: int, count: int) -> LatentSet:
        """A random batch that follows from (seed, step), with latents in float32."""
        rows = torch.randint(len(self.latents), (count,), generator=torch.Generator().manual_seed(seed * 10**7 + step))
        return LatentSet(self.latents[rows].float(), self.tokens[rows], self.starts[rows], self.objects[rows])


def build_latents(file: Path, count: int, seed: int, decoder: PocketDecoder, log: Log) -> LatentSet:
    """Reads the set from `file`, or renders and encodes `count` clips and writes it there."""
    asked = {"seed": seed, "count": count, "vae": weights_id(decoder.vae.state_dict())}
    if file.is_file():
        return _read(file, asked)
    latents: list[Tensor] = []
    tokens: list[Tensor] = []
    starts: list[Tensor] = []
    objects: list[Tensor] = []
    for shard in range(count // SHARD):
        rng = np.random.default_rng((seed, 77, shard))
        drawn = [_draw(rng) for _ in range(SHARD)]
        pixels = torch.from_numpy(np.stack([clip for _, clip, _ in drawn]))
        objects.append(torch.from_numpy(np.stack([where for _, _, where in drawn])))
        with mixed(decoder.vae.mean.device.type):
            latents.append(decoder.encode(pixels).half().cpu())
        tokens.append(torch.stack([pad_tokens(story.prompts) for story, _, _ in drawn]))
        starts.append(first_starts([story for story, _, _ in drawn]))
        if shard % 20 == 19:
            log(f"encoded {(shard + 1) * SHARD} of {count} clips")
    made = LatentSet(torch.cat(latents), torch.cat(tokens), torch.cat(starts), torch.cat(objects))
    with whole_file(file) as part:
        torch.save({**made.__dict__, **asked}, part)
    return made


def _read(file: Path, asked: Mapping[str, Any]) -> LatentSet:
    """A stored set; older ones do not tell all that they were made of. Raises ``CheckpointError``, ``ConfigError``."""
    saved = read_tensors_of(file, "delete it to have it made again")
    check_settings(file, saved, asked)
    try:
        return LatentSet(saved["latents"], saved["tokens"], saved["starts"], saved["objects"])
    except KeyError as error:
        raise CheckpointError(f"{file} holds no {error}; delete it to have it made again") from error


def first_starts(stories: Sequence[Story]) -> Tensor:
    """Where the second and the third scene of each story begin, [S, APPENDED] chunks; 0 for none."""
    rows = [(story.starts + [0] * APPENDED)[:APPENDED] for story in stories]
    return torch.tensor(rows)


def _draw(rng: np.random.Generator) -> tuple[Story, Floats, np.ndarray]:
    """A training story, its clip, and which latents cover more than background, [21, 8, 8] bool."""
    story = sample_story(rng)
    clip, bare = render_story(story), render_story(story, bare=True)
    differs = np.abs(clip - bare).max(1) > 0.05
    cells = differs.reshape(FRAMES, 8, SIZE // 8, 8, SIZE // 8).any((2, 4))
    return story, clip, np.concatenate([cells[:1], cells[1:].reshape(-1, 4, 8, 8).any(1)])
