"""Devices: which one is meant, models that come to it for their work, and smaller parts when its memory runs out."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from streamt1.core.errors import ConfigError, OutOfMemoryError
from streamt1.core.transfer import locked, upload

T = TypeVar("T")
HOST = torch.device("cpu")
Held = tuple[dict[str, Any], str, Tensor]
"""A module's parameters or buffers, the name of one of them, and itself."""


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device. The host does not wait for a copy from itself to CUDA: it goes through locked memory."""
    return upload(locked(tensor, device), device)


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one. Raises ``ConfigError`` for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}: use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} is not supported: use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {name!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices")
    return device


@contextmanager
def at_work(device: torch.device, *modules: nn.Module) -> Iterator[None]:
    """Modules are on a device for the block; those that were not there are afterwards where and what they were.

    Weights go one way: each is replaced by its copy for the block, and what came over is dropped.
    """
    homes = [held for module in modules for held in tensors_of(module)]
    copies: dict[int, Tensor] = {}
    try:
        for held, name, home in homes:
            if home.device != device:
                held[name] = copies.setdefault(id(home), _copied(home, device))
        yield
    finally:
        for held, name, home in homes:
            held[name] = home


def move(module: nn.Module, device: torch.device, dtype: torch.dtype | None = None) -> None:
    """Takes a module to a device, for evaluation, its floating-point tensors in a dtype. Mutates.

    Its tensors are replaced one after another, so that quantised and fake ones move, too, and that there is never a
    second copy of all; those that layers share stay shared.
    """
    known: dict[int, tuple[weakref.ref[Tensor], Tensor]] = {}
    for part in module.modules():
        for held in cast("tuple[dict[str, Any], ...]", (part._parameters, part._buffers)):
            for name in [name for name, tensor in held.items() if tensor is not None]:
                held[name] = _once(held[name], device, dtype, known)
    module.eval()


def _once(home: Tensor, device: torch.device, dtype: torch.dtype | None, known: dict[int, Any]) -> Tensor:
    """The copy of a tensor; the same one for the same tensor, as long as that is alive."""
    seen, copy = known.get(id(home), (None, home))
    if seen is None or seen() is not home:
        copy = _copied(home, device, dtype if home.is_floating_point() else None)
        known[id(home)] = weakref.ref(home), copy
    return copy


def _copied(home: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    copy = upload(home.detach(), device, dtype)
    return nn.Parameter(copy, requires_grad=False) if isinstance(home, nn.Parameter) else copy


def tensors_of(module: nn.Module) -> list[Held]:
    """Where each parameter and buffer is held, its name there, and itself."""
    return [
        (held, name, tensor)
        for part in module.modules()
        for held in (part._parameters, part._buffers)
        for name, tensor in held.items()
        if tensor is not None
    ]


def plain_tensors(tensor: Any) -> list[Tensor]:
    """The plain tensors that a tensor is made of: itself, or what a quantised one holds."""
    if not is_traceable_wrapper_subclass(tensor):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()
    return [plain for name in names for plain in plain_tensors(getattr(tensor, name))]


def pin(*modules: nn.Module) -> None:
    """Locks modules' memory on the host, from where copies to a CUDA device run beside the host's work. Mutates.

    Tensors move together into blocks of a power of two bytes: torch rounds up what it locks to one, which would take
    80% more for a language layer's tensors one by one. Where the system does not lend so much locked memory, the rest
    stays as it is; it is then copied more slowly.
    """
    held = (plain for module in modules for *_, tensor in tensors_of(module) for plain in plain_tensors(tensor))
    block: list[Tensor] = []
    for home in held:
        if home.device != HOST or home.is_pinned() or not home.is_contiguous():
            continue
        if block and sum(map(_room, block)) + _room(home) > BLOCK:
            if not _locked(block):
                return
            block = []
        block.append(home)
    _locked(block)


BLOCK = 2**30
"""Bytes that are locked at a time; a tensor that is larger has its own."""


def _room(home: Tensor) -> int:
    """Bytes of a tensor in a block, where the next one begins at a multiple of 256."""
    return -(-home.numel() * home.element_size() // 256) * 256


def _locked(block: list[Tensor]) -> bool:
    """Moves tensors into one block of locked memory; whether there was so much."""
    try:
        room = torch.empty(sum(map(_room, block)), dtype=torch.uint8, pin_memory=True)
    except RuntimeError:
        return False
    for home, place in zip(block, room.split([_room(home) for home in block])):
        copy = place[: home.numel() * home.element_size()].view(home.dtype).view(home.shape)
        home.data = copy.copy_(home.data)
    return True


@contextmanager
def enough_memory(work: str) -> Iterator[None]:
    """Around work that may not fit: what torch says of it becomes an ``OutOfMemoryError`` of ours.

    Args:
        work: what is done, as the end of "memory ran out while ...".
    """
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        where = "the host" if "DefaultCPUAllocator" in str(error) else "the device"
        raise OutOfMemoryError(
            f"{where} ran out of memory while {work}; use fewer candidates or survivors, a smaller picture, or see"
            " `streamt1 plan` for what can stay elsewhere"
        ) from error


class Halving:
    """Splits work over a batch into parts that fit; remembers what did not, for the next call. Mutable.

    Args:
        limit: largest part to begin with; None means everything at once.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit

    def run(self, work: Callable[[int, int], T], count: int) -> list[T]:
        """``work(begin, end)`` for parts of ``0..count``, in order. Work must be safe to repeat.

        Raises ``torch.OutOfMemoryError`` when even one item does not fit.
        """
        results: list[T] = []
        begin = 0
        while begin < count:
            end = min(count, begin + (self.limit or count))
            try:
                results.append(work(begin, end))
            except torch.OutOfMemoryError:
                if end - begin == 1:
                    raise
                self.limit = (end - begin) // 2
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            begin = end
        return results
