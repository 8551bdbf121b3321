"""The page of a run: whole, self-contained, and true to the trace."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import av
import pytest
import torch
from typer.testing import CliRunner

from streamt1 import Pipeline, load_config
from streamt1.cli.main import app
from streamt1.core.errors import OutputError, TraceError
from streamt1.core.words import nth
from streamt1.media.mp4 import write_video
from streamt1.pipeline.run import save_comparison
from streamt1.report import write_report
from streamt1.report.media import embedded_video
from streamt1.report.story import Node, Story, tell
from streamt1.report.words import spelled
from streamt1.search.config import SearchConfig, apply_policy
from streamt1.trace.events import CandidateProposed, ChunkCommitted, MemoryChanged, RunFinished
from streamt1.trace.store import read_trace
from tests.report.traces import write_run

VOID = {"meta", "link", "img", "br", "input", "hr"}
FETCHING = {"src", "href", "srcset", "poster", "data", "action", "xlink:href"}


class Page(HTMLParser):
    """Elements and their attributes; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def of_class(self, name: str) -> list[dict[str, str]]:
        return [attributes for _, attributes in self.elements if name in attributes.get("class", "").split()]


def page_of(folder: Path) -> Page:
    return Page(write_report(folder).read_text())


def test_the_page_of_a_pocket_run_and_its_baseline(tmp_path: Path) -> None:
    pipeline = Pipeline(load_config("pocket"))
    prompt = "a red circle bouncing on a navy striped background"
    save_comparison(pipeline.run(prompt, 3), pipeline.run(prompt, 3, policy="greedy"), tmp_path)
    path = write_report(tmp_path)
    assert path == tmp_path / "report.html"
    assert path.stat().st_size < 2_000_000
    page = Page(path.read_text())
    videos = [attributes["src"] for tag, attributes in page.elements if tag == "video"]
    assert len(videos) == 2
    assert all(video.startswith("data:video/mp4;base64,") for video in videos)
    assert "One plain sample" in page.text
    assert "Stream-T1" in page.text
    assert len([a for tag, a in page.elements if tag == "img" and a["src"].startswith("data:image/webp")]) == 12


def test_the_plain_sample_of_another_run_is_not_compared_with(tmp_path: Path) -> None:
    write_run(tmp_path, 3, prompt="a green star")
    write_run(tmp_path / "baseline", 3, apply_policy("greedy", SearchConfig()), prompt="a red circle")
    page = page_of(tmp_path)
    assert "a red circle" not in page.text
    assert "One plain sample" not in page.text
    write_run(tmp_path / "baseline", 3, apply_policy("greedy", SearchConfig()), prompt="a green star")
    assert "One plain sample" in page_of(tmp_path).text


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("long"), 40)


def test_every_candidate_is_there_and_marked_as_the_trace_says(long_run: Path) -> None:
    page, events = page_of(long_run), [one.event for one in read_trace(long_run / "trace.jsonl")]
    finished = events[-1]
    assert isinstance(finished, RunFinished)
    kept = {event.candidate for event in events if isinstance(event, ChunkCommitted)}
    nodes = {int(node["data-node"]): node for node in page.of_class("node")}
    assert sorted(nodes) == [event.candidate for event in events if isinstance(event, CandidateProposed)]
    for candidate, node in nodes.items():
        status = "chosen" if candidate in finished.lineage else "survived" if candidate in kept else "pruned"
        assert status in node["class"].split()
        assert ("survived" in node["aria-label"]) == (candidate in kept)
        assert f"candidate {candidate}," in node["aria-label"]
    assert Counter(node["tabindex"] for node in nodes.values()) == {"0": 1, "-1": 159}
    edges = [a for tag, a in page.elements if tag == "path" and a.get("class") in ("pruned", "survived", "chosen")]
    assert len(edges) == 160 - 4
    dots = Counter(int(a["data-node"]) for tag, a in page.elements if tag == "circle")
    assert dots == dict.fromkeys(nodes, 3)


