"""The seams: what the search asks of the models. Anything that satisfies these can be searched over.

Legend: ``N`` candidates, ``F`` latent frames of a chunk, ``T`` pixel frames, ``C H W`` channels, height, width.
Frames are floats in 0..1, or uint8 in 0..255 (see ``core.frames``), as the decoder makes them.
Models are pure functions of what they are given: handles are immutable, randomness is an argument, tensors that come in
are only read. They may come from any device and leave on any; a model that has weights runs without gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from streamt1.core.snapshot import Snapshot
from streamt1.core.timeline import Switch
from streamt1.core.types import Fit, Remembered, RewardOutput, Route

Branch = Any
"""An opaque, immutable handle of a backbone's memory after some chunks."""

DecoderState = Any
"""An opaque, immutable handle of what a streaming decoder carries from chunk to chunk."""


@dataclass(frozen=True)
class Switched:
    """What ``Backbone.switch`` did.

    Attributes:
        branch: to go on with.
        passes: what it took, in model passes of one chunk of one candidate.
        rewritten: chunks, by their index in the video, that memory now holds as read under the new prompt.
        recalled: the chunk that is read again since its scene returns, if one is.
    """

    branch: Branch
    passes: int = 0
    rewritten: tuple[int, ...] = ()
    recalled: int | None = None


@dataclass(frozen=True)
class Started:
    """What ``StartingBackbone.start_from`` did.

    Attributes:
        branch: to go on with.
        chunks: the latents ``[F, C, H, W]`` of the video's first chunks, which are to be given one after another; none
            where the first chunk that is made begins with the frames.
    """

    branch: Branch
    chunks: tuple[Tensor, ...] = ()


class Backbone(Protocol):
    """A streaming video model that writes latents chunk by chunk over a memory of its past."""

    @property
    def chunk_shape(self) -> tuple[int, int, int, int]:
        """``(F, C, H, W)`` of one chunk of latents."""
        ...

    @property
    def steps(self) -> int:
        """Denoising steps of a chunk; each is one model pass of one candidate."""
        ...

    @property
    def draws(self) -> int:
        """Fresh noise that a candidate needs between its steps, besides its initial noise: 0 or ``steps - 1``."""
        ...

    def start(self, prompt: str) -> Branch:
        """An empty memory under a prompt. Raises ``PromptError``."""
        ...

    def denoise(self, parents: Sequence[Branch], x: Tensor, noise: Tensor, steps: range) -> tuple[Tensor, Tensor]:
        """Takes ``N`` candidates of the next chunk some denoising steps further, each over its parent's memory.

        Nothing is kept between calls: ``range(0, 2)`` and then ``range(2, steps)`` give what ``range(0, steps)`` gives.

        Args:
            parents: one per candidate, under one prompt and of one length; candidates of one parent stand side by side.
            x: ``[N, F, C, H, W]``, float32: initial noise before step 0, later what an earlier call returned.
            noise: fresh noise of all steps, ``[N, draws, F, C, H, W]``, float32; step ``i`` uses ``noise[:, i]``.
            steps: which steps to take, within ``range(0, self.steps)`` (of a ``VaryingBackbone``, ``steps_after``).

        Returns:
            Both ``[N, F, C, H, W]``, float32: the latents that the next step begins with (after the last step they are
            the clean chunk), and the clean chunk that the last step taken predicts.
        """
        ...

    def commit(self, branch: Branch, latents: Tensor, route: Route | None) -> Branch:
        """Writes a survivor ``[F, C, H, W]`` into memory (the clean context pass: one model pass).

        The parent stays valid. ``route`` travels with the chunk and is applied once, when it leaves the window.
        """
        ...

    def switch(self, branch: Branch, prompt: str, memory: Switch | None) -> Switched:
        """The same past under another prompt, for the chunks that come. The branch stays valid, and is not given back.

        Args:
            memory: what becomes of what was written under the old prompt; None as the model was trained.

        Raises:
            PromptError: the backbone cannot use the prompt.
            ConfigError: it cannot treat its memory so.
        """
        ...

    def switch_passes(self, memory: Switch | None) -> int:
        """The most that one ``switch`` of a branch takes, in model passes of one chunk of one candidate."""
        ...

    def inspect(self, branch: Branch) -> Remembered | None:
        """What a branch remembers, for those who watch; None where the model does not tell."""
        ...

    def release(self, branch: Branch) -> None:
        """Gives a branch's memory back. The branch must not be used afterwards."""
        ...


