"""Reports are rendered by several threads at once: workers of one server end their jobs together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import jinja2
import pytest

from streamt1.report import page


def test_templates_are_compiled_once_and_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    page._template.cache_clear()
    at_work, most, compiled, compile_one = [0], [0], list[str](), jinja2.Environment.compile

    def counted(self: jinja2.Environment, source: str, name: str | None = None, *more: object, **how: object) -> object:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        compiled.append(str(name))
        try:
            return compile_one(self, source, name, *more, **how)  # type: ignore[call-overload]
        finally:
            at_work[0] -= 1

    monkeypatch.setattr(jinja2.Environment, "compile", counted)
    monkeypatch.setattr(page, "_context", lambda run: run)
    monkeypatch.setattr(jinja2.Template, "render", lambda self, context: context)
    together = Barrier(8)

    def rendered(number: int) -> str:
        together.wait(20)
        return page.render(str(number))  # type: ignore[arg-type]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(rendered, range(8))) == [str(number) for number in range(8)]
    assert most == [1]
    assert "report.html" in compiled
    assert len(compiled) == len(set(compiled)) > 3
    page._template.cache_clear()
