"""Models that are elsewhere: they satisfy ``core.protocols``, so that a search over many devices is the same search."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from streamt1.core.errors import MemoryIntegrityError
from streamt1.core.protocols import Models, Started, Switched
from streamt1.core.timeline import Switch
from streamt1.core.types import Fit, Remembered, Route
from streamt1.distributed.fleet import Fleet, Want
from streamt1.distributed.jobs import AskFacts, AskSamples, Denoise, Encode, Facts, SwitchPasses
from streamt1.distributed.recipes import STATE, Parcel, Recipe, Sent
from streamt1.distributed.remote_frames import DecodedFrames
from streamt1.distributed.remote_rewards import RemoteClipReward, RemoteFrameReward, RemoteSamplingClipReward
from streamt1.distributed.scorers import Scorers


class RemoteBranch:
    """A branch that every device holds or can make, and how many of its chunks were made.

    Immutable, but for that it is given back once.
    """

    def __init__(self, fleet: Fleet, recipe: Recipe, made: int = 0) -> None:
        self.recipe, self.made, self.released = recipe, made, False
        fleet.hold(recipe, recipe.id)


class RemoteState:
    """What a decoder carries on from a decode."""

    def __init__(self, fleet: Fleet, recipe: Recipe) -> None:
        self.recipe, key = recipe, recipe.id + STATE
        fleet.hold(recipe, key)
        weakref.finalize(self, fleet.let_go, key)


class RemoteBackbone:
    """Satisfies ``VaryingBackbone``. Candidates are spread over the devices; memory is written by all of them."""

    def __init__(self, fleet: Fleet, facts: Facts, scorers: Scorers | None = None) -> None:
        self._fleet, self._all = fleet, [fleet] if scorers is None else [fleet, scorers]
        self.chunk_shape, self.steps, self.draws = facts.chunk_shape, facts.steps, facts.draws
        self.first_steps, self.first_draws = facts.first
        self._passes: dict[Switch | None, int] = {}

    def start(self, prompt: str) -> RemoteBranch:
        return self._started(Recipe.start(prompt))

    def _started(self, recipe: Recipe) -> RemoteBranch:
        self._fleet.excuse()
        for devices in self._all:
            devices.refill()
        return self._made(self._fleet.the(recipe))

    def made(self, branch: RemoteBranch) -> int:
        return branch.made

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
        return RemoteBranch(self._fleet, self._fleet.the(recipe), branch.made + 1)

    def switch(self, branch: RemoteBranch, prompt: str, memory: Switch | None) -> Switched:
        made = self._made(self._fleet.the(Recipe.switch(branch.recipe, prompt, memory)), branch.made)
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

    def _made(self, recipe: Recipe, chunks: int = 0) -> RemoteBranch:
        """A branch that one device at least has made. Raises what it raised."""
        made = RemoteBranch(self._fleet, recipe, chunks)
        try:
            self._fleet.told(recipe)
        except BaseException:
            self.release(made)
            raise
        return made


class RemoteStartingBackbone(RemoteBackbone):
    """Satisfies ``StartingBackbone``, too."""

    def __init__(self, fleet: Fleet, facts: Facts, begins: tuple[int, int], scorers: Scorers | None = None) -> None:
        super().__init__(fleet, facts, scorers)
        self.picture_frames, self.remembered_frames = begins

    def start_from(self, prompt: str, latents: Tensor) -> Started:
        """See ``StartingBackbone.start_from``."""
        branch = self._started(Recipe.start(prompt, Parcel.of(latents)))
        _, count = self._fleet.told(branch.recipe)
        each = self.chunk_shape[0]
        return Started(branch, latents[: count * each].split(each) if count else ())

    def give(self, branch: RemoteBranch, latents: Tensor, route: Route | None) -> RemoteBranch:
        """Is written later, as by ``commit``."""
        recipe = Recipe.commit(branch.recipe, Parcel.of(latents), route, given=True)
        return RemoteBranch(self._fleet, self._fleet.the(recipe), branch.made)


class RemoteEncoder:
    """Satisfies ``Encoder``: one of the devices encodes."""

    def __init__(self, fleet: Fleet, size: tuple[int, int], fit: Fit) -> None:
        self._fleet, self.size = fleet, size
        self.fit: Fit = fit

    def encode(self, frames: Tensor) -> Tensor:
        return self._fleet.answer([Want((), Encode(Sent(frames)))])[0].tensor


class RemoteDecoder:
    """Satisfies ``Decoder``; frames stay where they were decoded, and where their latents were made.

    Args:
        draft: whether it is the draft decoder.
        scorers: where rewards look at the frames, if that is elsewhere again.
    """

    def __init__(self, fleet: Fleet, clock: tuple[int, int], draft: bool, scorers: Scorers | None = None) -> None:
        self._fleet, self._draft, self._scorers = fleet, draft, scorers
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
        frames = [DecodedFrames(self._fleet, recipe, self._scorers) for recipe in recipes]
        after = [RemoteState(self._fleet, recipe) for recipe in recipes]
        self._fleet.answer([Want([(recipe, recipe.keys)], latents=parcel) for recipe, parcel in zip(recipes, parcels)])
        return frames, after


def remote_models(fleet: Fleet, scorers: Scorers | None = None) -> Models:
    """The models of a fleet, for one search at a time. Raises what a device raises.

    Args:
        scorers: devices that hold the rewards, where those of the fleet do not. Then the search takes as many
            candidates at a time as the fleet has devices, and those are scored while the next ones are made.
    """
    facts: Facts = fleet.answer([Want((), AskFacts())])[0]
    samples: bool = scorers.answer(AskSamples()) if scorers is not None else fleet.answer([Want((), AskSamples())])[0]
    fleet.shown = len(facts.clocks) > 1
    decoder = RemoteDecoder(fleet, facts.clocks[0], False, scorers)
    draft = RemoteDecoder(fleet, facts.clocks[1], True, scorers) if fleet.shown else None
    frame = RemoteFrameReward(fleet, False, scorers)
    clip = (RemoteSamplingClipReward if samples else RemoteClipReward)(fleet, True, scorers)
    group = None if scorers is None else len(fleet)
    if facts.begins is None:
        backbone = RemoteBackbone(fleet, facts, scorers)
    else:
        backbone = RemoteStartingBackbone(fleet, facts, facts.begins, scorers)
    encoder = None if facts.encodes is None else RemoteEncoder(fleet, *facts.encodes)
    return Models(backbone, decoder, frame, clip, draft, encoder=encoder, one_by_one=True, group=group)
