"""The page in a real browser: it opens from disk without a word on the console, and a keyboard is enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from streamt1.media.mp4 import write_video
from streamt1.report import write_report
from tests.report.traces import write_run

CHUNKS = 6


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of six chunks: the toy's chunks are a frame long, at 16 frames per second."""
    folder = write_run(tmp_path_factory.mktemp("run"), CHUNKS)
    write_run(folder / "baseline", CHUNKS)
    for one in (folder, folder / "baseline"):
        write_video(one / "video.mp4", torch.zeros(CHUNKS, 64, 64, 3, dtype=torch.uint8), 16)
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
    assert opened.text("#say").startswith("Chunk 0 begins the video")
    page.keyboard.press("ArrowDown")
    assert opened.text("#say").startswith("Chunk 1 reads sink 0")
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
    assert opened.text("#together") == "Play both"
    assert opened.noise == []
    opened.context.close()
