"""The page and videos that outlive it: an outage, another page, another client's videos."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamt1.server.app import Server, make_app
from tests.server.live import listening
from tests.server.test_browser import Tab
from tests.server.test_sessions import ORDER, after
from tests.server.toy import Gate, toy_service, until

CHUNKS = 16
DONE = "document.getElementById('state').textContent.startsWith('Done')"


@pytest.fixture
def address(tmp_path: Path, gate: Gate) -> Iterator[str]:
    with listening(toy_service(tmp_path, gate)) as address:
        yield address
        gate.open()


@contextmanager
def on_port(data: Path, gate: Gate, port: int) -> Iterator[None]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        server = Server(make_app(toy_service(data, gate)), log_level="warning", timeout_graceful_shutdown=2)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        until(lambda: server.started)
        yield
        server.should_exit = True
        gate.open()
        thread.join(20)


def test_the_page_comes_again_after_an_outage(browser: Any, tmp_path: Path, gate: Gate) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    after(gate, 8)
    with on_port(tmp_path, gate, port):
        tab = Tab(browser, f"http://127.0.0.1:{port}")
        page = tab.page
        tab.ready()
        page.fill("#seconds", "1")
        page.click("#start")
        until(lambda: gate.held)
        tab.until("document.getElementById('video').buffered.length > 0")
    tab.until("document.getElementById('state').textContent.startsWith('No connection')")
    gate.first = lambda: None
    with on_port(tmp_path, gate, port):
        tab.until(DONE)
        tab.until(f"document.getElementById('video').buffered.length === 1 && video.buffered.end(0) === {CHUNKS / 16}")
        assert page.locator(".column").count() == CHUNKS
        assert page.locator(".column .chosen").count() == CHUNKS
        assert page.inner_text("#problem") == ""
        page.wait_for_selector("#runs li.completed img")
        tab.context.close()


def test_a_page_that_is_closed_leaves_its_video_to_another(browser: Any, address: str, gate: Gate) -> None:
    after(gate, 8)
    tab = Tab(browser, address)
    tab.ready()
    tab.page.fill("#seconds", "1")
    tab.page.click("#start")
    until(lambda: gate.held)
    tab.until("location.hash.startsWith('#video_')")
    view = tab.page.url
    tab.context.close()
    other = Tab(browser, address)
    other.ready()
    other.page.click("#runs a >> text=Watch")
    assert other.page.url == view
    other.until("document.getElementById('video').buffered.length > 0")
    other.page.click("#leave")
    assert other.state() == "It goes on without you."
    other.page.reload()
    other.page.goto(view)
    gate.open()
    other.until(DONE)
    assert other.page.locator(".column .chosen").count() == CHUNKS
    assert other.noise == []
    other.context.close()


def test_videos_of_other_clients_appear_and_focus_stays(browser: Any, address: str) -> None:
    seed = 2**53 + 1
    with httpx.Client(base_url=address) as client:
        first = client.post("/v1/videos", json=ORDER).json()["id"]
        tab = Tab(browser, address)
        page = tab.page
        page.wait_for_selector("#runs li.completed img")
        assert "Watch" not in page.inner_text("#runs")
        page.focus("#runs a >> text=Report")
        client.post("/v1/videos", json={**ORDER, "seed": seed})
        page.wait_for_selector("#runs li.completed >> nth=1", timeout=20000)
        assert f"seed {seed}" in page.inner_text("#runs li >> nth=0")
        assert page.evaluate("document.activeElement.dataset.place") == f"{first} Report"
        year = page.evaluate("new Date().getFullYear()")
        assert str(year) in page.inner_text("#runs li small >> nth=0")
        page.fill("#seed", str(seed + 1))
        page.fill("#seconds", "0.5")
        page.click("#start")
        tab.until(DONE)
        assert client.get("/v1/videos?limit=1").json()["data"][0]["seed"] == seed + 1
        page.fill("#seed", "-1")
        page.click("#start")
        tab.until("document.getElementById('problem').textContent.includes('seed')")
        assert page.evaluate("document.activeElement.id") == "seed"
        assert tab.noise == []
        tab.context.close()


def test_a_picture_can_be_chosen(browser: Any, address: str) -> None:
    """The toy begins with prompts alone, and says so; what is sent and that it is viewed is the same for all."""
    tab = Tab(browser, address)
    page, sent = tab.page, list[Any]()
    page.on("request", lambda request: sent.append(request.method))
    tab.noise.clear()
    tab.ready()
    png = page.locator("#start").screenshot()
    page.set_input_files("#picture", {"name": "start.png", "mimeType": "image/png", "buffer": png})
    tab.until(
        "!document.getElementById('picture-shown').hidden && document.getElementById('picture-shown').naturalWidth"
    )
    page.click("#start")
    tab.until("document.getElementById('problem').textContent.length > 0")
    assert "POST" in sent
    assert page.get_attribute("#picture", "aria-invalid") == "true"
    page.click("#no-picture")
    assert page.is_hidden("#picture-shown")
    page.fill("#seconds", "0.5")
    page.click("#start")
    tab.until(DONE)
    tab.context.close()


@pytest.mark.parametrize("lost", [False, True])
def test_an_order_is_stopped_before_its_answer(browser: Any, address: str, gate: Gate, lost: bool) -> None:
    """What the server says is held back, or lost: the video is cancelled as soon as its name is known."""
    held, shut, sides = list[Any](), [True], list[Any]()

    def on_the_way(page_side: Any) -> None:
        def pass_on(message: Any) -> None:
            held.append(message) if shut else page_side.send(message)

        page_side.connect_to_server().on_message(pass_on)
        sides.append(page_side)

    gate.shut()
    tab = Tab(browser, address)
    page = tab.page
    page.route_web_socket("**/v1/stream*", on_the_way)
    page.reload()
    tab.ready()
    page.click("#start")
    until(lambda: page.evaluate("true") and held)
    if lost:
        sides[0].close(code=1011)
        tab.until("document.getElementById('state').textContent.startsWith('No connection')")
    page.click("#stop")
    assert tab.state() == "Stopping."
    shut.clear()
    if not lost:
        for message in held:
            sides[0].send(message)
    tab.until("location.hash.startsWith('#video_')")
    until(lambda: [one["status"] for one in httpx.get(f"{address}/v1/videos").json()["data"]] == ["cancelled"])
    gate.open()
    tab.until("document.getElementById('state').textContent === 'Stopped.'")
    page.wait_for_selector("#runs li.cancelled")
    until(lambda: page.locator("#runs a").all_inner_texts() == [])  # nothing of it was decided
    assert page.get_attribute("#start", "aria-disabled") == "false"
    assert page.inner_text("#problem") == ""
    assert tab.noise == []
    tab.context.close()
