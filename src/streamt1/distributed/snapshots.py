"""Snapshots on their way from one device to another: what is asked of both, and what carries them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from streamt1.core.errors import CheckpointError, OutOfMemoryError
from streamt1.core.protocols import Portable
from streamt1.core.snapshot import PAGES, Packed, Snapshot
from streamt1.distributed.recipes import Sent
from streamt1.distributed.shipping import MUCH

if TYPE_CHECKING:
    from streamt1.distributed.worker import Worker

_ROWS = 1024


NO_ROOM = (OutOfMemoryError, torch.OutOfMemoryError, MemoryError)


class ShipmentLostError(Exception):
    """What was sent is gone: the device that sent it is, or the way to it."""


class Carrier(Protocol):
    """Brings what one device sends to another."""

    def put(self, load: Carried) -> Any:
        """Called by the one that sends: something small or large that the driver hands to the other."""
        ...

    def get(self, sent: Any) -> Carried:
        """Called by the one that receives, with what ``put`` gave. Raises ``ShipmentLostError``."""
        ...


class InReplies:
    """Satisfies ``Carrier``: a snapshot goes through the driver, in a reply and in a request."""

    def put(self, load: Carried) -> Carried:
        return load

    def get(self, sent: Carried) -> Carried:
        return sent


@dataclass(frozen=True)
class Carried:
    """A snapshot whose tensors travel as their bytes."""

    kind: str
    tensors: Mapping[str, Sent]
    metadata: Mapping[str, Any]
    packed: Mapping[str, Packed]

    @classmethod
    def of(cls, snapshot: Snapshot, bits: int | None) -> Carried:
        """``bits``: 4 packs keys and values; None leaves them."""
        form = snapshot if bits is None else snapshot.in_four_bits()
        tensors = {name: Sent(tensor) for name, tensor in form.tensors.items()}
        return cls(form.kind, tensors, form.metadata, form.packed)

    def snapshot(self) -> Snapshot:
        tensors = {name: sent.tensor for name, sent in self.tensors.items()}
        return Snapshot(self.kind, tensors, self.metadata, self.packed)


@dataclass(frozen=True)
class Weigh:
    """Bytes of a branch's snapshot; None where the backbone is not ``Portable``."""

    key: str

    def do(self, worker: Worker) -> int | None:
        backbone = worker.models.backbone
        return backbone.weigh(worker.get(self.key)) if isinstance(backbone, Portable) else None


@dataclass(frozen=True)
class Send:
    """Puts a branch on its way.

    Attributes:
        key: of the branch; None sends a probe.
        bits: see ``Carried.of``.
    """

    key: str | None
    bits: int | None

    def do(self, worker: Worker) -> tuple[Any, float] | None:
        """What the receiver is to be given, and seconds; None where the branch cannot be sent."""
        begin, backbone = time.perf_counter(), worker.models.backbone
        if self.key is None:  # goes all the way that a branch would: from the device, packed, and to the device
            rows = torch.ones(1, _ROWS, MUCH // (4 * _ROWS), device=_device())
            snapshot = Snapshot("probe", {f"{PAGES}0.keys": rows}, {})
        elif isinstance(backbone, Portable):
            try:
                snapshot = backbone.dump(worker.get(self.key))
            except (CheckpointError, *NO_ROOM):  # or it holds numbers that are not finite: made again, it does, too
                return None
        else:
            return None
        try:
            sent = worker.carrier.put(Carried.of(snapshot, self.bits))
        except (ShipmentLostError, *NO_ROOM):
            return None
        return sent, time.perf_counter() - begin


@dataclass(frozen=True)
class Receive:
    """Takes in what ``Send`` gave for a branch; a probe is looked at and dropped."""

    key: str | None
    sent: Any

    def do(self, worker: Worker) -> float | None:
        """Seconds; None where it was lost on the way, or cannot be taken in: then it is made from its recipe."""
        begin, backbone = time.perf_counter(), worker.models.backbone
        try:
            snapshot = worker.carrier.get(self.sent).snapshot()
            if self.key is None:
                snapshot.tensor(f"{PAGES}0.keys").to(_device())
            else:
                assert isinstance(backbone, Portable)
                worker.put(self.key, backbone.load(snapshot))
        except (ShipmentLostError, CheckpointError, *NO_ROOM):
            return None
        wait_for_device()
        return time.perf_counter() - begin


def wait_for_device() -> None:
    """Until all that this process has asked of its GPU is done, where it has one."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _device() -> str:
    return "cuda" if torch.cuda.is_initialized() else "cpu"
