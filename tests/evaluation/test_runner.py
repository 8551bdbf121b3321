"""Evaluations that stop in the middle, and go on."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from streamt1.config.load import load_config
from streamt1.core.errors import ConfigError, PromptError
from streamt1.core.types import RewardOutput
from streamt1.evaluation import manifest, runner
from streamt1.evaluation.manifest import read_manifest
from streamt1.evaluation.report import write_report
from streamt1.evaluation.rows import Row
from streamt1.evaluation.suites import Length, Question
from streamt1.evaluation.summary import summarise
from streamt1.evaluation.tasks import plan, row_key
from tests.evaluation.toy import CLIPS, CONFIG, SUITE, ToyPipeline, toy_pool

CLOCKED = ("seconds", "seconds_model", "seconds_decode", "seconds_reward", "peak_mb")

KILLED = """
import os, signal, sys
from pathlib import Path
from streamt1.evaluation.runner import run_suite
from tests.evaluation.toy import CONFIG, SUITE, toy_pool

def watch(done, total, row):
    if done == 7:
        os.kill(os.getpid(), signal.SIGKILL)

run_suite(SUITE, CONFIG, Path(sys.argv[1]), watch=watch, opener=toy_pool())
"""


def run(folder: Path, **more) -> tuple[list[Row], int]:
    """The rows, and how many clips were made."""
    made: list[Row] = []
    rows = runner.run_suite(
        SUITE, CONFIG, folder, watch=lambda done, total, row: made.append(row), opener=toy_pool(), **more
    )
    return rows, len(made)


def without_clocks(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in CLOCKED} for row in rows]


def test_a_killed_evaluation_goes_on_without_repeating_or_losing_a_clip(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "killed")], cwd=root)
    assert found.returncode == -signal.SIGKILL
    table = tmp_path / "killed" / "rows.jsonl"
    assert len(table.read_bytes().splitlines()) == 7
    with table.open("ab") as file:
        file.write(b'{"prompt": "one", "se')
    rows, made = run(tmp_path / "killed")
    assert (made, len(rows)) == (CLIPS - 7, CLIPS)
    assert len({row_key(row) for row in rows}) == CLIPS
    assert [json.loads(line)["prompt"] for line in table.read_text().splitlines()].count("one") == 24
    whole, made = run(tmp_path / "whole")
    assert made == CLIPS
    assert without_clocks(rows) == without_clocks(whole)


def test_a_finished_evaluation_is_not_made_again(tmp_path: Path) -> None:
    first, _ = run(tmp_path)
    again, made = run(tmp_path)
    assert made == 0
    assert again == first
    assert [row_key(row) for row in first] == [task.key for task in plan(SUITE)]
    with (tmp_path / "rows.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == CLIPS
    assert float(table[3]["reward_final"]) == pytest.approx(first[3]["reward_final"])


@pytest.mark.parametrize(
    ("suite", "settings", "named"),
    [
        ({"seed": 1}, {}, "suite"),
        ({"prompts": ("three", "two")}, {}, "suite"),
        ({}, {"dtype": "bfloat16"}, r"configuration \(dtype\)"),
    ],
)
def test_a_folder_takes_no_other_evaluation(tmp_path: Path, suite: dict, settings: dict, named: str) -> None:
    short = SUITE.model_copy(update={"lengths": SUITE.lengths[1:]})
    runner.run_suite(short, CONFIG, tmp_path, opener=toy_pool())
    with pytest.raises(ConfigError, match=f"another {named}; use another --out"):
        runner.run_suite(
            short.model_copy(update=suite), CONFIG.model_copy(update=settings), tmp_path, opener=toy_pool()
        )


def test_a_judge_that_this_model_has_not_is_found_before_any_clip(tmp_path: Path) -> None:
    wrong = SUITE.model_copy(update={"judge": "oracle"})
    with pytest.raises(ConfigError, match="unknown judge of gaussian's clips 'oracle'"):
        runner.run_suite(wrong, CONFIG, tmp_path / "new", opener=toy_pool())
    assert not (tmp_path / "new").exists()


def test_what_made_the_later_clips_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path)
    before = read_manifest(tmp_path)
    lines = (tmp_path / "rows.jsonl").read_text().splitlines(keepends=True)
    monkeypatch.setattr(manifest, "commit", lambda: "another")
    run(tmp_path)
    assert read_manifest(tmp_path) == before, "it made nothing"
    for _ in range(2):
        (tmp_path / "rows.jsonl").write_text("".join(lines[:-1]))
        assert run(tmp_path)[1] == 1
    now = read_manifest(tmp_path)
    assert [one["commit"] for one in now.pop("later")] == ["another"]
    assert now == before
    write_report(summarise(SUITE, run(tmp_path)[0]), read_manifest(tmp_path), tmp_path)
    assert "Gone on with by commit another, " in (tmp_path / "report.md").read_text()


def test_rows_without_a_manifest_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match=r"no manifest\.json"):
        run(tmp_path)
    assert (tmp_path / "rows.jsonl").read_text() == "{}\n"


def test_of_two_that_are_begun_together_the_second_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins while the first has no row yet, and is slow to look at the weights."""
    refused = list[str]()

    def claimed(*given: Any) -> dict[str, Any]:
        told = manifest.claim(*given)
        if not refused:
            refused.append("")
            with pytest.raises(ConfigError, match="another evaluation writes to"):
                run(tmp_path / "out")
        return told

    monkeypatch.setattr(runner, "claim", claimed)
    rows, made = run(tmp_path / "out")
    assert (len(rows), made, refused) == (CLIPS, CLIPS, [""])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"manifest.json", "rows.csv", "rows.jsonl"}
    assert len((tmp_path / "out" / "rows.jsonl").read_text().splitlines()) == CLIPS


