import dataclasses
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from streamt1.config.load import load_config
from streamt1.core.errors import ConfigError, UnknownNameError
from streamt1.evaluation.clip import clip_timeline
from streamt1.evaluation.suites import METHODS, load_suite, suite_names
from streamt1.evaluation.tasks import ClipTask, plan
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pocket.scenes import is_held_out, parse
from streamt1.search.config import SearchConfig


def test_the_measured_suite_asks_for_what_a_result_must_carry() -> None:
    suite = load_suite("pocket")
    tasks = plan(suite)
    short, long = ([task for task in tasks if task.seconds == seconds] for seconds in (5, 30))
    assert len({(task.prompt, task.seed) for task in short}) == 128
    assert len({task.prompt for task in long}) == 48
    assert len({task.budget for task in short if task.name == "stream_t1"}) >= 4
    assert set(Counter(task.name for task in tasks)) == {*METHODS, "tapered", "adaptive"} - {"best_of_n_per_scene"}
    assert len({task.key for task in tasks}) == len(tasks) == (128 + 48) * 21
    assert {task.budget for task in tasks if task.name == "greedy"} == {(1, 1)}


def test_methods_are_paired_by_prompt_and_seed() -> None:
    pairs = {}
    for task in plan(load_suite("pocket-quick")):
        pairs.setdefault((task.name, task.budget, task.seconds), set()).add((task.prompt, task.seed))
    for (_, _, seconds), found in pairs.items():
        assert found == pairs["greedy", (1, 1), seconds]


def config_of(name: str, budget: tuple[int, int] = (4, 2)) -> SearchConfig:
    task = ClipTask(("",), 0, name, METHODS[name], budget, 5.0, 0)
    return task.config(load_config("pocket")).effective_search


def test_methods_mean_what_they_say() -> None:
    full = config_of("stream_t1")
    assert (full.beam_size, full.top_k, full.propagation, full.pruning, full.sinking) == (4, 2, True, "reward", True)
    assert config_of("best_of_n").top_k == 8
    assert config_of("greedy", (1, 1)).top_k == 1
    assert not config_of("without_propagation").propagation
    assert config_of("without_pruning").pruning == "random"
    assert not config_of("without_sinking").sinking


SMALL = "lengths: [{seconds: 1, prompts: 1}]\nbudgets: [[2, 1]]\n"


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL + "prompts: [a, b]\nmethods: [wide]\nvariants: {wide: {search: {window: 6}}}\n")
    suite = load_suite(str(path))
    assert suite.name == "mine"
    (task,) = plan(suite)
    assert task.prompt == "a"
    assert task.config(load_config("pocket")).search.window == 6


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SMALL + "sead: 1", "did you mean 'seed'"),
        (SMALL + "methods: [streamt1]", "did you mean 'stream_t1'"),
        (SMALL + "methods: [x]\nvariants: {x: {search: {topk: 1}}}", "did you mean 'top_k'"),
        (SMALL + "methods: [x]\nvariants: {x: {policy: gredy}}", "did you mean 'greedy'"),
        ("lengths: [{seconds: 0, prompts: 1}]\nbudgets: [[2, 1]]", "lengths.0.seconds"),
        ("budgets: [[2, 1]]", "lengths"),
        ("- 1", "keys and values"),
        ("a: [", "YAML"),
    ],
)
def test_a_wrong_suite_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_suite(str(tmp_path / "wrong.yaml"))


def test_names() -> None:
    others = ("cheaper", "frames", "lags", "noise", "pages", "propagation", "quick", "returns", "sinks", "timeline")
    assert suite_names() == ["pocket", *(f"pocket-{name}" for name in others)]
    with pytest.raises(UnknownNameError, match="did you mean 'pocket'"):
        load_suite("poket")
    with pytest.raises(ConfigError, match="cannot read"):
        load_suite("nowhere.yaml")


def test_scenes_of_a_clip_differ_and_returns_are_the_same_prompt() -> None:
    timelines, returns = load_suite("pocket-timeline"), load_suite("pocket-returns")
    six = [task for task in plan(timelines) if task.pattern == "ABCDEF"]
    assert {len(set(task.scenes)) for task in six} == {6}
    assert {task.length for task in six} == {31.5}
    stories = {tuple(parse(prompt).things[0] for prompt in task.scenes) for task in six}
    assert len(stories) == 48, "no two of them show the same objects"
    for task in six:
        scenes = [parse(prompt) for prompt in task.scenes]
        assert all(is_held_out(scene.things[0]) and scene.things[0].detail for scene in scenes)
        for one, two in pairwise(scenes):
            assert one.things[0].motion != two.things[0].motion
            assert one.things[0].shape != two.things[0].shape
            assert one.things[0].colour != two.things[0].colour
            assert one.grounds[0].colour != two.grounds[0].colour
            assert one.grounds[0].kind != two.grounds[0].kind
    for task in plan(returns):
        assert [task.scenes.index(prompt) for prompt in task.scenes] == {"ABA": [0, 1, 0], "ABCB": [0, 1, 2, 1]}[
            task.pattern
        ]
    assert len({task.key for task in plan(returns)}) == len(plan(returns))


def test_scenes_of_stories_all_have_seven_chunks() -> None:
    """So that the oracle judges all of them by the same rules, see ``oracle.LONG``."""
    pipeline = Pipeline(load_config("pocket"))
    for name in ("pocket-timeline", "pocket-returns"):
        for task in {task.pattern: task for task in plan(load_suite(name))}.values():
            assert {scene.chunks for scene in clip_timeline(pipeline, task).scenes} == {7}


def test_lengths_that_a_question_names_are_there() -> None:
    asked = {"question": "?", "method": "stream_t1", "than": "greedy", "grows": ["5.25", "ABC x 5"]}
    with pytest.raises(UnknownNameError, match=r"unknown length 'ABC x 5'; did you mean 'ABC x 5\.25'"):
        load_suite("pocket-timeline", {"asked": [asked]})


def test_a_list_of_prompts_is_the_scenes_of_clips_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("prompts: [a, b, c, d, e]\nlengths: [{seconds: 1, scenes: ABA, prompts: 9}]\nbudgets: [[2, 1]]\n")
    tasks = plan(load_suite(str(path)))
    assert {task.scenes for task in tasks} == {("a", "b", "a"), ("c", "d", "c")}
    assert {task.prompt for task in tasks} == {"a / b / a", "c / d / c"}


@pytest.mark.parametrize("scenes", ["", "B", "aba", "A B", "A" * 101])
def test_scenes_are_letters_from_a_on(scenes: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"prompts: [a]\nlengths: [{{seconds: 1, scenes: '{scenes}', prompts: 1}}]\nbudgets: [[2, 1]]\n")
    with pytest.raises(ConfigError, match="scenes"):
        load_suite(str(path))


def test_a_method_may_change_the_memory() -> None:
    suite = load_suite("pocket-returns")
    task = next(task for task in plan(suite) if task.name == "recall")
    base = load_config("pocket")
    assert task.config(base).memory == dataclasses.replace(base.memory, recall=8)
    with pytest.raises(UnknownNameError, match="memory key"):
        load_suite("pocket-returns", {"variants": {"recall": {"memory": {"recal": 1}}}, "ablations": ["recall"]})
