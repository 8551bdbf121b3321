"""A server under what a year brings, in short: jobs, streams, clients that vanish, and kills at random moments.

    python benchmarks/soak.py                                              # an hour: 200 jobs, 20 streams, 10 kills
    python benchmarks/soak.py --minutes 5 --jobs 40 --streams 8 --kills 3

Nothing may be lost, every row must be true, and the server's memory must stay flat between kills. Needs the extras
`serve` and `dev`. Exits with 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import av
import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

PROMPTS = ("a red circle bouncing on a navy striped background", "a green star sliding on a teal plain background")
LINGER, SETTLED = 5, 60.0
"""Seconds: of the server's ``--linger``; and after a start, before its memory counts."""
GROWTH = 0.10
"""By how much of itself the memory may grow between a start, once settled, and its kill."""
OVER = ("completed", "failed", "cancelled")


class Server:
    """A server in a process of its own, started again after each kill. RSS in MB of each of its lives is kept."""

    def __init__(self, data: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.data, self.lives = data, list[list[tuple[float, float]]]()
        self.url, self.ends = f"http://127.0.0.1:{self.port}", threading.Event()
        self.begun: float | None = None
        self.start()
        threading.Thread(target=self._measure, daemon=True).start()

    def start(self) -> None:
        command = [sys.executable, "-m", "streamt1", "serve", "--port", str(self.port), "--data", str(self.data)]
        path = self.data.parent / "server.log"
        with path.open("ab") as log:
            options = [*command, "--linger", f"{LINGER}s", "--queue", "30"]
            self.process = subprocess.Popen(options, stderr=log, stdout=log)
        self.begun = None  # what it has before it answers is no size of this life, nor of the one before
        self.lives.append([])
        try:
            until(lambda: self.answers() or self.process.poll() is not None, 120)
        finally:
            if not self.answers():
                say(f"the server does not answer (exit code {self.process.poll()}); the end of its log:")
                say("".join(path.read_text(errors="replace").splitlines(keepends=True)[-40:]))
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended with exit code {self.process.poll()} where it was to begin")
        self.begun = time.monotonic()

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(90)
        self.start()

    def _measure(self) -> None:
        while not self.ends.wait(1.0):
            if (begun := self.begun) is None:
                continue
            try:
                lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
                size = next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
            except (OSError, StopIteration):
                continue
            self.lives[-1].append((time.monotonic() - begun, size))


def until(true: Callable[[], Any], seconds: float) -> Any:
    """Waits for something, and returns it. Raises ``TimeoutError``."""
    end = time.monotonic() + seconds
    while not (value := true()):
        if time.monotonic() > end:
            raise TimeoutError(f"it did not happen within {seconds:g} s")
        time.sleep(0.1)
    return value


class Clients:
    """All that use the server; what each has seen is in ``wrong`` where it is not as it should be."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server, self.random, self.wrong = server, random.Random(seed), list[str]()
        self.taken, self.ended_so = set[str](), dict[str, set[str]]()
        self.stopping, self.unsure = threading.Event(), 0

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Asks until there is an answer that is no refusal for the moment."""
        while True:
            try:
                answer = httpx.request(method, self.server.url + path, timeout=30, **more)
            except httpx.TransportError:
                time.sleep(0.3)
                continue
            if answer.status_code not in (429, 503):
                return answer
            time.sleep(0.5)

    def order(self) -> dict[str, Any]:
        seconds = self.random.choice((0.6, 1, 2))
        search = self.random.choice(({"policy": "greedy"}, {"beam_size": 2, "top_k": 2}, {"beam_size": 2, "top_k": 1}))
        return {
            "prompt": self.random.choice(PROMPTS),
            "seconds": seconds,
            "seed": self.random.randrange(2**63),
        } | search

    def job(self, number: int) -> None:
        """A job that is polled, viewed by events or by nobody, cancelled or deleted."""
        headers = {"Idempotency-Key": f"soak {number}"}
        answer = self.ask("POST", "/v1/videos", json=self.order(), headers=headers)
        if answer.status_code != 200:
            self.wrong.append(f"job {number} was answered {answer.status_code}: {answer.text[:200]}")
            return
        name = answer.json()["id"]
        self.taken.add(name)
        kind = number % 10
        if kind == 0:
            self.ended_so[name] = {"cancelled", "completed"}
            self.ask("POST", f"/v1/videos/{name}/cancel")
        elif kind == 1:
            self.taken.discard(name)
            self.ask("DELETE", f"/v1/videos/{name}")
        elif kind == 2:
            self.vanish(name)

    def vanish(self, name: str) -> None:
        """Views events, and is gone without a word."""
        try:
            with httpx.stream("GET", f"{self.server.url}/v1/videos/{name}/events", timeout=5) as answer:
                for number, _ in enumerate(answer.iter_lines()):
                    if number > 30:
                        return
        except httpx.TransportError:
            return

    def stream(self, number: int) -> None:
        """A stream that is viewed to its end over all kills, one that is ended, and one whose client vanishes."""
        kind = number % 3
        fields = self.order() | {"lag": 1}
        if kind:
            fields.pop("seconds")
        name, known, pieces, vanished = None, None, list[tuple[str, bytes]](), False
        first: dict[str, Any] = fields
        while not self.stopping.is_set():
            try:
                with connect(f"ws://127.0.0.1:{self.server.port}/v1/stream?ahead=inf", open_timeout=10) as ws:
                    ws.send(json.dumps(first))
                    for message in ws:
                        if isinstance(message, bytes):
                            pieces.append((known or "", message))
                            if kind == 1 and len(pieces) == 8:
                                ws.send(json.dumps({"end": True}))
                            vanished = kind == 2 and len(pieces) == 5
                            if vanished:
                                ws.socket.close()
                                break
                            continue
                        event = json.loads(message)
                        if event["event"] == "refused":
                            raise ConnectionError(event["error"]["message"])
                        if name is None and "video" in event:
                            name = event["video"]["id"]
                            self.taken.add(name)
                            self.ended_so[name] = {"cancelled"} if kind == 2 else {"completed"}
                        known = event.get("id", known)
                        if event["event"] in OVER:
                            return self.viewed(name or "", event, [piece for _, piece in pieces])
            except (WebSocketException, OSError):
                self.unsure += int(name is None)  # the server may have taken it, and was killed before it said so
                time.sleep(0.3)
            if vanished:
                return
            if name is not None and pieces:
                first = {"attach": name, "after": pieces[-1][0]}
            elif name is not None:
                first = {"attach": name}

    def viewed(self, name: str, last: dict[str, Any], pieces: list[bytes]) -> None:
        shown, seconds = frames(b"".join(pieces)), float(last["video"]["seconds"])
        if last["event"] == "completed" and abs(shown / 16 - seconds) > 0.5 + 1 / 16:
            self.wrong.append(f"{name}: its viewer got {shown} frames of {seconds} seconds")

    def check(self) -> Counter[str]:
        """Looks at every row and its files."""
        rows, after = list[dict[str, Any]](), ""
        while True:
            page = self.ask("GET", f"/v1/videos?limit=100{after}").json()
            rows += page["data"]
            if not page["has_more"]:
                break
            after = f"&after={page['last_id']}"
        names = {row["id"] for row in rows}
        self.wrong += [f"{name} is lost" for name in self.taken - names]
        if len(strange := names - self.taken) > self.unsure:
            self.wrong.append(f"{strange} were never asked for, or deleted; {self.unsure} orders had no answer")
        for row in rows:
            self.row(row)
        folder = self.server.data / "videos"
        self.wrong += [f"{path} belongs to no row" for path in folder.iterdir() if path.name.split(".")[0] not in names]
        if (self.server.data / "lost").exists():
            self.wrong.append("there is a folder of lost videos")
        return Counter(row["status"] for row in rows)

    def row(self, row: dict[str, Any]) -> None:
        name, expected = row["id"], self.ended_so.get(row["id"], {"completed"})
        if name not in self.taken:
            return
        if row["status"] not in expected:
            self.wrong.append(f"{name} is {row['status']}, not {expected}: {row['error']}")
        content = self.ask("GET", f"/v1/videos/{name}/content")
        if row["status"] == "completed" and content.status_code != 200:
            self.wrong.append(f"{name} is completed, and its content is {content.status_code}")
        if content.status_code == 200:
            found = frames(content.content) / 16
            if abs(found - float(row["seconds"])) > 0.5:  # the number of chunks that comes nearest is made
                self.wrong.append(f"{name} says {row['seconds']} seconds and has {found}")
        if row["status"] == "completed" and self.ask("GET", f"/v1/videos/{name}/report").status_code != 200:
            self.wrong.append(f"{name} has no report")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def frames(content: bytes) -> int:
    """Of a video, as far as it is whole."""
    with av.open(io.BytesIO(content)) as container:
        return sum(1 for _ in container.decode(video=0))


def flat(lives: list[list[tuple[float, float]]]) -> list[str]:
    """What is wrong with the memory of a server's lives; by medians, since peaks tell of the job of a moment."""
    wrong = []
    for number, life in enumerate(lives, 1):
        settled = [size for age, size in life if age > SETTLED]
        if len(settled) < 30:
            continue
        third = len(settled) // 3
        begin, end = median(settled[:third]), median(settled[-third:])
        say(f"life {number}: {life[-1][0]:.0f} s, RSS {begin:.0f} MB in its first third, {end:.0f} in its last")
        if end > begin * (1 + GROWTH):
            wrong.append(f"in life {number} memory grew from {begin:.0f} to {end:.0f} MB")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in (("minutes", 60.0), ("jobs", 200), ("streams", 20), ("kills", 10), ("seed", 0)):
        parser.add_argument(f"--{name}", type=type(usual), default=usual)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        server = Server(Path(folder) / "data")
        try:
            return soak(server, asked)
        finally:
            server.ends.set()
            server.process.kill()
            server.process.wait()


def soak(server: Server, asked: argparse.Namespace) -> int:
    """Runs it; the exit code."""
    clients, whole, chance = Clients(server, asked.seed), asked.minutes * 60, random.Random(asked.seed + 1)
    plans = [(whole * 0.9 * at / asked.jobs, clients.job, at) for at in range(asked.jobs)]
    plans += [(whole * 0.9 * at / asked.streams, clients.stream, at) for at in range(asked.streams)]
    kills = sorted(chance.uniform(0.05, 0.85) * whole for _ in range(asked.kills))
    begin, running = time.monotonic(), list[Any]()
    with ThreadPoolExecutor(64) as pool:
        for due, act, number in sorted([*plans, *((at, None, -1) for at in kills)], key=lambda one: one[0]):
            time.sleep(max(0.0, begin + due - time.monotonic()))
            if act is None:
                number = chance.choice((signal.SIGKILL, signal.SIGTERM))
                say(f"{time.monotonic() - begin:6.0f} s: {number.name}")
                server.kill(number)
            else:
                running.append(pool.submit(act, number))
        busy = '"status":"queued"', '"status":"in_progress"'
        until(lambda: not any(word in clients.ask("GET", "/v1/videos?limit=100").text for word in busy), 600 + whole)
        clients.stopping.set()
    for done in running:
        done.result()
    counted = clients.check()
    wrong = clients.wrong + flat(server.lives)
    told = ", ".join(f"{count} {status}" for status, count in sorted(counted.items()))
    say(f"{time.monotonic() - begin:.0f} s, {asked.kills} kills: {told}; {len(wrong)} wrong")
    say("\n".join(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
