"""The page of a timeline: where scenes begin on every axis of time, and under which text memory was written."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamt1.backbones.gaussian import GaussianBackbone
from streamt1.cli.main import app
from streamt1.core.errors import TraceError
from streamt1.core.timeline import Scene
from streamt1.core.words import nth
from streamt1.report import write_report
from streamt1.report.memory import Row, by_scene, memory_rows
from streamt1.report.noise import noise_lineage
from streamt1.report.scenes import labelled, tell_scenes
from streamt1.report.story import Story, tell
from streamt1.report.words import deck, facts, listed
from streamt1.search.config import SearchConfig
from streamt1.trace.events import MemoryChanged, MemorySwitched, RunFinished
from streamt1.trace.store import read_trace
from tests.report.test_report import Page, page_of
from tests.report.traces import RememberingGaussian, write_run, write_timeline

SCENES = (
    Scene("a circle", 6),
    Scene("a <b>star</b>", 3),
    Scene("a square", 4, "recache"),
    Scene("a bar", 3, "cut"),
    Scene("a dot", 3, "recache"),
)
FIRSTS = [0, 6, 9, 13, 16]
CHUNKS = 19


@pytest.fixture(scope="module", params=[True, False], ids=["global sink", "new sinks"])
def timeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_timeline(tmp_path_factory.mktemp("timeline"), SCENES, RememberingGaussian(request.param))


def story_of(folder: Path) -> Story:
    return tell(read_trace(folder / "trace.jsonl"))


def edit(folder: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Path:
    """The same folder, with another trace."""
    records = [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]
    (folder / "trace.jsonl").write_text("".join(json.dumps(one) + "\n" for one in change(records)))
    return folder


def without(folder: Path, *kinds: str) -> Path:
    return edit(folder, lambda records: [one for one in records if one["event"] not in kinds])


def put(kind: str, place: int = 0, **values: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """Other values in the event of that kind that stands at ``place`` among its like."""

    def change(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        [one for one in records if one["event"] == kind][place].update(values)
        return records

    return change


def paragraphs(folder: Path) -> list[str]:
    """What the lines between the rows say."""
    write_report(folder)
    found = re.findall(r'<p class="switch"><span>(.*?)</span></p>', (folder / "report.html").read_text())
    return [re.sub("<.*?>", "", one).replace("\N{NO-BREAK SPACE}", " ") for one in found]


def test_a_real_timeline_from_the_command_line(tmp_path: Path) -> None:
    args = ["generate", "--out", str(tmp_path), "--set", "memory.switch=recache", "--compare"]
    for prompt in (
        "a red circle bouncing on a navy striped background",
        "a blue square sliding on a gray plain background",
    ):
        args += ["--scene", f"{prompt}@2chunks"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    page = Page((tmp_path / "report.html").read_text())
    assert "and one more scene" in page.text
    assert "Two scenes, four chunks; at each chunk" in page.text
    rows = [one for one in page.of_class("scene") if "data-scene" in one]
    assert [one["aria-label"] for one in rows] == [
        "Watch scene 1 a red circle bouncing on a navy striped background 0.0\N{EN DASH}1.3 s chunks 1\N{EN DASH}2",
        "Watch scene 2 a blue square sliding on a gray plain background 1.3\N{EN DASH}2.8 s chunks 3\N{EN DASH}4"
        " 2 pages rewritten",
    ]
    assert "1.3\N{EN DASH}2.8 s" in page.text, "two chunks of three latent frames at 16 a second are 21 frames"
    assert "chunks 3\N{EN DASH}4" in page.text
    assert "2 pages rewritten" in page.text
    assert len(page.of_class("bar")) == 2, "below both videos"
    assert page.of_class("row")[2]["aria-label"] == (
        "Chunk 3 (scene 2) reads sink 1 and recent chunk 2, all rewritten under scene 2."
    )


def test_scenes_stand_on_every_axis(timeline: Path) -> None:
    page, later = page_of(timeline), len(SCENES) - 1
    edges = [a for tag, a in page.elements if tag == "path" and a.get("class") == "edge"]
    assert len(edges) == later + 3 * later, "in the tree, and in each chart"
    assert len(page.of_class("band")) == len(SCENES)
    tiles = [a for tag, a in page.elements if tag == "li" and "data-chunk" in a]
    assert [int(one["data-chunk"]) for one in tiles if one.get("class") == "begins"] == FIRSTS
    columns = [a["style"] for tag, a in page.elements if tag == "i" and "/" in a.get("style", "")]
    assert columns == [f"grid-column:{first + 2}/{end + 2}" for first, end in zip(FIRSTS, [*FIRSTS[1:], CHUNKS])]
    for node in page.of_class("node"):
        chunk = int(re.match(r"Chunk (\d+) of scene", node["aria-label"])[1])  # pyright: ignore
        assert f"of scene {sum(first < chunk for first in FIRSTS)}," in node["aria-label"]


def test_the_list_says_prompt_seconds_chunks_and_memory(timeline: Path) -> None:
    story = story_of(timeline)
    scenes = tell_scenes(story, [chunk / 16 for chunk in range(CHUNKS + 1)])
    assert [one.prompt for one in scenes] == [one.prompt for one in SCENES]
    assert [(one.first, one.last) for one in scenes] == [(0, 5), (6, 8), (9, 12), (13, 15), (16, 18)]
    assert [(one.begin, one.end) for one in scenes][1] == (6 / 16, 9 / 16)
    kept, cut = "memory kept", "memory emptied"
    recached = f"{len(story.switches[9].rewritten)} pages rewritten"
    assert [one.did for one in scenes] == ["", kept, recached, cut, "3 pages rewritten"]
    assert [one.begin for one in tell_scenes(story, [])] == [None] * 5
    assert "a <b>star</b>" in page_of(timeline).text


def test_a_line_at_each_switch_says_what_it_did(timeline: Path) -> None:
    lines = paragraphs(timeline)
    assert lines[0] == "Scene 1 begins: “a circle”. "
    assert lines[1] == "Scene 2 begins: “a &lt;b&gt;star&lt;/b&gt;”. Pages kept their text."
    assert lines[3] == "Scene 4 begins: “a bar”. Memory was emptied."
    assert lines[4] == "Scene 5 begins: “a dot”. 3 pages were written again under it (3 passes)."
    story = story_of(timeline)
    again, held = story.switches[9].rewritten, story.memory[8].sinks
    told = f"Scene 3 begins: “a square”. {len(again)} pages were written again under it ({len(again)} passes)."
    if again[0] == 5:  # all of the window
        assert lines[2] == f"{told} Chunk 6 took the place of sink{'s' * (len(held) > 1)} {listed(map(nth, held))}."
    else:
        assert lines[2].startswith(f"{told} Sink")
        assert lines[2].endswith("text.")


def expected(folder: Path) -> list[list[tuple[int, int, bool]]]:
    """For each row what it reads, in order: the chunk, its page's text, and whether that was written again.

    Told apart from the page's own reading: for every page, the last switch that wrote it.
    """
    events = [one.event for one in read_trace(folder / "trace.jsonl")]
    assert isinstance(events[-1], RunFinished)
    lineage = events[-1].lineage
    switches = [one for one in events if isinstance(one, MemorySwitched) and one.candidate in lineage]
    held = {
        one.chunk + 1: (one.sinks, one.window)
        for one in events
        if isinstance(one, MemoryChanged) and one.candidate in lineage
    }
    held |= {one.chunk: (one.sinks, one.window) for one in switches}
    scene = [sum(first <= chunk for first in FIRSTS) for chunk in range(CHUNKS)]
    rows = []
    for chunk in range(CHUNKS):
        sinks, window = held.get(chunk, ([], []))
        row = []
        for one in (*sinks, *window):
            writers = [switch for switch in switches if switch.chunk <= chunk and one in switch.rewritten]
            row.append((one, scene[writers[-1].chunk] if writers else scene[one], bool(writers)))
        rows.append(row)
    return rows


def shown(row: Row) -> list[tuple[int, int | None, bool]]:
    return [(one.column, one.text, one.again) for one in row.cells if one.kind in ("sink", "appended", "window")]


def test_every_page_shows_the_text_that_it_was_written_under(timeline: Path) -> None:
    rows = memory_rows(story_of(timeline))
    assert [shown(row) for row in rows] == expected(timeline)
    scene = [sum(first <= chunk for first in FIRSTS) for chunk in range(CHUNKS)]
    for row in rows:
        for cell in row.cells:
            if cell.kind in ("sink", "appended", "window"):
                assert cell.foreign == (cell.text != scene[row.chunk])
                assert f"{'rewritten' if cell.again else 'written'} under scene {cell.text}" in cell.told
            elif cell.kind == "own":
                assert cell.text == scene[row.chunk]
        assert row.words.startswith(f"Chunk {nth(row.chunk)} (scene {scene[row.chunk]}) ")
    assert rows[13].words == "Chunk 14 (scene 4) finds an empty memory; it has nothing to read."
    assert rows[15].words.startswith("Chunk 16 (scene 4) reads sink 14 and recent chunk 15, all written under scene 4.")
    assert rows[16].words.startswith(
        "Chunk 17 (scene 5) reads sink 14 and recent chunks 15 and 16, all rewritten under"
    )
    assert rows[18].words.startswith("Chunk 19 (scene 5) reads sink 14, rewritten under scene 5")
    assert "and recent chunks 17 and 18, written under scene 5." in rows[18].words
    page = page_of(timeline)
    assert [one["aria-label"] for one in page.of_class("row")] == [row.words for row in rows]
    assert len(page.of_class("foreign")) == 1 + sum(cell.foreign for row in rows for cell in row.cells)
    assert len(page.of_class("again")) == 1 + sum(cell.again for row in rows for cell in row.cells)


def test_what_was_kept_under_the_old_text_is_told_apart(timeline: Path) -> None:
    words = memory_rows(story_of(timeline))[7].words
    assert re.match(
        r"Chunk 8 \(scene 2\) reads sinks? .*, written under scene 1, .*recent chunk 7, written under", words
    )


def test_blends_of_other_texts_are_named(tmp_path: Path) -> None:
    folder = write_timeline(tmp_path, (Scene("one", 5), Scene("two", 40)))
    words = [row.words for row in memory_rows(story_of(folder))]
    assert any("written under scene 1 with blends of scene 2" in one for one in words[7:])
    assert not any("with blends" in one for one in words[:7]), "within its own scene nothing else is blended"


def test_a_scene_that_returns_reads_its_first_chunk_again(tmp_path: Path) -> None:
    """As ``memory.recall`` tells it: one more sink, as it was written at first, for as long as the scene lasts."""
    write_timeline(tmp_path, (Scene("one", 4), Scene("two", 5, "cut"), Scene("one", 3), Scene("two", 2)))

    def recall(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for one in records:
            if one["event"] == "memory_switched" and one["chunk"] == 9:
                one.update(sinks=[*one["sinks"], 0], recalled=0)
            elif one["event"] == "memory_changed" and 9 <= one["chunk"] < 12:
                one["sinks"].append(0)
        return records

    story = story_of(edit(tmp_path, recall))
    rows = memory_rows(story)
    assert "sink 5, written under scene 2" in rows[9].words
    assert "recalled chunk 1, written under scene 1" in rows[9].words
    cell = next(cell for cell in rows[10].cells if cell.column == 0)
    assert (cell.recalled, cell.foreign, cell.text) == (True, False, 1), "scene 3 has the prompt of scene 1"
    assert not any(cell.recalled for cell in rows[12].cells)
    assert paragraphs(tmp_path)[2].endswith("Pages kept their text. Chunk 1 is read again, since its scene returns.")
    assert tell_scenes(story, [])[2].did == "memory kept, 1 recalled"
    page = page_of(tmp_path)
    assert len(page.of_class("recalled")) == 1 + 3
    assert "recalled, its scene returns" in page.text


@pytest.mark.parametrize("outcome", ["discard", "ema"])
def test_a_chunk_that_leaves_while_its_scene_is_back_is_read_on(tmp_path: Path, outcome: str) -> None:
    write_timeline(tmp_path, (Scene("one", 3), Scene("two", 1), Scene("one", 6), Scene("two", 3)))

    def read_on(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for one in records:
            if one["event"] == "memory_changed" and one["chunk"] in (6, 7, 8, 9):
                one.update(sinks=[*(sink for sink in one["sinks"] if sink != 3), 3], recalled=3)
                if one["chunk"] in (6, 9):
                    one.update(left=3, route=outcome, outcome=outcome, slot=0 if outcome == "ema" else None)
        return records

    story = story_of(edit(tmp_path, read_on))
    row = memory_rows(story)[7]
    assert "recalled chunk 4, " in row.words
    assert row.words.endswith("read on, since its scene is back.")
    assert ("blended into sink 1" in row.words, "dropped" in row.words) == (outcome == "ema", False)
    assert [cell.kind for cell in row.cells if cell.column == 3] == ["sink"]
    assert next(cell for cell in row.cells if cell.column == 3).recalled
    assert not any("Chunk 4 took the place" in one for one in paragraphs(tmp_path))
    other = memory_rows(story)[10]
    assert not any(cell.recalled for cell in other.cells)
    assert "read on" not in other.words, "another scene begins"
    assert "recalled, its scene returns" in page_of(tmp_path).text


def test_many_scenes_have_few_labels_and_columns_of_their_own(tmp_path: Path) -> None:
    scenes = [
        Scene(f"scene of number {number}", 1 + number % 2, "cut" if number == 30 else None) for number in range(64)
    ]
    folder = write_timeline(tmp_path, scenes)
    page, story = page_of(folder), story_of(folder)
    labels = [a for tag, a in page.elements if tag == "text" and a.get("class") == "scene"]
    assert 30 <= len(labels) <= 3 * 18
    shown = sorted(labelled(story, 14))
    assert shown[0] == 1
    assert 8 <= len(shown) <= 14
    assert page.of_class("many"), "the list scrolls"
    assert len([one for one in page.of_class("scene") if "data-scene" in one]) == 64
    assert len(page.of_class("switch")) == 64
    rows = memory_rows(story)
    blocks = by_scene(rows, story.scene_numbers, folded=True)
    assert [row.chunk for block in blocks for row in block.rows] == list(range(len(story.chunks)))
    assert max(block.columns for block in blocks) < 16
    for row, moved in zip(rows, (row for block in blocks for row in block.rows)):
        places = {cell.column: other.column for cell, other in zip(row.cells, moved.cells)}
        assert sorted(places) == sorted(places, key=places.__getitem__), "left stays left"


def test_one_prompt_has_nothing_of_it(tmp_path: Path) -> None:
    text = write_report(write_run(tmp_path, 5)).read_text()
    assert "scene" not in text.replace("scene_sink", ""), "but for a setting of that name"
    for part in ("scenes.css.html", "scenes.js.html", "scenes.html", "scenes_memory.html"):
        assert part not in text
    assert not Page(text).of_class("switch")


def test_the_plain_sample_of_another_timeline_is_not_compared_with(tmp_path: Path) -> None:
    write_timeline(tmp_path, (Scene("one", 2), Scene("two", 2)))
    write_timeline(tmp_path / "baseline", (Scene("one", 3), Scene("two", 1)))
    assert "One plain sample" not in page_of(tmp_path).text
    write_timeline(tmp_path / "baseline", (Scene("one", 2), Scene("two", 2)))
    assert "One plain sample" in page_of(tmp_path).text


def test_a_model_that_does_not_tell_of_its_memory(tmp_path: Path) -> None:
    folder = write_timeline(tmp_path, SCENES, GaussianBackbone())
    page = page_of(folder)
    assert not page.of_class("row")
    assert [one.did for one in tell_scenes(story_of(folder), [])] == [
        "", "", "memory rewritten", "memory emptied", "memory rewritten",
    ]  # fmt: skip
    assert "does not hold what memory kept" in page.text
    assert [one for one in page.elements if one == ("li", {"class": "scene"})] == [("li", {"class": "scene"})] * 5


def test_traces_that_tell_less_still_open(tmp_path: Path) -> None:
    write_timeline(tmp_path, SCENES)
    edit(tmp_path, put("run_started", scenes=None))
    assert len(page_of(tmp_path).of_class("switch")) == 5
    edit(tmp_path, put("run_started", chunks=None, scenes=[[0, "a circle"]]))
    assert len(page_of(tmp_path).of_class("switch")) == 5, "what was said while it ran could not be announced"
    without(tmp_path, "memory_switched")
    assert paragraphs(tmp_path)[1] == "Scene 2 begins: “a &lt;b&gt;star&lt;/b&gt;”. "
    without(tmp_path, "memory_changed")
    assert not page_of(tmp_path).of_class("row")
    without(tmp_path, "scene_started")
    assert "Scene" not in page_of(tmp_path).text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put("scene_started", chunk=CHUNKS), "scene 2 begins with chunk 19, .* has 19 chunks"),
        (put("scene_started", chunk=0), "scene 2 begins with chunk 0, scene 1 with chunk 0"),
        (put("scene_started", chunk=-3), "scene 2 begins with chunk -3"),
        (put("scene_started", 1, chunk=5), "scene 3 begins with chunk 5, scene 2 with chunk 6"),
        (put("scene_started", 1, scene=7), "scene 8 begins where scene 3 should"),
        (put("scene_started", prompt="another"), "announces other scenes"),
        (put("run_started", scenes=[["a", 1], []]), "announces other scenes"),
        (put("memory_switched", chunk=5), "switched at chunk 5, where no scene begins"),
        (put("memory_switched", chunk=10**15), "where no scene begins"),
        (put("memory_switched", sinks=[6]), "at chunk 6, memory holds chunk 6"),
        (put("memory_switched", window=[-1]), "at chunk 6, memory holds chunk -1"),
        (put("memory_switched", rewritten=[10**12]), "memory holds chunk 1000000000000"),
        (put("memory_switched", recalled=77), "memory holds chunk 77"),
        (put("memory_switched", sinks=None), "not an event"),
    ],
)
def test_scenes_that_cannot_be(change: Any, says: str, tmp_path: Path) -> None:
    def everywhere(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each of two beams tells of its switch: what the first says goes for both."""
        changed = change(records)
        first, second, *_ = [one for one in changed if one["event"] == "memory_switched"]
        second.update({**first, "candidate": second["candidate"]})
        return changed

    edit(write_timeline(tmp_path, SCENES), everywhere)
    with pytest.raises(TraceError, match=says) as raised:
        write_report(tmp_path)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "report.html").exists()


