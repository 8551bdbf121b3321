"""A run that is left at any moment and gone on with is the run that was never left: latents, frames, trace, files."""

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from streamt1.config.load import load_config
from streamt1.core.errors import Cancelled, ConfigError, OutputError, Stopped, StreamT1Warning
from streamt1.decoders.pocket_vae import PocketDecoder
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.replay import finished_run, replay
from streamt1.pipeline.run import Run
from streamt1.pipeline.run_files import stored_summary
from streamt1.pipeline.stream import FinalChunk
from streamt1.report import write_report
from streamt1.search.watcher import Watcher
from streamt1.trace.events import CandidateProposed, ChunkCommitted, ChunkSettled, ChunkStarted, Event, RunFinished
from streamt1.trace.store import read_thumbnails, read_trace
from tests.pipeline.test_pipeline import PROMPT

CHUNKS = 4
SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {"policy": "greedy"},
    "best of n": {"policy": "best_of_n"},
    "beam": {"policy": "beam"},
    "Stream-T1": {},
    "random pruning": {"search.pruning": "random"},
    "lag": {"search.lag": 1},
    "taper": {"search.taper": 1.0},
    "adaptive": {"search.adaptive": 1.0},
    "budget in passes": {"search.budget_passes": 50},
    "early pruning": {"search.preview_step": 2},
    "all past scores": {"search.short_baseline": "all", "search.window": 2},
    "short window": {"search.window": 1},
    "official decoding": {"search.decode": "official"},
}


class EndsAt(Watcher):
    """Ends a run at its n-th event."""

    def __init__(self, place: int, error: type[BaseException] = Cancelled) -> None:
        self.left, self.error = place, error

    def happened(self, event: Event) -> None:
        self.left -= 1
        if not self.left:
            raise self.error("that is enough")


@pytest.fixture(scope="module")
def loaded() -> Pipeline:
    return Pipeline(load_config("pocket"))


def with_settings(loaded: Pipeline, settings: Mapping[str, Any]) -> Pipeline:
    return Pipeline(load_config("pocket", settings), loaded.models)


def told(folder: Path) -> list[Event]:
    """The events of a trace, without times."""
    events = [stamped.event for stamped in read_trace(folder / "trace.jsonl")]
    last = events[-1]
    assert isinstance(last, RunFinished)
    return [*events[:-1], dataclasses.replace(last, cost={**last.cost, "seconds": None})]


