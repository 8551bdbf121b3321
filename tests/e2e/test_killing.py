"""SIGKILL at random moments of real commands: what is gone on with equals what was never killed, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from streamt1.media.mp4 import write_video

pytestmark = pytest.mark.slow
PROMPT = "a red circle bouncing on a navy striped background"
SCENES = [
    *("--scene", f"{PROMPT}@2chunks"),
    *("--scene", "a green star sliding on a teal plain background@2chunks"),
    *("--scene", f"{PROMPT}@2chunks"),
]
COMMANDS: dict[str, list[str]] = {
    "Stream-T1": [PROMPT, "--chunks", "5"],
    "greedy": [PROMPT, "--chunks", "14", "--policy", "greedy"],
    "best of n": [PROMPT, "--chunks", "5", "--policy", "best_of_n"],
    "beam, lag, taper": [
        PROMPT, "--chunks", "6", "--policy", "beam", "--set", "search.lag=1", "--set", "search.taper=1",
    ],
    "early pruning, budget": [PROMPT, "--chunks", "6", "--set", "search.preview_step=2", "--budget", "90"],
    "compared": [PROMPT, "--chunks", "4", "--compare"],
    "scenes, re-cache": [*SCENES, "--set", "memory.switch=recache"],
    "scenes, cut, recall": [*SCENES, "--set", "memory.switch=cut", "--set", "memory.recall=2"],
    "scenes, compared": [*SCENES[:4], "--compare", "--set", "memory.switch=recache"],
    "best of n per scene": [*SCENES[:4], "--policy", "best_of_n_per_scene"],
    "prompts": ["--chunks", "3", "--policy", "greedy"],
    "from a picture": [PROMPT, "--chunks", "4", "--image", "picture.png"],
    "from a clip": [*SCENES[:4], "--video", "clip.mp4", "--set", "memory.switch=recache"],
}  # fmt: skip
KILLS = 15
"""Of each command."""


def command(name: str, folder: Path) -> list[str]:
    arguments = list(COMMANDS[name])
    if name == "prompts":
        prompts = folder.parent / "prompts.txt"
        prompts.write_text(f"{PROMPT}\na green star sliding on a teal plain background\n")
        arguments += ["--prompts", str(prompts)]
    for beginning, write in (("picture.png", write_picture), ("clip.mp4", write_clip)):
        if beginning in arguments:
            path = folder.parent / beginning
            if not path.exists():
                write(path)
            arguments[arguments.index(beginning)] = str(path)
    return [sys.executable, "-m", "streamt1", "generate", *arguments, "--out", str(folder)]


def write_picture(path: Path) -> None:
    Image.new("RGB", (90, 64), (200, 40, 30)).save(path)


def write_clip(path: Path) -> None:
    """A bar that moves over a second and a half."""
    frames = np.full((24, 64, 64, 3), 40, np.uint8)
    for at, frame in enumerate(frames):
        frame[20:40, at : at + 20] = (220, 60, 50)
    write_video(path, torch.from_numpy(frames), 16)


def finished(name: str, folder: Path) -> float:
    """Seconds of a run that is left alone."""
    begin = time.monotonic()
    subprocess.run(command(name, folder), check=True, capture_output=True)
    return time.monotonic() - begin


def told(path: Path) -> Any:
    """A file's content, without what may differ: times, and what is drawn of them."""
    if path.name == "trace.jsonl":
        events = [json.loads(line) for line in path.read_text().splitlines()]
        for event in events:
            event.pop("seconds")
            event.get("cost", {}).pop("seconds", None)
        return events
    if path.name == "run.json":
        summary = json.loads(path.read_text())
        summary["cost"].pop("seconds")
        return summary
    return path.read_bytes()


def assert_same(one: Path, other: Path) -> None:
    files = [{path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} for folder in (one, other)]
    assert files[0] == files[1]
    for file in files[0]:
        if file.name != "report.html":  # it shows seconds
            assert told(one / file) == told(other / file), file


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_runs(name: str, number: signal.Signals, tmp_path: Path) -> None:
    whole = finished(name, tmp_path / "whole")
    chance, kills = random.Random(f"{name}{number}"), 0
    while kills < (KILLS if number == signal.SIGKILL else 3):
        folder = tmp_path / f"parts{kills}"
        for _ in range(100):
            process = subprocess.Popen(command(name, folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                _, errors = process.communicate(timeout=chance.uniform(0.3, 1.0) * whole)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                _, errors = process.communicate()
                kills += 1
                assert process.returncode in (-number, 128 + number, 0)
            assert b"Traceback" not in errors, errors.decode()
            if process.returncode == 0:
                break
        assert_same(folder, tmp_path / "whole")


def test_a_servers_job(tmp_path: Path) -> None:
    import httpx

    order = {"prompt": PROMPT, "seconds": "6", "seed": 5}
    chance = random.Random(1)

    def served(folder: Path, patience: float | None) -> tuple[str, float]:
        """The state and the seconds of the job when it is done, or when the server is killed, after so many seconds."""
        port = 20000 + os.getpid() % 20000
        arguments = ["serve", "--data", str(folder), "--port", str(port)]
        process = subprocess.Popen(
            [sys.executable, "-m", "streamt1", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
                until = time.monotonic() + 60
                while time.monotonic() < until:
                    try:
                        client.get("/health")
                        break
                    except httpx.TransportError:
                        time.sleep(0.1)
                jobs = client.get("/v1/videos").json()["data"] or [client.post("/v1/videos", json=order).json()]
                begin = time.monotonic()
                while patience is None or time.monotonic() - begin < patience:
                    job = client.get(f"/v1/videos/{jobs[0]['id']}").json()
                    if job["status"] in ("completed", "failed"):
                        return job["status"], time.monotonic() - begin
                    time.sleep(0.02)
                return "killed", time.monotonic() - begin
        finally:
            process.kill()
            process.wait()

    state, seconds = served(tmp_path / "whole", None)
    assert state == "completed"
    for attempt in range(3):
        folder, kills = tmp_path / f"parts{attempt}", 0
        while (state := served(folder, chance.uniform(0.3, 0.9) * seconds)[0]) == "killed":
            kills += 1
            assert kills < 30
        assert state == "completed"
        assert kills
        one, other = (next((base / "videos").iterdir()) for base in (folder, tmp_path / "whole"))
        assert_same(one, other)
