"""Ctrl-C and SIGTERM while several devices work, or Ray starts: the exit code of one device, and no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.test_killing import PROMPT, assert_same
from tests.e2e.test_killing_servers import Server, serving

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are read off /proc"),
]
NAME = "STREAMT1_TEST_MARK"
GENERATE = ["generate", PROMPT, "--chunks", "8", "--beam-size", "2", "--top-k", "2", "--no-report"]
GONE = 5.0
"""Seconds after its end, until nothing of a command may be there."""


def marked(mark: str) -> dict[int, str]:
    """The processes of a command, wherever they went: they have its environment."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "environ").read_bytes().split(b"\0")
                state = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if f"{NAME}={mark}".encode() in words and state not in "ZX":
                found[int(folder.name)] = line[:100]
    return found


def begun(mark: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "streamt1", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, NAME: mark}, start_new_session=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], number: signal.Signals, mark: str, alone: bool = False) -> list[str]:
    """Sends a signal, to the whole group as a terminal and ``timeout`` do; the lines of stderr, but for Ray's."""
    if alone:
        process.send_signal(number)
    else:
        os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    until = time.monotonic() + GONE
    while left := marked(mark):
        assert time.monotonic() < until, left
        time.sleep(0.1)
    return [line for line in errors.splitlines() if "ing with" not in line and "ray" not in line.lower()]


def wait_for(path: Path, lines: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 300
    while process.poll() is None and not (path.exists() and path.read_bytes().count(b"\n") >= lines):
        assert time.monotonic() < until
        time.sleep(0.05)


signals = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


@signals
def test_a_run_and_one_that_is_gone_on_with(number: signal.Signals, tmp_path: Path) -> None:
    boundaries = tmp_path / "run" / "checkpoint" / "boundaries.jsonl"
    run, mark = str(tmp_path / "run"), f"run{os.getpid()}{number}"
    process = begun(mark, *GENERATE, "--devices", "2", "--out", run)
    for lines, alone in ((2, False), (4, True)):
        wait_for(boundaries, lines, process)
        told = ended(process, number, mark, alone)
        assert told[-2] == f"{number.name}: ending in order; once more to end at once"
        assert told[-1].startswith(f"ended by {number.name} after ")
        assert told[-1].endswith(f"go on with: streamt1 resume {run}")
        process = begun(mark, "resume", run, "--devices", "2", "--no-report")
    assert process.wait(400) == 0
    assert begun(mark, *GENERATE, "--devices", "1", "--out", str(tmp_path / "whole")).wait(400) == 0
    assert_same(tmp_path / "run", tmp_path / "whole")
    assert not marked(mark)


@signals
def test_an_evaluation(number: signal.Signals, tmp_path: Path) -> None:
    mark = f"evaluation{os.getpid()}{number}"
    process = begun(mark, "evaluate", "pocket-quick", "--devices", "2", "--out", str(tmp_path / "out"))
    wait_for(tmp_path / "out" / "rows.jsonl", 2, process)
    assert ended(process, number, mark)[-1] == f"ended by {number.name}"


@pytest.mark.parametrize("kind", ["generate", "evaluate"])
@signals
def test_while_ray_starts(kind: str, number: signal.Signals, tmp_path: Path) -> None:
    """At any moment: by the number of processes that there are, and a little later."""
    for there in (2, 4, 6, 8):
        mark = f"{kind}{os.getpid()}{number}{there}"
        wanted = GENERATE if kind == "generate" else ["evaluate", "pocket-quick"]
        process = begun(mark, *wanted, "--devices", "2", "--out", str(tmp_path / mark))
        until = time.monotonic() + 60
        while len(marked(mark)) < there and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.1 * (there % 3))
        assert ended(process, number, mark, there % 4 == 0)[-1].startswith(f"ended by {number.name}")


@pytest.mark.parametrize("alone", [True, False], ids=["the server", "its group"])
@signals
def test_a_server_with_a_job(number: signal.Signals, alone: bool, tmp_path: Path) -> None:
    mark = f"server{os.getpid()}{number}{alone}"
    server = Server(tmp_path / "data", **{NAME: mark})
    name = server.order()
    server.wait_for_progress(name, 20)
    (server.process.send_signal if alone else lambda one: os.killpg(server.process.pid, one))(number)
    assert server.process.wait(120) == (0 if number == signal.SIGINT else 128 + number), "Ctrl-C is how a server ends"
    until = time.monotonic() + GONE
    while left := marked(mark):
        assert time.monotonic() < until, left
        time.sleep(0.1)
    assert "Traceback" not in (tmp_path / "data.log").read_text()
    with serving(tmp_path / "data") as server:
        assert server.ended(name)["status"] == "completed"
