"""The live page in a real browser: it runs a search, shows it, and says nothing on the console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.live import listening
from tests.server.toy import Gate, toy_service, until

CHUNKS = 16
KEY = "a key"


class Tab:
    """The page in a tab; ``noise`` collects what should not be: console messages, errors, requests elsewhere."""

    def __init__(self, browser: Any, address: str, width: int = 1280, scheme: str = "light", **more: Any) -> None:
        self.noise: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.noise.append(message.text))
        self.page.on("pageerror", lambda error: self.noise.append(str(error)))
        self.page.on("request", lambda request: self._see(request.url, address))
        self.page.goto(address)

    def _see(self, url: str, address: str) -> None:
        if not url.startswith((address, address.replace("http", "ws"), "data:", "blob:")):
            self.noise.append(url)

    def until(self, true: str) -> None:
        """Waits for an expression; the page's own policy forbids what Playwright would do."""
        until(lambda: self.page.evaluate(true))

    def ready(self) -> None:
        self.until("document.getElementById('preset').options.length > 0")

    def state(self) -> str:
        return self.page.inner_text("#state")


@pytest.fixture
def address(tmp_path: Path, gate: Gate) -> Iterator[str]:
    with listening(toy_service(tmp_path, gate)) as address:
        yield address
        gate.open()


def test_nothing_can_be_asked_for_before_the_presets_are_known(browser: Any, address: str) -> None:
    tab = Tab(browser, "about:blank")
    held: list[Any] = []
    tab.page.route("**/v1/models", lambda route: held.append(route))
    with tab.page.expect_request("**/v1/models"):
        tab.page.goto(address)
    assert tab.page.is_disabled("#start")
    tab.page.focus("#prompt")
    tab.page.keyboard.press("Enter")
    assert tab.page.is_hidden("#run")
    assert tab.page.inner_text("#problem") == ""
    held.pop().fallback()
    tab.until("!document.getElementById('start').disabled")
    tab.page.keyboard.press("Enter")
    tab.until("document.getElementById('state').textContent.startsWith('Done')")


def test_a_run_is_seen_while_it_goes_on(browser: Any, address: str, gate: Gate) -> None:
    tab = Tab(browser, address)
    page = tab.page
    tab.ready()
    page.fill("#seconds", "1")
    gate.shut()
    page.focus("#prompt")
    page.keyboard.press("Enter")
    tab.until("document.getElementById('now-title').textContent === 'Chunk 1'")
    page.wait_for_selector("#runs li.in_progress")  # the list asks the server for itself, a moment later
    assert page.locator("#runs li.in_progress").count() == 1
    gate.open()
    page.wait_for_selector(".card img")
    tab.until("document.getElementById('state').textContent.startsWith('Done')")
    assert page.locator(".column").count() == CHUNKS
    assert page.locator(".column img").count() == 4 * CHUNKS
    assert page.locator(".column .chosen").count() == CHUNKS
    assert page.locator(".card").count() == 4
    assert page.locator(".card.pruned").count() + page.locator(".card.survived").count() == 4
    assert page.locator(".card.best").count() == 1
    assert page.locator(".strip .sink").count() >= 1
    tab.until("document.getElementById('video').buffered.length > 0")
    tab.until(f"document.getElementById('video').duration === {CHUNKS / 16}")
    tab.until(f"document.getElementById('video').buffered.end(0) === {CHUNKS / 16}")
    assert page.inner_text("#decided") == "1.0 of 1.0 s decided"
    page.wait_for_selector("#runs li.completed img")
    with tab.context.expect_page() as opened:
        page.click("#runs a >> nth=0")
    opened.value.wait_for_selector("#tree")
    assert tab.noise == []
    tab.context.close()


def test_the_video_grows_before_the_search_ends(browser: Any, address: str, gate: Gate) -> None:
    tab = Tab(browser, address)
    page, passed = tab.page, []

    def few() -> None:
        passed.append(1)
        if len(passed) == 12:
            gate.shut()

    tab.ready()
    page.fill("#seconds", "1")
    page.select_option("#lag", "1")
    gate.first = few
    page.click("#start")
    tab.until("document.getElementById('video').buffered.length > 0")
    assert tab.state().startswith("Making chunk")
    assert page.evaluate("document.getElementById('video').buffered.end(0)") < 1
    assert page.is_hidden("#waiting")
    page.click("#stop")
    gate.open()
    tab.until("document.getElementById('state').textContent === 'Stopped.'")
    page.wait_for_selector("#runs li.cancelled")
    assert page.inner_text("#runs li.cancelled small").startswith("stopped: somebody asked for it to be stopped")
    assert page.locator("#runs a").all_inner_texts() == ["Video"]
    assert page.is_enabled("#start")
    page.click("#runs .drop")
    page.click("#sure-no")
    assert page.evaluate("document.activeElement.textContent") == "Delete"
    page.click("#runs .drop")
    page.click("#sure-yes")
    page.wait_for_selector("#none:not([hidden])")
    assert tab.noise == []
    tab.context.close()


def test_without_mediasource_the_video_grows_too(browser: Any, address: str) -> None:
    tab = Tab(browser, "about:blank")
    tab.context.add_init_script("delete window.MediaSource; delete window.ManagedMediaSource")
    tab.noise.clear()
    page = tab.page
    page.goto(address)
    tab.ready()
    page.fill("#seconds", "1")
    page.click("#start")
    tab.until("document.getElementById('state').textContent.startsWith('Done')")
    tab.until("document.getElementById('video').readyState >= 2")
    assert page.evaluate("document.getElementById('video').src").startswith("blob:")
    assert [one for one in tab.noise if not one.startswith(address) and not one.startswith("ws:")] == []
    tab.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits(browser: Any, address: str, width: int, scheme: str) -> None:
    tab = Tab(browser, address, width, scheme)
    tab.ready()
    tab.page.fill("#seconds", "1")
    tab.page.click("#start")
    tab.page.wait_for_selector("#runs li.completed")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    shade = tab.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert (int(shade) < 60) == (scheme == "dark")
    assert tab.noise == []
    tab.context.close()


def test_what_is_wrong_is_said(browser: Any, address: str) -> None:
    tab = Tab(browser, address)
    tab.ready()
    tab.page.fill("#prompt", "a red zebra")
    tab.page.click("#start")
    tab.until("document.getElementById('problem').textContent.includes('zebra')")
    assert tab.page.is_enabled("#start")
    assert tab.page.is_hidden("#run")
    assert tab.page.evaluate("document.activeElement.id") == "prompt"
    assert tab.page.get_attribute("#prompt", "aria-invalid") == "true"
    assert tab.noise == []
    tab.context.close()


def test_a_key_is_asked_for_once(browser: Any, tmp_path: Path, gate: Gate) -> None:
    with listening(toy_service(tmp_path, gate, key=KEY)) as address:
        tab = Tab(browser, address)
        tab.page.wait_for_selector("#key")
        assert tab.page.is_hidden("#order")
        tab.page.fill("#key", KEY)
        tab.page.keyboard.press("Enter")
        tab.ready()
        tab.page.fill("#seconds", "0.5")
        tab.page.click("#start")
        tab.page.wait_for_selector("#runs li.completed img")
        tab.page.reload()
        tab.page.wait_for_selector("#runs li.completed")
        assert tab.page.is_hidden("#login")
        assert tab.noise == []
        tab.context.close()
