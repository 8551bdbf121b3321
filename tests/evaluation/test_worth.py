"""Evaluations side by side: gains against cost."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

from streamt1.cli.main import app
from streamt1.core.errors import ConfigError
from streamt1.evaluation.worth import Panel, read_panels, worth_chart, worth_png

BEST, SCENES = "gain_over_best_of_n_at_equal_cost", "gain_over_best_of_n_per_scene_at_equal_cost"


def gain(mean: float, spread: float = 0.01) -> dict[str, float]:
    return {"mean": mean, "low": mean - spread, "high": mean + spread, "n": 9}


def numbers(seconds: float, **gains: Any) -> dict[str, Any]:
    return {"n": 9, "cost": {"seconds": seconds, "model_passes": 10 * seconds}, **gains}


def budgets(*, scenes: bool = False) -> dict[str, Any]:
    """One sample takes 2 s, a search 4 s and 8 s; best of n is not told apart from one sample."""
    rival = {SCENES: gain(0.02)} if scenes else {}
    found: dict[str, Any] = {"1x1": {"greedy": numbers(2)}}
    for budget, seconds in (("4x2", 8.0), ("2x1", 4.0)):
        found[budget] = {
            "best_of_n": numbers(seconds, gain_over_greedy=gain(0.005)),
            "stream_t1": numbers(seconds, gain_over_greedy=gain(seconds / 100), **{BEST: gain(0.03)}, **rival),
            "without_pruning": numbers(seconds, gain_over_greedy=gain(0.9), loss_without_unit=gain(0.1)),
        }
    return found


def written(folder: Path, lengths: dict[str, Any], judge: str = "oracle") -> Path:
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps({"suite": "known", "judge": judge, "lengths": lengths}))
    return folder


def drawn(*panels: Panel) -> Figure:
    figure = Figure()
    worth_chart(figure, panels)
    return figure


def test_points_stand_at_their_gain_and_at_multiples_of_what_one_sample_takes() -> None:
    panel, other = Panel("5 s clips", "oracle", budgets()), Panel("stories", "oracle_identity", budgets(scenes=True))
    left, right = drawn(panel, other).axes
    lines = [(list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))) for line in left.lines]
    assert ([1.0, 2.0, 4.0], pytest.approx([0.0, 4.0, 8.0])) in lines, "from one sample on, cheapest first, in points"
    filled = [line.get_markerfacecolor() for line in left.lines if line.get_marker() == "o"]
    assert filled.count("white") == 2, "best of n at both budgets; what is told apart is full"
    assert not any(90 in ys for _, ys in lines), "what a unit adds is another question"
    assert [text.get_text() for text in left.texts] == ["8 candidates, over best of n: +3.0 [+2.0, +4.0]"]
    assert [text.get_text() for text in right.texts] == ["8 candidates, over best of n per scene: +2.0 [+1.0, +3.0]"]
    assert "identity" in right.get_title(loc="left")


def test_the_lead_is_told_over_the_stronger_rival() -> None:
    own = budgets(scenes=True)
    own["4x2"]["stream_t1"][BEST] = gain(-0.01)
    [axis] = drawn(Panel("stories", "oracle", own)).axes
    assert [text.get_text() for text in axis.texts] == ["8 candidates, over best of n: -1.0 [-2.0, +0.0]"]


def test_one_prompt_is_not_told_apart_and_the_widest_is_told_of() -> None:
    own = budgets()
    own["2x1"]["stream_t1"][SCENES] = gain(0.5)
    [axis] = drawn(Panel("5 s clips", "oracle", own)).axes
    assert [text.get_text() for text in axis.texts] == ["8 candidates, over best of n: +3.0 [+2.0, +4.0]"]
    lone = budgets()
    for budget in ("2x1", "4x2"):
        for name in ("gain_over_greedy", BEST):
            lone[budget]["stream_t1"][name] = gain(0.3, 0.0) | {"prompts": 1}
    [axis] = drawn(Panel("5 s clips", "oracle", lone)).axes
    points = [line for line in axis.lines if line.get_marker() == "o" and len(np.asarray(line.get_xdata()))]
    assert [text.get_text() for text in axis.texts] == [""]
    assert all(point.get_markerfacecolor() == "white" for point in points)


def test_panels_of_one_judge_share_their_scale() -> None:
    low, high = budgets(), budgets()
    high["4x2"]["stream_t1"]["gain_over_greedy"] = gain(0.3)
    one, other, third = drawn(
        *(Panel(j, j, b) for j, b in (("oracle", low), ("oracle", high), ("oracle_identity", low)))
    ).axes
    assert one.get_ylim() == other.get_ylim() != third.get_ylim()


def test_all_kinds_of_a_folder_or_the_one_that_is_named(tmp_path: Path) -> None:
    folder = written(
        tmp_path / "odd:name", {"5": budgets(), "AB x 5": budgets(), "30": {"1x1": {"greedy": numbers(2)}}}
    )
    assert [panel.title for panel in read_panels([str(folder)])] == ["5 s clips", "clips of scenes AB, 5 s each"]
    assert [panel.title for panel in read_panels([f"{folder}:AB x 5", f"{folder}:5"])][1] == "5 s clips"
    for length, told in (("7", "has no clips of length '7'"), ("30", "no search beside one sample")):
        with pytest.raises(ConfigError, match=told):
            read_panels([f"{folder}:{length}"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is damaged"),
        ("[]", "is no summary"),
        ('{"judge": "oracle", "lengths": {"5": {"1x1": {"greedy": {"cost": {"seconds": "x"}}}}}}', "seconds"),
        ('{"judge": "oracle", "lengths": {"5": {"1x1": {"greedy": {"cost": {"seconds": 1e999}}}}}}', "seconds"),
        (
            '{"judge": "oracle", "lengths": {"5": {"1x1": {"greedy": {"cost": {"seconds": 0, "model_passes": 1}}}}}}',
            "0",
        ),
        ('{"judge": "oracle", "lengths": {"5": {"wide": {}}}}', "wide"),
        ('{"judge": "oracle", "lengths": {}}', "no search beside one sample"),
    ],
)
def test_a_summary_that_is_none_is_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "summary.json").write_text(text)
    done = CliRunner().invoke(app, ["worth", str(tmp_path), "--out", str(tmp_path / "worth.png")])
    assert done.exit_code == 2
    assert told in done.stderr
    assert "summary.json" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "worth.png").exists()


def test_the_command_writes_one_picture(tmp_path: Path) -> None:
    folder = written(tmp_path / "results", {str(seconds): budgets() for seconds in (5, 10, 20, 30)})
    out = tmp_path / "worth.png"
    done = CliRunner().invoke(app, ["worth", str(folder), "--out", str(out)], catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (0, f"{out}: 4 kinds of clips\n")
    assert (
        Image.open(io.BytesIO(out.read_bytes())).size
        == Image.open(io.BytesIO(worth_png(read_panels([str(folder)])))).size
    )