@runtime_checkable
class Portable(Protocol):
    """A backbone whose branches can leave the process: dumped on one machine, gone on with on another.

    The search asks for none of these.
    """

    def weigh(self, branch: Branch) -> int:
        """Bytes of the tensors that ``dump`` would give; nothing is copied."""
        ...

    def dump(self, branch: Branch) -> Snapshot:
        """All that a branch holds. The branch stays valid, and is not given back.

        Raises ``CheckpointError`` for a branch that holds NaN or infinite values.
        """
        ...

    def load(self, snapshot: Snapshot) -> Branch:
        """A branch that does what the dumped one does, and is released like it.

        From a plain snapshot every bit is the same, on machines that compute the same bits.

        Raises:
            CheckpointError: the snapshot is of another kind of backbone, another model, or other rules of memory (the
                message says which, and what differs), or it is not what ``dump`` makes.
        """
        ...


@runtime_checkable
class DrawingBackbone(Backbone, Protocol):
    """A backbone that draws the noise between the steps where it computes, so that it need not travel."""

    def denoise_drawn(
        self, parents: Sequence[Branch], x: Tensor, seeds: Sequence[int], steps: range
    ) -> tuple[Tensor, Tensor]:
        """``denoise``, with the noise between the steps that ``core.seeds.draw_noise`` draws for each seed."""
        ...


@runtime_checkable
class VaryingBackbone(Backbone, Protocol):
    """A backbone that makes its first chunk in other steps than the rest, of which ``steps`` and ``draws`` tell."""

    @property
    def first_steps(self) -> int:
        """``steps`` of the first chunk that it makes."""
        ...

    @property
    def first_draws(self) -> int:
        """``draws`` of that chunk."""
        ...

    def made(self, branch: Branch) -> int:
        """How many chunks of a branch were made; those that were given to begin with do not count."""
        ...


def first_steps(backbone: Backbone) -> int:
    """Denoising steps of the first chunk that a backbone makes."""
    return backbone.first_steps if isinstance(backbone, VaryingBackbone) else backbone.steps


def first_draws(backbone: Backbone) -> int:
    """Fresh noise that a candidate of that chunk needs."""
    return backbone.first_draws if isinstance(backbone, VaryingBackbone) else backbone.draws


def steps_after(backbone: Backbone, branch: Branch) -> int:
    """Denoising steps of the next chunk after a branch."""
    first = isinstance(backbone, VaryingBackbone) and not backbone.made(branch)
    return first_steps(backbone) if first else backbone.steps


def draws_after(backbone: Backbone, branch: Branch) -> int:
    """Fresh noise that a candidate of the next chunk after a branch needs."""
    first = isinstance(backbone, VaryingBackbone) and not backbone.made(branch)
    return first_draws(backbone) if first else backbone.draws


@runtime_checkable
class StartingBackbone(Backbone, Protocol):
    """A backbone that can begin with frames that are given: of a picture, or of a video to be gone on with."""

    @property
    def picture_frames(self) -> int:
        """Latent frames that a video begins with where it begins with a picture, which stands still in them."""
        ...

    @property
    def remembered_frames(self) -> int:
        """Latent frames of a clip that the first chunk reads: whole chunks; what came before them need not be given."""
        ...

    def start_from(self, prompt: str, latents: Tensor) -> Started:
        """An empty memory of a video that begins with clean latents ``[F, C, H, W]``.

        Raises:
            PromptError: the backbone cannot use the prompt.
            ConfigError: it cannot begin with so many frames; the message says with how many it can.
        """
        ...

    def give(self, branch: Branch, latents: Tensor, route: Route | None) -> Branch:
        """``commit`` of a chunk that was not made."""
        ...


class Decoder(Protocol):
    """Turns latents into pixels, causally."""

    @property
    def fps(self) -> int:
        """Pixel frames per second."""
        ...

    @property
    def time_stride(self) -> int:
        """Pixel frames per latent frame, after the video's first, which gives one."""
        ...

    def start(self) -> DecoderState:
        """The state before the first chunk."""
        ...

    def decode(self, states: Sequence[DecoderState], latents: Tensor) -> tuple[Tensor, list[DecoderState]]:
        """Decodes ``N`` candidates' own chunks, each from its parent's state, which stays valid.

        Args:
            states: one per candidate, after videos of one length.
            latents: ``[N, F, C, H, W]``.

        Returns:
            Frames ``[N, T, 3, H, W]``, and the ``N`` states after them. A decoder on other devices may give, one a
            candidate, what stands for frames there: see ``core.remote``.
        """
        ...


