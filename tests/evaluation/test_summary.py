"""Summaries of rows whose answer is known, and the report of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from streamt1.evaluation.chart_choices import picks_chart, wins_chart
from streamt1.evaluation.chart_gains import ablation_chart, cost_chart, rival_chart, variant_chart
from streamt1.evaluation.report import write_report
from streamt1.evaluation.rows import Row
from streamt1.evaluation.statistics import told_apart
from streamt1.evaluation.suites import Length, Method, Suite
from streamt1.evaluation.summary import summarise
from streamt1.evaluation.tables import TABLES, markdown, pooled_table
from streamt1.evaluation.tasks import ClipTask, plan

SUITE = Suite(
    name="known",
    prompts=("p", "q", "r"),
    lengths=(Length(seconds=5, prompts=3, seeds=2), Length(seconds=30, prompts=3)),
    budgets=((2, 1), (2, 2)),
    ablations=("without_sinking",),
)
QUALITY = {"greedy": 0.5, "best_of_n": 0.55, "beam": 0.6, "stream_t1": 0.7, "without_sinking": 0.68}
MANIFEST = {
    "suite": {"about": "known <answers>", "preset": "pocket"}, "commit": None, "machine": "here",
    "versions": {"torch": "2"}, "matters": {},
}  # fmt: skip


def row(task: ClipTask, quality: dict[str, float] = QUALITY) -> Row:
    width = task.budget[0] * task.budget[1]
    routed = 2 if task.name == "stream_t1" else 0
    return {
        "prompt": task.prompt, "seed": task.seed, "method": task.name, "beam_size": task.budget[0],
        "top_k": task.budget[1], "length": task.seconds, "jobs": 1, "error": None, "frames": 81,
        "model_passes": 34 * width, "latents_decoded": 21 * width, "reward_calls": width, "seconds": 0.5 * width,
        "peak_mb": 300.0, "oracle": quality[task.name] + 0.1 * "pqr".index(task.prompt), "imaging_quality": 0.2,
        "route_discard": routed, "route_ema": routed, "route_append": 0,
        "pick_chosen": 0.6, "pick_random": 0.5, "pick_best": 0.8, "pick_regret": 0.2, "picks": 3,
    }  # fmt: skip


def rows() -> list[Row]:
    return [row(task) for task in plan(SUITE)]


def test_means_gains_and_costs() -> None:
    found = summarise(SUITE, rows())
    assert (found["clips"], found["failed"], list(found["lengths"])) == (6 * 8 + 3 * 8, 0, ["5", "30"])
    best = found["lengths"]["5"]["2x2"]["stream_t1"]
    assert (best["n"], best["prompts"]) == (6, 3)
    assert best["oracle"]["mean"] == pytest.approx(0.8)
    assert best["oracle"]["low"] < 0.8 < best["oracle"]["high"]
    gain = best["gain_over_best_of_n_at_equal_cost"]
    assert [gain[name] for name in ("mean", "low", "high")] == pytest.approx([0.15] * 3)
    assert (gain["n"], gain["win_rate"], gain["tie_rate"]) == (6, 1, 0)
    assert best["gain_over_greedy"]["mean"] == pytest.approx(0.2)
    assert best["regret"] == pytest.approx(0.2)
    assert best["cost"] == {
        "model_passes": 136, "latents_decoded": 84, "reward_calls": 4, "seconds": 2, "peak_mb": 300
    }  # fmt: skip
    assert best["routes"] == {"discard": 0.5, "ema": 0.5, "append": 0}
    assert set(best["measures"]) == {"oracle", "imaging_quality"}


def test_over_all_budgets_a_clip_counts_by_its_mean() -> None:
    table = rows()
    for one in table:
        if one["method"] == "stream_t1" and one["beam_size"] == 2 and one["top_k"] == 1:
            one["oracle"] += 0.1
    found = summarise(SUITE, table)
    apart = [found["lengths"]["5"][budget]["stream_t1"]["gain_over_greedy"]["mean"] for budget in ("2x1", "2x2")]
    pooled = found["over_budgets"]["5"]
    assert set(pooled) == {"best_of_n", "beam", "stream_t1"}, "one sample has one budget"
    assert pooled["stream_t1"]["gain_over_greedy"]["mean"] == pytest.approx(sum(apart) / 2)
    assert pooled["stream_t1"]["oracle"]["n"] == 6
    assert "gain_over_best_of_n_at_equal_cost" not in pooled["best_of_n"]
    assert "| Stream-T1 |" in markdown(pooled_table(pooled, "oracle"))
    assert pooled_table({}, "oracle") == []


def test_over_all_budgets_both_sides_have_the_same() -> None:
    """The ablation's budget is not among those of best of n: what only one side has is no gain."""
    suite = SUITE.model_copy(update={"ablation_budget": (4, 2)})
    equal = [
        one | {"oracle": 0.1 * one["beam_size"]} for one in map(row, plan(suite)) if one["method"] != "without_sinking"
    ]
    found = summarise(suite, equal)["over_budgets"]["5"]
    assert found["stream_t1"]["gain_over_best_of_n_at_equal_cost"]["mean"] == pytest.approx(0)
    assert found["stream_t1"]["oracle"]["mean"] > found["best_of_n"]["oracle"]["mean"]
    assert found["stream_t1"]["gain_over_greedy"]["mean"] > found["best_of_n"]["gain_over_greedy"]["mean"]


