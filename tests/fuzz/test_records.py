"""What runs and evaluations left on disk, after somebody or something has been at it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamt1.config.load import load_config
from streamt1.evaluation import report as evaluation_report
from streamt1.evaluation.manifest import NAME, claim, read_manifest, read_suite
from streamt1.evaluation.report import write_report as write_evaluation
from streamt1.evaluation.rows import open_rows, read_rows
from streamt1.evaluation.suites import Suite
from streamt1.evaluation.summary import summarise
from streamt1.report import write_report
from streamt1.trace.store import read_thumbnails, read_trace
from tests.evaluation.toy import SUITE
from tests.fuzz.mutations import as_json, garbage, json_texts, mutated, mutated_value
from tests.fuzz.rule import kept
from tests.report.traces import write_run

ROW = {
    "prompt": "one", "seed": 0, "method": "stream_t1", "beam_size": 2, "top_k": 2, "length": 2.0, "jobs": 1,
    "error": None, "frames": 9, "reward_final": 0.5, "model_passes": 40, "seconds": 1.5, "route_ema": 1,
    "route_append": 0, "route_discard": 2, "picks": 3, "pick_chosen": 0.5, "pick_random": 0.4, "pick_best": 0.6,
    "pick_regret": 0.1,
}  # fmt: skip
ROWS = [ROW, {**ROW, "method": "greedy", "beam_size": 1, "top_k": 1}, {**ROW, "seed": 1}]
CONFIG = load_config("pocket", {"device": "cpu"})
RUN = {
    "prompt": "x", "seed": 0, "chunks": 3, "frames": 3, "fps": 16, "size": {"height": 64, "width": 64},
    "config": CONFIG.model_dump(mode="json"), "cost": {"model_passes": 5, "seconds": {"total": 1.0}},
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, 3)
    (folder / "run.json").write_text(json.dumps(RUN))
    return folder


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    claim(folder, SUITE, CONFIG)
    return folder


def lines_of(valid: list[Any]) -> st.SearchStrategy[bytes]:
    """Files of one value a line, some of them changed."""
    changed = mutated_value(valid).map(lambda all: all if isinstance(all, list) else [all])
    whole = b"".join(as_json(one) + b"\n" for one in valid)
    return st.one_of(changed.map(lambda all: b"".join(as_json(one) + b"\n" for one in all)), mutated(whole), garbage)


def exchanged(path: Path, data: st.DataObject, values: st.SearchStrategy[bytes]) -> bytes:
    """Puts another content into a file, and returns its own."""
    own = path.read_bytes()
    path.write_bytes(data.draw(values))
    return own


@given(data=st.data())
@pytest.mark.parametrize("name", ["trace.jsonl", "thumbnails.jsonl", "run.json"])
def test_runs(name: str, data: st.DataObject, run: Path) -> None:
    own = (run / name).read_bytes()
    valid = [json.loads(line) for line in own.splitlines()] if name.endswith("l") else json.loads(own)
    values = lines_of(valid) if name.endswith("l") else json_texts(valid)
    exchanged(run / name, data, values)
    page = run / "report.html"
    try:
        kept(name, lambda: write_report(run), run)
        kept(name, lambda: (read_trace(run / "trace.jsonl"), read_thumbnails(run / "thumbnails.jsonl")), run)
    finally:
        page.unlink(missing_ok=True)
        (run / name).write_bytes(own)


def _reported(folder: Path, suite: Suite) -> None:
    rows = read_rows(folder / "rows.jsonl")
    with open_rows(folder / "rows.jsonl") as (held, _):
        assert held == rows
    write_evaluation(summarise(suite, rows), read_manifest(folder), folder)


@given(content=lines_of(ROWS))
def test_rows(content: bytes, evaluation: Path, monkeypatch_module: pytest.MonkeyPatch) -> None:
    (evaluation / "rows.jsonl").write_bytes(content)
    try:
        kept("rows", lambda: _reported(evaluation, SUITE), evaluation)
    finally:
        for name in ("summary.json", "report.md", "report.html", "rows.jsonl"):
            (evaluation / name).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def monkeypatch_module() -> Any:
    """Charts are of the summary alone, and slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation_report, "write_figures", lambda summary, folder: {})
        yield patch


@given(data=st.data())
def test_manifests(data: st.DataObject, evaluation: Path, monkeypatch_module: pytest.MonkeyPatch) -> None:
    path = evaluation / NAME
    own = exchanged(path, data, json_texts(json.loads(path.read_bytes())))

    def gone_on_with() -> None:
        suite = read_suite(evaluation)
        write_evaluation(summarise(suite, ROWS), read_manifest(evaluation), evaluation)

    try:
        kept("manifests", gone_on_with, evaluation)
        kept("manifests", lambda: claim(evaluation, SUITE, CONFIG), evaluation)
    finally:
        path.write_bytes(own)
        for name in ("summary.json", "report.md", "report.html"):
            (evaluation / name).unlink(missing_ok=True)
