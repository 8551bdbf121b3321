"""The page in a real browser: it opens from disk without a word on the console, and a keyboard is enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from streamt1.core.timeline import Scene
from streamt1.media.mp4 import write_video
from streamt1.report import write_report
from tests.report.traces import SlowDecoder, write_run, write_timeline

CHUNKS = 6
SCENES = (Scene("a circle", 4), Scene("a star", 4, "recache"), Scene("a square", 4), Scene("a bar", 4, "cut"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of six chunks: the toy's chunks are a frame long, at 16 frames per second."""
    folder = write_run(tmp_path_factory.mktemp("run"), CHUNKS)
    write_run(folder / "baseline", CHUNKS)
    for one in (folder, folder / "baseline"):
        write_video(one / "video.mp4", torch.zeros(CHUNKS, 64, 64, 3, dtype=torch.uint8), 16)
    return write_report(folder)


@pytest.fixture(scope="module")
def timeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of four scenes, at two frames per second: a scene lasts two seconds."""
    folder = tmp_path_factory.mktemp("timeline")
    for one in (folder, folder / "baseline"):
        write_timeline(one, SCENES, decoder=SlowDecoder())
        write_video(one / "video.mp4", torch.zeros(16, 64, 64, 3, dtype=torch.uint8), 2)
    return write_report(folder)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 scenes."""
    folder = tmp_path_factory.mktemp("many")
    write_timeline(folder, [Scene(f"a picture of number {one}", 1 + one % 2) for one in range(64)])
    write_video(folder / "video.mp4", torch.zeros(96, 64, 64, 3, dtype=torch.uint8), 16)
    return write_report(folder)


class Opened:
    """The page in a tab; ``noise`` collects what should not be: console messages, errors, requests."""

    def __init__(self, browser: Any, report: Path, width: int, scheme: str) -> None:
        self.noise: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.noise.append(message.text))
        self.page.on("pageerror", lambda error: self.noise.append(str(error)))
        self.page.on("request", lambda request: self._see(request.url))
        self.page.goto(report.as_uri())
        self.page.wait_for_function("[...document.querySelectorAll('video')].every(one => one.readyState >= 2)")

    def _see(self, address: str) -> None:
        if not address.startswith(("file:", "data:", "blob:")):
            self.noise.append(address)

    def focused(self) -> str:
        return self.page.evaluate("document.activeElement.dataset.node ?? document.activeElement.dataset.chunk")

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_opens_quietly_and_fits(browser: Any, report: Path, width: int, scheme: str) -> None:
    opened = Opened(browser, report, width, scheme)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    shade = opened.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert (int(shade) < 60) == (scheme == "dark")
    assert opened.noise == []
    opened.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("which", ["timeline", "many"])
def test_timelines_open_quietly_and_fit(
    browser: Any, which: str, width: int, scheme: str, request: pytest.FixtureRequest
) -> None:
    opened = Opened(browser, request.getfixturevalue(which), width, scheme)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    narrow = "one => one.scrollWidth > one.clientWidth + 1"
    parts = "[...document.querySelectorAll('.scene, .switch, .row, .say')]"
    assert not opened.page.evaluate(f"{parts}.some({narrow})"), "nothing sticks out of its place"
    assert opened.page.evaluate("document.getElementById('scene-list').clientHeight") < 480
    assert opened.noise == []
    opened.context.close()


def test_a_scene_is_chosen_played_and_named(browser: Any, timeline: Path) -> None:
    opened = Opened(browser, timeline, 1280, "light")
    page = opened.page
    assert opened.text("#playing") == "Scene 1 a circle"
    page.focus("#scene-list button >> nth=2")
    page.keyboard.press("Enter")
    page.wait_for_selector("#scene-list .now[data-scene='3']")
    assert opened.text("#playing") == "Scene 3 a square"
    times = page.evaluate("[...document.querySelectorAll('video')].map(one => one.currentTime)")
    assert all(4 <= time < 8 for time in times), times
    assert page.locator(".bar .now").count() == 2
    assert "of scene 3," in opened.text("#detail")
    page.click(".bar >> nth=0 >> [data-scene='2']")
    page.wait_for_selector("#scene-list .now[data-scene='2']")
    page.hover(".node.pruned >> nth=0")
    assert "of scene 1," in opened.text("#detail")
    assert "\u201ca circle\u201d" in opened.text("#detail")
    page.hover(".row >> nth=5")
    assert opened.text("#say").startswith("Chunk 6 (scene 2) reads sink 1")
    assert opened.noise == []
    opened.context.close()


def test_the_list_of_many_scenes_follows_the_video(browser: Any, many: Path) -> None:
    opened = Opened(browser, many, 1280, "light")
    page = opened.page
    assert page.evaluate("document.getElementById('scene-list').scrollTop") == 0
    page.evaluate("document.querySelector('video').currentTime = 5.5")
    page.wait_for_selector("#scene-list .now[data-scene='60']")
    assert page.evaluate("document.getElementById('scene-list').scrollTop") > 800
    assert opened.noise == []
    opened.context.close()


def test_a_keyboard_is_enough(browser: Any, report: Path) -> None:
    opened = Opened(browser, report, 1280, "light")
    page = opened.page
    page.focus(".node[tabindex='0']")
    first = opened.focused()
    assert f"Candidate {first}\n" in opened.text("#detail")
    for _ in range(CHUNKS - 1):
        page.keyboard.press("ArrowRight")
    last = opened.focused()
    assert "it is in the video" in opened.text("#detail")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("ArrowDown" if page.evaluate("document.activeElement.offsetTop") < 60 else "ArrowUp")
    assert opened.focused() != last
    page.keyboard.press("Home")
    assert opened.focused() == first
    page.keyboard.press("ArrowLeft")
    assert opened.focused() == first
    page.focus(".row[tabindex='0']")
    page.keyboard.press("Home")
    assert opened.text("#say").startswith("Chunk 1 begins the video")
    page.keyboard.press("ArrowDown")
    assert opened.text("#say").startswith("Chunk 2 reads sink 1")
    assert opened.noise == []
    opened.context.close()


def test_pointing_shows_scores_and_playing_marks_the_chunk(browser: Any, report: Path) -> None:
    opened = Opened(browser, report, 1280, "dark")
    page = opened.page
    page.hover(".node.pruned >> nth=0")
    assert "Pruned." in opened.text("#detail")
    assert page.locator("#detail .scale").count() == 3
    page.click(".node.chosen >> nth=2")
    page.click("#detail .watch")
    page.wait_for_selector(".row.now")
    page.click("#together")
    assert page.locator(".head.on").count() == 3
    page.wait_for_function("[...document.querySelectorAll('video')].every(one => one.paused)")
    page.wait_for_function("document.getElementById('together').textContent === 'Play both'")
    assert opened.noise == []
    opened.context.close()