def test_one_prompt_tells_nothing_apart() -> None:
    lone = [one for one in rows() if one["prompt"] == "p"]
    found = summarise(SUITE, lone)
    gain = found["lengths"]["5"]["2x2"]["stream_t1"]["gain_over_greedy"]
    assert (gain["n"], gain["prompts"], told_apart(gain)) == (2, 1, 0)
    assert told_apart(summarise(SUITE, rows())["lengths"]["5"]["2x2"]["stream_t1"]["gain_over_greedy"]) == 1
    assert "+20.00 (one prompt)" in markdown(TABLES["Gains"](found["lengths"]["5"], "oracle"))


def test_an_ablation_is_compared_with_the_whole_method_at_its_budget() -> None:
    lengths = summarise(SUITE, rows())["lengths"]
    loss = lengths["30"]["2x2"]["without_sinking"]["loss_without_unit"]
    assert loss["mean"] == pytest.approx(0.02)
    assert "without_sinking" not in lengths["5"]["2x1"]
    assert "loss_without_unit" not in lengths["5"]["2x2"]["beam"]


def test_what_changes_the_method_is_no_unit_of_it(tmp_path: Path) -> None:
    """A way that is better than Stream-T1 adds something; it is not said that a unit of Stream-T1 harms."""
    variants = {"kept": Method(search={"scene_sink": True})}
    suite = SUITE.model_copy(update={"ablations": ("without_sinking", "kept"), "variants": variants})
    found = summarise(suite, [row(task, QUALITY | {"kept": 0.75}) for task in plan(suite)])
    budgets = found["lengths"]["5"]
    assert [cells[0] for cells in TABLES["What each unit adds"](budgets, "oracle")[1:]] == ["without memory sinking"]
    assert TABLES["Other ways, against Stream-T1"](budgets, "oracle")[1:] == [
        ["kept", "4 (2x2)", "+5.00 [+5.00, +5.00]", "100%", "6"]
    ]
    assert names_of(ablation_chart, found) == [["memory sinking"], ["memory sinking"]]
    assert names_of(variant_chart, found) == [["kept"], ["kept"]]
    write_report(found, MANIFEST, tmp_path)
    assert (tmp_path / "figures" / "variants.png").exists()


def names_of(draw: Callable[[Figure, Any], bool], summary: dict[str, Any]) -> list[list[str]]:
    """Of the bars of each panel, from the top."""
    figure = Figure()
    assert draw(figure, summary)
    figure.canvas.draw()
    return [
        [text.get_text() for place, text in sorted(zip(axis.get_yticks(), axis.get_yticklabels())) if text.get_text()]
        for axis in figure.axes
    ]


def test_each_panel_names_its_own_bars() -> None:
    lengths = (SUITE.lengths[0], Length(seconds=30, prompts=3, budgets=((2, 2),)))
    suite = SUITE.model_copy(update={"lengths": lengths, "ablations": ("without_sinking", "without_pruning")})
    table = [row(task, QUALITY | {"without_pruning": 0.6}) for task in plan(suite)]
    late = [one for one in table if one["length"] == 30 and one["method"] == "without_sinking"]
    table = [one for one in table if one not in late] + late  # as two processes make them
    found = summarise(suite, table)
    units = ["memory sinking", "reward pruning"]
    assert names_of(ablation_chart, found) == [units, units[::-1]]
    many = [f"{name}, {n}" for name in ("best of n", "beam search", "Stream-T1") for n in (2, 4)]
    assert names_of(picks_chart, found) == [many, [name for name in many if name.endswith("4")]]


