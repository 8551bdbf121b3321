"""Live videos in a real browser: talked to, refused, ended; and what a page holds of a long one."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from streamt1.media.fragments import FragmentWriter
from streamt1.server.limits import Limits
from tests.server.live import listening
from tests.server.test_browser import Tab
from tests.server.toy import Gate, toy_service, until

BALL = "a red circle bouncing on a navy striped background"
STAR = "a green star sliding on a teal plain background"
SQUARE = "a blue square circling on a white dotted background"


@pytest.fixture
def address(tmp_path: Path, gate: Gate) -> Iterator[str]:
    with listening(toy_service(tmp_path, gate, Limits(seconds=3600))) as address:
        yield address
        gate.open()


class LiveTab(Tab):
    """The page with a live video that has begun to show."""

    def __init__(self, browser: Any, address: str, gate: Gate, pause: float = 0.005, width: int = 1280) -> None:
        super().__init__(browser, address, width)
        self.sent: list[dict[str, Any]] = []
        self.page.on("websocket", lambda socket: socket.on("framesent", self._keep))
        gate.first = lambda: time.sleep(pause)
        self.ready()
        self.page.check("#live")
        assert self.page.is_hidden("#seconds")
        assert self.page.is_hidden("#add")
        self.page.click("#start")
        self.until("document.getElementById('video').buffered.length > 0")

    def _keep(self, frame: str | bytes) -> None:
        self.sent.append(json.loads(frame))

    def change(self, prompt: str) -> None:
        self.page.fill("#next", prompt)
        self.page.press("#next", "Enter")

    def chunk(self) -> int:
        return int(self.state().removeprefix("Making chunk ").removesuffix("."))

    def end(self) -> None:
        self.page.click("#end")
        self.until("document.getElementById('state').textContent.startsWith('Done')")

    def close(self) -> None:
        assert self.noise == []
        self.context.close()


def test_a_live_video_takes_prompts_and_ends(browser: Any, address: str, gate: Gate) -> None:
    tab = LiveTab(browser, address, gate)
    page = tab.page
    assert page.inner_text("#scene-prompt") == BALL
    gate.shut()
    until(lambda: gate.held)
    tab.change(STAR)
    tab.until("document.getElementById('pending').textContent.startsWith('From chunk ')")
    begins, at = re.findall(r"[\d.]*\d", page.inner_text("#pending"))
    assert float(at) == pytest.approx((int(begins) - 1) / 16, abs=0.06)
    assert (page.input_value("#next"), page.evaluate("document.activeElement.id")) == ("", "next")
    page.fill("#next", SQUARE)
    page.click("#change")
    tab.until("document.getElementById('pending').textContent.endsWith('One prompt more waits.')")
    gate.open()
    tab.until(f"document.getElementById('scene-prompt').textContent === '{SQUARE}'")
    assert page.inner_text("#scene-number") == "Scene 3"
    assert page.inner_text("#talk-said").startswith(f"Since chunk {int(begins) + 1}: \u201c{SQUARE}\u201d.")
    assert page.inner_text("#pending") == ""
    assert "another prompt: memory was" in page.inner_text("#memory-said")
    assert page.locator(".act > p").all_inner_texts() == [BALL, STAR, SQUARE]
    tab.end()
    assert page.is_hidden("#talk")
    assert page.is_hidden("#end")
    assert page.is_hidden("#stop")
    assert page.evaluate("document.activeElement.id") == "start"
    columns = page.locator(".column").count()
    assert page.locator(".column .chosen").count() == columns
    tab.until(f"document.getElementById('video').duration === {columns / 16}")
    tab.until(f"document.getElementById('video').currentTime > {columns / 16 - 0.2}")
    assert tab.sent[1:] == [{"prompt": STAR}, {"prompt": SQUARE}, {"end": True}]
    assert "seconds" not in tab.sent[0]
    assert "timeline" not in tab.sent[0]
    with tab.context.expect_page() as opened:
        page.click("#runs li.completed a >> nth=0")
    opened.value.wait_for_selector("#tree")
    tab.close()


def test_a_refused_prompt_does_not_end_the_video(browser: Any, address: str, gate: Gate) -> None:
    tab = LiveTab(browser, address, gate, width=360)
    page = tab.page
    tab.change("a red zebra")
    tab.until("document.getElementById('talk-problem').textContent.includes('zebra')")
    assert (page.input_value("#next"), page.get_attribute("#next", "aria-invalid")) == ("a red zebra", "true")
    assert page.inner_text("#pending") == ""
    begun = tab.chunk()
    until(lambda: tab.chunk() > begun)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    tab.change(STAR)
    tab.until(f"document.getElementById('scene-prompt').textContent === '{STAR}'")
    assert page.inner_text("#talk-problem") == ""
    tab.end()
    page.wait_for_selector("#runs li.completed")
    tab.close()


def test_stopping_a_live_video_keeps_what_is_decided(browser: Any, address: str, gate: Gate) -> None:
    tab = LiveTab(browser, address, gate)
    tab.change(BALL)
    tab.page.click("#stop")
    tab.page.wait_for_selector("#runs li.cancelled")
    tab.until("document.getElementById('state').textContent === 'Stopped.'")
    assert tab.page.is_hidden("#talk")
    tab.close()


BOARD = """async () => {
  const { Board } = await import("/page/board.js"), { Memory } = await import("/page/memory.js");
  const board = new Board(), memory = new Memory(), CHUNKS = 500;
  document.getElementById("run").hidden = false;
  memory.reset(null);
  board.scene("the first");
  for (let chunk = 0; chunk < CHUNKS; chunk += 1) {
    if (chunk % 150 === 149) {
      board.scene(`since ${chunk}`);
      memory.switched({ chunk, candidate: 2 * chunk - 2, sinks: [], window: [], rewritten: [] });
    }
    board.chunk({ chunk, candidates: 2 });
    for (const candidate of [2 * chunk, 2 * chunk + 1]) {
      board.proposed({ candidate });
      board.picture({ candidate, webp: "" });
    }
    board.committed({ candidate: 2 * chunk, beam: 0 });
    memory.committed({ candidate: 2 * chunk, beam: 0 });
    memory.changed({ chunk, candidate: 2 * chunk, sinks: [0, 9], window: [chunk], left: null });
    if (chunk > 300) board.settled({ candidate: 2 * chunk - 600 });
  }
  const cells = [...document.querySelectorAll("#strip .cell")].map((one) => one.className.trim());
  const shown = () => document.querySelectorAll(".column").length;
  const last = [shown(), board.tiles.size, board.candidates.size, cells.length, cells[0], cells.at(-1)];
  board.scene("never");
  board.chunk({ chunk: CHUNKS, candidates: 2 });
  board.ends(CHUNKS);
  return [last, shown(), [...document.querySelectorAll(".act > p")].map((one) => one.textContent)];
}"""


def test_a_long_video_s_board_and_strip_stay_small(browser: Any, address: str) -> None:
    tab = Tab(browser, address)
    tab.ready()
    last, ended, scenes = tab.page.evaluate(BOARD)
    assert last == [200, 400, 2, 26, "cell sink", "cell window"]
    assert (ended, scenes) == (199, ["since 299", "since 449"])
    assert tab.page.inner_text("#dropped") == "The last 200 chunks; the report shows them all."
    assert tab.page.inner_text("#memory-said") == (
        "Chunk 501 reads sinks 1 and 10 and one chunk of window."
        " Since chunk 450 there is another prompt: memory was emptied for it."
    )
    tab.context.close()


def fragments(seconds: int) -> list[str]:
    """The header of a video, and a fragment for each second."""
    writer = FragmentWriter(4)
    made = [writer.write(torch.full((4, 32, 32, 3), 40 + second % 100, dtype=torch.uint8)) for second in range(seconds)]
    return [base64.b64encode(one).decode() for one in (writer.header, *made)]


PLAYER = """async ([pieces, follows]) => {
  const { Player } = await import("/page/player.js");
  const bytes = pieces.map((text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer);
  const video = document.createElement("video"), state = { follows };
  video.muted = true;
  document.body.append(video);
  const player = new Player(video, () => state.follows), pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const settled = async () => { do await pause(50); while (player.buffer?.updating); };
  const ranges = () => [...Array(video.buffered.length).keys()];
  const held = () => ranges().map((at) => [video.buffered.start(at), video.buffered.end(at)].map(Math.round));
  const to = async (second) => { video.currentTime = second; await pause(300); await settled(); return held(); };
  player.open('video/mp4; codecs="avc1.64000a"', null, true);
  const put = async (from, until) => {
    for (const one of bytes.slice(from, until)) player.append(one);
    await pause(300);
    await settled();
    return held();
  };
  %s
}"""


def played(tab: Tab, steps: str, follows: bool, seconds: int = 300) -> Any:
    return tab.page.evaluate(PLAYER % steps, [fragments(seconds), follows])


def test_a_player_holds_little_of_a_long_video(browser: Any, address: str) -> None:
    tab = Tab(browser, address)
    tab.ready()
    ahead, further, late, back = played(
        tab,
        """const ahead = await put(0, 301), further = await to(50);
        await to(100);
        await to(150);
        const late = await to(200);
        await to(5);
        return [ahead, further, late, Math.round(video.currentTime)];""",
        follows=False,
    )
    assert 58 <= ahead[0][1] <= 64
    assert 108 <= further[0][1] <= 114
    assert 60 <= late[0][0] <= 82
    assert 258 <= late[0][1] <= 264
    assert back >= late[0][0]
    assert tab.noise == []
    tab.context.close()


def test_a_player_goes_on_when_the_browser_holds_no_more(browser: Any, address: str) -> None:
    tab = Tab(browser, address)
    tab.ready()
    before, after = played(
        tab,
        """await put(0, 41); await to(20);
        const real = player.buffer.appendBuffer.bind(player.buffer);
        let full = true;
        player.buffer.addEventListener("updateend", () => { if (video.buffered.start(0) > 10) full = false; });
        player.buffer.appendBuffer = (one) => {
          if (full) throw new DOMException("full", "QuotaExceededError");
          real(one);
        };
        const before = held(), after = await put(41, 51);
        return [before, after];""",
        follows=False,
    )
    assert before == [[0, 40]]
    assert after[0][0] >= 15
    assert after[0][1] == 50
    assert tab.noise == []
    tab.context.close()


def test_a_live_player_keeps_up(browser: Any, address: str) -> None:
    tab = Tab(browser, address)
    tab.ready()
    near, scene = played(
        tab,
        """await put(0, 41);
        const near = Math.round(video.currentTime);
        await put(41, 51); player.awaits(45); await put(51, 53);
        return [near, video.currentTime];""",
        follows=True,
    )
    assert 28 <= near <= 31
    assert 43.9 <= scene <= 47
    assert tab.noise == []
    tab.context.close()
