"""Jobs: what a device is asked over what it holds. Candidates are computed one at a time, so that results do not depend
on how many devices there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from streamt1.core.frames import shown_to
from streamt1.core.protocols import SamplingClipReward, StartingBackbone, draws_after, first_draws, first_steps
from streamt1.core.seeds import draw_noise
from streamt1.core.types import Fit, RewardOutput
from streamt1.distributed.recipes import FRAMES, Parcel, Sent
from streamt1.distributed.worker import Worker


@dataclass(frozen=True)
class Facts:
    """What the driver must know of the models. The job is ``AskFacts``."""

    chunk_shape: tuple[int, int, int, int]
    steps: int
    draws: int
    first: tuple[int, int]
    """Steps and draws of the first chunk that is made."""
    clocks: tuple[tuple[int, int], ...]
    """Frames per second and time stride of the decoder, and of the draft where there is one."""
    begins: tuple[int, int] | None
    """Latent frames of a picture and of a clip that a video begins with; None where it begins with text alone."""
    encodes: tuple[tuple[int, int], Fit] | None
    """Size of what the encoder encodes, and how a picture is brought to it; None where there is none."""


@dataclass(frozen=True)
class AskFacts:
    def do(self, worker: Worker) -> Facts:
        models = worker.models
        backbone, decoders = models.backbone, [models.decoder, *([models.draft] if models.draft else [])]
        clocks = tuple((decoder.fps, decoder.time_stride) for decoder in decoders)
        first = first_steps(backbone), first_draws(backbone)
        begins = encodes = None
        if isinstance(backbone, StartingBackbone):
            begins = backbone.picture_frames, backbone.remembered_frames
        if models.encoder is not None:
            encodes = models.encoder.size, models.encoder.fit
        return Facts(backbone.chunk_shape, backbone.steps, backbone.draws, first, clocks, begins, encodes)


@dataclass(frozen=True)
class Encode:
    """``Encoder.encode``."""

    frames: Sent

    def do(self, worker: Worker) -> Sent:
        encoder = worker.models.encoder
        assert encoder is not None
        return Sent(encoder.encode(self.frames.tensor))


@dataclass(frozen=True)
class AskSamples:
    """Whether the clip reward looks at some frames alone."""

    def do(self, worker: Worker) -> bool:
        return isinstance(worker.models.clip_reward, SamplingClipReward)


@dataclass(frozen=True)
class SwitchPasses:
    """``Backbone.switch_passes``."""

    memory: Any

    def do(self, worker: Worker) -> int:
        return worker.models.backbone.switch_passes(self.memory)


@dataclass(frozen=True)
class LooksAt:
    """``SamplingClipReward.looks_at``."""

    total: int
    fps: float

    def do(self, worker: Worker) -> list[int]:
        reward = worker.models.clip_reward
        assert isinstance(reward, SamplingClipReward)
        return list(reward.looks_at(self.total, self.fps))


@dataclass(frozen=True)
class Denoise:
    """``Backbone.denoise`` of one candidate, whose clean latents the device then knows.

    Attributes:
        parent: key of the branch.
        x: ``[F, C, H, W]``.
        noise: ``[draws, F, C, H, W]``, or the seed that it is drawn from.
        steps: first, and the one after the last.
    """

    parent: str
    x: Sent
    noise: Sent | int
    steps: tuple[int, int]

    def do(self, worker: Worker) -> tuple[Sent | None, Sent]:
        """What the next step begins with, None where it is the clean chunk; and the clean chunk."""
        branch, backbone, x = worker.get(self.parent), worker.models.backbone, self.x.tensor
        if isinstance(self.noise, Sent):
            noise = self.noise.tensor
        else:
            noise = draw_noise(self.noise, backbone.chunk_shape, draws_after(backbone, branch))[1]
        noisy, clean = backbone.denoise([branch], x[None], noise[None], range(*self.steps))
        noisy, clean = noisy[0].cpu(), clean[0].cpu()
        worker.remember(Parcel.of(clean))
        return None if torch.equal(noisy, clean) else Sent(noisy), Sent(clean)


@dataclass(frozen=True)
class Piece:
    """Frames that follow one another in a clip: those of a decode, or some that were sent.

    Attributes:
        decoded: name of the decode, or of frames that were ``Shown``.
        index: which of its frames; None is all.
    """

    decoded: str | None
    index: tuple[int, ...] | None = None
    sent: Sent | None = None

    def frames(self, worker: Worker) -> Tensor:
        if self.sent is not None:
            return self.sent.tensor
        frames: Tensor = worker.get(f"{self.decoded}{FRAMES}")
        return frames if self.index is None else frames[list(self.index)]


@dataclass(frozen=True)
class Score:
    """What a reward says of one clip.

    Attributes:
        clip: whether the clip reward is asked; else the frame reward.
        seen: of how many frames the pieces are those that the clip reward looks at; None where they are all.
    """

    clip: bool
    pieces: Sequence[Piece]
    text: str
    fps: float = 0.0
    seen: int | None = None

    def do(self, worker: Worker) -> tuple[float, dict[str, float]]:
        """The score and its named parts."""
        parts = [piece.frames(worker) for piece in self.pieces]
        like = next((part for piece, part in zip(self.pieces, parts) if piece.sent is None), parts[0])
        near = [part.to(like.device) for part in parts]
        frames = (near[0] if len(near) == 1 else torch.cat(near))[None]
        models = worker.models
        reward = models.clip_reward if self.clip else models.frame_reward
        said = self._said(reward, shown_to(reward, frames))
        return said.score.tolist()[0], {name: part.tolist()[0] for name, part in said.components.items()}

    def _said(self, reward: Any, frames: Tensor) -> RewardOutput:
        if not self.clip:
            return reward.score(frames, self.text)
        if self.seen is None:
            return reward.score(frames, self.fps, self.text)
        return reward.score_seen(frames, self.seen, self.fps, self.text)


@dataclass(frozen=True)
class Apply:
    """What a function of a module makes of a decode's frames."""

    decoded: str
    function: Callable[[Tensor], Any]

    def do(self, worker: Worker) -> Any:
        return self.function(worker.get(self.decoded + FRAMES))


@dataclass(frozen=True)
class Bring:
    """Some frames of a decode; None is all."""

    decoded: str
    index: int | slice | tuple[int, ...] | None = None

    def do(self, worker: Worker) -> Sent:
        frames = worker.get(self.decoded + FRAMES)
        if self.index is None:
            return Sent(frames)
        return Sent(frames[list(self.index) if isinstance(self.index, tuple) else self.index])
