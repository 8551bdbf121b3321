"""The list of scenes in a real browser: written, put in order by key and by pointer, removed, refused, and run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.live import listening
from tests.server.test_browser import Tab
from tests.server.toy import Gate, toy_service

BALL = "a red circle bouncing on a navy striped background"
STAR = "a green star sliding on a teal plain background"
SQUARE = "a blue square circling on a white dotted background"
SAID = "document.getElementById('scenes-said').textContent"
FOCUSED = "document.activeElement.getAttribute('aria-label')"


class Desk(Tab):
    """The page, and what it sends."""

    def __init__(self, browser: Any, address: str, width: int = 1280) -> None:
        super().__init__(browser, address, width)
        self.sent: list[dict[str, Any]] = []
        self.page.on("websocket", lambda socket: socket.on("framesent", self._keep))
        self.ready()

    def _keep(self, frame: str | bytes) -> None:
        order = json.loads(frame)
        assert len(order.pop("idempotency_key", "0" * 32)) == 32
        self.sent.append(order)

    def add(self, prompt: str, seconds: str = "0.25") -> None:
        self.page.click("#add")
        self.page.keyboard.type(prompt)
        self.page.locator("[data-field=seconds]").last.fill(seconds)

    def prompts(self) -> list[str]:
        return self.page.evaluate("[...document.querySelectorAll('.scene textarea')].map((one) => one.value)")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def done(self) -> None:
        self.until("document.getElementById('state').textContent.startsWith('Done')")

    def close(self) -> None:
        assert self.noise == []
        self.context.close()


@pytest.fixture
def address(tmp_path: Path, gate: Gate) -> Iterator[str]:
    with listening(toy_service(tmp_path, gate)) as address:
        yield address
        gate.open()


def test_scenes_are_written_and_run_with_the_keyboard_alone(browser: Any, address: str) -> None:
    desk = Desk(browser, address)
    page = desk.page
    page.focus("#prompt")
    desk.press("Tab", "Enter")
    assert page.evaluate(FOCUSED) == "Prompt of scene 2"
    page.keyboard.type(STAR)
    desk.press("Tab")
    page.keyboard.type("0.25")
    desk.press("Tab", "ArrowDown", "ArrowDown", "ArrowDown")
    desk.press(*["Shift+Tab"] * 5)
    assert page.evaluate(FOCUSED) == "Move scene 2 up"
    desk.press("Enter")
    assert (page.evaluate(FOCUSED), page.evaluate(SAID)) == ("Move scene 1 up", "Scene 2 is now scene 1 of 2.")
    assert desk.prompts() == [STAR, BALL]
    desk.press("Enter")
    assert (page.evaluate(FOCUSED), desk.prompts()) == ("Move scene 1 up", [STAR, BALL])
    desk.press("Tab", "Enter")
    assert (page.evaluate(FOCUSED), desk.prompts()) == ("Move scene 2 down", [BALL, STAR])
    assert page.inner_text("#total") == "Two scenes, 5.3 s"
    page.locator("[data-field=seconds]").first.focus()
    desk.press("Control+a")
    page.keyboard.type("0.25")
    assert page.inner_text("#total") == "Two scenes, 0.5 s"
    desk.press("Enter")
    desk.done()
    [order] = desk.sent
    scenes = [{"prompt": BALL, "seconds": 0.25}, {"prompt": STAR, "seconds": 0.25, "memory": "cut"}]
    assert order["timeline"] == scenes
    assert {"prompt", "seconds"} & order.keys() == set()
    assert page.locator(".act > p").all_inner_texts() == [BALL, STAR]
    assert page.locator(".act >> nth=1 >> .column").count() == 4
    assert "Since chunk 5 there is another prompt: memory was" in page.inner_text("#memory-said")
    desk.until("document.getElementById('scene-number').textContent === 'Scene 2 of 2'")
    assert page.inner_text("#scene-prompt") == STAR
    page.wait_for_selector("#runs li.completed")
    assert "2 scenes" in page.inner_text("#runs small")
    desk.close()


def test_a_scene_is_dragged(browser: Any, address: str) -> None:
    desk = Desk(browser, address)
    page = desk.page
    desk.add(STAR)
    desk.add(SQUARE)
    page.locator(".scene textarea").last.focus()
    handle, last = page.locator(".handle").first.bounding_box(), page.locator(".scene").last.bounding_box()
    page.mouse.move(handle["x"] + 8, handle["y"] + 8)
    page.mouse.down()
    page.mouse.move(handle["x"] + 8, last["y"] + last["height"] - 20, steps=8)
    page.mouse.up()
    assert desk.prompts() == [STAR, SQUARE, BALL]
    assert page.evaluate(SAID) == "Scene 1 is now scene 3 of 3."
    assert page.evaluate("document.activeElement.value") == SQUARE
    assert page.locator(".scene b").all_inner_texts() == ["Scene 1", "Scene 2", "Scene 3"]
    assert [one.is_visible() for one in page.locator("[data-field=memory]").all()] == [False, True, True]
    handle = page.locator(".handle").last.bounding_box()
    page.mouse.move(handle["x"] + 8, handle["y"] + 8)
    page.mouse.down()
    page.mouse.move(handle["x"] + 8, handle["y"] - 100, steps=4)
    page.mouse.up()
    assert desk.prompts() == [STAR, BALL, SQUARE]
    desk.close()


def test_removing_keeps_focus_and_one_scene_is_a_plain_prompt(browser: Any, address: str) -> None:
    desk = Desk(browser, address)
    page = desk.page
    page.fill("#seconds", "0.25")
    page.click("#start")
    desk.done()
    desk.add(STAR)
    desk.add(SQUARE)
    assert page.is_hidden("#prompt")
    assert page.is_hidden("#seconds")
    assert page.is_hidden("#live")
    page.locator("[data-field=remove]").nth(1).focus()
    desk.press("Enter")
    assert page.evaluate("document.activeElement.value") == SQUARE
    assert page.evaluate(SAID) == "Scene 2 is removed, two are left."
    page.locator("[data-field=remove]").nth(1).click()
    assert page.evaluate("document.activeElement.id") == "prompt"
    assert page.evaluate(SAID) == "Scene 2 is removed, one is left."
    assert (page.input_value("#prompt"), page.input_value("#seconds"), desk.prompts()) == (BALL, "0.25", [])
    desk.press("Enter")
    page.wait_for_selector("#runs li:nth-child(2)")
    desk.done()
    assert desk.sent[0] == desk.sent[1]
    assert (desk.sent[1]["prompt"], desk.sent[1]["seconds"]) == (BALL, 0.25)
    assert "timeline" not in desk.sent[1]
    desk.close()


@pytest.mark.parametrize(
    ("prompt", "seconds", "says", "field"),
    [("a red zebra", "0.25", "scene 2: prompt: ", "prompt"), (STAR, "0.001", "scene 2 is too short", "seconds")],
)
def test_a_refused_scene_is_named_and_marked(
    browser: Any, address: str, prompt: str, seconds: str, says: str, field: str
) -> None:
    desk = Desk(browser, address)
    page = desk.page
    desk.add(prompt, seconds)
    desk.add(SQUARE)
    page.click("#start")
    desk.until(f"document.getElementById('problem').textContent.includes('{says}')")
    assert page.evaluate("document.activeElement.dataset.field") == field
    wrong = page.locator("[aria-invalid=true]")
    assert wrong.evaluate_all("all => all.map((one) => one.closest('li').innerText.split('\\n')[1])") == ["Scene 2"]
    wrong.fill(STAR if field == "prompt" else "0.25")
    assert wrong.count() == 0
    page.locator("[data-field=seconds]").first.fill("0.25")
    page.click("#start")
    desk.done()
    desk.close()


def test_six_scenes_fit_on_a_phone(browser: Any, address: str) -> None:
    desk = Desk(browser, address, 360)
    for prompt in (STAR, SQUARE, BALL, STAR, "a very" + "long" * 30 + "word"):
        desk.add(prompt)
    assert desk.page.evaluate("document.documentElement.scrollWidth") <= 360
    desk.page.locator(".scene textarea").last.fill(SQUARE)
    desk.page.locator("[data-field=seconds]").first.fill("0.25")
    desk.page.click("#start")
    desk.done()
    assert desk.page.locator(".act").count() == 6
    assert desk.page.evaluate("document.documentElement.scrollWidth") <= 360
    desk.close()
