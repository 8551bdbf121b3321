"""Packing: a state as tensors and a record, memory and decoder states among them, and the same state made of them.

What ``search.checkpoint`` makes again is here as it is, so that going on needs neither passes nor decodes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from streamt1.core.errors import ConfigError
from streamt1.core.four_bits import BITS
from streamt1.core.protocols import DecoderState, Models, Portable, PortableStates
from streamt1.core.remote import here
from streamt1.core.snapshot import PACKET, Packed, Snapshot
from streamt1.core.timeline import Scene, Timeline
from streamt1.core.types import Chunk, Route, Score
from streamt1.search.archive import Archive
from streamt1.search.candidate import Beam
from streamt1.search.cost import Cost
from streamt1.search.lease import Lease, release
from streamt1.search.state import SearchState


@dataclass(eq=False)
class _Tensors:
    """Tensors by name, and the names of what is packed. Mutable."""

    found: dict[str, Tensor] = field(default_factory=dict)

    def put(self, name: str, tensor: Tensor) -> str:
        self.found[name] = tensor
        return name

    def state(self, name: str, state: DecoderState) -> Any:
        """A decoder's state as JSON can hold it, whose tensors go where the others are."""
        if isinstance(state, Tensor):
            return {"tensor": self.put(name, state)}
        if isinstance(state, tuple):
            return [self.state(f"{name}.{place}", part) for place, part in enumerate(state)]
        if state is None or isinstance(state, str):
            return {"text": state}
        raise ConfigError(
            f"a decoder's state of type {type(state).__name__} cannot be packed: go on without a packet, which makes"
            " it again"
        )


def portable(models: Models) -> Portable:
    """The backbone. Raises ``ConfigError`` where its memory cannot leave it."""
    if not isinstance(models.backbone, Portable):
        raise ConfigError(
            f"memory of a {type(models.backbone).__name__} cannot be packed: use one device, without --devices and"
            " --ray, or go on without a packet"
        )
    return models.backbone


