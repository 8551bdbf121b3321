"""Presets, settings, prompts, suites: what users write."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamt1.cli.folder_names import LONGEST, folder_names
from streamt1.cli.prompts import read_prompts
from streamt1.cli.settings import read_settings
from streamt1.config.load import PRESETS, load_config, parse_budget
from streamt1.config.schema import RunConfig
from streamt1.config.timelines import read_timeline, scene_of
from streamt1.evaluation.score import read_prompt_file
from streamt1.evaluation.suites import SUITES, load_suite
from streamt1.evaluation.tasks import plan
from streamt1.pipeline.timelines import Clock, resolved
from tests.fuzz.mutations import NASTY, as_json, garbage, json_texts, json_values, mutated, mutated_value
from tests.fuzz.rule import kept

PRESET_TEXTS = [(PRESETS / f"{name}.yaml").read_bytes() for name in ("pocket", "longlive", "official", "pocket-base")]
SUITE_TEXTS = [path.read_bytes() for path in sorted(Path(str(SUITES)).glob("*.yaml"))]
KEYS = RunConfig().model_dump(mode="json")
WORDS = ["x=[", "{", ".nan", ".inf", "12:30:45", "no", "&a [*a]"]
DOTTED = [f"{part}.{key}" for part, inner in KEYS.items() if isinstance(inner, dict) for key in inner] + list(KEYS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@given(text=st.one_of(mutated(*PRESET_TEXTS), mutated_value(KEYS).map(as_json), garbage))
def test_presets(text: bytes, folder: Path) -> None:
    (folder / "mine.yaml").write_bytes(text)
    kept("presets", lambda: load_config(str(folder / "mine.yaml")), folder)


@given(
    pairs=st.lists(
        st.tuples(
            st.one_of(st.sampled_from(DOTTED), st.text(max_size=12)),
            st.one_of(
                st.sampled_from([*map(str, NASTY), *WORDS]),
                json_values.map(lambda value: as_json(value).decode()),
                st.text(max_size=30),
            ),
        ),
        max_size=3,
    )
)  # fmt: skip
def test_settings(pairs: list[tuple[str, str]]) -> None:
    kept("settings", lambda: load_config("pocket", read_settings([f"{key}={value}" for key, value in pairs])))


@given(key=st.sampled_from(DOTTED), value=st.one_of(st.sampled_from(NASTY), json_values))
def test_values_of_the_python_api(key: str, value: object) -> None:
    kept("python values", lambda: load_config("pocket", {key: value}))


@given(text=st.text(max_size=12))
def test_budgets(text: str) -> None:
    kept("budgets", lambda: parse_budget(text))


@given(text=st.one_of(mutated("a red circle\n# aside\n\n\t雪が降る\n😀 é\n".encode(), "x\n".encode("utf-16")), garbage))
def test_prompts_files(text: bytes, folder: Path) -> None:
    (folder / "prompts.txt").write_bytes(text)

    def read() -> None:
        names = folder_names(read_prompts(folder / "prompts.txt"))
        assert len(set(names)) == len(names)
        assert all(0 < len(name.encode()) <= LONGEST and "/" not in name for name in names)

    kept("prompts files", read, folder)


@given(prompts=st.lists(st.text(max_size=200), max_size=3))
def test_folder_names(prompts: list[str], folder: Path) -> None:
    def made() -> None:
        for name in folder_names(prompts):
            (folder / name).mkdir(parents=False)
            (folder / name).rmdir()

    kept("folder names", made, folder)


@given(text=json_texts({"a.mp4": "a red circle", "b.mp4": "snow"}))
def test_prompts_for_scores(text: bytes, folder: Path) -> None:
    (folder / "prompts.json").write_bytes(text)
    kept("prompts of clips", lambda: read_prompt_file(folder / "prompts.json"), folder)


@given(text=st.one_of(mutated(*SUITE_TEXTS), garbage))
def test_suites(text: bytes, folder: Path) -> None:
    (folder / "suite.yaml").write_bytes(text)
    kept("suites", lambda: plan(load_suite(str(folder / "suite.yaml"))), folder)


SCENES = [{"prompt": "a red circle", "seconds": 2.5}, {"prompt": "snow", "chunks": 3, "memory": "cut"}, "a star"]
LONGLIVE = {"prompts": ["a", "b", "c"], "switch_frame_indices": [40, 81]}
SCOPE = {
    "prompts": [
        {"startTime": 0, "endTime": 2.5, "prompts": [{"text": "a", "weight": 100}]},
        {"startTime": 2.5, "endTime": 8, "prompts": [{"text": "b", "weight": 50}]},
    ]
}
FORMATS = ({"scenes": SCENES}, LONGLIVE, SCOPE)
CLOCKS = (Clock(3, 9, 12, 16), Clock(1, 1, 1, 16), Clock(2, 5, 8, 24))


@given(
    text=st.one_of(*(json_texts(one) for one in FORMATS), mutated(*map(as_json, FORMATS)), garbage),
    name=st.sampled_from(("t.yaml", "t.json", "t.jsonl")),
    chunks=st.sampled_from((None, 1, 7, 40)),
    clock=st.sampled_from(CLOCKS),
)
def test_timelines(text: bytes, name: str, chunks: int | None, clock: Clock, folder: Path) -> None:
    (folder / name).write_bytes(text)

    def read() -> None:
        timeline = resolved(read_timeline(folder / name), clock, chunks)
        assert chunks is None or timeline.chunks == chunks
        assert all(scene.prompt.strip() and (scene.chunks or 0) >= 1 for scene in timeline.scenes)

    kept("timelines", read, folder)


@given(text=st.one_of(st.text(max_size=40), st.sampled_from(("a@5", "a@b@1e400", "a@٣", "@", "a@0x5", "a@9" * 99))))
def test_scenes_of_the_command_line(text: str) -> None:
    kept("scenes", lambda: resolved([scene_of(text)], CLOCKS[0], None))
