"""Servers whose worker has devices on Ray: a device is killed during a job, and so is the server."""

from __future__ import annotations

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

from tests.e2e.test_killing import PROMPT, assert_same
from tests.e2e.test_killing_evaluations import actors, wait_until_gone

httpx = pytest.importorskip("httpx")
pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are read off /proc"),
]
ORDER = {"prompt": PROMPT, "seconds": "6", "seed": 5, "beam_size": 2, "top_k": 2}
KILLS = int(os.environ.get("STREAMT1_KILLS", "8"))
"""Of devices, and of servers."""


class Server:
    """``streamt1 serve`` over two devices, in a process of its own."""

    def __init__(self, data: Path, **around: str) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        arguments = ["serve", "--data", str(data), "--port", str(port), "--devices", "2", "--device", "cpu"]
        with data.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamt1", *arguments], stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, **around}, start_new_session=True,
            )  # fmt: skip
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
        until = time.monotonic() + 300
        while True:
            try:
                self.client.get("/health")
                return
            except httpx.TransportError:
                assert self.process.poll() is None, data.with_suffix(".log").read_text()
                assert time.monotonic() < until
                time.sleep(0.1)

    def order(self) -> str:
        return self.client.post("/v1/videos", json=ORDER).json()["id"]

    def job(self, name: str) -> dict[str, Any]:
        return self.client.get(f"/v1/videos/{name}").json()

    def jobs(self) -> list[dict[str, Any]]:
        return self.client.get("/v1/videos").json()["data"]

    def ended(self, name: str) -> dict[str, Any]:
        until = time.monotonic() + 400
        while (job := self.job(name))["status"] not in ("completed", "failed"):
            assert time.monotonic() < until, job
            time.sleep(0.05)
        return job

    def wait_for_progress(self, name: str, percent: int) -> None:
        while (job := self.job(name))["progress"] < percent and job["status"] in ("queued", "in_progress"):
            time.sleep(0.02)

    def kill(self) -> None:
        started = actors(self.process.pid)
        self.process.kill()
        self.process.wait()
        self.client.close()
        wait_until_gone(started)


@contextmanager
def serving(data: Path) -> Iterator[Server]:
    server = Server(data)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a video that nobody disturbs."""
    data = tmp_path_factory.mktemp("whole") / "data"
    with serving(data) as server:
        name = server.order()
        assert server.ended(name)["status"] == "completed"
    return data / "videos" / name


def test_devices_are_killed_during_jobs(whole: Path, tmp_path: Path) -> None:
    chance, data, kills = random.Random(3), tmp_path / "data", 0
    with serving(data) as server:
        while kills < KILLS:
            name = server.order()
            server.wait_for_progress(name, chance.randint(0, 80))
            time.sleep(chance.uniform(0, 0.5))
            there = actors(server.process.pid)
            if server.job(name)["status"] == "in_progress":
                os.kill(chance.choice(there), signal.SIGKILL)
                kills += 1
            assert server.ended(name)["status"] == "completed", server.job(name)
            assert_same(data / "videos" / name, whole)
        health = server.client.get("/health").json()
        assert health["status"] == "ok"


def test_the_server_is_killed_during_jobs(whole: Path, tmp_path: Path) -> None:
    chance, kills, folders = random.Random(4), 0, 0
    while kills < KILLS:
        data, folders = tmp_path / f"parts{folders}", folders + 1
        with serving(data) as server:
            first, second = server.order(), server.order()
            server.wait_for_progress(first, chance.randint(1, 80))
        kills += 1
        for _ in range(30):
            with serving(data) as server:
                assert sorted(job["id"] for job in server.jobs()) == sorted([first, second])
                if chance.random() < 0.5 and kills < KILLS:
                    running = first if server.job(first)["status"] != "completed" else second
                    server.wait_for_progress(running, min(98, server.job(running)["progress"] + chance.randint(1, 60)))
                    time.sleep(chance.uniform(0, 1))
                    kills += 1
                    continue
                assert [server.ended(name)["status"] for name in (first, second)] == ["completed", "completed"]
                break
        for name in (first, second):
            assert_same(data / "videos" / name, whole)
