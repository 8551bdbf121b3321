"""Models that are elsewhere: they satisfy ``core.protocols``, so that a search over many devices is the same search."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from streamt1.core.errors import MemoryIntegrityError
from streamt1.core.protocols import Models, Switched
from streamt1.core.remote import Frames, RemoteClips
from streamt1.core.timeline import Switch
from streamt1.core.types import Remembered, RewardOutput, Route
from streamt1.distributed.fleet import Fleet, Want
from streamt1.distributed.jobs import (
    Apply,
    AskFacts,
    Bring,
    Denoise,
    Facts,
    LooksAt,
    Piece,
    Score,
    SwitchPasses,
)
from streamt1.distributed.recipes import FRAMES, STATE, Parcel, Recipe, Sent

T = TypeVar("T")


class RemoteBranch:
    """A branch that every device holds or can make. Immutable, but for that it is given back once."""

    def __init__(self, fleet: Fleet, recipe: Recipe) -> None:
        self.recipe, self.released = recipe, False
        fleet.hold(recipe, recipe.id)


class RemoteState:
    """What a decoder carries on from a decode."""

    def __init__(self, fleet: Fleet, recipe: Recipe) -> None:
        self.recipe, key = recipe, recipe.id + STATE
        fleet.hold(recipe, key)
        weakref.finalize(self, fleet.let_go, key)


class DecodedFrames:
    """Satisfies ``core.remote.RemoteFrames``: the frames of a decode, on the device that decoded them."""

    def __init__(self, fleet: Fleet, recipe: Recipe) -> None:
        self.recipe, self._fleet, key = recipe, fleet, recipe.id + FRAMES
        fleet.hold(recipe, key)
        weakref.finalize(self, fleet.let_go, key)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.recipe.told[0][0]

    @property
    def finite(self) -> bool:
        return self.recipe.told[0][1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice) -> Tensor:
        return self._ask(Bring(self.recipe.id, index)).tensor

    def here(self) -> Tensor:
        return self._ask(Bring(self.recipe.id)).tensor

    def apply(self, function: Callable[[Tensor], T]) -> T:
        return self._ask(Apply(self.recipe.id, function))

    def _ask(self, job: Any) -> Any:
        return self._fleet.answer([Want([(self.recipe, (self.recipe.id + FRAMES,))], job)])[0]


class RemoteBackbone:
    """Satisfies ``Backbone``. Candidates are spread over the devices; memory is written by all of them."""

    def __init__(self, fleet: Fleet, facts: Facts) -> None:
        self._fleet = fleet
        self.chunk_shape, self.steps, self.draws = facts.chunk_shape, facts.steps, facts.draws
        self._passes: dict[Switch | None, int] = {}

    def start(self, prompt: str) -> RemoteBranch:
        self._fleet.refill()
        return self._made(self._fleet.the(Recipe.start(prompt)))

    def denoise(self, parents: Sequence[RemoteBranch], x: Tensor, noise: Tensor, steps: range) -> tuple[Tensor, Tensor]:
        return self._denoised(parents, x, [Sent(own) for own in noise], steps)

    def denoise_drawn(
        self, parents: Sequence[RemoteBranch], x: Tensor, seeds: Sequence[int], steps: range
    ) -> tuple[Tensor, Tensor]:
        """See ``DrawingBackbone``: a seed travels, and not the noise."""
        return self._denoised(parents, x, seeds, steps)

    def _denoised(
        self, parents: Sequence[RemoteBranch], x: Tensor, noise: Sequence[Sent | int], steps: range
    ) -> tuple[Tensor, Tensor]:
        part = steps.start, steps.stop
        wants = [
            Want([(parent.recipe, (parent.recipe.id,))], Denoise(parent.recipe.id, Sent(own), fresh, part))
            for parent, own, fresh in zip(parents, x, noise, strict=True)
        ]
        answers = self._fleet.answer(wants)
        clean = torch.stack([clean.tensor for _, clean in answers])
        if all(own is None for own, _ in answers):
            return clean, clean
        return torch.stack([own.tensor if own else done for (own, _), done in zip(answers, clean)]), clean

    def commit(self, branch: RemoteBranch, latents: Tensor, route: Route | None) -> RemoteBranch:
        """Is written later, by all devices at once: at the next question."""
        recipe = Recipe.commit(branch.recipe, Parcel.of(latents), route)
        return RemoteBranch(self._fleet, self._fleet.the(recipe))

    def switch(self, branch: RemoteBranch, prompt: str, memory: Switch | None) -> Switched:
        made = self._made(self._fleet.the(Recipe.switch(branch.recipe, prompt, memory)))
        _, *told = self._fleet.told(made.recipe)
        return Switched(made, *told)

    def switch_passes(self, memory: Switch | None) -> int:
        if memory not in self._passes:
            self._passes[memory] = self._fleet.answer([Want((), SwitchPasses(memory))])[0]
        return self._passes[memory]

    def inspect(self, branch: RemoteBranch) -> Remembered | None:
        """What the first device that has written the branch says of it."""
        told = self._fleet.told(branch.recipe)
        return told[0] if isinstance(told, tuple) else told

    def release(self, branch: RemoteBranch) -> None:
        if branch.released:
            raise MemoryIntegrityError("a branch of memory on other devices was given back twice")
        branch.released = True
        self._fleet.let_go(branch.recipe.id)

    def _made(self, recipe: Recipe) -> RemoteBranch:
        """A branch that one device at least has made. Raises what it raised."""
        made = RemoteBranch(self._fleet, recipe)
        try:
            self._fleet.told(recipe)
        except BaseException:
            self.release(made)
            raise
        return made


class RemoteDecoder:
    """Satisfies ``Decoder``; frames stay where they were decoded, and where their latents were made.

    Args:
        draft: whether it is the draft decoder.
    """

    def __init__(self, fleet: Fleet, clock: tuple[int, int], draft: bool) -> None:
        self._fleet, self._draft = fleet, draft
        self.fps, self.time_stride = clock

    def start(self) -> None:
        """Nothing: every device has its own."""
        return None

    def decode(self, states: Sequence[RemoteState | None], latents: Tensor) -> tuple[Any, list[RemoteState]]:
        """Frames that are elsewhere, one a candidate, and the states after them."""
        parcels = [Parcel.of(own) for own in latents]
        recipes = [
            self._fleet.the(Recipe.decode(self._draft, state.recipe if state else None, parcel))
            for state, parcel in zip(states, parcels, strict=True)
        ]
        frames = [DecodedFrames(self._fleet, recipe) for recipe in recipes]
        after = [RemoteState(self._fleet, recipe) for recipe in recipes]
        self._fleet.answer([Want([(recipe, recipe.keys)], latents=parcel) for recipe, parcel in zip(recipes, parcels)])
        return frames, after


class RemoteReward:
    """Both rewards: clips are spread over the devices that hold their frames."""

    takes_bytes = True
    """What it is shown goes on as it is; the reward itself says how it wants its frames."""

    def __init__(self, fleet: Fleet, clip: bool) -> None:
        self._fleet, self._clip = fleet, clip

    def asked(self, clips: RemoteClips | Tensor, text: str, fps: float = 0.0, seen: int | None = None) -> RewardOutput:
        """What the reward says of clips, wherever their frames are."""
        shown = RemoteClips([[clip] for clip in clips], None) if isinstance(clips, Tensor) else clips
        said = self._fleet.answer([self._want(parts, shown.index, text, fps, seen) for parts in shown.clips])
        names = list(said[0][1]) if said else []
        scores = torch.tensor([score for score, _ in said], dtype=torch.float64)
        parts = {name: torch.tensor([own[name] for _, own in said], dtype=torch.float64) for name in names}
        return RewardOutput(scores, parts)

    def _want(
        self, parts: Sequence[Frames], index: Sequence[int] | None, text: str, fps: float, seen: int | None
    ) -> Want:
        pieces = [_piece(parts[place], own) for place, own in _pieces(parts, index)]
        wanted = {piece.decoded for piece in pieces}
        far = [cast(DecodedFrames, part) for part in parts if not isinstance(part, Tensor)]
        keys = [(part.recipe, (part.recipe.id + FRAMES,)) for part in far if part.recipe.id in wanted]
        return Want(keys, Score(self._clip, pieces, text, fps, seen))


class RemoteFrameReward(RemoteReward):
    """Satisfies ``FrameReward``."""

    def score(self, frames: Any, text: str) -> RewardOutput:
        return self.asked(frames, text)


class RemoteClipReward(RemoteReward):
    """Satisfies ``ClipReward``."""

    def score(self, clips: Any, fps: float, text: str) -> RewardOutput:
        return self.asked(clips, text, fps)


class RemoteSamplingClipReward(RemoteClipReward):
    """Satisfies ``SamplingClipReward``."""

    def __init__(self, fleet: Fleet, clip: bool) -> None:
        super().__init__(fleet, clip)
        self._looks: dict[tuple[int, float], list[int]] = {}

    def looks_at(self, total: int, fps: float) -> Sequence[int]:
        if (total, fps) not in self._looks:
            self._looks[total, fps] = self._fleet.answer([Want((), LooksAt(total, fps))])[0]
        return self._looks[total, fps]

    def score_seen(self, seen: Any, total: int, fps: float, text: str) -> RewardOutput:
        return self.asked(seen, text, fps, total)


def _pieces(parts: Sequence[Frames], index: Sequence[int] | None) -> list[tuple[int, tuple[int, ...] | None]]:
    """Which frames of which parts a clip is made of, in order."""
    if index is None:
        return [(place, None) for place in range(len(parts))]
    found = [(place, frame) for place, part in enumerate(parts) for frame in range(len(part))]
    pieces: list[tuple[int, list[int]]] = []
    for place, frame in (found[one] for one in index):
        if not pieces or pieces[-1][0] != place:
            pieces.append((place, []))
        pieces[-1][1].append(frame)
    return [(place, tuple(own)) for place, own in pieces]


def _piece(part: Frames, index: tuple[int, ...] | None) -> Piece:
    if isinstance(part, Tensor):
        return Piece(None, None, Sent(part if index is None else part[list(index)]))
    return Piece(cast(DecodedFrames, part).recipe.id, index)


def remote_models(fleet: Fleet) -> Models:
    """The models of a fleet, for one search at a time. Raises what a device raises."""
    facts: Facts = fleet.answer([Want((), AskFacts())])[0]
    fleet.shown = len(facts.clocks) > 1
    decoder = RemoteDecoder(fleet, facts.clocks[0], False)
    draft = RemoteDecoder(fleet, facts.clocks[1], True) if fleet.shown else None
    clip = RemoteSamplingClipReward(fleet, True) if facts.samples else RemoteClipReward(fleet, True)
    return Models(RemoteBackbone(fleet, facts), decoder, RemoteFrameReward(fleet, False), clip, draft, one_by_one=True)
