"""VideoReward (VideoAlign) as the clip reward: visual quality, motion quality and text alignment, from Qwen2-VL-2B."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from streamt1.core.devices import sent
from streamt1.core.errors import CheckpointError
from streamt1.core.frames import truncated
from streamt1.core.json_files import read_json
from streamt1.core.types import RewardOutput
from streamt1.core.weights import load_strictly, read_weights
from streamt1.rewards.network import Qwen2VL
from streamt1.rewards.qwen2vl import Qwen2VLReward
from streamt1.rewards.templates import filled, read_constants
from streamt1.rewards.vision import resized_clip, sampled_frames
from streamt1.rewards.words import Question, Words

HEADS = ("VQ", "MQ", "TA")
MARKS = tuple(f"<|{head}_reward|>" for head in HEADS)
TEMPLATE = {
    "DETAILED_PROMPT_WITH_SPECIAL_TOKEN": "fdb6309bac618dd0c8b1b589d3a0970a974f7856eecbb355a190b2dce54af700",
}
"""The constant of ``prompt_template.py`` in VideoAlign's repository, and the SHA-256 of its text."""


@dataclass(frozen=True)
class Settings:
    """What ``model_config.json`` says.

    Attributes:
        outputs: values of the head a token: 1, or 3 of which each token's own is read.
        lora_scale: alpha / rank of the low-rank updates.
        rate: frames a second that are looked at.
        pixels: fewest and most of a frame.
        mean, std: of the three scores over the authors' data; the search uses normalised scores.
    """

    outputs: int
    lora_scale: float
    rate: float
    pixels: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, file: Path) -> Settings:
        """Raises ``CheckpointError``."""
        try:
            config = read_json(file)
            lora, data, stats = config["peft_lora_config"], config["data_config"], config["inference_config"]
            most = int(data["max_frame_pixels"])
            read = cls(
                outputs=int(config["model_config"]["output_dim"]),
                lora_scale=lora["lora_alpha"] / lora["lora_r"],
                rate=float(data["fps"]),
                pixels=(most // 2, most),
                mean=tuple(float(stats[f"{head}_mean"]) for head in HEADS),
                std=tuple(float(stats[f"{head}_std"]) for head in HEADS),
            )
        except (ValueError, KeyError, TypeError, ZeroDivisionError, OverflowError) as error:
            raise CheckpointError(
                f"{file} is not VideoReward's configuration ({error!r}); download it again"
            ) from error
        numbers = (read.outputs, read.lora_scale, read.rate, read.pixels[0], *read.std)
        if not all(math.isfinite(number) and number > 0 for number in numbers):
            raise CheckpointError(
                f"{file} is not VideoReward's configuration (a number is not above 0); download it again"
            )
        return read


class VideoReward(Qwen2VLReward):
    """Satisfies ``SamplingClipReward``; the score is the sum of the three normalised heads.

    A question is one clip. ``settings``: see :class:`Settings`; the other arguments are :class:`Qwen2VLReward`'s.
    """

    takes_bytes = True

    def __init__(
        self,
        model: Qwen2VL,
        head: nn.Module,
        words: Words,
        template: str,
        settings: Settings,
        batch: int = 1,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(model, head, words, template, batch, device)
        self.settings = settings

    @classmethod
    def load(
        cls,
        folder: Path,
        base: Path,
        template: Path,
        device: torch.device,
        dtype: torch.dtype,
        batch: int = 1,
        stays: bool = True,
        bits: int = 16,
        resident_layers: int = 0,
    ) -> VideoReward:
        """From VideoReward's repository, a folder of Qwen2-VL-2B's and the template file. Strict.

        Raises ``CheckpointError`` for files that are missing, damaged or do not fit, ``MissingExtraError``.
        """
        constants = read_constants(template, TEMPLATE)
        settings = Settings.read(folder / "model_config.json")
        words = Words(base, MARKS, "video")
        model = Qwen2VL(base, words.size)
        file = weights_file(folder)
        state = plain_names(read_weights(file))
        with_updates(model, state, settings.lora_scale)
        head = nn.Linear(model.hidden, settings.outputs, bias=False)
        load_strictly(head, head_of(state, file), f"{file}, rm_head")
        model.load(state, str(file))
        reward = cls(model, head, words, next(iter(constants.values())), settings, batch, device)
        return reward.placed(dtype, bits, stays, resident_layers)

    @torch.no_grad()
    def score(self, clips: Tensor, fps: float, text: str) -> RewardOutput:
        """Clips ``[N, T, 3, H, W]`` in 0..1 or uint8 at ``fps`` -> normalised overall score ``[N]``.

        Components: vq, mq, ta. A wrong ``fps`` changes which frames are looked at, and every score with them. Negative
        scores are normal.
        """
        total = clips.shape[1]
        return self.score_seen(clips[:, self.looks_at(total, fps)], total, fps, text)

    def looks_at(self, total: int, fps: float) -> Sequence[int]:
        """See ``SamplingClipReward.looks_at``."""
        return sampled_frames(total, fps, self.settings.rate)

    @torch.no_grad()
    def score_seen(self, seen: Tensor, total: int, fps: float, text: str) -> RewardOutput:
        """See ``SamplingClipReward.score_seen``."""
        raw = self._values_of(seen, text)
        mean, std = sent(torch.tensor([self.settings.mean, self.settings.std]), raw.device)
        normal = (raw - mean) / std
        return RewardOutput(normal.sum(1), {head.lower(): normal[:, i] for i, head in enumerate(HEADS)})

    def logits(self, clips: Tensor, fps: float, text: str, rate: float | None = None) -> Tensor:
        """Clips as in ``score`` -> raw VQ, MQ, TA, ``[B, 3]``; ``rate``: frames a second to look at."""
        index = sampled_frames(clips.shape[1], fps, rate or self.settings.rate)
        return self._values_of(clips[:, index], text)

    def _values_of(self, seen: Tensor, text: str) -> Tensor:
        """Frames that are looked at ``[B, T, 3, H, W]``, T even -> raw VQ, MQ, TA, ``[B, 3]``."""
        pieces = tuple(filled(self.template, text, MARKS))

        def ask(begin: int, end: int) -> list[Question]:
            return [Question(self._resized(clip), pieces) for clip in seen[begin:end]]

        values = self._answers(ask, len(seen))
        return values[..., 0] if self.settings.outputs == 1 else values.diagonal(dim1=1, dim2=2)

    def _resized(self, clip: Tensor) -> Tensor:
        """Frames as bytes, resized where the model works."""
        return resized_clip(sent(truncated(clip), self.device), *self.settings.pixels)


def weights_file(folder: Path) -> Path:
    """``checkpoint-N/model.pth``, of the highest N."""
    numbers = {path: path.parent.name.partition("-")[2] for path in folder.glob("checkpoint-*/model.pth")}
    found = [path for path, number in numbers.items() if number.isascii() and number.isdigit()]
    if not found:
        raise CheckpointError(f"{folder} holds no checkpoint-N/model.pth; download the preset, or give the right path")
    return max(found, key=lambda path: int(numbers[path]))


class LowRank(nn.Linear):
    """A linear layer with a low-rank update beside it. Not merged: bfloat16 weights would round most of it away."""

    def __init__(self, inner: int, outer: int, bias: bool, rank: int, scale: float) -> None:
        super().__init__(inner, outer, bias)
        self.down, self.up = nn.Linear(inner, rank, bias=False), nn.Linear(rank, outer, bias=False)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + self.scale * self.up(self.down(input))


def plain_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """PEFT's names -> those of the plain model, and ``down`` and ``up`` beside each updated weight."""
    changes = (
        ("base_model.model.", ""), (".base_layer.", "."), (".lora_A.default.", ".down."), (".lora_B.default.", ".up.")
    )  # fmt: skip
    renamed = {}
    for key, value in state.items():
        for theirs, ours in changes:
            key = key.replace(theirs, ours, 1)
        renamed[key] = value
    return renamed


def head_of(state: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Takes the head's weights out of the others. Raises ``CheckpointError`` for a file without one."""
    if "rm_head.weight" not in state:
        raise CheckpointError(f"{file} has no head of a reward (rm_head.weight): it is not VideoReward's")
    return {"weight": state.pop("rm_head.weight").float()}


def with_updates(model: Qwen2VL, state: dict[str, Tensor], scale: float) -> None:
    """Puts a LowRank layer in the place of every layer of the model that the weights have an update of. In place.

    Raises ``CheckpointError`` for an update of a layer that is not there.
    """
    for key in [key for key in state if key.endswith(".down.weight")]:
        path, _, name = key.removesuffix(".down.weight").replace("model.", "language_model.", 1).rpartition(".")
        parent = dict(model.qwen.named_modules()).get(path)
        layer = getattr(parent, name, None)
        if parent is None or not isinstance(layer, nn.Linear) or not state[key].ndim:
            raise CheckpointError(f"the weights update {path}.{name}, which VideoReward's model does not have")
        with torch.device("meta"):
            low = LowRank(layer.in_features, layer.out_features, layer.bias is not None, len(state[key]), scale)
        setattr(parent, name, low)
