"""The page's list of runs: trouble that passes, a key that is changed, and runs of long ago."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamt1.server import keys, websocket
from streamt1.server.keys import KeyFile
from streamt1.server.limits import Limits
from streamt1.server.schemas import new_id
from streamt1.server.service import Service
from tests.server.live import listening
from tests.server.test_browser import Tab
from tests.server.test_sessions import ORDER
from tests.server.toy import Gate, toy_presets, until

OLD, NEW = "the key of last year", "the key of this year"
LOOK = "document.dispatchEvent(new Event('visibilitychange'))"
SAID = "document.getElementById('problem').textContent"


@pytest.fixture
def address(service: Service, gate: Gate) -> Iterator[str]:
    with listening(service) as address:
        yield address
        gate.open()


def answering(page: Any, answers: list[tuple[int, str]]) -> list[str]:
    """The list is answered so, each answer once, and then by the server; the addresses that were asked for."""
    asked: list[str] = []

    def answer(route: Any) -> None:
        asked.append(route.request.url)
        if not answers:
            return route.fallback()
        status, body = answers.pop(0)
        return route.fulfill(status=status, body=body)

    page.route("**/v1/videos?*", answer)
    return asked


def looked(tab: Tab, asked: list[str]) -> None:
    """Lets the page look at its list again, and waits until it has."""
    before = len(asked)
    tab.page.evaluate(LOOK)
    until(lambda: tab.page.evaluate("true") and len(asked) > before)


STORAGE = json.dumps({"error": {"message": "the disk is full", "param": None, "code": "storage"}})


def test_trouble_of_the_list_passes(browser: Any, address: str) -> None:
    tab = Tab(browser, address)
    tab.ready()
    answers: list[tuple[int, str]] = [(507, STORAGE)]
    asked = answering(tab.page, answers)
    looked(tab, asked)
    tab.until(f"{SAID} === 'the disk is full'")
    looked(tab, asked)
    tab.until(f"{SAID} === ''")
    for status in (502, 503, 504):
        answers.append((status, "<h1>Bad Gateway</h1>"))
        looked(tab, asked)
        looked(tab, asked)
        assert tab.page.evaluate(SAID) == "", "the server is asked again"
    tab.context.close()


def test_what_else_is_wrong_is_left_alone(browser: Any, address: str) -> None:
    """What is announced is announced once, and what a look did not say it does not take back."""
    tab = Tab(browser, address)
    tab.ready()
    answers = [(507, STORAGE)] * 2
    asked = answering(tab.page, answers)
    tab.page.evaluate(
        "window.said = []; new MutationObserver(() => said.push(problem.textContent))"
        ".observe(document.getElementById('problem'), { childList: true, characterData: true, subtree: true })"
    )
    looked(tab, asked)
    tab.until(f"{SAID} === 'the disk is full'")
    looked(tab, asked)
    looked(tab, asked)
    tab.until(f"{SAID} === ''")
    assert tab.page.evaluate("said") == ["the disk is full", ""]
    answers.append((507, STORAGE))
    looked(tab, asked)
    tab.until(f"{SAID} === 'the disk is full'")
    tab.page.fill("#prompt", "a red zebra")
    tab.page.click("#start")
    tab.until(f"{SAID}.includes('zebra')")
    looked(tab, asked)
    assert "zebra" in tab.page.evaluate(SAID)
    tab.context.close()


@contextmanager
def locked(tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    monkeypatch.setattr(keys, "LOOKED_AT_EVERY", 0.0)
    monkeypatch.setattr(websocket, "QUIET", 0.1)
    path = tmp_path / "keys.json"
    write(path, OLD)
    service = Service.over([toy_presets(gate)], tmp_path / "data", Limits(), keys=KeyFile(path, Limits()))
    with listening(service) as address:
        yield address, path
        gate.open()


def write(path: Path, key: str) -> None:
    path.write_text(json.dumps([{"name": "ann", "key": key}]))


def logged_in(tab: Tab, key: str) -> None:
    tab.page.wait_for_selector("#key")
    tab.page.fill("#key", key)
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("#login", state="hidden")


def test_a_key_that_was_changed_is_asked_for(
    browser: Any, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(tmp_path, gate, monkeypatch) as (address, path):
        tab = Tab(browser, address)
        page = tab.page
        logged_in(tab, OLD)
        tab.ready()
        page.fill("#prompt", "a red circle resting on a teal plain background")
        page.focus("#prompt")
        asked = answering(page, [])
        write(path, NEW)
        looked(tab, asked)
        page.wait_for_selector("#login:not([hidden])")
        assert page.evaluate("document.activeElement.id") == "key"
        assert page.is_hidden("#order")
        page.keyboard.type(NEW[:9])
        looked(tab, asked)
        page.wait_for_timeout(100)
        assert (page.input_value("#key"), page.evaluate("document.activeElement.id")) == (NEW[:9], "key")
        page.keyboard.press("Enter")
        tab.until("document.getElementById('login-problem').textContent.length > 0")
        logged_in(tab, NEW)
        tab.ready()
        assert page.evaluate("document.activeElement.id") == "prompt"
        assert page.input_value("#prompt") == "a red circle resting on a teal plain background"
        assert page.evaluate(SAID) == ""
        seen = len(asked)
        until(lambda: page.evaluate("true") and len(asked) > seen, 20)  # the list is asked for again and again
        tab.context.close()


def test_a_video_is_viewed_again_with_the_new_key(
    browser: Any, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(tmp_path, gate, monkeypatch) as (address, path):
        tab = Tab(browser, address)
        logged_in(tab, OLD)
        tab.ready()
        gate.shut()
        tab.page.fill("#seconds", "0.5")
        tab.page.click("#start")
        tab.until("location.hash.startsWith('#video_')")
        write(path, NEW)
        tab.page.wait_for_selector("#login:not([hidden])")
        tab.until("document.getElementById('run').hidden")
        logged_in(tab, NEW)
        tab.page.wait_for_selector("#run:not([hidden])")
        gate.open()
        tab.until("document.getElementById('state').textContent.startsWith('Done')")
        assert tab.page.evaluate(SAID) == ""
        tab.context.close()


def test_runs_of_long_ago_can_be_reached(browser: Any, address: str, service: Service) -> None:
    httpx.post(f"{address}/v1/videos", json={**ORDER, "prompt": "a red circle resting on a teal plain background"})
    until(lambda: not service.queue.waiting() and not service.queue.at_work())
    store = service.queue.store
    with store.lock, store.connection as connection:
        columns = "request, preset, chunks, size, stream, status, progress, attempts, created_at, completed_at, code"
        for _ in range(220):
            connection.execute(
                f"INSERT INTO jobs (id, {columns}) SELECT ?, {columns} FROM jobs WHERE seq = 1", (new_id(),)
            )
    tab = Tab(browser, address, 390)
    page = tab.page
    for shown in (8, 16, 32, 64, 128):
        tab.until(f"document.querySelectorAll('#runs li').length === {shown}")
        page.focus("#older")
        page.keyboard.press("Enter")
        if shown < 128:
            tab.until("document.activeElement.id === 'older'")
    tab.until("document.querySelectorAll('#runs li').length === 221")
    assert page.is_hidden("#older")
    assert page.evaluate("document.activeElement.closest('li') === document.querySelectorAll('#runs li')[128]")
    names = page.eval_on_selector_all("#runs li", "(rows) => rows.map((row) => row.dataset.id)")
    assert len(set(names)) == 221
    assert names[0] == httpx.get(f"{address}/v1/videos?limit=1").json()["data"][0]["id"]
    tab.context.close()


def test_the_last_older_runs_are_not_ended_by_who_asks_for_them(
    browser: Any, address: str, service: Service, gate: Gate
) -> None:
    """Focus goes on from the button to what shows the first of them, so that the same key does not cancel it."""
    gate.shut()
    for seed in range(10):
        httpx.post(f"{address}/v1/videos", json={**ORDER, "seed": seed})
    tab = Tab(browser, address)
    page = tab.page
    tab.until("document.querySelectorAll('#runs li').length === 8")
    page.focus("#older")
    page.keyboard.press("Enter")
    tab.until("document.querySelectorAll('#runs li').length === 10")
    assert page.evaluate("document.activeElement.closest('li') === document.querySelectorAll('#runs li')[8]")
    assert page.evaluate("document.activeElement.textContent") == "Watch"
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    assert {one["status"] for one in httpx.get(f"{address}/v1/videos").json()["data"]} == {"queued", "in_progress"}
    tab.context.close()


def test_a_video_of_which_nothing_was_decided_is_no_video(
    browser: Any, address: str, service: Service, gate: Gate
) -> None:
    """Whoever cancels it: its viewer's player is given no file that is not there, and no length is told."""
    gate.shut()
    tab = Tab(browser, address)
    page = tab.page
    tab.ready()
    page.click("#start")
    tab.until("location.hash.startsWith('#video_')")
    until(lambda: page.evaluate("true") and gate.held)
    name = page.evaluate("location.hash.slice(1)")
    httpx.post(f"{address}/v1/videos/{name}/cancel")
    gate.open()
    tab.until("document.getElementById('state').textContent === 'Stopped.'")
    until(lambda: httpx.get(f"{address}/v1/videos/{name}").json()["chunks"] == 0)
    assert httpx.get(f"{address}/v1/videos/{name}").json()["seconds"] == "0"
    page.wait_for_selector("#runs li.cancelled")
    assert page.evaluate("document.getElementById('video').error") is None
    assert page.inner_text("#decided") == "nothing decided yet"
    until(lambda: " s \u00b7" not in page.inner_text("#runs li.cancelled small"))
    tab.context.close()


def test_lengths_are_told_in_tenths_of_a_second(browser: Any, address: str) -> None:
    page = Tab(browser, address).page
    told = page.evaluate("import('/page/dom.js').then((dom) => [4.312, '5', '0.96', 81.25].map(dom.inSeconds))")
    assert told == ["4.3 s", "5 s", "1 s", "81.3 s"]
