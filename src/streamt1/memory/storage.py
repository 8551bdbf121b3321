"""What keys and values are kept as: a tensor, or codes in fewer bits that read like one (``memory.bits``).

A page is encoded once, layer by layer as it is written, so it never stands there whole in 16 bits. It is decoded layer
by layer, for the one gather that all candidates of a branch read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from streamt1.core.transfer import room, upload
from streamt1.memory.codecs import Codec, Dithered, Grouped, Linear, Rotated, indices_on

CODECS: dict[str, dict[int, Codec]] = {
    "rotated": {width: Rotated(width) for width in (2, 4, 8)},
    "channels": {8: Linear(8, channels=True)},
    "grouped": {4: Grouped()},
}
"""What ``memory.codec`` may be, and the bits that each knows."""
SINK, BLEND = Rotated(8), Dithered()
"""Of a sink: it is read as long as the video lasts, so it is kept better than what leaves with the window. Of one that
others were blended into: a step of a blend is 0.1%, which the 8 bits of bfloat16 lose and 12 dithered ones keep."""
BLENDS = (BLEND, Linear(16, channels=False))
"""What blends are kept in, and were before: runs and packets of then are read, and go on."""


@dataclass(frozen=True, eq=False)
class Coded:
    """Keys or values of a page in fewer bits; ``[layers, L, heads, head_dim]`` to those who read it.

    Attributes:
        codec: of all its layers.
        shape: of what it stands for.
        dtype: of what was encoded; it is read in it where no other is asked for.
        parts: what the codec makes of a layer, each with all layers in front.
    """

    codec: Codec
    shape: torch.Size
    dtype: torch.dtype
    parts: tuple[Tensor, ...]

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)

    def is_pinned(self) -> bool:
        return self.parts[0].is_pinned()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, layer: int) -> Tensor:
        return self.codec.decode([part[layer] for part in self.parts], self.dtype)

    def __setitem__(self, layer: int, value: Tensor) -> None:
        """Mutates: encodes a layer; for those who make a page."""
        for part, coded in zip(self.parts, self.codec.encode(value)):
            part[layer].copy_(coded)


Stored = Tensor | Coded
"""Keys or values of a page, ``[layers, L, heads, head_dim]``."""


def room_for(layers: int, like: Tensor, codec: Codec | None, device: torch.device, lock: bool = False) -> Stored:
    """Room for keys or values of a page.

    Args:
        like: a layer of them, ``[L, heads, head_dim]``, in the dtype to read them in.
        codec: None keeps them as they are.
        lock: whether it may be locked on the host, see ``core.transfer.room``.
    """
    shape = torch.Size((layers, *like.shape))
    if codec is None:
        return room(shape, like.dtype, device, lock)
    tokens, heads, size = like.shape
    layout = codec.layout(tokens, heads, size)
    parts = tuple(room((layers, *part), dtype, device, lock) for part, dtype in layout)
    return Coded(codec, shape, like.dtype, parts)


@dataclass(frozen=True)
class Reading:
    """How a layer is read.

    Attributes:
        dtype: of what is read.
        device: where to; None leaves it where it is.
        turned: what a codec has rotated stays so.
        heads: of them; None reads all.
    """

    dtype: torch.dtype
    device: torch.device | None = None
    turned: bool = False
    heads: tuple[int, ...] | None = None

    def layer(self, stored: Stored, layer: int) -> Tensor:
        """``[L, heads, head_dim]``."""
        if isinstance(stored, Coded):
            return stored.codec.decode(self._parts(stored, layer), self.dtype, self.turned)
        [tensor] = self._parts(stored, layer)
        return tensor.to(self.dtype) if self.device is None else upload(tensor, self.device, self.dtype)

    def layers(self, parts: Sequence[Stored], layer: int) -> Tensor:
        """One layer of several, one behind the other, ``[S, heads, head_dim]``, in memory of its own.

        What is coded crosses the bus in its codes; neighbours of one codec are decoded together, where they are read.
        """
        runs: list[Tensor] = []
        for codec, group in groupby(parts, key=lambda part: part.codec if isinstance(part, Coded) else None):
            run = list(group)
            if codec is None or not codec.by_token or len(run) == 1:
                runs += [self.layer(part, layer) for part in run]
            else:
                joined = zip(*(self._parts(part, layer) for part in run))
                runs.append(codec.decode([torch.cat(tensors) for tensors in joined], self.dtype, self.turned))
        return torch.cat(runs)

    def _parts(self, stored: Stored, layer: int) -> list[Tensor]:
        parts = [tensor[layer] for tensor in tensors_in(stored)]
        if self.heads is not None:
            parts = [part.index_select(1, indices_on(self.heads, part.device)) for part in parts]
        if self.device is None or not isinstance(stored, Coded):
            return parts
        return [upload(part, self.device) for part in parts]


def put_sum(stored: Stored, layer: int, one: Tensor, other: Tensor) -> None:
    """Mutates: writes a layer, which is the sum of two."""
    if isinstance(stored, Coded):
        stored[layer] = one + other
    else:
        torch.add(one, other, out=stored[layer])


def moved(stored: Stored, device: torch.device, lock: bool = False) -> Stored:
    """A copy on a device, in its own form."""
    if isinstance(stored, Coded):
        parts = (room(part.shape, part.dtype, device, lock).copy_(part) for part in stored.parts)
        return replace(stored, parts=tuple(parts))
    return room(stored.shape, stored.dtype, device, lock).copy_(stored)


def uploaded(stored: Stored, device: torch.device, dtype: torch.dtype) -> Stored:
    """A copy on the device that the host doesn't wait for; a tensor in ``dtype``, codes as they are."""
    if isinstance(stored, Coded):
        return replace(stored, parts=tuple(upload(part, device) for part in stored.parts))
    return upload(stored, device, dtype)


def tensors_in(stored: Stored) -> tuple[Tensor, ...]:
    """All tensors of a page's keys or values, in a fixed order."""
    return stored.parts if isinstance(stored, Coded) else (stored,)


def same(one: Stored, other: Stored) -> bool:
    """Whether both hold the same, to the last bit."""
    return codec_name(one) == codec_name(other) and all(map(torch.equal, tensors_in(one), tensors_in(other)))


def codec_name(stored: Stored) -> str | None:
    """None of a tensor."""
    return stored.codec.name if isinstance(stored, Coded) else None


def codec_called(name: str) -> Codec:
    """Of a packet. Raises ``ValueError`` for a name that no memory uses."""
    known: Iterable[Codec] = (SINK, *BLENDS, *(codec for widths in CODECS.values() for codec in widths.values()))
    for codec in known:
        if codec.name == name:
            return codec
    raise ValueError(f"no codec is called {str(name)[:40]!r}")