def test_wins_are_shown_against_the_rivals_that_there_are() -> None:
    suite = SUITE.model_copy(update={"methods": ("greedy", "stream_t1")})
    found = summarise(suite, [row(task) for task in plan(suite)])
    figure = Figure()
    assert wins_chart(figure, found)
    [axis] = figure.axes
    assert axis.get_title(loc="left") == "against one sample"
    assert len(axis.patches) > 0


def test_budgets_with_as_many_candidates_are_told_apart() -> None:
    suite = SUITE.model_copy(update={"budgets": ((4, 1), (2, 2), (2, 1))})
    names = names_of(rival_chart, summarise(suite, [row(task) for task in plan(suite)]))
    assert names[0] == ["4 candidates (4x1)", "4 candidates (2x2)", "2 candidates", "all together"]


def test_without_one_sample_there_is_no_gain_to_draw() -> None:
    suite = SUITE.model_copy(update={"methods": ("best_of_n", "stream_t1")})
    assert not cost_chart(Figure(), summarise(suite, [row(task) for task in plan(suite)]))


def test_no_clip_that_came_out_well_at_all_budgets() -> None:
    table = rows()
    for one in table:
        if one["method"] == "stream_t1" and (one["prompt"] == "p") == (one["top_k"] == 1):
            one |= {"error": "no", "oracle": None}
    pooled = summarise(SUITE, table)["over_budgets"]["30"]
    assert "stream_t1" not in pooled
    assert "best_of_n" in pooled


def test_regret_is_the_oracles_whoever_judges() -> None:
    suite = SUITE.model_copy(update={"judge": "imaging_quality"})
    text = markdown(TABLES["Gains"](summarise(suite, rows())["lengths"]["5"], suite.judge))
    assert "| regret (oracle points) | prompts |" in text
    assert "| 20.00 | 3 |" in text


def test_failed_clips_leave_their_pairs_and_are_counted() -> None:
    table = rows()
    for one in table:
        if one["prompt"] == "p" and one["method"] == "stream_t1":
            one |= {"error": "no", "oracle": None}
    found = summarise(SUITE, table)
    best = found["lengths"]["5"]["2x2"]["stream_t1"]
    assert (found["failed"], best["n"], best["gain_over_greedy"]["n"]) == (6, 4, 4)
    assert best["oracle"]["mean"] == pytest.approx(0.85)


def test_ties_are_half_a_win() -> None:
    table = rows()
    for one in table:
        if one["method"] == "stream_t1" and one["prompt"] != "r":
            one["oracle"] = 0.5 + 0.1 * "pqr".index(one["prompt"])
    gain = summarise(SUITE, table)["lengths"]["5"]["2x1"]["stream_t1"]["gain_over_greedy"]
    assert (gain["win_rate"], gain["tie_rate"]) == pytest.approx((2 / 3, 2 / 3))


def test_tables_have_a_row_for_each_method_and_budget() -> None:
    budgets = summarise(SUITE, rows())["lengths"]["5"]
    for title, build in TABLES.items():
        table = build(budgets, "oracle")
        if title == "Scene by scene":
            assert not table, "clips have one"
            continue
        if title == "Other ways, against Stream-T1":
            assert not table, "the suite has none"
            continue
        assert {len(cells) for cells in table} == {len(table[0])}
        assert len(table) == {"What each unit adds": 2, "Routes": 3}.get(title, 1 + 1 + 3 * 2 + 1)
    text = markdown(TABLES["Gains"](budgets, "oracle"))
    assert "| Stream-T1 | 4 (2x2) | 80.00 [70.00, 90.00] | +20.00 [+20.00, +20.00] | 100% |" in text


def test_a_report_is_whole_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    write_report(summarise(SUITE, rows()), MANIFEST, tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text())["suite"] == "known"
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    charts = ("cost", "rivals", "ablation", "wins", "picks", "routes")
    assert figures == {f"{name}.{kind}" for name in charts for kind in ("png", "svg")}
    text = (tmp_path / "report.md").read_text()
    for name in re.findall(r"\]\((.*?)\)", text):
        assert (tmp_path / name).exists()
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg ") == len(charts)
    assert "known &lt;answers&gt;" in page
    assert not re.search(r'(src|href)="(?!#)', page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', page)) <= set(ids)


def test_a_report_of_little(tmp_path: Path) -> None:
    """One method, no oracle, no picks, no routes: tables and figures that have nothing to show are left out."""
    suite = SUITE.model_copy(update={"methods": ("greedy",), "ablations": (), "judge": "imaging_quality"})
    table = [{k: v for k, v in row(task).items() if not k.startswith(("oracle", "pick"))} for task in plan(suite)]
    write_report(summarise(suite, table), MANIFEST, tmp_path)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"cost"}