def test_what_is_wrong_is_told_though_videos_are_kept_in_the_folder(tmp_path: Path) -> None:
    class Wordless(ToyPipeline):
        def timeline(self, prompt: Any, seconds: float | None = None) -> Any:
            raise PromptError("there is no such word")

    with pytest.raises(PromptError, match="no such word"):
        runner.run_suite(
            SUITE, CONFIG, tmp_path / "new", export=tmp_path / "new" / "videos", opener=toy_pool(Wordless())
        )
    assert not (tmp_path / "new").exists()


def test_missing_videos_are_made_again_but_not_their_rows(tmp_path: Path) -> None:
    rows, _ = run(tmp_path / "out")
    _, made = run(tmp_path / "out", export=tmp_path / "videos")
    assert made == CLIPS
    next((tmp_path / "videos" / "2s" / "beam-2x2").glob("*.mp4")).unlink()
    again, made = run(tmp_path / "out", export=tmp_path / "videos")
    assert made == 1
    assert again == rows
    assert len((tmp_path / "out" / "rows.jsonl").read_text().splitlines()) == CLIPS


def test_a_clip_whose_rewards_fail_is_a_row_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = ToyPipeline()
    monkeypatch.setattr(
        type(pipeline.models.clip_reward),
        "score",
        lambda self, clips, fps, text: RewardOutput(torch.full((len(clips),), float("nan" if text == "two" else 0))),
    )
    rows = runner.run_suite(SUITE, CONFIG, tmp_path, opener=toy_pool(pipeline))
    failed = [row for row in rows if row["error"]]
    assert {row["prompt"] for row in failed} == {"two"}
    assert {row["method"] for row in failed} == {row["method"] for row in rows} - {"greedy"}, (
        "one sample needs no reward"
    )
    plain = [row for row in rows if row["method"] == "greedy" and row["prompt"] == "two"]
    assert {row["reward_final"] for row in plain} == {None}
    assert "not a finite number" in failed[0]["error"]


def test_scenes_are_charted_at_the_width_that_all_lengths_have(tmp_path: Path) -> None:
    lengths = (Length(seconds=2, scenes="AB", prompts=2), Length(seconds=2, prompts=2, budgets=((2, 1),)))
    suite = SUITE.model_copy(update={"lengths": lengths, "prompts": ("a", "b", "c", "d"), "ablations": ()})
    rows = runner.run_suite(suite, CONFIG, tmp_path, opener=toy_pool())
    write_report(summarise(suite, rows), read_manifest(tmp_path), tmp_path)
    assert (tmp_path / "figures" / "scenes.svg").is_file()


