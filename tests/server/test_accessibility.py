"""The page and the report for everybody: axe-core finds nothing in any state, nothing jumps, all can be touched."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.live import listening
from tests.server.test_browser import Tab
from tests.server.toy import Gate, toy_service, until

AXE = Path(os.environ.get("STREAMT1_AXE", Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"))
needs_axe = pytest.mark.skipif(
    not AXE.is_file(), reason="npm install axe-core, or set STREAMT1_AXE to its axe.min.js, to look for violations"
)
FOUND = """async () => (await axe.run()).violations.flatMap(
  ({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 120)} ${node.any[0]?.message ?? ""}`))"""
LOOKS = [
    {"scheme": "light"},
    {"scheme": "dark"},
    {"scheme": "light", "forced_colors": "active"},
    {"scheme": "dark", "forced_colors": "active"},
]


@pytest.fixture
def address(tmp_path: Path, gate: Gate) -> Iterator[str]:
    with listening(toy_service(tmp_path, gate)) as address:
        yield address
        gate.open()


def violations(page: Any) -> list[str]:
    page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished.catch(() => {})))")
    page.evaluate(AXE.read_text())
    return page.evaluate(FOUND)


def after(gate: Gate, calls: int) -> None:
    passed: list[int] = []

    def few() -> None:
        passed.append(1)
        if len(passed) == calls:
            gate.shut()

    gate.first = few


@needs_axe
@pytest.mark.parametrize("look", LOOKS, ids=lambda look: "-".join(look.values()))
def test_axe_finds_nothing(browser: Any, address: str, gate: Gate, look: dict[str, Any]) -> None:
    tab, found = Tab(browser, address, **look), dict[str, list[str]]()
    page = tab.page
    tab.ready()
    found["empty"] = violations(page)
    page.fill("#seconds", "1")
    after(gate, 6)
    page.click("#start")
    until(lambda: gate.held)
    page.wait_for_selector(".column .pruned")
    found["running"] = violations(page)
    page.set_viewport_size({"width": 390, "height": 800})
    found["running, narrow"] = violations(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    gate.open()
    page.wait_for_selector("#runs li.completed img")
    found["done"] = violations(page)
    page.click("#runs li.completed .drop")
    found["asked"] = violations(page)
    page.click("#sure-no")
    page.fill("#prompt", "a red zebra")
    page.click("#start")
    tab.until("document.getElementById('problem').textContent.includes('zebra')")
    found["refused"] = violations(page)
    page.fill("#prompt", "a red circle bouncing on a navy striped background")
    gate.first = lambda: 1 / 0
    page.click("#start")
    page.wait_for_selector("#runs li.failed")
    found["failed"] = violations(page)
    gate.first = lambda: None
    page.click("#add")
    page.fill("[aria-label='Prompt of scene 2']", "a green star sliding on a teal plain background")
    for seconds in page.locator("[data-field=seconds]").all():
        seconds.fill("0.5")
    page.click("#start")
    tab.until("document.getElementById('state').textContent.startsWith('Done')")
    found["timeline"] = violations(page)
    with tab.context.expect_page() as opened:
        page.click("#runs li.completed a >> nth=0")
    opened.value.wait_for_selector("#tree")
    found["report"] = violations(opened.value)
    assert {state: told for state, told in found.items() if told} == {}
    tab.context.close()


SHIFTS = """(() => { window.shifted = 0; new PerformanceObserver((list) => {
  for (const one of list.getEntries()) if (!one.hadRecentInput) window.shifted += one.value;
}).observe({ type: "layout-shift", buffered: true }); })()"""


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_jumps_while_a_video_is_made(browser: Any, address: str, gate: Gate, width: int) -> None:
    tab = Tab(browser, address, width)
    page = tab.page
    tab.ready()
    page.fill("#seconds", "1")
    gate.first = lambda: time.sleep(0.05)
    page.click("#start")
    tab.until("document.querySelectorAll('.column').length > 1")
    page.evaluate("document.getElementById('run').scrollIntoView()")
    page.evaluate(SHIFTS)
    tab.until("document.getElementById('state').textContent.startsWith('Done')")
    assert page.evaluate("window.shifted") < 0.05
    tab.context.close()


@pytest.mark.parametrize("width", [390, 320])
def test_all_can_be_touched(browser: Any, address: str, width: int) -> None:
    tab = Tab(browser, address, width, has_touch=True, is_mobile=True)
    page = tab.page
    tab.ready()
    page.fill("#seconds", "0.5")
    page.click("#start")
    page.wait_for_selector("#runs li.completed")
    page.click("#add")
    small = page.evaluate(
        """[...document.querySelectorAll("button, a, select, textarea, input:not([type=checkbox]), .check, .handle")]
        .map((one) => [one.id || one.textContent || one.dataset.field, one.getBoundingClientRect()])
        .filter(([, { width, height }]) => width && (width < 44 || height < 44))
        .map(([name, { width, height }]) => `${name} ${width}x${height}`)"""
    )
    assert small == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    tab.context.close()


def test_what_is_told_stands_apart_where_colours_are_forced(browser: Any, address: str) -> None:
    tab = Tab(browser, address, forced_colors="active")
    page = tab.page
    tab.ready()
    page.fill("#seconds", "1")
    page.click("#start")
    tab.until("document.getElementById('state').textContent.startsWith('Done')")

    def look(selector: str) -> tuple[str, ...]:
        names = ["backgroundColor", "backgroundImage", "outlineStyle", "outlineWidth", "outlineColor"]
        style = f"(one) => {names}.map((name) => getComputedStyle(one)[name])"
        return tuple(page.eval_on_selector(selector, style))

    cells = [look(f"#strip .cell{kind}") for kind in (".sink", ".window", ".gone")]
    assert len(set(cells)) == 3
    assert len({look(f".column .{kind}") for kind in ("chosen", "pruned")}) == 2
    assert look(".bar i")[0] != look(".bar")[0]
    tab.context.close()
