"""``streamt1 evaluate`` and ``score`` on the bundled model: one or two chunks, tiny budgets."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from streamt1.cli.main import app

SUITE = """
prompts: [a red circle resting on a navy plain background, a green star resting on a white plain background]
lengths: [{seconds: 1.3, prompts: 2}]
budgets: [[2, 1]]
methods: [greedy, best_of_n, stream_t1]
ablations: [without_pruning]
ablation_budget: [2, 1]
"""


def streamt1(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)


def test_an_evaluation_from_suite_to_report_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite, out, videos = tmp_path / "tiny.yaml", tmp_path / "out", tmp_path / "videos"
    suite.write_text(SUITE)
    result = streamt1("evaluate", suite, "--out", out, "--device", "cpu", "--export-vbench", videos)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [
        "figures", "manifest.json", "report.html", "report.md", "rows.csv", "rows.jsonl", "summary.json",
    ]  # fmt: skip
    with (out / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4
    searched = next(row for row in rows if row["method"] == "stream_t1")
    for column in ("oracle", "oracle_memory", "oracle_drift", "imaging_quality", "reward_final", "reward_short",
                   "pick_random", "pick_best", "pick_regret", "model_passes", "peak_mb"):  # fmt: skip
        assert searched[column], column
    assert int(searched["model_passes"]) == 2 * 2 * 4 + 1
    assert all(0 <= float(row["oracle"]) <= 1 for row in rows)
    numbers = json.loads((out / "summary.json").read_text())["lengths"]["1.3"]["2x1"]["stream_t1"]
    assert numbers["n"] == numbers["gain_over_greedy"]["n"] == 2
    assert "gain_over_best_of_n_at_equal_cost" in numbers

    reported: list[dict] = []
    monkeypatch.setattr(
        "streamt1.evaluation.report.write_report", lambda summary, manifest, folder: reported.append(summary)
    )
    again = streamt1("evaluate", suite, "--out", out, "--device", "cpu")
    assert again.exit_code == 0
    assert "min left" not in again.output
    lines = (out / "rows.jsonl").read_text().splitlines(keepends=True)
    (out / "rows.jsonl").write_text("".join([*reversed(lines), lines[0]]))  # as two processes make them, and one twice
    assert streamt1("evaluate", "tiny", "--out", out, "--report-only").exit_code == 0
    assert reported[0] == reported[1]
    assert reported[0]["clips"] == 8
    (out / "rows.jsonl").write_text("".join(lines))
    for args, says in (
        (("pocket",), "holds an evaluation of the suite 'tiny', not of 'pocket'"),
        (("tiny", "--preset", "pocket-euler"), "of the preset 'pocket', not of 'pocket-euler'"),
        (("tiny", "--judge", "orakle"), "did you mean 'oracle'"),
    ):
        refused = streamt1("evaluate", *args, "--out", out, "--report-only")
        assert (refused.exit_code, says in refused.stderr) == (2, True), refused.output

    other = streamt1("evaluate", suite, "--out", out, "--device", "cpu", "--set", "search.window=4")
    assert other.exit_code == 2
    assert "another configuration (search.window)" in other.stderr

    clips = videos / "1.3s" / "stream_t1-2x1"
    assert len(list(clips.glob("*-0.mp4"))) == 2
    scored = streamt1("score", clips, "--prompts", f"{clips}.json", "--out", tmp_path / "scores.csv")
    assert scored.exit_code == 0, scored.output
    assert "temporal_flickering" in scored.output
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["evaluate", "poket"], "did you mean 'pocket'"),
        (["evaluate", "pocket-quick", "--preset", "poket"], "unknown preset"),
        (["evaluate", "pocket-quick", "--judge", "orakle"], "did you mean 'oracle'"),
        (["evaluate", "pocket-quick", "--report-only"], "holds no evaluation"),
        (["evaluate", "pocket-quick", "--prompts", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_wrong_usage_ends_in_2(args: list[str], says: str, tmp_path: Path) -> None:
    result = streamt1(*args, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_prompt_that_the_model_cannot_use_is_found_before_any_clip(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red circle resting on a navy plain background\na red dragon\n")
    (tmp_path / "tiny.yaml").write_text(SUITE)
    args = ("--out", tmp_path / "out", "--prompts", tmp_path / "prompts.txt")
    result = streamt1("evaluate", tmp_path / "tiny.yaml", *args)
    assert result.exit_code == 2
    assert "'dragon'" in result.stderr
    assert not (tmp_path / "out").exists()


def test_scoring_needs_clips(tmp_path: Path) -> None:
    result = streamt1("score", tmp_path)
    assert result.exit_code == 2
    assert "no .mp4" in result.stderr


def test_clips_that_cannot_be_scored_are_told_at_once(tmp_path: Path) -> None:
    """Two raw streams of different sizes, joined; and a table that cannot be written, before a clip is read."""
    parts = []
    for place, width in enumerate((64, 96)):
        parts.append(tmp_path / f"{place}.h264")
        with av.open(str(parts[-1]), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=16)
            stream.height, stream.width, stream.pix_fmt = 48, width, "yuv420p"
            for _ in range(4):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, width, 3), np.uint8), "rgb24")))
            container.mux(stream.encode(None))
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "joined.mp4").write_bytes(b"".join(part.read_bytes() for part in parts))
    result = streamt1("score", clips)
    assert result.exit_code == 2
    assert "joined.mp4 is not a video that can be read: it changes its size on the way" in result.stderr
    (tmp_path / "file").touch()
    result = streamt1("score", clips, "--out", tmp_path / "file" / "scores.csv")
    assert result.exit_code != 0
    assert (result.stdout, "is a file, not a folder" in result.stderr) == ("", True)