@runtime_checkable
class PortableStates(Protocol):
    """A decoder whose states are more than tensors, texts, None, and tuples of those, but can be told as such.

    Where states are no more than that, neither method is needed.
    """

    def plain(self, state: DecoderState) -> Any:
        """All that a state holds, of tensors, texts, None, and tuples of those."""
        ...

    def taken(self, plain: Any) -> DecoderState:
        """A state that does what the one did which was told, in this process or in another."""
        ...


class Encoder(Protocol):
    """Turns pixels into the latents that the decoder shows as those pixels."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what it encodes, in pixels."""
        ...

    @property
    def fit(self) -> Fit:
        """How a picture of another shape is brought to that size."""
        ...

    def encode(self, frames: Tensor) -> Tensor:
        """A clip from its beginning, ``[T, 3, H, W]`` in 0..1 -> clean latents ``[F, C, h, w]``, float32.

        ``T = 1 + time_stride * (F - 1)``, with the decoder's ``time_stride``.
        """
        ...


class FrameReward(Protocol):
    """Short-term reward: looks at single frames (HPSv3 in the paper).

    It is shown floats. One that says ``takes_bytes = True`` is shown bytes where the decoder makes them, which spares
    their copy. One on other devices may give ``core.remote.Later``. ``ClipReward`` likewise.
    """

    def score(self, frames: Tensor, text: str) -> RewardOutput:
        """Frames ``[N, T, 3, H, W]`` in 0..1 of ``N`` candidates -> mean over each one's frames, ``[N]``."""
        ...


class ClipReward(Protocol):
    """Long-term reward: looks at a clip (VideoReward in the paper)."""

    def score(self, clips: Tensor, fps: float, text: str) -> RewardOutput:
        """Clips ``[N, T, 3, H, W]`` in 0..1, shown at ``fps`` -> ``[N]``."""
        ...


@runtime_checkable
class SamplingClipReward(ClipReward, Protocol):
    """A clip reward that looks at some of a clip's frames. The search gathers those alone, and no whole clip.

    ``score(clips, fps, text)`` is ``score_seen(clips[:, looks_at(T, fps)], T, fps, text)``.
    """

    def looks_at(self, total: int, fps: float) -> Sequence[int]:
        """Indices of the frames that it looks at in a clip of ``total`` frames, in the order it wants them in."""
        ...

    def score_seen(self, seen: Tensor, total: int, fps: float, text: str) -> RewardOutput:
        """The frames that it looks at of ``N`` clips, ``[N, len(looks_at(total, fps)), 3, H, W]`` -> ``[N]``."""
        ...


class Elsewhere:
    """Stands in ``Models`` for a model that this device does not hold; ``AttributeError`` for whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name}: this device does not hold the model that has it")


@dataclass(frozen=True)
class Models:
    """What is searched over: loaded once, used by any number of searches.

    Attributes:
        draft: a light decoder for the same latents. Where there is one, candidates are decoded by it for the rewards,
            and ``decoder`` decodes only the chunks that leave, each once, over a single state.
        one_by_one: whether they compute candidates one at a time whatever they are given, as several devices do; the
            search then gives them all at once, or a group.
        group: how many candidates the search denoises and decodes before it asks the rewards about them and goes on
            with the next ones; for rewards on devices of their own. None: all are decoded before any is scored.
        encoder: of what videos begin with, where they can begin with frames; None where there is none.
        checked: whether the search looks for latents and frames that are not finite; tensors without numbers, on which
            memory is counted, have neither.
    """

    backbone: Backbone
    decoder: Decoder
    frame_reward: FrameReward
    clip_reward: ClipReward
    draft: Decoder | None = None
    checked: bool = True
    one_by_one: bool = False
    group: int | None = None
    encoder: Encoder | None = None

    @property
    def scoring_decoder(self) -> Decoder:
        """What shows candidates to the rewards."""
        return self.draft or self.decoder
