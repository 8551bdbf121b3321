"""Arguments of the commands, as far as the work itself: exit 0, 1 or 2, and one sentence."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from streamt1.cli import generate as generating
from streamt1.cli.main import app
from streamt1.pipeline import pipeline as pipelines
from tests.fuzz.rule import COUNTS, kept

VALUES = [
    "", "0", "-1", "1", "2", "5", "nan", "inf", "-inf", "1e308", "1e-308", "9" * 30, "99999999", "0.4", "x", "=", "[/]",
    "[red]", "{", "x=[", "search.top_k=[", "search.top_k=.nan", "limits.seconds=.inf", "memory.chunk=0", "a.yaml",
    "search.preview_step=9", "threads=99999999", "threads=12:30:45", "seed=no", "files.x=~nobody/x", "pocket",
    "longlive",
    "/dev/null", "/dev/full", "/nowhere/at/all", "a" * 300, "a/" * 3000, "~", ".", "..", "auto", "cpu", "cuda:99",
    "meta", "greedy", "stream_t1", "60s", "-60s", "infs", "24GB", "-1GB", "GB", "nanGB", "float32", "int8",
    "a red circle bouncing on a navy striped background", "\udcff", "😀", "é", "a\nb", "\x1b[31m", "--", "-", "-x",
]  # fmt: skip
OPTIONS = [
    "--prompts", "--preset", "--seconds", "--chunks", "--policy", "--beam-size", "--top-k", "--seed", "--device",
    "--dtype", "--image", "--models", "--budget", "--memory", "--host-memory", "--set", "--compare", "--no-report",
    "--to",
    "--dry-run", "--table", "--judge", "--jobs", "--report-only", "--count", "--stage", "--port", "--max-width",
    "--try", "--fresh", "--endless", "--out", "--pack", "--packet", "--bits",
]  # fmt: skip
PROMPT = "a red circle bouncing on a navy striped background"
COMMANDS = ["generate", "resume", "pack", "replay", "plan", "report", "download", "evaluate", "score", "presets"]
ARGUMENTS = st.lists(st.one_of(st.sampled_from(OPTIONS), st.sampled_from(VALUES), st.text(max_size=10)), max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("commands")
    built: dict[str, Any] = {}

    @functools.wraps(pipelines.build)
    def once(config: Any, checked: bool = False, build: Any = pipelines.build) -> Any:
        key = repr(config.model_copy(update={"search": config.search.__class__(), "policy": "beam"}))
        if key not in built:
            built[key] = build(config, checked)
        return built[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(pipelines, "build", once)
        patch.setattr(generating, "run_all", lambda *args: None)
        patch.setattr("streamt1.cli.resume.run_one", lambda *args: None)
        patch.setattr("streamt1.evaluation.runner.run_suite", lambda *args: [])
        patch.setattr("streamt1.hub.download.fetch", lambda *args: None)
        patch.setattr("streamt1.hub.download.plan_download", lambda *args: [])
        yield folder


class CommandError(Exception):
    """A command ended in an error, as it should."""


def _called(args: list[str]) -> None:
    result = CliRunner().invoke(app, args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 2), result.output
    assert "Traceback" not in result.output
    if result.exit_code:
        told = result.stderr.strip()
        assert told, f"nothing is said of {args}"
        if "Usage:" not in told and "─ Error ─" not in told:
            assert sum(line.startswith("error: ") for line in told.split("\n")) == 1, told
        raise CommandError


@given(command=st.sampled_from(COMMANDS), args=ARGUMENTS)
def test_arguments(command: str, args: list[str], folder: Path) -> None:
    kept("arguments", lambda: _called([command, *args]), folder, also=(CommandError,))


@given(
    pairs=st.lists(st.tuples(st.sampled_from(OPTIONS[:18]), st.sampled_from(VALUES)), min_size=1, max_size=3),
    command=st.sampled_from(["generate", "generate", "generate", "plan"]),
)
def test_options_with_values(pairs: list[tuple[str, str]], command: str, folder: Path) -> None:
    args = [command, *([PROMPT] if command == "generate" else []), *(one for pair in pairs for one in pair)]
    kept("options", lambda: _called(args), folder, also=(CommandError,))


def test_counts_are_kept_by_family() -> None:
    assert all(counts["inputs"] for counts in COUNTS.values())