def test_it_says_how_soon_chunks_were_final(long_run: Path) -> None:
    story = tell(read_trace(long_run / "trace.jsonl"))
    last = len(story.chunks) - 1

    def shared(chunk: int, made: int) -> bool:
        kept = [node for node in story.chunks[made] if node.rank is not None]
        return {_ancestor(story, node, chunk) for node in kept} == {story.lineage[chunk].id}

    expected = [next((made for made in range(chunk, last) if shared(chunk, made)), last) for chunk in range(last + 1)]
    assert story.waits == tuple(made - chunk for chunk, made in enumerate(expected))
    assert max(story.waits) > 0
    assert f"{spelled(story.waits.count(0), 'chunk')} of 40 could be shown as soon as made".lower() in (
        " ".join(page_of(long_run).text.split()).lower()
    )


def _ancestor(story: Story, node: Node, chunk: int) -> int:
    by_id = {one.id: one for one in story.nodes}
    while node.chunk > chunk:
        assert node.parent is not None
        node = by_id[node.parent]
    return node.id


def test_nothing_is_fetched_and_the_page_forbids_it(long_run: Path) -> None:
    page = page_of(long_run)
    for tag, attributes in page.elements:
        for name in FETCHING & set(attributes):
            assert attributes[name].startswith("data:"), (tag, name, attributes[name])
    text = (long_run / "report.html").read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert "url(" not in text
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert (long_run / "report.html").stat().st_size < 2_000_000


def test_memory_is_drawn_row_by_row(long_run: Path) -> None:
    page, lineage = page_of(long_run), read_trace(long_run / "trace.jsonl")[-1].event
    assert isinstance(lineage, RunFinished)
    changes = [
        one.event
        for one in read_trace(long_run / "trace.jsonl")
        if isinstance(one.event, MemoryChanged) and one.event.candidate in lineage.lineage
    ]
    outcomes = Counter(change.outcome for change in changes)
    assert outcomes["ema"] > 1
    assert outcomes["append"] == 2
    rows = page.of_class("row")
    assert len(rows) == 40
    assert rows[0]["aria-label"] == "Chunk 1 begins the video; it has nothing to read."
    for row, change in zip(rows[1:], changes):
        words = row["aria-label"]
        assert words.startswith(f"Chunk {nth(change.chunk + 1)} reads sink")
        assert (f"Chunk {nth(change.left or 0)} has left the window" in words) == (change.left is not None)
    cells = [cell["class"].split() for cell in page.of_class("cell")]
    assert sum("ema" in cell for cell in cells) == outcomes["ema"] + 1  # and one in the legend
    assert sum("discard" in cell for cell in cells) == outcomes["discard"] + 1
    assert sum("own" in cell for cell in cells) == 40 + 1


def test_a_prompt_is_text_and_nothing_else(tmp_path: Path) -> None:
    prompt = '</script><script>alert(1)</script> "quoted" & <img src=x>'
    page = page_of(write_run(tmp_path, 2, prompt=prompt))
    assert prompt in page.text
    assert [tag for tag, _ in page.elements].count("script") == 2


def test_old_runs_without_pictures_memory_or_summary_still_have_a_page(tmp_path: Path) -> None:
    write_run(tmp_path, 3)
    (tmp_path / "thumbnails.jsonl").unlink()
    lines = (tmp_path / "trace.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    old = [{k: v for k, v in one.items() if k != "time_stride"} for one in records if one["event"] != "memory_changed"]
    (tmp_path / "trace.jsonl").write_text("".join(json.dumps(one) + "\n" for one in old))
    page = page_of(tmp_path)
    assert len(page.of_class("tile")) == 12
    assert not page.of_class("row")
    assert "does not hold what memory kept" in page.text
    assert "not in the folder" in page.text


@pytest.mark.parametrize("policy", ["greedy", "best_of_n", "beam"])
def test_every_policy_has_a_page(policy: str, tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path, 3, apply_policy(policy, SearchConfig())))
    assert len(page.of_class("node")) == (3 if policy == "greedy" else 12)
    assert len(page.of_class("chart")) == (3 if policy == "beam" else 0)