def test_the_switch_of_another_video_is_not_taken_for_this_one(tmp_path: Path) -> None:
    write_timeline(tmp_path, SCENES)
    chosen = story_of(tmp_path).lineage[5].id

    def lose(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in records if (one["event"], one.get("candidate")) != ("memory_switched", chosen)]

    with pytest.raises(TraceError, match="at chunk 6, memory was switched, but not the video's"):
        write_report(edit(tmp_path, lose))


def test_what_was_given_is_told(tmp_path: Path) -> None:
    story = story_of(edit(write_run(tmp_path, 4), put("run_started", given=2)))
    assert ("given", "the first 2 chunks") in facts(story, {})
    assert "given" not in dict(
        facts(dataclasses.replace(story, started=dataclasses.replace(story.started, given=0)), {})
    )
    shown = dataclasses.replace(story, chunks=(story.chunks[0][:1], story.chunks[1][:1], *story.chunks[2:]))
    assert "up to" not in deck(shown), "a chunk that is given has one candidate"


def test_noise_begins_with_the_first_chunk_that_is_made(tmp_path: Path) -> None:
    """What was given was made of none, and the chunk after it inherits nothing."""
    write_timeline(tmp_path, (Scene("one", 5),), config=SearchConfig(noise_strength=-0.5))

    def given(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one | {"given": 2} if one["event"] == "run_started" else one for one in records]

    story = story_of(edit(tmp_path, given))
    *before, first, second, third = noise_lineage(story)
    assert [(tile.seed, tile.shares, tile.same_draw) for tile in before] == [("given", (), False)] * 2
    assert first.shares == ((2, 1.0),)
    assert [source for source, _ in second.shares] == [3, 2]
    assert dict(third.shares) == pytest.approx({4: 0.75**0.5, 3: -0.5 * 0.75**0.5, 2: 0.25})
    assert "given" in page_of(tmp_path).text
