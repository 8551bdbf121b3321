"""Asks the rewards: of a chunk (short), of the sliding window (long), of whole videos (the final choice)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from streamt1.core.protocols import ClipReward, Codec, FrameReward
from streamt1.core.types import RewardOutput
from streamt1.search.beam import Beam, Candidate
from streamt1.search.cost import CostMeter
from streamt1.search.policies import SearchConfig

Judgement = tuple[float, dict[str, float]]
"""A score and its named parts."""


def finite(value: float) -> float | None:
    """The value, or None where it is not a finite number (JSON has no NaN)."""
    return value if math.isfinite(value) else None


class Judge:
    """Brings frames to the rewards in batches of at most ``candidate_batch`` and counts what that costs."""

    def __init__(
        self,
        codec: Codec,
        frame_reward: FrameReward,
        clip_reward: ClipReward,
        config: SearchConfig,
        prompt: str,
        cost: CostMeter,
    ) -> None:
        self._codec, self._frame_reward, self._clip_reward = codec, frame_reward, clip_reward
        self._config, self._prompt, self._cost = config, prompt, cost

    def chunks(self, candidates: Sequence[Candidate]) -> tuple[list[Judgement], list[Judgement]]:
        """Short and long judgements of candidates for the same chunk."""
        shorts: list[Judgement] = []
        longs: list[Judgement] = []
        size = self._config.candidate_batch or len(candidates)
        for begin in range(0, len(candidates), size):
            batch = candidates[begin : begin + size]
            shorts += self._ask("short", self._frame_reward_of, self._frames(batch, 1))
            longs += self._ask("long", self._clip_reward_of, self._frames(batch, self._config.window))
        return shorts, longs

    def videos(self, beams: Sequence[Beam]) -> list[float]:
        """Clip reward of each beam's whole video."""
        return [self._ask("final", self._clip_reward_of, beam.frames[None])[0][0] for beam in beams]

    def _frames(self, candidates: Sequence[Candidate], chunks: int) -> Tensor:
        """Pixels ``[N, T, 3, H, W]`` of the last ``chunks`` chunks of each candidate."""
        window = [chunk for candidate in candidates for chunk in candidate.window(chunks)]
        clips = len(candidates), -1
        if self._config.decode == "streaming":
            return torch.cat([chunk.frames for chunk in window]).unflatten(0, clips)
        latents = torch.cat([chunk.latents for chunk in window]).unflatten(0, clips)
        with self._cost.spend("decode", latents_decoded=latents.shape[0] * latents.shape[1]):
            return self._codec.decode([self._codec.start()] * len(latents), latents)[0]

    def _frame_reward_of(self, frames: Tensor) -> RewardOutput:
        return self._frame_reward.score(frames, self._prompt)

    def _clip_reward_of(self, clips: Tensor) -> RewardOutput:
        return self._clip_reward.score(clips, self._codec.fps, self._prompt)

    def _ask(self, name: str, reward: Callable[[Tensor], RewardOutput], frames: Tensor) -> list[Judgement]:
        with self._cost.spend("reward", reward_calls=len(frames)):
            output = reward(frames)
            scores = output.score.tolist()
            parts = {f"{name}/{part}": values.tolist() for part, values in output.components.items()}
        return [(score, {part: parts[part][i] for part in parts}) for i, score in enumerate(scores)]