def test_a_single_chunk(tmp_path: Path) -> None:
    assert len(page_of(write_run(tmp_path, 1)).of_class("node")) == 4


def broken(folder: Path, how: str) -> Path:
    """A run's folder with something wrong."""
    write_run(folder, 3)
    trace = folder / "trace.jsonl"
    lines = trace.read_text().splitlines(keepends=True)
    if how == "half":
        trace.write_text("".join(lines[: len(lines) // 2]))
    elif how == "torn":
        trace.write_text("".join(lines[:5]) + lines[5][:20])
    elif how == "headless":
        trace.write_text("".join(lines[1:]))
    elif how == "empty":
        trace.write_text("")
    elif how == "orphan":
        trace.write_text("".join(line for line in lines if '"candidate_proposed", "chunk": 0' not in line))
    elif how == "short":
        trace.write_text("".join(lines).replace('"chunks": 3', '"chunks": 4'))
    elif how == "long":
        trace.write_text("".join(lines).replace('"chunks": 3', '"chunks": 2'))
    elif how == "gone":
        trace.unlink()
    elif how == "summary":
        (folder / "run.json").write_text("{")
    elif how == "setting":
        trace.write_text("".join(lines).replace('"noise_strength": -0.1', '"noise_strength": "much"'))
    elif how == "video":
        (folder / "video.mp4").write_bytes(b"not a video" * 1_000_000)
    return folder


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("half", r"has not finished: its trace ends after \d of 3 chunks"),
        ("torn", "line 6: not an event"),
        ("headless", "first lines are missing"),
        ("empty", "first lines are missing"),
        ("orphan", r"candidate \d was never proposed"),
        ("short", "of 4 chunks 3 are in the video"),
        ("long", "announces 2 chunks and has more"),
        ("gone", r"no trace\.jsonl"),
        ("summary", r"run\.json"),
        ("setting", "makes no sense"),
        ("video", r"cannot read the video .*video\.mp4"),
    ],
)
def test_what_is_damaged_is_named_in_one_sentence_and_no_page_is_left(how: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=says) as raised:
        write_report(broken(tmp_path, how))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_that_is_not_there_and_one_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no folder"):
        write_report(tmp_path / "nowhere")
    write_run(tmp_path, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_report(tmp_path, tmp_path / "file" / "report.html")


def test_a_video_that_is_too_large_is_encoded_again(tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (24, 64, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_video(tmp_path / "v.mp4", frames, 16)
    size = (tmp_path / "v.mp4").stat().st_size
    address = embedded_video(tmp_path / "v.mp4", size // 3)
    assert address is not None
    assert len(address) < 1.4 * size / 3 + 100
    with av.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as container:
        shown = list(container.decode(video=0))
    assert [frame.time for frame in shown] == [index / 16 for index in range(24)]
    assert {(frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) for frame in shown} == {
        (1, 1, 1, 1)
    }, "what it says of its colours is said again"
    assert embedded_video(tmp_path / "v.mp4", 100) is None


def test_the_command_line(tmp_path: Path) -> None:
    write_run(tmp_path / "run", 2)
    result = CliRunner().invoke(app, ["report", str(tmp_path / "run"), "--out", str(tmp_path / "page.html")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "page.html").is_file()
    assert "page.html" in result.stdout
    result = CliRunner().invoke(app, ["report", str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert "no folder" in result.stderr


def test_a_run_can_be_made_without_a_page(tmp_path: Path) -> None:
    prompt = "a red circle bouncing on a navy striped background"
    result = CliRunner().invoke(app, ["generate", prompt, "--chunks", "1", "--no-report", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "report.html").exists()
    assert "report.html" not in result.stdout


def test_the_report_needs_no_torch_of_its_own() -> None:
    code = (
        "import sys, types; package = types.ModuleType('streamt1'); package.__path__ = [sys.argv[1]];"
        " sys.modules['streamt1'] = package; import streamt1.report; print('torch' in sys.modules)"
    )
    source = Path(__file__).parents[2] / "src" / "streamt1"
    out = subprocess.run([sys.executable, "-c", code, str(source)], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"