def assert_same(one: Run, other: Run) -> None:
    assert one.folder is not None
    assert other.folder is not None
    assert torch.equal(one.result.latents, other.result.latents)
    assert torch.equal(one.pixels, other.pixels)
    assert one.result.final == other.result.final
    assert told(one.folder) == told(other.folder)
    names = ["video.mp4", "sheet.png", "thumbnails.jsonl", *["latents.safetensors"] * (not one.result.endless)]
    for name in names:
        assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes(), name
    summaries = [stored_summary(run.folder) for run in (one, other) if run.folder is not None]
    for summary in summaries:
        assert summary is not None
        summary["cost"]["seconds"] = None
    assert summaries[0] == summaries[1]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_that_was_left_twice_equals_one_that_was_not(name: str, loaded: Pipeline, tmp_path: Path) -> None:
    pipeline = with_settings(loaded, SETTINGS[name])
    whole = pipeline.run(PROMPT, CHUNKS, 3, folder=tmp_path / "whole")
    events = len(told(tmp_path / "whole"))
    for place in (events // 2, 4):
        with pytest.raises(Cancelled):
            pipeline.run(PROMPT, CHUNKS, 3, watcher=EndsAt(place), folder=tmp_path / "parts")
        summary = stored_summary(tmp_path / "parts")
        assert summary is not None
        assert (summary["state"], summary["reason"]) == ("stopped", "that is enough")
    assert_same(pipeline.run(PROMPT, CHUNKS, 3, folder=tmp_path / "parts"), whole)
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {
        "run.json", "video.mp4", "sheet.png", "trace.jsonl", "thumbnails.jsonl", "latents.safetensors",
    }  # fmt: skip


def test_a_run_with_a_draft_decoder_goes_on_too(loaded: Pipeline, tmp_path: Path) -> None:
    models = dataclasses.replace(loaded.models, draft=PocketDecoder.bundled())
    pipeline = Pipeline(loaded.config, models)
    whole = pipeline.run(PROMPT, CHUNKS, 3, folder=tmp_path / "whole")
    with pytest.raises(Cancelled):
        pipeline.run(PROMPT, CHUNKS, 3, watcher=EndsAt(40), folder=tmp_path / "parts")
    assert_same(pipeline.run(PROMPT, CHUNKS, 3, folder=tmp_path / "parts"), whole)


def test_the_same_numbers_come_out_without_a_folder(loaded: Pipeline, tmp_path: Path) -> None:
    kept, written = loaded.run(PROMPT, CHUNKS), loaded.run(PROMPT, CHUNKS, folder=tmp_path)
    assert torch.equal(kept.pixels, written.pixels)
    assert torch.equal(kept.result.latents, written.result.latents)
    assert kept.result.beam.lineage == written.result.beam.lineage
    for one, other in zip(kept.result.beam.chunks, written.result.beam.chunks, strict=True):
        assert (one.index, one.seed, one.score, one.route) == (other.index, other.seed, other.score, other.route)
        assert torch.equal(one.noise, other.noise)
    assert kept.thumbnails == written.thumbnails == read_thumbnails(tmp_path / "thumbnails.jsonl")


def test_a_run_is_left_at_every_third_event(loaded: Pipeline, tmp_path: Path) -> None:
    short = with_settings(loaded, {"search.top_k": 1})
    whole = short.run(PROMPT, 2, 1, folder=tmp_path / "whole")
    for place in range(1, len(told(tmp_path / "whole")) + 1, 3):
        folder = tmp_path / f"{place}"
        with pytest.raises(Cancelled):
            short.run(PROMPT, 2, 1, watcher=EndsAt(place), folder=folder)
        assert_same(short.run(PROMPT, 2, 1, folder=folder), whole)


@pytest.mark.parametrize("torn", ["boundaries.jsonl", "000002.safetensors", "trace.jsonl", "thumbnails.jsonl"])
def test_what_a_power_cut_took_is_made_again(torn: str, loaded: Pipeline, tmp_path: Path) -> None:
    whole, parts = loaded.run(PROMPT, CHUNKS, folder=tmp_path / "whole"), tmp_path / "parts"
    with pytest.raises(Cancelled):
        loaded.run(PROMPT, CHUNKS, watcher=EndsAt(40), folder=parts)
    found = parts / torn if (parts / torn).exists() else parts / "checkpoint" / torn
    assert found.stat().st_size > 20
    found.write_bytes(found.read_bytes()[:-20])
    if torn == "trace.jsonl":
        found.write_bytes(found.read_bytes()[:3000])
    (parts / "partial.mp4").write_bytes((parts / "partial.mp4").read_bytes()[:1000])
    assert_same(loaded.run(PROMPT, CHUNKS, folder=parts), whole)


def test_a_failure_is_noted_with_its_reason_and_can_be_gone_on_with(loaded: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="enough"):
        loaded.run(PROMPT, 3, watcher=EndsAt(30, ValueError), folder=tmp_path / "parts")
    summary = stored_summary(tmp_path / "parts")
    assert summary is not None
    assert (summary["state"], summary["reason"]) == ("failed", "that is enough")
    assert {"prompt", "seed", "chunks", "config", "weights", "versions", "resolved"} <= summary.keys()
    assert_same(loaded.run(PROMPT, 3, folder=tmp_path / "parts"), loaded.run(PROMPT, 3, folder=tmp_path / "whole"))


def test_a_folder_belongs_to_one_run(loaded: Pipeline, tmp_path: Path) -> None:
    loaded.run(PROMPT, 1, folder=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OutputError, match="finished; to delete it and begin anew: generate with --fresh"):
        loaded.run(PROMPT, 1, folder=tmp_path)
    with pytest.raises(OutputError, match=r"another run \(seed 0, not 4\)"):
        loaded.run(PROMPT, 1, 4, folder=tmp_path)
    with pytest.raises(OutputError, match=r"search\.lag None, not 3"):
        with_settings(loaded, {"search.lag": 3}).run(PROMPT, 1, folder=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    loaded.run(PROMPT, 2, folder=tmp_path, fresh=True)


def test_only_what_a_run_has_written_is_deleted(loaded: Pipeline, tmp_path: Path) -> None:
    mine = {
        "checkpoint/model.safetensors", "checkpoint/2024-model.safetensors", "baseline/model.safetensors", "notes.txt",
        "report.html", "compare.mp4",
    }  # fmt: skip
    with pytest.raises(Cancelled):
        loaded.run(PROMPT, 2, watcher=EndsAt(25), folder=tmp_path)
    (tmp_path / "baseline").mkdir()
    for name in mine:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".video.mp4.part").write_text("of a kill")
    loaded.run(PROMPT, 1, folder=tmp_path, fresh=True)
    assert {name for name in mine if (tmp_path / name).read_text() == "mine"} == mine
    assert not (tmp_path / ".video.mp4.part").exists()
    assert {path.name for path in (tmp_path / "checkpoint").iterdir()} == {
        "model.safetensors",
        "2024-model.safetensors",
    }


def test_a_changed_summary_is_not_believed(loaded: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        loaded.run(PROMPT, 3, watcher=EndsAt(30), folder=tmp_path)
    before = (tmp_path / "run.json").read_text()
    summary = json.loads(before)
    for chunks, seed in ((1, 0), (3, 8)):
        (tmp_path / "run.json").write_text(json.dumps({**summary, "chunks": chunks, "seed": seed}))
        with pytest.raises(
            OutputError, match=r"run\.json was changed since the run began \((chunks 3, not 1|seed 0, not 8)"
        ):
            loaded.run(PROMPT, chunks, seed, folder=tmp_path)
    (tmp_path / "run.json").write_text(before)
    assert_same(loaded.run(PROMPT, 3, folder=tmp_path), loaded.run(PROMPT, 3, folder=tmp_path.parent / "whole"))


def test_a_checkpoint_of_another_run_is_not_believed(loaded: Pipeline, tmp_path: Path) -> None:
    for seed in (0, 1):
        with pytest.raises(Cancelled):
            loaded.run(PROMPT, 3, seed, watcher=EndsAt(45), folder=tmp_path / f"{seed}")
    (tmp_path / "0" / "partial.mp4").unlink()  # or it would be kept
    for path in (tmp_path / "1" / "checkpoint").iterdir():
        if path.name != "asked.json":
            shutil.copy(path, tmp_path / "0" / "checkpoint" / path.name)
    with pytest.warns(StreamT1Warning, match=r"boundaries\.jsonl is damaged .* goes on after 0 chunks"):
        run = loaded.run(PROMPT, 3, 0, folder=tmp_path / "0")
    assert_same(run, loaded.run(PROMPT, 3, 0, folder=tmp_path / "whole"))


@pytest.mark.parametrize("damaged", ["trace.jsonl", "thumbnails.jsonl", "checkpoint/000001.safetensors"])
def test_damage_is_said_and_costs_nothing_that_was_shown(damaged: str, loaded: Pipeline, tmp_path: Path) -> None:
    short = with_settings(loaded, {"policy": "greedy"})
    with pytest.raises(Cancelled):
        short.run(PROMPT, 4, watcher=EndsAt(14), folder=tmp_path)
    content = bytearray((tmp_path / damaged).read_bytes())
    content[60] ^= 1
    (tmp_path / damaged).write_bytes(content)
    made = (tmp_path / "partial.mp4").read_bytes()
    with pytest.raises(OutputError, match=rf"{damaged.split('/')[-1]} is damaged or missing. Give a packet"):
        short.run(PROMPT, 4, folder=tmp_path)
    assert (tmp_path / "partial.mp4").read_bytes() == made


@pytest.mark.parametrize("name", ["thumbnails.jsonl", "partial.mp4"])
def test_a_file_that_is_deleted_is_missed_at_once(name: str, loaded: Pipeline, tmp_path: Path) -> None:
    class Unlinks(Deletes):
        def happened(self, event: Event) -> None:
            if isinstance(event, ChunkStarted) and event.chunk == self.chunk:
                (self.folder / name).unlink()

    with pytest.raises(OutputError, match=rf"{name} was deleted or moved"):
        loaded.run(PROMPT, 3, watcher=Unlinks(tmp_path, 1), folder=tmp_path)


def test_other_versions_are_warned_of_and_noted(loaded: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        loaded.run(PROMPT, 2, watcher=EndsAt(25), folder=tmp_path)
    summary = json.loads((tmp_path / "run.json").read_text())
    summary["versions"]["torch"], now = "1.0", summary["versions"]["torch"]
    (tmp_path / "run.json").write_text(json.dumps(summary))
    with pytest.warns(StreamT1Warning, match=rf"other circumstances \(torch was 1\.0 and is {re.escape(now)}"):
        loaded.run(PROMPT, 2, folder=tmp_path)
    summary = json.loads((tmp_path / "run.json").read_text())
    assert summary["versions"]["torch"] == now
    assert [before["versions"]["torch"] for before in summary["before"]] == ["1.0"]


def test_a_finished_run_whose_video_is_gone(loaded: Pipeline, tmp_path: Path) -> None:
    loaded.run(PROMPT, 1, folder=tmp_path)
    (tmp_path / "video.mp4").unlink()
    with pytest.raises(OutputError, match=r"finished, but video\.mp4 is missing"):
        loaded.run(PROMPT, 1, folder=tmp_path)


def test_two_runs_cannot_write_to_one_folder(loaded: Pipeline, tmp_path: Path) -> None:
    with loaded.stream(PROMPT, 3, folder=tmp_path) as stream:
        next(stream)
        with pytest.raises(OutputError, match="another run writes to"):
            loaded.run(PROMPT, 3, folder=tmp_path)
    loaded.run(PROMPT, 3, folder=tmp_path)


def test_leftovers_of_unknown_runs_are_not_touched(loaded: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(b"of somebody")
    for fresh in (False, True):
        with pytest.raises(OutputError, match="is of no run"):
            loaded.run(PROMPT, 1, folder=tmp_path, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


class Deletes(Watcher):
    """Deletes a run's folder when a chunk begins."""

    def __init__(self, folder: Path, chunk: int) -> None:
        self.folder, self.chunk = folder, chunk

    def happened(self, event: Event) -> None:
        if isinstance(event, ChunkStarted) and event.chunk == self.chunk:
            shutil.rmtree(self.folder)


@pytest.mark.parametrize("policy", ["greedy", "stream_t1"])
def test_a_folder_that_vanishes_ends_the_run_and_does_not_come_back(
    policy: str, loaded: Pipeline, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    with pytest.raises(OutputError, match="was deleted or moved while a run wrote to it"):
        loaded.run(PROMPT, 3, policy=policy, watcher=Deletes(path, 2), folder=path)
    assert not path.exists()


@pytest.mark.parametrize("content", ["[]", "{", "null", "[" * 100_000, '{"prompt": 3}'])
def test_a_damaged_summary_is_said(content: str, loaded: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(OutputError) as caught:
        loaded.run(PROMPT, 1, folder=tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_weights_are_refused(loaded: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        loaded.run(PROMPT, 2, watcher=EndsAt(15), folder=tmp_path)
    summary = json.loads((tmp_path / "run.json").read_text())
    summary["weights"]["pocket_vae.safetensors"] = "1-0"
    (tmp_path / "run.json").write_text(json.dumps(summary))
    with pytest.raises(ConfigError, match=r"pocket_vae\.safetensors are not those"):
        loaded.run(PROMPT, 2, folder=tmp_path)


class Ends(Watcher):
    """Asks a run to end once a chunk has been committed."""

    def __init__(self, chunk: int) -> None:
        self.chunk = chunk

    def happened(self, event: Event) -> None:
        if isinstance(event, ChunkCommitted) and event.chunk >= self.chunk:
            raise Stopped("that is enough")


@pytest.mark.parametrize("settings", [{}, {"policy": "greedy"}, {"policy": "beam", "search.lag": 2}])
def test_a_video_without_an_end_ends_in_order_and_goes_on_from_anywhere(
    settings: dict[str, Any], loaded: Pipeline, tmp_path: Path
) -> None:
    pipeline = with_settings(loaded, settings)
    whole = pipeline.run(PROMPT, endless=True, watcher=Ends(8), folder=tmp_path / "whole")
    assert len(whole.result.beam.lineage) == 8
    with pytest.raises(Cancelled):
        pipeline.run(PROMPT, endless=True, watcher=EndsAt(25), folder=tmp_path / "parts")
    parts = pipeline.run(PROMPT, endless=True, watcher=Ends(8), folder=tmp_path / "parts")
    assert_same(parts, whole)
    summary = stored_summary(tmp_path / "whole")
    assert summary is not None
    assert (summary["chunks"], summary["frames"], summary["state"]) == (None, 9 + 7 * 12, "finished")


def test_a_video_without_an_end_is_what_was_decided_wherever_it_is_stopped(loaded: Pipeline, tmp_path: Path) -> None:
    short = with_settings(loaded, {"search.top_k": 1, "search.lag": 1})
    whole = short.run(PROMPT, endless=True, watcher=EndsAt(90, Stopped), folder=tmp_path / "whole")
    events = told(tmp_path / "whole")
    [first] = [place for place, event in enumerate(events) if isinstance(event, ChunkStarted) and event.chunk == 2]
    for place in range(first, 90, 7):
        folder, kept = tmp_path / f"{place}", list[FinalChunk]()
        with short.stream(PROMPT, endless=True, watcher=EndsAt(place, Stopped), folder=folder) as stream:
            kept.extend(stream)
            run = stream.finish()
        chunks = len(run.result.beam.lineage)
        assert [chunk.index for chunk in kept] == list(range(chunks))
        assert whole.result.beam.lineage[: chunks - 1] == run.result.beam.lineage[:-1]
        events = told(folder)
        assert max(event.chunk for event in events if isinstance(event, ChunkStarted)) == chunks - 1
        assert [event.chunk for event in events if isinstance(event, ChunkSettled)] == list(range(chunks))
        assert read_thumbnails(folder / "thumbnails.jsonl").keys() == {
            event.candidate for event in events if isinstance(event, CandidateProposed)
        }
        assert write_report(folder).is_file()
        assert not replay(short, folder, *finished_run(folder))


def test_a_video_without_an_end_keeps_nothing_in_memory(loaded: Pipeline) -> None:
    run = loaded.run(PROMPT, endless=True, watcher=Ends(14))
    assert len(run.result.beam.lineage) == 14
    assert len(run.result.beam.chunks) < 14
