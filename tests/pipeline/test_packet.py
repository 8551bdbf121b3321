"""A run that goes on from a packet equals one that was never left, and makes nothing again."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from streamt1.config.load import load_config
from streamt1.core.errors import Cancelled, CheckpointError, ConfigError, OutputError, Stopped
from streamt1.core.identity import content_id
from streamt1.core.protocols import Models
from streamt1.core.snapshot import Snapshot
from streamt1.decoders.recompute import RecomputingDecoder
from streamt1.pipeline.asked import Asked
from streamt1.pipeline.packet import Packet
from streamt1.pipeline.packing import pack_run
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.run import Run
from streamt1.pipeline.run_files import PACKET
from streamt1.pipeline.run_folder import run_folder
from streamt1.pipeline.stream import Stream
from streamt1.search.watcher import Watcher
from streamt1.trace.events import CandidateProposed, ChunkStarted, Event, MemorySwitched, Warned
from tests.pipeline.test_pipeline import PROMPT
from tests.pipeline.test_run_folder import EndsAt, assert_same, told

OTHER = "a blue star bouncing on a white dotted background"
SETTINGS: dict[str, Mapping[str, Any]] = {
    "Stream-T1": {},
    "one sample": {"policy": "greedy"},
    "lag, all past scores": {"search.lag": 1, "search.short_baseline": "all", "search.window": 2},
    "adaptive": {"search.adaptive": 1.0},
}


class StopsIn(Watcher):
    """Ends a run in the middle of a chunk."""

    def __init__(self, chunk: int, at: type[Event] = CandidateProposed) -> None:
        self._chunk, self._at = chunk, at

    def happened(self, event: Event) -> None:
        if isinstance(event, self._at) and getattr(event, "chunk", None) == self._chunk:
            raise Stopped("that is enough")


@pytest.fixture(scope="module")
def loaded() -> Pipeline:
    return Pipeline(load_config("pocket"))


@pytest.fixture
def asked(loaded: Pipeline) -> Asked:
    return loaded.asked(PROMPT, 3, 3)


def made(
    pipeline: Pipeline,
    asked: Asked,
    path: Path,
    watcher: Watcher = Watcher(),
    packet: Path | None = None,
    packs: bool = False,
) -> Run:
    taken = None if packet is None else Packet.read(packet)
    with run_folder(path, asked, pipeline.models.decoder.fps, packet=taken, packs=packs) as folder:
        return Stream(pipeline.search(asked, folder, watcher)).finish()


def left(pipeline: Pipeline, asked: Asked, path: Path, chunk: int = 2, packs: bool = True) -> Path:
    """A run that was stopped in a chunk; its packet, which may not be there."""
    with pytest.raises(Stopped):
        made(pipeline, asked, path, StopsIn(chunk), packs=packs)
    return path / "checkpoint" / PACKET


class Counting:
    """Counts calls of what a replay calls."""

    def __init__(self, models: Models) -> None:
        self.calls, self._models = list[str](), models

    def __enter__(self) -> list[str]:
        backbone, decoder = self._models.backbone, self._models.decoder
        for part, name in ((backbone, "commit"), (backbone, "switch"), (backbone, "denoise"), (decoder, "decode")):
            setattr(part, name, self._counted(name, getattr(part, name)))
        return self.calls

    def _counted(self, name: str, function: Any) -> Any:
        def call(*args: Any) -> Any:
            self.calls.append(name)
            return function(*args)

        return call

    def __exit__(self, *_: object) -> None:
        for part, name in (
            (self._models.backbone, "commit"), (self._models.backbone, "switch"), (self._models.backbone, "denoise"),
            (self._models.decoder, "decode"),
        ):  # fmt: skip
            delattr(part, name)


@pytest.mark.parametrize(
    "name", [name if name == "Stream-T1" else pytest.param(name, marks=pytest.mark.slow) for name in SETTINGS]
)
def test_a_run_goes_on_from_the_packet_that_it_left(name: str, loaded: Pipeline, tmp_path: Path) -> None:
    pipeline = Pipeline(load_config("pocket", SETTINGS[name]), loaded.models)
    asked = pipeline.asked(PROMPT, 3, 3)
    whole = made(pipeline, asked, tmp_path / "whole")
    packet = left(pipeline, asked, tmp_path / "there")
    shutil.copytree(tmp_path / "there", tmp_path / "here")
    shutil.rmtree(tmp_path / "there")
    packet = tmp_path / "here" / "checkpoint" / PACKET
    counts: list[int] = []

    class Boundaries(Watcher):
        def happened(self, event: Event) -> None:
            if isinstance(event, ChunkStarted):
                counts.append(len(calls))

    with Counting(loaded.models) as calls:
        assert_same(made(pipeline, asked, tmp_path / "here", Boundaries(), packet), whole)
    assert counts == [0]
    assert calls.count("denoise") == 1
    loaded.models.backbone.memory.pool.check([])  # type: ignore[attr-defined]
    assert not (tmp_path / "here" / "checkpoint").exists()


@pytest.mark.slow
def test_a_video_without_an_end_goes_on_too(loaded: Pipeline, tmp_path: Path) -> None:
    pipeline = Pipeline(load_config("pocket", {"policy": "greedy"}), loaded.models)
    asked = pipeline.asked(PROMPT, None, 3, endless=True)
    with pytest.raises(Cancelled):
        made(pipeline, asked, tmp_path / "one", EndsAt(24))
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    packet, snapshot = pack_run(pipeline, tmp_path / "one", asked, {}, tmp_path / "p.safetensors", None)
    chunk = snapshot.metadata["chunk"]
    one = made(pipeline, asked, tmp_path / "one", StopsIn(chunk + 2), packet)
    other = made(pipeline, asked, tmp_path / "other", StopsIn(chunk + 2))
    assert told(tmp_path / "one") == told(tmp_path / "other")
    assert (tmp_path / "one" / "video.mp4").read_bytes() == (tmp_path / "other" / "video.mp4").read_bytes()
    assert one.result.beam.lineage == other.result.beam.lineage
    assert len(one.result.beam.lineage) == chunk + 2


@pytest.mark.slow
def test_scenes_and_drafts_and_decoders_that_compute_again(loaded: Pipeline, tmp_path: Path) -> None:
    """Stopped before a scene is over, and at the last boundary, where no memory is left."""
    decoder = loaded.models.decoder
    models = dataclasses.replace(loaded.models, draft=RecomputingDecoder(decoder))
    pipeline = Pipeline(loaded.config, models)
    asked = pipeline.asked([(PROMPT, 1.3), {"prompt": OTHER, "chunks": 2, "memory": "recache"}], None, 3)
    assert asked.chunks == 4
    whole = made(pipeline, asked, tmp_path / "whole")
    for chunk in (1, 3):
        packet = left(pipeline, asked, tmp_path / f"{chunk}", chunk)
        assert_same(made(pipeline, asked, tmp_path / f"{chunk}", packet=packet), whole)


@pytest.mark.slow
def test_memory_that_was_written_again_is_not_packed(loaded: Pipeline, tmp_path: Path) -> None:
    scenes = [{"prompt": PROMPT, "chunks": 2}, {"prompt": OTHER, "chunks": 1, "memory": "recache"}]
    asked = loaded.asked(scenes, None, 3)
    with pytest.warns(UserWarning, match="no packet was written"), pytest.raises(Stopped):
        made(loaded, asked, tmp_path, StopsIn(2, MemorySwitched), packs=True)
    made(loaded, asked, tmp_path)


@pytest.fixture(scope="module")
def stopped(loaded: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a packet, after two chunks."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    left(loaded, loaded.asked(PROMPT, 3, 3), folder, packs=False)
    return folder


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    shutil.copytree(stopped, tmp_path / "run")
    return tmp_path / "run"


def test_a_run_that_was_killed_can_be_packed_later(loaded: Pipeline, asked: Asked, run: Path, tmp_path: Path) -> None:
    packets = {}
    for bits in (None, 4):
        packets[bits], _ = pack_run(loaded, run, asked, {}, tmp_path / f"{bits}.safetensors", bits)
    sizes = {bits: path.stat().st_size for bits, path in packets.items()}
    assert sizes[4] < 0.9 * sizes[None]
    shutil.copytree(run, tmp_path / "again")
    assert_same(made(loaded, asked, tmp_path / "again", packet=packets[None]), made(loaded, asked, run))


def test_four_bits_are_told(loaded: Pipeline, asked: Asked, run: Path) -> None:
    packet, _ = pack_run(loaded, run, asked, {}, None, 4)
    assert Packet.read(packet).bits == 4
    assert made(loaded, asked, run, packet=packet).folder == run
    [warned] = [event for event in told(run) if isinstance(event, Warned)]
    assert warned.message == "memory before chunk 3 was taken from a packet of 4 bits"


def rewritten(packet: Path, **changes: Any) -> None:
    """The packet with other words in it, and a digest that is right."""
    snapshot = Snapshot.read(packet)
    Snapshot(snapshot.kind, snapshot.tensors, {**snapshot.metadata, **changes}).write(packet)


def test_a_packet_from_before_a_rule_was_known_is_taken(loaded: Pipeline, asked: Asked, run: Path) -> None:
    packet, snapshot = pack_run(loaded, run, asked, {}, None, None)
    rules = snapshot.metadata["rules"]
    later = {"bits", "codec", "local_heads", "corrected"}
    rewritten(packet, rules={name: rule for name, rule in rules.items() if name not in later})
    Packet.read(packet).check(asked.config, snapshot.metadata["run"], 2)
    assert made(loaded, asked, run, packet=packet).folder == run


def test_what_does_not_fit_is_refused_by_its_name(loaded: Pipeline, asked: Asked, run: Path) -> None:
    packet, snapshot = pack_run(loaded, run, asked, {}, None, None)
    good, words = packet.read_bytes(), snapshot.metadata
    cases: list[tuple[dict[str, Any], str]] = [
        ({"weights": {**words["weights"], "pocket_vae.safetensors": "7-ab"}}, "other weights .pocket_vae.safetensors"),
        ({"weights": {**words["weights"], "pocket_dit.safetensors": "7-ab"}}, "other weights .pocket_dit.safetensors"),
        ({"codec": {**words["codec"], "decoder": "wan_vae"}}, "another codec .decoder is wan_vae there"),
        ({"rules": {**words["rules"], "window": 15}}, "other rules of memory .window is 15 there and 12 here"),
        ({"run": "0" * 16}, "is of another run"),
        ({"chunk": 1}, "after chunk 1 and the run is at chunk 2"),
        ({"state": {**words["state"], "beams": [{"lineage": "x"}]}}, "not what a packet holds .ValueError"),
        ({"names": {}}, "not what a packet holds .KeyError"),
        ({"archive": {}}, "not what a packet holds .KeyError"),
    ]
    for changes, says in cases:
        rewritten(packet, **changes)
        with pytest.raises(CheckpointError, match=says):
            made(loaded, asked, run, packet=packet)
        packet.write_bytes(good)
    packet.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="is damaged"):
        Packet.read(packet)
    packet.write_bytes(good)
    backbone = loaded.models.backbone
    loaded.models.backbone.dump(backbone.start(PROMPT)).write(run / "branch.safetensors")  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="one branch of memory, not a run"):
        Packet.read(run / "branch.safetensors")
    with (run / "checkpoint" / "settled.jsonl").open("a") as file:
        file.write("what comes behind is cut off")
    made(loaded, asked, run, packet=packet)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: b"\x01\x00",
        lambda whole: whole[:-8],
        lambda whole: whole + b"more",
        lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
        lambda whole: whole[:200] + b"}" + whole[201:],
        lambda whole: bytes(len(whole)),
        lambda whole: b"\xff" * 8 + whole[8:],
        lambda whole: b"<!DOCTYPE html><html><body>404</body></html>",
        lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
        lambda whole: b'{"error": "not found"}',
        lambda whole: b"PK\x03\x04" + whole,
        lambda whole: b"\x1f\x8b\x08" + whole,
    ],
)  # fmt: skip
def test_a_damaged_packet_is_called_one(damage: Callable[[bytes], bytes], run: Path, loaded: Pipeline, asked: Asked):
    packet, _ = pack_run(loaded, run, asked, {}, None, None)
    packet.write_bytes(damage(packet.read_bytes()))
    with pytest.raises(CheckpointError) as told:
        Packet.read(packet)
    assert "pack the run again" in str(told.value)
    assert "download" not in str(told.value)
    assert "snapshot" not in str(told.value)


def test_settled_frames_that_were_not_copied_are_missed(loaded: Pipeline, tmp_path: Path) -> None:
    pipeline = Pipeline(load_config("pocket", {"policy": "greedy"}), loaded.models)
    asked = pipeline.asked(PROMPT, 3, 3)
    packet = left(pipeline, asked, tmp_path)
    (tmp_path / "checkpoint" / "frames.raw").unlink()
    with pytest.raises(CheckpointError, match=r"frames.raw is not what it was when the packet was made: copy"):
        made(pipeline, asked, tmp_path, packet=packet)
    made(pipeline, asked, tmp_path)


def lost(folder: Path) -> None:
    (folder / "000001.safetensors").unlink()


def damaged(folder: Path) -> None:
    lines = folder / "boundaries.jsonl"
    lines.write_bytes(b"#" + lines.read_bytes()[1:])


@pytest.mark.parametrize("harm", [lost, damaged], ids=["lost", "damaged"])
def test_a_packet_needs_no_boundary_before_its_own(
    harm: Callable[[Path], None], loaded: Pipeline, asked: Asked, run: Path, tmp_path: Path
) -> None:
    packet, _ = pack_run(loaded, run, asked, {}, tmp_path / "packet.safetensors", None)
    shutil.copytree(run, tmp_path / "whole")
    harm(run / "checkpoint")
    with pytest.raises(OutputError, match=r"Give a packet of the run, if there is one \(resume --packet\)"):
        made(loaded, asked, run)
    with pytest.warns(UserWarning, match="goes on from the packet, and later needs one again"), pytest.raises(Stopped):
        made(loaded, asked, run, StopsIn(2, ChunkStarted), packet=packet, packs=True)
    later = run / "checkpoint" / PACKET
    with pytest.warns(UserWarning, match="goes on from the packet"):
        assert_same(made(loaded, asked, run, packet=later), made(loaded, asked, tmp_path / "whole"))


def test_a_packet_of_a_boundary_that_is_gone_is_refused(
    loaded: Pipeline, asked: Asked, run: Path, tmp_path: Path
) -> None:
    packet, _ = pack_run(loaded, run, asked, {}, tmp_path / "packet.safetensors", None)
    (run / "checkpoint" / "boundaries.jsonl").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be gone on with"):
        made(loaded, asked, run, packet=packet)


def test_there_must_be_something_to_pack(loaded: Pipeline, asked: Asked, tmp_path: Path) -> None:
    assert not left(loaded, asked, tmp_path, 0).exists()
    with pytest.raises(ConfigError, match="no chunk is decided yet"):
        pack_run(loaded, tmp_path, asked, {}, None, None)
    left(loaded, asked, tmp_path, packs=False)
    with pytest.raises(ConfigError, match="bits=3 must be 4"):
        pack_run(loaded, tmp_path, asked, {}, None, 3)


def test_memory_that_cannot_be_packed_is_said_at_once(loaded: Pipeline, asked: Asked, tmp_path: Path) -> None:
    class Elsewhere:
        def __getattr__(self, name: str) -> Any:
            if name == "dump":
                raise AttributeError(name)
            return getattr(loaded.models.backbone, name)

    models = dataclasses.replace(loaded.models, backbone=Elsewhere())  # type: ignore[arg-type]
    pipeline = Pipeline(loaded.config, models)
    with pytest.raises(ConfigError, match="memory of a Elsewhere cannot be packed: use one device"):
        made(pipeline, asked, tmp_path, packs=True)


def test_what_beams_share_is_packed_once(loaded: Pipeline, run: Path, asked: Asked) -> None:
    _, snapshot = pack_run(loaded, run, asked, {}, None, None)
    names = snapshot.metadata["names"]
    assert len(snapshot.tensors) == len(set(names.values())) < len(names)
    assert all(content_id(tensor) == name for name, tensor in snapshot.tensors.items())
