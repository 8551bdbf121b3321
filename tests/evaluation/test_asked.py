"""Comparisons that a suite names before it is run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamt1.core.errors import UnknownNameError
from streamt1.evaluation.asked import answers
from streamt1.evaluation.groups import grouped
from streamt1.evaluation.rows import Row
from streamt1.evaluation.statistics import difference_interval, interval
from streamt1.evaluation.suites import Length, Question, Suite, checked_suite
from streamt1.evaluation.tables import asked_table
from streamt1.evaluation.tasks import plan

PROMPTS = tuple(f"p{i}" for i in range(18))
LEADS = {"stream_t1": 0.10, "best_of_n": 0.04, "greedy": 0.0, "without_sinking": 0.07}


def suite(*asked: Question) -> Suite:
    return Suite(
        name="known",
        prompts=PROMPTS,
        lengths=(Length(seconds=5, prompts=9, seeds=2), Length(seconds=5, scenes="AB", prompts=6)),
        budgets=((2, 1), (2, 2)),
        methods=("greedy", "best_of_n", "stream_t1"),
        ablations=("without_sinking",),
        asked=asked,
    )


def rows(asked: Suite) -> list[Row]:
    """Each method leads by its own constant: twice that in two scenes, more with more candidates; prompts differ."""
    found = list[Row]()
    for task in plan(asked):
        width, scenes = task.budget[0] * task.budget[1], len(task.scenes)
        lead = LEADS[task.name] * scenes * (1.0 if task.name == "greedy" else width / 2)
        noise = 0.001 * (hash_of(task.prompt) % 7)
        found.append({
            "prompt": task.prompt, "seed": task.seed, "method": task.name, "beam_size": task.budget[0],
            "top_k": task.budget[1], "length": task.length, "scenes": task.pattern, "error": None,
            "oracle": 0.5 + lead + noise * (1 + (task.name == "stream_t1")),
        })  # fmt: skip
    return found


def hash_of(prompt: str) -> int:
    return sum(prompt.encode())


def told(asked: Suite) -> list[dict[str, Any]]:
    return answers(asked, grouped(rows(asked)))


def test_a_lead_at_each_length_and_budget_and_over_all() -> None:
    found = told(suite(Question(question="?", method="stream_t1", than="best_of_n")))
    assert [(one["length"], one["budget"]) for one in found] == [
        ("5", "2x1"), ("5", "2x2"), ("5", "all"), ("AB x 5", "2x1"), ("AB x 5", "2x2"), ("AB x 5", "all"),
    ]  # fmt: skip
    noise = {length: np.mean([0.001 * (hash_of(p) % 7) for p in of]) for length, of in prompts_of().items()}
    for one, lead in zip(found, (0.06, 0.12, 0.09, 0.12, 0.24, 0.18)):
        assert one["mean"] == pytest.approx(lead + noise[one["length"]])
        assert one["low"] <= one["mean"] <= one["high"]
        assert one["n"] == {"5": 9, "AB x 5": 6}[one["length"]]
        assert "widened" not in one


def prompts_of() -> dict[str, list[str]]:
    singles = [task.prompt for task in plan(suite()) if task.name == "greedy" and task.pattern == "A"]
    return {"5": singles, "AB x 5": [t.prompt for t in plan(suite()) if t.name == "greedy" and t.pattern == "AB"]}


def test_an_ablation_is_asked_about_where_it_was_run_and_one_sample_at_every_budget() -> None:
    found = told(suite(Question(question="?", method="stream_t1", than="without_sinking", tries=5)))
    assert [(one["length"], one["budget"]) for one in found] == [("5", "2x2"), ("AB x 5", "2x2")]
    for one in found:
        wide = one["widened"]
        assert wide["level"] == pytest.approx(0.99)
        assert wide["low"] <= one["low"]
        assert wide["high"] >= one["high"]
        assert wide["high"] - wide["low"] > one["high"] - one["low"]
    over_one = told(suite(Question(question="?", method="best_of_n", than="greedy")))
    assert [one["budget"] for one in over_one] == ["2x1", "2x2", "all"] * 2
    assert [one["mean"] for one in over_one] == pytest.approx([0.04, 0.08, 0.06, 0.08, 0.16, 0.12])


def test_of_several_budgets_only_the_lead_over_all_counts_as_a_try() -> None:
    found = told(suite(Question(question="?", method="stream_t1", than="best_of_n", tries=2)))
    assert [one["budget"] for one in found if "widened" in one] == ["all", "all"]


def test_whether_a_lead_grows() -> None:
    """At each budget that both lengths have; their prompts are not paired."""
    asked = Question(question="?", method="best_of_n", than="greedy", grows=("5", "AB x 5"))
    found = {one["budget"]: one for one in told(suite(asked))}
    assert found.keys() == {"2x1", "2x2"}
    assert [found[budget]["mean"] for budget in ("2x1", "2x2")] == pytest.approx([0.04, 0.08])
    assert found["2x1"]["length"] == "AB x 5 less 5"
    assert found["2x1"]["n"] == 15
    assert "widened" not in found["2x1"]
    tried = told(suite(Question(question="?", method="stream_t1", than="greedy", grows=("5", "AB x 5"), tries=5)))
    assert all(one["widened"]["low"] < one["low"] < one["high"] < one["widened"]["high"] for one in tried)
    lone = {**tried[0], "n": 2, "prompts": 1}
    *_, lead, widened, _ = asked_table([lone], "oracle")[1]
    assert (lead.endswith("(one prompt)"), widened) == (True, "")
    nowhere = Question(question="?", method="best_of_n", than="greedy", grows=("5", "ABC x 5"))
    assert told(suite(nowhere)) == []


def test_the_table_says_points_and_levels() -> None:
    asked = suite(
        Question(question="First?", method="stream_t1", than="without_sinking", tries=2),
        Question(question="Second?", method="stream_t1", than="greedy"),
    )
    header, *lines = asked_table(told(asked), "oracle")
    assert header == ["asked", "compared", "clips", "candidates", "lead", "widened", "prompts"]
    assert lines[0][:4] == ["First?", "Stream-T1 less without memory sinking", "5 s", "4"]
    assert lines[0][5].startswith("97.5%: [+")
    assert [line[3] for line in lines[2:5]] == ["2", "4", "all"]
    assert lines[2][5] == ""
    assert asked_table([], "oracle") == []


def test_a_question_about_a_method_that_is_not_run_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="adaptive"):
        checked_suite({**suite().model_dump(), "asked": [{"question": "?", "method": "adaptive", "than": "greedy"}]})


def test_an_interval_of_means_that_are_not_paired() -> None:
    rng, covered = np.random.default_rng(1), 0
    for trial in range(200):
        many, few = rng.normal(2, 1, 48).tolist(), rng.normal(1, 2, 30).tolist()
        found = difference_interval(many, few, trial)
        covered += found["low"] <= 1 <= found["high"]
    assert 0.89 <= covered / 200 <= 0.98
    wider = interval([1.0, 2.0, 4.0], level=0.99)
    assert wider["high"] >= interval([1.0, 2.0, 4.0])["high"]
    with pytest.raises(ValueError, match="of each"):
        difference_interval([1.0], [])


def test_a_question_may_be_about_some_lengths() -> None:
    asked = Question(question="?", method="stream_t1", than="best_of_n", lengths=("AB x 5",))
    assert {one["length"] for one in told(suite(asked))} == {"AB x 5"}
    with pytest.raises(UnknownNameError, match="unknown length 'AB x 4'"):
        checked_suite({**suite().model_dump(), "asked": [asked.model_dump() | {"lengths": ["AB x 4"]}]})
