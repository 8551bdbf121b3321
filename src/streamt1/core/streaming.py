"""Layers that live on the host and come to the device one after another, each while the one before it works."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence, Set
from contextlib import closing, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from streamt1.core.devices import Held, plain_tensors, tensors_of

Turns = Generator[nn.Module, None, None]


@contextmanager
def visits(layers: Iterable[nn.Module], streamed: Set[int], device: torch.device) -> Iterator[Iterator[nn.Module]]:
    """Layers in their order, each ready for work on the device until the next one is asked for.

    Those that are ``streamed``, by index, are copied there for their turn; the others are there already. The device
    holds two of them at most: the one at work, and the next, which comes over meanwhile. Afterwards, and when work
    fails, each has its own tensors back.
    """
    turns = _turns(list(layers), streamed, device)
    with closing(turns):
        yield turns


def _turns(layers: Sequence[nn.Module], streamed: Set[int], device: torch.device) -> Turns:
    rooms = _Rooms(device)
    coming = [tensors_of(layer) for index, layer in enumerate(layers) if index in streamed]
    turn = 0
    try:
        rooms.fetch(0, coming)
        for index, layer in enumerate(layers):
            if index not in streamed:
                yield layer
                continue
            rooms.fetch(turn + 1, coming)
            with rooms.exchanged(turn, coming[turn]):
                yield layer
            turn += 1
    finally:
        rooms.close()


class _Rooms:
    """Memory on a device for two layers, filled in turn. Mutable.

    Copies run on a stream of their own. It waits for the work that was asked for so far, as that may read what is
    overwritten; and work waits for the copy that it reads. The host waits for neither.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._rooms: list[list[Tensor]] = [[], []]
        on_cuda = device.type == "cuda" and torch.cuda.is_available()
        self._side = torch.cuda.Stream(device) if on_cuda else None
        self._here: list[Any] = [None, None]

    def fetch(self, turn: int, coming: Sequence[list[Held]]) -> None:
        """Starts to copy the layer of a turn, if there is one, over the one of two turns before."""
        if turn >= len(coming):
            return
        homes = [home for *_, home in coming[turn]]
        room = self._rooms[turn % 2]
        if _kinds(room) != _kinds(homes):
            room[:] = []  # before new memory is asked for
            room[:] = [_room_for(home, self._device) for home in homes]
        if self._side is None:
            _copy(room, homes)
            return
        self._side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._side):
            _copy(room, homes)
            self._here[turn % 2] = self._side.record_event()

    @contextmanager
    def exchanged(self, turn: int, places: Sequence[Held]) -> Iterator[None]:
        """Within the block a layer has the tensors that came over."""
        if self._side is not None:
            torch.cuda.current_stream(self._device).wait_event(self._here[turn % 2])
        try:
            for (held, name, _), copy in zip(places, self._rooms[turn % 2]):
                held[name] = copy
            yield
        finally:
            for held, name, home in places:
                held[name] = home

    def close(self) -> None:
        """Gives the memory back; what is asked for next waits for copies that still run into it."""
        if self._side is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._side)
        self._rooms = [[], []]


def _room_for(home: Tensor, device: torch.device) -> Tensor:
    """A tensor of the same kind on a device, not yet filled; a parameter where home is one."""
    copy = _like(home.detach(), device)
    return nn.Parameter(copy, requires_grad=False) if isinstance(home, nn.Parameter) else copy


def _like(home: Any, device: torch.device) -> Tensor:
    if not is_traceable_wrapper_subclass(home):
        return torch.empty_like(home, device=device)
    names, context = home.__tensor_flatten__()  # quantised: some plain tensors, and how they are meant
    inner = {name: _like(getattr(home, name), device) for name in names}
    return type(home).__tensor_unflatten__(inner, context, home.shape, home.stride())


def _kinds(tensors: Sequence[Tensor]) -> list[tuple[Any, ...]]:
    return [(plain.shape, plain.dtype) for tensor in tensors for plain in plain_tensors(tensor)]


def _copy(room: Sequence[Tensor], homes: Sequence[Tensor]) -> None:
    for copy, home in zip(room, homes):
        for target, source in zip(plain_tensors(copy), plain_tensors(home)):
            target.copy_(source, non_blocking=True)