def pack(models: Models, state: SearchState, bits: int | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All of a state but its archive: tensors by name, where they are, and a record that JSON can hold.

    Args:
        bits: 4 packs keys and values; None leaves them as they are, and the search goes on bit for bit.

    Raises:
        ConfigError: memory or a decoder's state cannot be packed, or other ``bits``.
        CheckpointError: a beam's memory holds NaN or infinite values.
    """
    if bits not in (None, BITS):
        raise ConfigError(f"bits={bits} must be {BITS}, or left out for memory as it is")
    state.check_held()
    backbone, tensors, beams = portable(models), _Tensors(), list[dict[str, Any]]()
    chunks: dict[str, Any] = {}
    for rank, beam in enumerate(state.beams):
        for candidate, chunk in zip(beam.lineage[beam.first :], beam.chunks):
            if str(candidate) not in chunks:
                chunks[str(candidate)] = _chunk(tensors, f"chunk.{candidate}", chunk)
        branch = None
        if beam.branch is not None:
            snapshot = backbone.dump(beam.branch)
            branch = _branch(tensors, f"beam.{rank}", snapshot if bits is None else snapshot.in_four_bits())
        shown = tensors.state(f"beam.{rank}.decoder", _plain(models.scoring_decoder, beam.decoder_state))
        told = {"lineage": list(beam.lineage), "first": beam.first, "before": [_score(score) for score in beam.before]}
        beams.append({**told, "branch": branch, "decoder": shown})
    numbers = {name: getattr(state, name) for name in ("seed", "chunk", "proposed", "spreads_before", "final")}
    record = {
        **numbers,
        "timeline": [dataclasses.asdict(scene) for scene in state.timeline.scenes],
        "spreads": list(state.spreads),
        "given": [tensors.put(f"given.{place}", chunk) for place, chunk in enumerate(state.given)],
        "cost": dataclasses.asdict(state.cost),
        "chunks": chunks,
        "beams": beams,
        "display": tensors.state("display", _plain(models.decoder, state.display)) if models.draft else None,
    }
    return tensors.found, record


def unpack(
    models: Models, record: Mapping[str, Any], tensor: Callable[[str], Tensor], archive: Archive, device: torch.device
) -> SearchState:
    """The state that ``pack`` was given. Whatever fails, its memory is given back.

    Args:
        tensor: a name -> the tensor, on the host.
        archive: of the chunks that have settled.
        device: of the decoder, where its states go, and frames that are no bytes.

    Raises:
        CheckpointError: the memory is of another model or other rules; it says which.
        ConfigError, KeyError, TypeError, ValueError: the record is not what ``pack`` makes.
    """
    backbone, beams = portable(models), list[Beam]()

    def state(told: Any) -> DecoderState:
        if isinstance(told, list):
            return tuple(map(state, told))
        if "text" in told:
            return told["text"]
        return tensor(told["tensor"]).to(device)

    chunks = {int(candidate): _read_chunk(told, tensor, device) for candidate, told in record["chunks"].items()}
    try:
        for told in record["beams"]:
            lineage = tuple(map(int, told["lineage"]))
            own = tuple(chunks[candidate] for candidate in lineage[int(told["first"]) :])
            shown = _taken(models.scoring_decoder, state(told["decoder"]))
            before = tuple(map(_read_score, told["before"]))
            branch = None if told["branch"] is None else backbone.load(_snapshot(told["branch"], tensor))
            beams.append(Beam(branch, shown, own, lineage, before))
        return SearchState(
            timeline=Timeline(tuple(Scene(**scene) for scene in record["timeline"])),
            spreads=tuple(map(float, record["spreads"])),
            cost=Cost(**record["cost"]),
            beams=tuple(beams),
            archive=archive,
            display=_taken(models.decoder, state(record["display"])) if models.draft else models.decoder.start(),
            lease=Lease(),
            given=tuple(map(tensor, record.get("given", ()))),
            **{name: int(record[name]) for name in ("seed", "chunk", "proposed", "spreads_before", "final")},
        )
    except BaseException:
        release(models, beams)
        raise


def _plain(decoder: Any, state: DecoderState) -> Any:
    return decoder.plain(state) if isinstance(decoder, PortableStates) else state


def _taken(decoder: Any, plain: Any) -> DecoderState:
    return decoder.taken(plain) if isinstance(decoder, PortableStates) else plain


def _branch(tensors: _Tensors, name: str, snapshot: Snapshot) -> dict[str, Any]:
    names = {own: tensors.put(f"{name}.{own}", tensor) for own, tensor in snapshot.tensors.items()}
    packed = {own: dataclasses.asdict(one) for own, one in snapshot.packed.items()}
    return {"kind": snapshot.kind, "metadata": snapshot.metadata, "packed": packed, "tensors": names}


def _snapshot(told: Mapping[str, Any], tensor: Callable[[str], Tensor]) -> Snapshot:
    packed = {name: Packed.read(one) for name, one in told["packed"].items()}
    tensors = {own: tensor(name) for own, name in told["tensors"].items()}
    return Snapshot(str(told["kind"]), tensors, told["metadata"], packed, PACKET)


def _chunk(tensors: _Tensors, name: str, chunk: Chunk) -> dict[str, Any]:
    parts = {"noise": chunk.noise, "latents": chunk.latents, "frames": here(chunk.frames)}
    names = {part: tensors.put(f"{name}.{part}", tensor) for part, tensor in parts.items()}
    score, route = chunk.score and _score(chunk.score), chunk.route and chunk.route.value
    return {"index": chunk.index, "seed": chunk.seed, "score": score, "route": route, **names}


def _read_chunk(told: Mapping[str, Any], tensor: Callable[[str], Tensor], device: torch.device) -> Chunk:
    noise, latents, frames = (tensor(told[part]) for part in ("noise", "latents", "frames"))
    frames = frames.to(device) if frames.is_floating_point() else frames
    score = None if told["score"] is None else _read_score(told["score"])
    route = None if told["route"] is None else Route(told["route"])
    return Chunk(int(told["index"]), int(told["seed"]), noise, latents, frames, score, route)


def _score(score: Score) -> dict[str, Any]:
    """JSON has no word for what is not a finite number."""

    def number(value: float) -> float | str:
        return value if math.isfinite(value) else str(value)

    parts = {name: number(value) for name, value in score.parts.items()}
    return {**{name: number(getattr(score, name)) for name in ("short", "long", "fused")}, "parts": parts}


def _read_score(told: Mapping[str, Any]) -> Score:
    parts = {str(name): float(value) for name, value in told["parts"].items()}
    return Score(float(told["short"]), float(told["long"]), float(told["fused"]), parts)
