"""How many inputs, and the rule that each must keep."""

from __future__ import annotations

import collections
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is missing (pip install hypothesis)")

from hypothesis import HealthCheck, settings  # noqa: E402
from hypothesis.configuration import set_hypothesis_home_dir  # noqa: E402

from tests.fuzz.rule import COUNTS, MOST_MEMORY  # noqa: E402

USUAL = 25
"""Inputs of each family in an ordinary run of the tests; together well under a minute."""
_HOME = tempfile.mkdtemp(prefix="streamt1-fuzz-")
set_hypothesis_home_dir(_HOME)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-examples", type=int, default=None, help="inputs of each family, instead of 25")


def pytest_configure(config: pytest.Config) -> None:
    given = config.getoption("--fuzz-examples", default=None)
    settings.register_profile(
        "fuzz",
        max_examples=given or USUAL,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("fuzz")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not COUNTS:
        return
    columns = ("inputs", "errors", "tracebacks", "hangs", "leftovers", "executed")
    terminalreporter.write_line(f"{'family':24}" + "".join(f"{name:>12}" for name in columns))
    total: collections.Counter[str] = collections.Counter()
    for family, counts in sorted(COUNTS.items()):
        total += counts
        terminalreporter.write_line(f"{family:24}" + "".join(f"{counts[name]:12}" for name in columns))
    terminalreporter.write_line(f"{'all':24}" + "".join(f"{total[name]:12}" for name in columns))


@pytest.fixture(autouse=True, scope="module")
def bounded_memory() -> Iterator[None]:
    """No more address space than now and ``MOST_MEMORY``, so that a bomb is a ``MemoryError``, no dead machine."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    before = resource.getrlimit(resource.RLIMIT_AS)
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
