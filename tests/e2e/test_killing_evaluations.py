"""SIGKILL at random moments of evaluations on Ray, of the command and of its devices: no clip twice, none missing."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamt1.evaluation.tasks import row_key

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are read off /proc"),
]
CLOCKED = ("seconds", "seconds_model", "seconds_decode", "seconds_reward", "peak_mb")
SUITE = """
about: As pocket-quick, and shorter.
preset: pocket
prompts: held_out
lengths:
  - {seconds: 1, prompts: 2, seeds: 1}
budgets: [[2, 1], [2, 2]]
methods: [greedy, best_of_n, beam, stream_t1]
ablations: [without_propagation]
ablation_budget: [2, 2]
"""
CLIPS = 16
AROUND = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
KILLS = int(os.environ.get("STREAMT1_KILLS", "8"))
"""Of each kind, and of each way in."""


def command(suite: Path, folder: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "streamt1", "evaluate", str(suite), "--out", str(folder), *more]


def begun(suite: Path, folder: Path, *more: str) -> subprocess.Popen[bytes]:
    arguments = command(suite, folder, *more)
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=AROUND)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """As they stand in the file, without times, in the order of their keys."""
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return sorted(
        ({name: value for name, value in row.items() if name not in CLOCKED} for row in rows),
        key=lambda row: repr(row_key(row)),
    )


def below(parent: int) -> dict[int, str]:
    """All processes that a process has started, and those that these have: their command lines."""
    parents, lines = dict[int, int](), dict[int, str]()
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal():
                parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                lines[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    found, asked = dict[int, str](), [parent]
    while asked:
        one = asked.pop()
        own = [pid for pid, above in parents.items() if above == one]
        found |= {pid: lines.get(pid, "") for pid in own}
        asked += own
    return found


def actors(parent: int) -> list[int]:
    return sorted(pid for pid, line in below(parent).items() if line.startswith("ray::Calls"))


def wait_for_rows(process: subprocess.Popen[bytes], folder: Path, more: int) -> None:
    """Until there are so many more, or the command has ended."""

    def there() -> int:
        return (folder / "rows.jsonl").read_bytes().count(b"\n") if (folder / "rows.jsonl").exists() else 0

    before = there()
    while process.poll() is None and there() < before + more:
        time.sleep(0.02)


def wait_until_gone(pids: list[int]) -> None:
    until = time.monotonic() + 60
    while left := [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and _runs(pid)]:
        assert time.monotonic() < until, f"{left} outlive their command"
        time.sleep(0.1)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@contextmanager
def cluster() -> Iterator[tuple[str, int]]:
    """The address of a Ray that runs on this machine, and its process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    ray = Path(sys.executable).with_name("ray")
    arguments = ["start", "--head", "--block", "--num-cpus=2", f"--port={port}", "--include-dashboard=false",
                 "--node-ip-address=127.0.0.1", "--object-store-memory=200000000"]  # fmt: skip
    process = subprocess.Popen([ray, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=AROUND)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and "raylet" not in " ".join(below(process.pid).values()):
            time.sleep(0.5)
        time.sleep(3)
        yield f"127.0.0.1:{port}", process.pid
    finally:
        started = list(below(process.pid))
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        for pid in filter(_runs, started):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The suite, and the rows of processes and of devices that nobody disturbs."""
    base = tmp_path_factory.mktemp("whole")
    (base / "suite.yaml").write_text(SUITE)
    for name in ("jobs", "devices"):
        found = subprocess.run(
            command(base / "suite.yaml", base / name, f"--{name}", "2"), capture_output=True, text=True, env=AROUND
        )
        assert found.returncode == 0, found.stderr
    rows = rows_of(base / "jobs")
    assert len(rows) == CLIPS
    assert rows_of(base / "devices") == rows
    return base / "suite.yaml", rows


@pytest.fixture(scope="module", params=["own", "running"])
def way(request: pytest.FixtureRequest) -> Iterator[tuple[list[str], int | None]]:
    """The options, and the process that the devices are below; None where that is the command."""
    if request.param == "own":
        yield ["--devices", "2"], None
        return
    with cluster() as (address, pid):
        yield ["--ray", address], pid


def test_the_command_is_killed(way: Any, whole: Any, tmp_path: Path) -> None:
    (options, above), (suite, rows) = way, whole
    chance, kills, folders = random.Random(f"command{above is None}"), 0, 0
    while kills < KILLS:
        folder, folders = tmp_path / f"parts{folders}", folders + 1
        for _ in range(30):
            process = begun(suite, folder, *options)
            if chance.random() < 0.25:
                time.sleep(chance.uniform(0.5, 15.0))
            else:
                wait_for_rows(process, folder, chance.randint(1, 6))
                time.sleep(chance.uniform(0.0, 2.0))
            if process.poll() is None:
                started = actors(above or process.pid)  # Ray's own agents take a minute more
                process.kill()
                process.communicate()
                wait_until_gone(started)
                kills += 1
                continue
            assert process.returncode == 0, process.communicate()[1].decode()
            break
        assert rows_of(folder) == rows, f"after {kills} kills"
    assert kills >= KILLS


def test_devices_are_killed(way: Any, whole: Any, tmp_path: Path) -> None:
    (options, above), (suite, rows) = way, whole
    chance, kills, folders = random.Random(f"devices{above is None}"), 0, 0
    while kills < KILLS:
        folder, folders = tmp_path / f"parts{folders}", folders + 1
        process = begun(suite, folder, *options)
        while process.poll() is None:
            wait_for_rows(process, folder, chance.randint(0, 3))
            time.sleep(chance.uniform(0.0, 2.0))
            there = actors(above or process.pid)
            if there and process.poll() is None:
                os.kill(chance.choice(there), signal.SIGKILL)
                kills += 1
        assert process.returncode == 0, process.communicate()[1].decode()
        assert rows_of(folder) == rows
        assert len({row_key(row) for row in rows_of(folder)}) == CLIPS
