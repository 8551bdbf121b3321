"""Frames of a decode that stay on the device that decoded them, and those of them that were brought here."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from streamt1.distributed.fleet import Fleet, Want
from streamt1.distributed.jobs import Apply, Bring
from streamt1.distributed.recipes import FRAMES, Recipe
from streamt1.distributed.scorers import Scorers

T = TypeVar("T")


class DecodedFrames:
    """Satisfies ``core.remote.RemoteFrames``: the frames of a decode, on the device that decoded them.

    Attributes:
        near: frames ``[3, H, W]`` that were brought here for the rewards, by their index.
    """

    def __init__(self, fleet: Fleet, recipe: Recipe, scorers: Scorers | None = None) -> None:
        self.recipe, self._fleet, key = recipe, fleet, recipe.id + FRAMES
        self.near: dict[int, Tensor] = {}
        fleet.hold(recipe, key)
        weakref.finalize(self, fleet.let_go, key)
        if scorers is not None:
            weakref.finalize(self, scorers.let_go, recipe.id)

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
        if len(self.near) == len(self):
            return torch.stack([self.near[place] for place in range(len(self))])
        return self._ask(Bring(self.recipe.id)).tensor

    def apply(self, function: Callable[[Tensor], T]) -> T:
        return self._ask(Apply(self.recipe.id, function))

    def want(self, job: Any) -> Want:
        """Something that is to be done over these frames, where they are."""
        return Want([(self.recipe, (self.recipe.id + FRAMES,))], job)

    def _ask(self, job: Any) -> Any:
        return self._fleet.answer([self.want(job)])[0]


def bring(fleet: Fleet, wanted: Mapping[DecodedFrames, set[int]]) -> None:
    """Has these frames ``near``, each brought once however often it is wanted."""
    lacking = {frames: sorted(index - frames.near.keys()) for frames, index in wanted.items()}
    lacking = {frames: index for frames, index in lacking.items() if index}
    if lacking:
        sent = fleet.answer([frames.want(Bring(frames.recipe.id, tuple(own))) for frames, own in lacking.items()])
        for (frames, own), answer in zip(lacking.items(), sent):
            frames.near.update(zip(own, answer.tensor))
