"""Recipes: how what lives on a device is made, so that it can be made again on any other.

What a device makes has a name of its content (``core.identity``): the same calls with the same latents have the same
name everywhere. A recipe knows the recipes that it builds on, back to the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from streamt1.core.identity import content_id
from streamt1.core.protocols import StartingBackbone
from streamt1.core.timeline import Switch
from streamt1.core.types import Route
from streamt1.search.decode import finite_rows

if TYPE_CHECKING:
    from streamt1.distributed.worker import Worker

FRAMES, STATE = ".frames", ".state"
"""Endings of the keys of what a decode makes; a branch's key is its recipe's name."""


@dataclass(frozen=True, eq=False)
class Parcel:
    """A tensor that may travel, and the name of its content."""

    id: str
    tensor: Tensor

    @classmethod
    def of(cls, tensor: Tensor) -> Parcel:
        tensor = tensor.detach().cpu()
        return cls(content_id(tensor), tensor)


class Sent:
    """A tensor on its way: pickled as its bytes, which a transport may hand over without a copy."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach().cpu().contiguous()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        flat = self.tensor.view(-1).view(torch.uint8).numpy()
        return _received, (flat, self.tensor.dtype, tuple(self.tensor.shape))


def _received(flat: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> Sent:
    """A copy: what a transport hands over may be read only."""
    return Sent(torch.from_numpy(flat.copy()).view(dtype).view(shape))


@dataclass(frozen=True)
class Start:
    """``Backbone.start``, or ``StartingBackbone.start_from`` latents by their name."""

    prompt: str
    latents: str | None = None

    def make(self, worker: Worker, id: str) -> Any:
        """None; of latents None, and how many of their first chunks are to be given."""
        backbone = worker.models.backbone
        if self.latents is None:
            return worker.put(id, backbone.start(self.prompt))
        assert isinstance(backbone, StartingBackbone)
        begun = backbone.start_from(self.prompt, worker.parcel(self.latents))
        worker.put(id, begun.branch)
        return None, len(begun.chunks)


@dataclass(frozen=True)
class Commit:
    """``Backbone.commit``, or ``StartingBackbone.give``: names of the branch and of the latents."""

    branch: str
    latents: str
    route: Route | None
    given: bool = False

    def make(self, worker: Worker, id: str) -> Any:
        """What the new branch remembers."""
        backbone = worker.models.backbone
        write = backbone.give if self.given and isinstance(backbone, StartingBackbone) else backbone.commit
        made = write(worker.get(self.branch), worker.parcel(self.latents), self.route)
        worker.put(id, made)
        return backbone.inspect(made)


@dataclass(frozen=True)
class SwitchTo:
    """``Backbone.switch``."""

    branch: str
    prompt: str
    memory: Switch | None

    def make(self, worker: Worker, id: str) -> Any:
        """What the new branch remembers, passes, rewritten chunks, and the chunk that is recalled."""
        backbone = worker.models.backbone
        done = backbone.switch(worker.get(self.branch), self.prompt, self.memory)
        worker.put(id, done.branch)
        return backbone.inspect(done.branch), done.passes, done.rewritten, done.recalled


@dataclass(frozen=True)
class Decode:
    """``Decoder.decode`` of one candidate: of ``Models.decoder``, or of the draft; no state opens a video."""

    draft: bool
    state: str | None
    latents: str

    def make(self, worker: Worker, id: str) -> Any:
        """Shape of the frames, and whether they are finite."""
        decoder = worker.decoder(self.draft)
        state = decoder.start() if self.state is None else worker.get(self.state + STATE)
        frames, [after] = decoder.decode([state], worker.parcel(self.latents)[None])
        frames = frames[0]
        worker.put(id + FRAMES, frames)
        worker.put(id + STATE, after)
        return tuple(frames.shape), finite_rows(frames[None])[0]


@dataclass(frozen=True)
class Shown:
    """Frames that were decoded on another device."""

    frames: Sent

    def make(self, worker: Worker, id: str) -> None:
        worker.put(id + FRAMES, self.frames.tensor)


Call = Start | Commit | SwitchTo | Decode | Shown


@dataclass(frozen=True, eq=False)
class Recipe:
    """One call, and what it builds on.

    Attributes:
        id: depends on the call and on everything before it.
        before: recipes of the branch or state that it begins with; none where it begins with nothing.
        latents: that the call reads.
        told: what a device said of what it made; empty until one has made it.
    """

    id: str
    call: Call
    before: Recipe | None = None
    latents: Parcel | None = None
    told: list[Any] = field(default_factory=list)

    @property
    def keys(self) -> tuple[str, ...]:
        """Of what it makes."""
        return (self.id + FRAMES, self.id + STATE) if isinstance(self.call, Decode) else (self.id,)

    @property
    def passes(self) -> int:
        """Context passes that it takes, as far as that is known before it is made."""
        if isinstance(self.call, SwitchTo):
            return self.told[0][1] if self.told else 0
        return int(isinstance(self.call, Commit))

    @classmethod
    def start(cls, prompt: str, latents: Parcel | None = None) -> Recipe:
        if latents is None:
            return cls(content_id("start", prompt), Start(prompt))
        return cls(content_id("start", prompt, latents.id), Start(prompt, latents.id), latents=latents)

    @classmethod
    def commit(cls, before: Recipe, latents: Parcel, route: Route | None, given: bool = False) -> Recipe:
        id = content_id("give" if given else "commit", before.id, latents.id, route and route.value)
        return cls(id, Commit(before.id, latents.id, route, given), before, latents)

    @classmethod
    def switch(cls, before: Recipe, prompt: str, memory: Switch | None) -> Recipe:
        return cls(content_id("switch", before.id, prompt, memory), SwitchTo(before.id, prompt, memory), before)

    @classmethod
    def decode(cls, draft: bool, before: Recipe | None, latents: Parcel) -> Recipe:
        state = before and before.id
        id = content_id("decode", int(draft), state, latents.id)
        return cls(id, Decode(draft, state, latents.id), before, latents)


def missing(recipes: Iterable[Recipe], needed: Callable[[Recipe], Sequence[str]], held: set[str]) -> list[Recipe]:
    """What must be made before these are there, first things first.

    Args:
        needed: keys of a wanted recipe that must be there; of the others it is what the next one begins with.
        held: keys of what is there.
    """
    found: dict[str, Recipe] = {}
    for wanted in recipes:
        chain: list[Recipe] = []
        one, keys = wanted, needed(wanted)
        while not held.issuperset(keys) and one.id not in found:
            chain.append(one)
            if one.before is None:
                break
            one, keys = one.before, one.before.keys[-1:]
        found |= {recipe.id: recipe for recipe in reversed(chain)}
    return list(found.values())