def test_clips_of_scenes_stand_beside_those_of_one(tmp_path: Path) -> None:
    lengths = [Length(seconds=2, scenes=scenes, prompts=2) for scenes in ("A", "AB", "ABA")]
    methods = ("greedy", "best_of_n", "best_of_n_per_scene", "stream_t1")
    change = {"lengths": tuple(lengths), "prompts": ("a", "b", "c", "d"), "methods": methods, "ablations": ()}
    suite = SUITE.model_copy(update=change)
    rows = runner.run_suite(suite, CONFIG, tmp_path, opener=toy_pool())
    assert [row_key(row) for row in rows] == [task.key for task in plan(suite)]
    assert {(row.get("scenes"), row["length"], row["frames"]) for row in rows} == {
        (None, 2, 2), ("AB", 4, 4), ("ABA", 6, 6),
    }  # fmt: skip
    assert {row["prompt"] for row in rows if row.get("scenes") == "ABA"} == {"a / b / a", "c / d / c"}
    summary = summarise(suite, rows)
    assert list(summary["lengths"]) == ["2", "AB x 2", "ABA x 2"]
    [(_, methods)] = [(name, found) for name, found in summary["lengths"]["AB x 2"].items() if name == "2x2"]
    gain = methods["stream_t1"]["gain_over_best_of_n_per_scene_at_equal_cost"]
    mine, theirs = (
        [row["reward_final"] for row in rows if (row["method"], row.get("scenes"), row["top_k"]) == (name, "AB", 2)]
        for name in ("stream_t1", "best_of_n_per_scene")
    )
    assert gain["mean"] == pytest.approx(sum(mine) / 2 - sum(theirs) / 2)
    write_report(summary, read_manifest(tmp_path), tmp_path)
    told = (tmp_path / "report.md").read_text()
    assert "## AB x 2 s: Gains" in told
    assert "gain over best of n per scene" in told
    assert (tmp_path / "figures" / "scenes.svg").is_file()
    again = runner.run_suite(suite, CONFIG, tmp_path, opener=toy_pool(), watch=lambda *_: pytest.fail("made again"))
    assert again == rows


@pytest.mark.parametrize("wrong", [{"prompts": ("a",)}, {"lengths": (Length(seconds=0.2, prompts=1),)}])
def test_an_evaluation_that_cannot_begin_leaves_nothing(wrong: dict, tmp_path: Path) -> None:
    class Short(ToyPipeline):
        def timeline(self, prompt: Any, seconds: float | None = None) -> Any:
            if seconds is not None and seconds < 1:
                raise ConfigError("seconds=0.2 is below one chunk")
            return super().timeline(prompt, seconds)

    suite = SUITE.model_copy(update={"lengths": (Length(seconds=2, scenes="AB", prompts=1),), **wrong})
    with pytest.raises(ConfigError, match=r"needs 2 prompts, and the suite toy has 1|below one chunk"):
        runner.run_suite(suite, CONFIG, tmp_path / "made", opener=toy_pool(Short()))
    assert not (tmp_path / "made").exists()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("x")
    with pytest.raises(ConfigError):
        runner.run_suite(suite, CONFIG, tmp_path / "there", opener=toy_pool(Short()))
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["mine.txt"]


def test_other_weights_are_another_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of models that are no part of the package; a folder of an older version, which did not ask, still opens."""
    config, prints = load_config("longlive", {"device": "cpu"}), {"transformer/a.safetensors": "1"}
    monkeypatch.setattr(manifest, "fingerprints", lambda config: dict(prints))
    suite = SUITE.model_copy(update={"judge": "imaging_quality"})
    held = manifest.claim(tmp_path, suite, config)
    assert manifest.claim(tmp_path, suite, config) == held
    prints["transformer/a.safetensors"] = "2"
    with pytest.raises(ConfigError, match="another weights; use another"):
        manifest.claim(tmp_path, suite, config)
    held["matters"]["weights"] = manifest._digest("")
    (tmp_path / "manifest.json").write_text(json.dumps(held))
    assert manifest.claim(tmp_path, suite, config) == held


def test_answers_that_were_asked_in_one_judge_are_not_given_in_another(tmp_path: Path) -> None:
    asked = (Question(question="?", method="stream_t1", than="greedy"),)
    suite = SUITE.model_copy(update={"asked": asked, "judge": "oracle"})
    manifest.claim(tmp_path, suite, load_config(suite.preset, {"device": "cpu"}))
    assert manifest.begun_suite(tmp_path, suite.name) == suite
    assert manifest.begun_suite(tmp_path, suite.name, judge="oracle").asked == asked
    other = manifest.begun_suite(tmp_path, suite.name, suite.preset, "oracle_memory")
    assert (other.judge, other.asked) == ("oracle_memory", ())
