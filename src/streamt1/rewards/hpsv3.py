"""HPSv3 as the frame reward: human preference for single pictures, from Qwen2-VL-7B (SPEC section 8)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from streamt1.core.devices import HOST
from streamt1.core.frames import truncated
from streamt1.core.types import RewardOutput
from streamt1.core.weights import load_strictly, read_weights
from streamt1.rewards.network import Qwen2VL
from streamt1.rewards.qwen2vl import Qwen2VLReward
from streamt1.rewards.templates import filled, read_constants
from streamt1.rewards.vision import resized_picture
from streamt1.rewards.words import Question, Words

MARKS = ("<|Reward|>",)
PIXELS = 448 * 448
"""Every picture is resized to about so many."""
TEMPLATE = {
    "INSTRUCTION": "0393599dad45a971903d1d62a3acf9bad3ccccdafa7f40f680523419e1f68b7a",
    "prompt_with_special_token": "2471faca094ae5bd6fe17b71dce20c3d7583625545e235889f7e74e7eeb69d0a",
}
"""Constants of ``hpsv3/dataset/data_collator_qwen.py`` in the wheel of hpsv3 1.0.0, and the SHA-256 of their texts."""


class HPSv3Reward(Qwen2VLReward):
    """Satisfies ``FrameReward``; the score of a chunk is the mean of its frames' mu.

    A question is one picture, about 12.6 TFLOP at full size.
    """

    takes_bytes = True

    @classmethod
    def load(
        cls,
        weights: Path,
        base: Path,
        template: Path,
        device: torch.device,
        dtype: torch.dtype,
        batch: int = 4,
        stays: bool = True,
        bits: int = 16,
        resident_layers: int = 0,
    ) -> HPSv3Reward:
        """From ``HPSv3.safetensors``, a folder of Qwen2-VL-7B's repository and the template file. Strict.

        Raises ``CheckpointError`` for files that are missing, damaged or do not fit, ``MissingExtraError``.
        """
        constants = read_constants(template, TEMPLATE)
        words = Words(base, MARKS, "image")
        model = Qwen2VL(base, words.size)
        state = read_weights(weights)
        head = reward_head(model.hidden)
        heads = {key.removeprefix("rm_head."): value.float() for key, value in state.items() if "rm_head." in key}
        load_strictly(head, heads, f"{weights}, rm_head")
        model.load({key: value for key, value in state.items() if "rm_head." not in key}, str(weights))
        return cls(model, head, words, "".join(constants.values()), batch, device).placed(
            dtype, bits, stays, resident_layers
        )

    @torch.no_grad()
    def score(self, frames: Tensor, text: str) -> RewardOutput:
        """Frames ``[N, T, 3, H, W]``, 0..1 or uint8 -> mean mu of a candidate's frames, ``[N]``; part ``min``."""
        mu = self.logits(truncated(frames.flatten(0, 1)), text)[:, 0].view(frames.shape[:2])
        return RewardOutput(mu.mean(1), {"min": mu.amin(1)})

    def logits(self, pictures: Tensor, text: str) -> Tensor:
        """``[B, 3, H, W]`` uint8 -> mu and the model's own uncertainty of each, ``[B, 2]``."""
        pieces, pictures = tuple(filled(self.template, text, MARKS)), pictures.to(HOST)

        def ask(begin: int, end: int) -> list[Question]:
            return [Question(self._resized(picture), pieces) for picture in pictures[begin:end]]

        return self._answers(ask, len(pictures))[:, 0]

    def _resized(self, picture: Tensor) -> Tensor:
        """On the host, where Pillow works."""
        return resized_picture(picture, PIXELS)


def reward_head(hidden: int) -> nn.Sequential:
    """Hidden state at the reward token -> mu and the model's own uncertainty."""
    return nn.Sequential(
        nn.Linear(hidden, 1024), nn.ReLU(), nn.Dropout(0.05), nn.Linear(1024, 16), nn.ReLU(), nn.Linear(16, 2)
    )
