"""Timelines as users write them; what is wrong is told in one sentence that names the scene."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamt1.config.timelines import ToldScene, read_timeline, scene_of, told_scenes
from streamt1.core.errors import ConfigError, PromptError
from streamt1.core.timeline import Scene, Timeline
from streamt1.pipeline.timelines import Clock, resolved
from tests.parity.goldens import GoldenSet, golden_sets

CLOCK = Clock(3, 9, 12, 16)


def written(folder: Path, name: str, content: Any) -> Path:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder / name


def scope(*entries: tuple[float, float, Any]) -> dict[str, Any]:
    def prompts(text: Any) -> Any:
        return [{"text": text, "weight": 100}] if isinstance(text, str) else text

    return {"prompts": [{"startTime": a, "endTime": b, "prompts": prompts(text)} for a, b, text in entries]}


def test_the_three_formats(tmp_path: Path) -> None:
    ours = "scenes:\n  - {prompt: a ball, seconds: 5}\n  - prompt: a star\n    chunks: 3\n    memory: cut\n  - a cube\n"
    assert read_timeline(written(tmp_path, "t.yaml", ours)) == [
        ToldScene("a ball", seconds=5.0), ToldScene("a star", chunks=3, memory="cut"), ToldScene("a cube"),
    ]  # fmt: skip
    assert read_timeline(written(tmp_path, "s.json", scope((0, 2.5, "a ball"), (2.5, 8, "a star")))) == [
        ToldScene("a ball", seconds=2.5), ToldScene("a star", seconds=5.5),
    ]  # fmt: skip
    longlive = {"prompts": ["a ball", "a star"], "switch_frame_indices": [40]}
    assert read_timeline(written(tmp_path, "l.jsonl", json.dumps(longlive) + "\n")) == [
        ToldScene("a ball"), ToldScene("a star", latent=40),
    ]  # fmt: skip
    separated = json.dumps({"prompts": ["a\u2028ball", "a\x85star"]}, ensure_ascii=False)
    assert read_timeline(written(tmp_path, "L.JSONL", separated)) == [ToldScene("a\u2028ball"), ToldScene("a\x85star")]
    assert read_timeline(written(tmp_path, "T.JSON", json.dumps({"prompts": ["a ball"]}, indent="\t")))
    assert read_timeline(written(tmp_path, "l.jsonl", {"prompts": ["a ball", "a star"]})) == [
        ToldScene("a ball"), ToldScene("a star"),
    ]  # fmt: skip


LENGTHS = {
    **dict.fromkeys(("soon", "nan", "nanchunks", "infchunks", "5schunks", "1_0", "\uff15", "0x5"), "is no length"),
    **dict.fromkeys(("1e400", "1e308"), "number of seconds"),
    "0": "above 0",
    "1.5chunks": "whole number",
    "1e400chunks": "whole number",
    "-1chunks": "at least 1",
}


def test_scenes_of_the_command_line() -> None:
    assert scene_of("a ball @ rest@5") == ToldScene("a ball @ rest", seconds=5.0)
    assert scene_of("a ball@2.5s") == ToldScene("a ball", seconds=2.5)
    assert scene_of("a ball@3chunks") == ToldScene("a ball", chunks=3)
    assert scene_of("a ball") == ToldScene("a ball")
    for length, says in LENGTHS.items():
        with pytest.raises(ConfigError, match=says):
            scene_of(f"a ball@{length}")
    with pytest.raises(PromptError, match="has no prompt"):
        scene_of("@5")


SIX = [{"prompt": "a ball", "seconds": 1}] * 6


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.yaml", {"scenes": [*SIX, {"prompt": "a ball", "second": 1}]}, "scene 7 of .*has the key 'second'"),
        ("t.yaml", {"scenes": [*SIX, {"prompt": "a ball", "seconds": 0}]}, "scene 7 of .*seconds=0 must be above 0"),
        ("t.yaml", {"scenes": [*SIX, {"prompt": "a ball", "seconds": "5 s"}]}, "scene 7 .*is to be a number"),
        ("t.yaml", {"scenes": [*SIX, {"prompt": "a ball", "seconds": True}]}, "scene 7 .*is to be a number"),
        ("t.yaml", {"scenes": [*SIX, {"prompt": "a ball", "chunks": 1.5}]}, "scene 7 .*whole number"),
        ("t.yaml", {"scenes": [*SIX, {"prompt": "a", "chunks": 1, "seconds": 1}]}, "scene 7 .*one of both"),
        (
            "t.yaml",
            {"scenes": [*SIX, {"prompt": "a ball", "memory": "forget"}]},
            "scene 7 .*none of keep, rec",
        ),
        ("t.yaml", {"scenes": [*SIX, {"prompt": "  "}]}, "scene 7 .*has no prompt"),
        ("t.yaml", {"scenes": [*SIX, 5]}, "scene 7 .*give its prompt and seconds"),
        ("t.yaml", {"scenes": []}, "no scene"),
        ("t.yaml", {"scenes": {"prompt": "a"}}, "scenes is to be a list"),
        ("t.yaml", {"scenes": SIX, "fps": 5}, "has the key 'fps'"),
        ("t.yaml", {"scenes": SIX * 200}, "1200 scenes"),
        ("t.json", {"scenes": SIX * 2000}, "12000 scenes, from scene 1001 on too many"),
        (
            "t.yaml",
            "scenes:\n" + "  - {prompt: a ball, seconds: 5}\n" * 10_000,
            "10000 scenes, from scene 1001 on too many",
        ),
        ("t.yaml", "scenes:\n" + "  - {prompt: a ball, seconds: 5}\n" * 30_000, "more than 100000 values"),
        ("t.yaml", "[" * 50, "nested more than 32 deep"),
        ("t.json", "[" * 100_000, "not valid JSON"),
        ("t.json", "5", "is no timeline"),
        ("t.json", {"prompts": 5}, "prompts is to be a list"),
        ("t.jsonl", '{"prompts": ["a"]}\n{"prompts": ["b"]}\n', "holds 2 timelines"),
        ("t.jsonl", {"prompts": ["a", "b"], "switch_frame_indices": [3, 6]}, "2 prompts and 2 switch_frame"),
        ("t.jsonl", {"prompts": ["a", "b", "c"], "switch_frame_indices": [6, 3]}, "scene 3 of .*rise"),
        ("t.jsonl", {"prompts": ["a", "b"], "switch_frame_indices": ["x"]}, "scene 2 of .*whole numbers"),
        ("s.json", scope((0, 2, "a"), (1.5, 4, "b")), "scene 2 of .*before the one before it ends"),
        ("s.json", scope((0, 2, "a"), (2.5, 4, "b")), "scene 2 of .*leaves a gap"),
        ("s.json", scope((0, 2, "a"), (2, 2, "b")), "scene 2 of .*not after it begins"),
        ("s.json", scope((0, 2, [{"text": "a"}, {"text": "b"}])), "scene 1 of .*cannot blend"),
        ("s.json", scope((0, 2, [])), "scene 1 of .*has 0 prompts"),
        ("s.json", {"prompts": [{"startTime": 0}]}, "scene 1 of .*needs startTime, endTime"),
        ("s.json", scope((0, 1e400, "a")), "scene 1 of .*endTime"),
    ],
)
def test_what_is_wrong_names_the_scene(name: str, content: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, PromptError), match=says) as caught:
        read_timeline(written(tmp_path, name, content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.yaml"):
        with pytest.raises(ConfigError, match="cannot read the timeline"):
            read_timeline(path)
    (tmp_path / "t.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_timeline(tmp_path / "t.yaml")


def test_beginnings_in_latent_frames_are_longlives() -> None:
    def lengths(*indices: int, chunks: int | None = None) -> list[tuple[str, int | None]]:
        told = [ToldScene("0"), *(ToldScene(str(i), latent=index) for i, index in enumerate(indices, 1))]
        return [(scene.prompt, scene.chunks) for scene in resolved(told, CLOCK, chunks).scenes]

    assert lengths(40, chunks=20) == [("0", 14), ("1", 6)], "frame 40 acts at 42"
    assert lengths(6, 7, 8, chunks=6) == [("0", 2), ("1", 1), ("2", 1), ("3", 2)], "one a chunk, the others wait"
    assert lengths(0, 6, chunks=4) == [("1", 2), ("2", 2)], "at the start the first prompt is skipped"
    assert lengths(0, 1, chunks=4) == [("1", 1), ("2", 3)]
    assert lengths(6, 12) == [("0", 2), ("1", 2), ("2", 2)]
    with pytest.raises(ConfigError, match="scene 2 begins at chunk 5, where the video of 3 chunks has ended"):
        lengths(12, chunks=3)


@pytest.mark.parametrize("folder", golden_sets("longlive1"), ids=lambda folder: folder.name)
def test_goldens_switch_where_they_do(folder: Path) -> None:
    golden = GoldenSet(folder)
    clock = Clock(golden.sizes["num_frame_per_block"], 9, 12, 16)
    for name in golden.manifest["files"]:
        stored = golden.arrays(name)
        if "switch_frame_indices" not in stored:
            continue
        indices = stored["switch_frame_indices"].tolist()
        told = [ToldScene("0"), *(ToldScene(str(i), latent=index) for i, index in enumerate(indices, 1))]
        scenes = resolved(told, clock, len(stored["prompt_index"])).scenes
        made = [int(scene.prompt) for scene in scenes for _ in range(scene.chunks or 0)]
        assert made == stored["prompt_index"].tolist()


def test_scenes_in_python() -> None:
    assert told_scenes([("a", 5), {"prompt": "b", "chunks": 2}, "c"]) == [
        ToldScene("a", seconds=5.0), ToldScene("b", chunks=2), ToldScene("c"),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="scene 2 of the timeline"):
        told_scenes([("a", 5), ("b", 5, 6)])


def test_a_timeline_is_made_of_whole_scenes() -> None:
    for scenes, says in (((), "at least one"), ((Scene("a", None), Scene("b", 1)), "scene 1 has no length"),
                         ((Scene("a", 1), Scene("b", 0)), "scene 2 has 0 chunks")):  # fmt: skip
        with pytest.raises(ConfigError, match=says):
            Timeline(scenes)
    timeline = Timeline((Scene("a", 2), Scene("a", 1), Scene("b", 3), Scene("b", None)))
    assert timeline.starts == [0, 2, 3, 6]
    assert [timeline.place(chunk) for chunk in (0, 1, 2, 3, 5, 6, 99)] == [0, 0, 1, 2, 2, 3, 3]
    assert timeline.merged("keep").scenes == (Scene("a", 3), Scene("b", None))
    assert timeline.merged("recache") == timeline
    assert timeline.then(Scene("c", None), 4).scenes == (Scene("a", 2), Scene("a", 1), Scene("b", 1), Scene("c", None))
    assert timeline.then(Scene("c", None), 3).scenes == (Scene("a", 2), Scene("a", 1), Scene("c", None))


def test_numbers_of_numpy_are_numbers() -> None:
    told = told_scenes([("a", np.float32(2.5)), {"prompt": "b", "chunks": np.int64(3)}])
    assert told == [ToldScene("a", seconds=2.5), ToldScene("b", chunks=3)]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (5, "of type int: give a prompt, or a list"),
        ({"a": 1}, "of type dict"),
        ({"a"}, "of type set"),
        (b"abc", "of type bytes"),
        (iter([("a", 1)]), "of type list_iterator"),
        (("a", 1), r"is one scene, \('a', 1\): put it into a list"),
        ([b"ab"], "scene 1 of the timeline is"),
        ([{"prompt": "a", "chunks": "2"}], "chunks='2' must be a whole number"),
        ([("a", "5")], "seconds='5' is to be a number"),
    ],
)
def test_what_is_no_list_of_scenes(given: Any, says: str) -> None:
    with pytest.raises((ConfigError, PromptError), match=says):
        told_scenes(given)


def test_a_scene_asks_for_a_memory_that_there_is() -> None:
    with pytest.raises(ConfigError, match="memory='zap' is none of keep, recache, cut"):
        Scene("a", 1, "zap")  # type: ignore[arg-type]


def test_a_single_prompt_of_longlive_has_five_seconds(tmp_path: Path) -> None:
    told = read_timeline(written(tmp_path, "l.json", {"prompts": ["a", "b"], "switch_frame_indices": [0]}))
    assert resolved(told, CLOCK, None) == Timeline((Scene("b", 7),))


def test_what_is_left_for_scenes_without_a_length() -> None:
    told = told_scenes([("a", 3), "b"])
    with pytest.raises(ConfigError, match=r"take 3 s, and the video is to have 2\.8125: nothing is left"):
        resolved(told, CLOCK, 4)
