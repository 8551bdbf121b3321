"""Snapshots of memory: damaged as files, and as what they tell under a digest that is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.config.load import load_config
from streamt1.core.snapshot import DIGEST, FORM, TOLD, Snapshot, _digest
from streamt1.core.tensor_files import write_tensors
from streamt1.core.types import Route
from streamt1.pipeline.packet import Packet, write_packet
from streamt1.search.archive import Nowhere
from streamt1.search.config import SearchConfig
from streamt1.search.engine import step
from streamt1.search.start import start
from streamt1.search.watcher import Watcher
from tests.backbones.test_portable import RULES, backbone, told
from tests.distributed.test_models import Shifted
from tests.fuzz.mutations import garbage, mutated, mutated_value
from tests.fuzz.rule import kept
from tests.search.toy import toy


def made() -> tuple[WanBackbone, Snapshot]:
    own = backbone(RULES["recall"])
    return own, own.dump(told(own, own.start("A"), "-eBdd", drawn=True)[0])


OWN, PLAIN = made()
SNAPSHOTS = (PLAIN, PLAIN.in_four_bits())
RECORDS = [json.loads(json.dumps({
    "kind": one.kind, "metadata": one.metadata,
    "packed": {name: {"dtype": p.dtype, "group": p.group, "lost": vars(p.lost)} for name, p in one.packed.items()},
})) for one in SNAPSHOTS]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def contents(folder: Path) -> list[bytes]:
    found = [one.write(folder / "a.safetensors").read_bytes() for one in SNAPSHOTS]
    return found


def gone_on_with(path: Path) -> None:
    """Loads a snapshot, and does with the branch what can be done with one."""
    live = OWN.memory.pool.live
    branch = OWN.load(Snapshot.read(path))
    later = OWN.commit(branch, torch.zeros(OWN.chunk_shape), Route.EMA)
    switched = OWN.switch(later, "A", "recache").branch
    for one in (branch, later, switched):
        OWN.inspect(one)
        OWN.release(one)
    assert OWN.memory.pool.live == live


@given(data=st.data())
def test_files(data: st.DataObject, contents: list[bytes], folder: Path) -> None:
    (folder / "a.safetensors").write_bytes(data.draw(st.one_of(mutated(*contents), garbage)))
    kept("snapshots", lambda: gone_on_with(folder / "a.safetensors"), folder)


@given(data=st.data(), which=st.integers(0, 1), part=st.sampled_from(["all", "memory", "packed", "past", "model"]))
def test_what_they_tell(data: st.DataObject, which: int, part: str, folder: Path) -> None:
    """Written as such, by somebody who computes the digest too."""
    record: dict[str, Any] = json.loads(json.dumps(RECORDS[which]))
    if part == "all":
        record = data.draw(mutated_value(record))
    else:
        holder = record if part == "packed" else record["metadata"]
        holder[part] = data.draw(mutated_value(holder[part]))
    text = json.dumps(record)
    tensors = dict(SNAPSHOTS[which].tensors)
    write_tensors(folder / "b.safetensors", tensors, {FORM: "1", TOLD: text, DIGEST: _digest(text, tensors)})
    kept("snapshots, told", lambda: gone_on_with(folder / "b.safetensors"), folder)


@given(data=st.data(), which=st.integers(0, 1))
def test_what_they_hold(data: st.DataObject, which: int, folder: Path) -> None:
    tensors = dict(SNAPSHOTS[which].tensors)
    name = data.draw(st.sampled_from(sorted(tensors)))
    change = data.draw(st.sampled_from(["lost", "short", "flat", "empty", "wide", "narrow", "nan", "whole", "scalar"]))
    one = tensors.pop(name)
    other = {
        "short": lambda: one[:1], "flat": lambda: one.flatten(), "empty": lambda: one[:0], "wide": one.double,
        "narrow": one.bfloat16, "nan": lambda: torch.full_like(one.float(), float("nan")), "whole": one.long,
        "scalar": lambda: one.flatten()[0].clone(),
    }  # fmt: skip
    if change != "lost":
        tensors[name] = other[change]().contiguous()
    text = json.dumps(RECORDS[which])
    write_tensors(folder / "c.safetensors", tensors, {FORM: "1", TOLD: text, DIGEST: _digest(text, tensors)})
    kept("snapshots, held", lambda: gone_on_with(folder / "c.safetensors"), folder)


MODELS = toy(decoder=Shifted())
CONFIG = load_config("pocket", {"device": "cpu"})


def packed(path: Path) -> Snapshot:
    """A packet of a search over the toy, after two chunks."""
    config = SearchConfig(beam_size=2, top_k=2)
    state = step(MODELS, config, start(MODELS, config, "x", 4), Watcher())
    state = step(MODELS, config, state, Watcher())
    found = write_packet(path, MODELS, state, CONFIG, "run", None)
    state.release(MODELS)
    return found


def taken_up(path: Path) -> None:
    packet, live = Packet.read(path), MODELS.backbone.live  # type: ignore[attr-defined]
    packet.check(CONFIG, "run", 2)
    packet.archived(path.parent)
    try:
        packet.state(MODELS, Nowhere(), CONFIG).release(MODELS)
    finally:
        assert MODELS.backbone.live == live  # type: ignore[attr-defined]


@given(data=st.data(), part=st.sampled_from(["all", "state", "beams", "names", "archive"]))
def test_what_packets_tell(data: st.DataObject, part: str, folder: Path) -> None:
    snapshot = packed(folder / "d.safetensors")
    taken_up(folder / "d.safetensors")
    told: dict[str, Any] = json.loads(json.dumps(snapshot.metadata))
    if part == "all":
        told = data.draw(mutated_value(told))
    else:
        holder = told["state"] if part == "beams" else told
        holder[part] = data.draw(mutated_value(holder[part]))
    text = json.dumps({"kind": snapshot.kind, "metadata": told, "packed": {}})
    tensors = dict(snapshot.tensors)
    write_tensors(folder / "d.safetensors", tensors, {FORM: "1", TOLD: text, DIGEST: _digest(text, tensors)})
    kept("packets, told", lambda: taken_up(folder / "d.safetensors"), folder)
