"""What 0.1.0 left on users' disks still opens: runs, traces, jobs, evaluations, presets (``tests/old/0.1.0``)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamt1.cli.main import app
from streamt1.config.load import config_of, load_config
from streamt1.core.errors import ConfigError
from streamt1.evaluation import manifest
from streamt1.evaluation.rows import read_rows
from streamt1.evaluation.suites import Suite
from streamt1.evaluation.tasks import plan, row_key
from streamt1.report import write_report
from streamt1.trace.events import RunFinished, RunStarted
from streamt1.trace.store import read_thumbnails, read_trace
from tests.server.toy import Gate, toy_service, until

OLD = Path(__file__).parent / "old" / "0.1.0"


def test_a_run_folder_reads_and_gets_a_page(tmp_path: Path) -> None:
    events = [stamped.event for stamped in read_trace(OLD / "run" / "trace.jsonl")]
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].cost["model_passes"] == 52
    assert len(read_thumbnails(OLD / "run" / "thumbnails.jsonl")) == 12
    page = write_report(OLD / "run", tmp_path / "page.html").read_text()
    assert "a red circle bouncing on a navy striped background" in page


def test_the_configuration_of_a_run_is_read_under_todays_names() -> None:
    stored = json.loads((OLD / "run" / "run.json").read_text())["config"]
    del stored["effective_search"]
    config = config_of(stored)
    assert (config.decoder, config.batches.decoder, config.draft) == ("pocket", 1, None)
    assert config == load_config("pocket", {"memory.recall": 0}), "what the preset has since is no part of the run"


def test_a_preset_and_overrides_under_the_old_names() -> None:
    config = load_config(str(OLD / "preset.yaml"))
    assert (config.decoder, config.batches.decoder, config.search.top_k) == ("pocket", 2, 3)
    config = load_config("pocket", {"codec": "wan", "batches.codec": 3})
    assert (config.decoder, config.batches.decoder) == ("wan", 3)


def test_a_key_under_its_present_name_wins_over_the_old_one() -> None:
    assert config_of({"codec": "wan", "decoder": "pocket"}).decoder == "pocket"


def test_an_evaluation_is_gone_on_with(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    shutil.copytree(OLD / "evaluation", folder)
    held = manifest.read_manifest(folder)
    suite = Suite.model_validate(held["suite"])
    config = load_config(suite.preset, {"device": "cpu", "memory.recall": 0})
    fresh = manifest.claim(tmp_path / "fresh", suite, config)["matters"]
    assert {part for part in fresh if fresh[part] != held["matters"][part]} <= {"configuration", "weights"}
    held["matters"]["weights"] = fresh["weights"]  # newer weights make another evaluation, and rightly so
    (folder / "manifest.json").write_text(json.dumps(held))
    with pytest.raises(
        ConfigError, match=r"\(memory\.recall\); go on with --set memory\.recall=0, or use another --out"
    ):
        manifest.claim(folder, suite, load_config(suite.preset, {"device": "cpu"}))
    assert manifest.claim(folder, suite, config)["suite"] == held["suite"]
    assert {row_key(row) for row in read_rows(folder / "rows.jsonl")} == {task.key for task in plan(suite)}
    other = load_config(suite.preset, {"device": "cpu", "memory.recall": 0, "search.window": 3})
    with pytest.raises(
        ConfigError, match=r"configuration \(search\.window\); go on with --set search\.window=7, or use"
    ):
        manifest.claim(folder, suite, other)


def test_an_evaluation_is_reported_again(tmp_path: Path) -> None:
    shutil.copytree(OLD / "evaluation", tmp_path / "evaluation")
    held = manifest.read_manifest(tmp_path / "evaluation")
    told = CliRunner().invoke(
        app, ["evaluate", held["suite"]["name"], "--out", str(tmp_path / "evaluation"), "--report-only"]
    )
    assert told.exit_code == 0, told.output
    assert (tmp_path / "evaluation" / "report.html").exists()


def test_a_database_of_jobs_opens_and_what_waited_is_made(tmp_path: Path) -> None:
    data = tmp_path / "server"
    shutil.copytree(OLD / "server", data)
    service = toy_service(data, Gate())
    jobs = service.queue.store.page(10)
    assert [job.status for job in jobs] == ["queued", "queued", "failed", "completed"]
    waiting, interrupted, failed, done = jobs
    fields = waiting.request.fields
    assert (waiting.request.preset, fields.beam_size, fields.top_k) == ("paper", 3, 1)
    assert interrupted.request.fields.lag == 1
    assert (failed.error or ("",))[0] == "server_error"
    assert failed.request.fields.budget == "60s"
    assert (service.queue.folder_of(done) / "video.mp4").is_file()
    assert done.record()["prompt"] == "a red circle bouncing on a navy striped background"
    service.open()
    try:
        until(lambda: all(service.queue.get(job.id).status == "completed" for job in (waiting, interrupted)))
    finally:
        service.close()
