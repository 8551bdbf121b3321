"""Frames and answers that are elsewhere: what the search does with what stays, or is made, on other devices.

A decoder may give, instead of frames ``[T, 3, H, W]``, something that stands for them. Rewards on the same device look
at them there, and only what people see travels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from streamt1.core.frames import picked

T = TypeVar("T")


@runtime_checkable
class RemoteFrames(Protocol):
    """Stands for frames ``[T, 3, H, W]`` that are elsewhere."""

    @property
    def finite(self) -> bool:
        """Whether all of their numbers are."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int | slice) -> Tensor:
        """Some of the frames, brought here."""
        ...

    def here(self) -> Tensor:
        """All of them, brought here."""
        ...

    def apply(self, function: Callable[[Tensor], T]) -> T:
        """What a function of a module makes of the frames, called where they are."""
        ...


Frames = Tensor | RemoteFrames
"""Frames ``[T, 3, H, W]``, wherever they are."""


@dataclass(frozen=True)
class RemoteClips:
    """Stands for some frames of ``N`` clips, of which parts at least are elsewhere; see ``core.frames.picked``.

    Attributes:
        clips: each in parts that follow one another.
        index: which frames of every clip; None is all.
    """

    clips: Sequence[Sequence[Frames]]
    index: Sequence[int] | None

    def __len__(self) -> int:
        return len(self.clips)


@dataclass(frozen=True)
class Later(Generic[T]):
    """Stands for an answer that may still be on its way.

    Attributes:
        bring: waits for it; raises what went wrong on the way.
    """

    bring: Callable[[], T]


def arrived(answer: Any) -> Any:
    """The answer itself, once it is here: of a ``Later``, what it stands for."""
    return answer.bring() if isinstance(answer, Later) else answer


def here(frames: Frames) -> Tensor:
    """The frames themselves, brought here where they are elsewhere."""
    return frames if isinstance(frames, Tensor) else frames.here()


def applied(function: Callable[[Tensor], T], frames: Frames) -> T:
    """What a function of a module makes of frames; it is called where they are."""
    return function(frames) if isinstance(frames, Tensor) else frames.apply(function)


def gathered(clips: Sequence[Sequence[Frames]], index: Sequence[int] | None) -> Any:
    """``picked`` where all frames are here, ``[N, len(index), 3, H, W]``; else ``RemoteClips``, for remote rewards."""
    near = [[part for part in parts if isinstance(part, Tensor)] for parts in clips]
    if all(len(own) == len(parts) for own, parts in zip(near, clips)):
        return picked(near, index)
    return RemoteClips(clips, index)
