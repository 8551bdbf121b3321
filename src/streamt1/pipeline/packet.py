"""A packet: all that a run knows at a chunk boundary, as one file, so that it goes on elsewhere without a replay.

The run's folder goes along: its trace, its video, and the frames of chunks that have settled stay in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from streamt1.config.schema import RunConfig
from streamt1.core.devices import enough_memory, resolve_device
from streamt1.core.errors import CheckpointError
from streamt1.core.identity import content_id
from streamt1.core.protocols import Models
from streamt1.core.snapshot import PACKET, Snapshot
from streamt1.families.fingerprint import fingerprints
from streamt1.memory.portable import DAMAGED, rules_beside, told_rules
from streamt1.pipeline.spill import OnDisk
from streamt1.search.archive import Archive, Nowhere
from streamt1.search.packing import pack, unpack
from streamt1.search.state import SearchState

KIND = "run"
_WITHOUT = "go on without the packet, which makes memory again"


@dataclass(frozen=True, eq=False)
class Packet:
    """A file that was read.

    Attributes:
        path: the file.
        bits: 4 where keys and values are in four bits; None where they are as they were.
    """

    path: Path
    snapshot: Snapshot

    @classmethod
    def read(cls, path: Path) -> Packet:
        """Raises ``CheckpointError`` for a file that is missing, damaged, or something else."""
        snapshot = Snapshot.read(path, PACKET)
        if snapshot.kind != KIND:
            raise CheckpointError(f"{path} holds one branch of memory, not a run: give a file of `streamt1 pack`")
        return cls(path, snapshot)

    @property
    def bits(self) -> int | None:
        return self.snapshot.metadata.get("bits")

    @property
    def chunk(self) -> int | None:
        """How many chunks were decided; None where it does not tell."""
        chunk = self.snapshot.metadata.get("chunk")
        return chunk if type(chunk) is int else None

    def archived(self, checkpoint: Path) -> Archive:
        """What keeps the settled chunks, in the files of a checkpoint; nothing for a video without an end.

        Raises ``CheckpointError`` where they are not what they were.
        """
        told = self.snapshot.metadata.get("archive")
        with self._whole():
            return Nowhere() if told is None else OnDisk.take_up(checkpoint, told)

    def check(self, config: RunConfig, run: str, chunk: int) -> None:
        """Raises ``CheckpointError`` where the packet is of other weights, another codec, other rules of memory, or
        of another run or chunk; it says of which."""
        told, weights = self.snapshot.metadata, fingerprints(config)
        named = told.get("weights")
        if isinstance(named, dict):  # older versions knew fewer files
            weights = {name: one for name, one in weights.items() if name in named}
        for part, here, how in (
            ("weights", weights, "with other weights"),
            ("codec", _codec(config), "with another codec"),
            ("rules", rules_beside(told.get("rules"), config.memory), "under other rules of memory"),
        ):
            self.snapshot.check_same(part, here, how, _WITHOUT)
        if told.get("run") != run:
            raise CheckpointError(f"{self.path} is of another run: give this run's, or {_WITHOUT}")
        if told.get("chunk") != chunk:
            raise CheckpointError(
                f"{self.path} was made after chunk {told.get('chunk')} and the run is at chunk {chunk}: pack it again,"
                f" or {_WITHOUT}"
            )

    def state(self, models: Models, archive: Archive, config: RunConfig) -> SearchState:
        """The state that was packed.

        Raises:
            CheckpointError: its memory is of another model, or the file is not what ``write_packet`` makes.
            ConfigError: these models cannot take memory in.
            OutOfMemoryError: it does not fit.
        """
        told, tensors = self.snapshot.metadata, self.snapshot.tensors

        def tensor(name: str) -> Tensor:
            return tensors[told["names"][name]]

        with self._whole(), enough_memory("a packet was taken in"):
            return unpack(models, told["state"], tensor, archive, resolve_device(config.device))

    @contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except DAMAGED as error:
            raise CheckpointError(
                f"{self.path} is not what a packet holds ({type(error).__name__}): pack the run again, or {_WITHOUT}"
            ) from error


def write_packet(
    path: Path,
    models: Models,
    state: SearchState,
    config: RunConfig,
    run: str,
    archive: Mapping[str, Any] | None,
    bits: int | None = None,
) -> Snapshot:
    """Writes a packet, whole or not at all. What beams share is in it once.

    Args:
        run: see ``checkpoints.run_of``.
        archive: see ``OnDisk.told``; None for a video without an end.
        bits: 4, or None for memory as it is.

    Raises:
        ConfigError: the state cannot be packed; see ``search.packing.pack``.
        CheckpointError: it holds NaN or infinite values.
        OutputError: the file cannot be written.
    """
    found, record = pack(models, state, bits)
    names, tensors = dict[str, str](), dict[str, Tensor]()
    for name in sorted(found):
        tensor = found.pop(name).detach().cpu().contiguous()
        names[name] = content_id(tensor)
        tensors.setdefault(names[name], tensor)
    told = {
        "run": run,
        "chunk": state.chunk,
        "bits": bits,
        "weights": fingerprints(config),
        "codec": _codec(config),
        "rules": told_rules(config.memory),
        "archive": archive,
        "names": names,
        "state": record,
    }
    snapshot = Snapshot(KIND, tensors, told, words=PACKET)
    snapshot.write(path)
    return snapshot


def _codec(config: RunConfig) -> dict[str, Any]:
    return {"decoder": config.decoder, "draft": config.draft, "dtype": config.dtype}
