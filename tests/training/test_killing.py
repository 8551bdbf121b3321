"""``streamt1 train dit`` as a process of its own, killed at random moments and started again."""

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

import pytest
import torch

KILLS, STEPS = 20, 240
SMALL = """
import sys
from streamt1.backbones.wan.config import WanConfig
from streamt1.cli.main import main
from streamt1.training.dit import Pocket
Pocket.__init__.__defaults__ = (
    WanConfig(
        dim=32, ffn_dim=48, num_layers=2, num_heads=2, in_channels=8, out_channels=8, text_dim=16, text_len=16,
        freq_dim=32,
    ),
)
sys.argv[0] = "streamt1"
main()
"""
"""The command over a smaller network, so that many steps, and many kills, take minutes."""


QUICK = {"OMP_NUM_THREADS": "1", "TORCH_COMPILE_DISABLE": "1"}
"""A process starts in seconds where it compiles nothing."""


def write_latents(folder: Path) -> None:
    """A training set of noise, in the place of the one that is rendered for minutes."""
    draw = torch.Generator().manual_seed(0)
    folder.mkdir(parents=True)
    latents = torch.randn(16, 21, 8, 8, 8, generator=draw).half()
    tokens = torch.randint(1, 20, (16, 7, 16), generator=draw)
    starts = torch.tensor([[2, 5]]).repeat(16, 1)
    objects = torch.rand(16, 21, 8, 8, generator=draw) < 0.2
    made = {"latents": latents, "tokens": tokens, "starts": starts, "objects": objects, "seed": 0}
    torch.save(made, folder / "latents.pt")


def started(out: Path, *more: str) -> subprocess.Popen[str]:
    given = ["train", "dit", "--out", str(out), "--steps", str(STEPS), "--batch", "1", "--save-every", "0", *more]
    return subprocess.Popen(
        [sys.executable, "-c", SMALL, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **QUICK},
    )  # fmt: skip


def stamp(file: Path) -> int:
    return file.stat().st_mtime_ns if file.is_file() else 0


def after_a_save(process: subprocess.Popen[str], out: Path, patience: float = 300.0) -> None:
    """Waits until the process has written a checkpoint, or is done."""
    file, before, end = out / "dit" / "dit.pt", stamp(out / "dit" / "dit.pt"), time.monotonic() + patience
    while process.poll() is None and stamp(file) == before:
        assert time.monotonic() < end, "no checkpoint was written"
        time.sleep(0.01)


def finished(out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    process = started(out)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    lines = [json.loads(line) for line in (out / "dit" / "dit.jsonl").read_text().splitlines()]
    state = torch.load(out / "dit" / "dit.pt", weights_only=True)
    return state, [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one if key != "seconds")
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


@pytest.mark.slow
def test_killed_at_random_moments_the_weights_are_the_same(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        write_latents(tmp_path / name / "dit")
    whole, lines = finished(tmp_path / "whole")
    draw, kills, begin = random.Random(0), 0, time.monotonic()
    steps: list[int] = []
    while kills < KILLS:
        process = started(tmp_path / "killed")
        if draw.random() < 0.3:
            time.sleep(draw.uniform(0, 8))
        else:
            after_a_save(process, tmp_path / "killed")
            time.sleep(draw.uniform(0, 0.4))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it was done before it could be killed"
        kills += 1
        if stamp(tmp_path / "killed" / "dit" / "dit.pt"):
            steps.append(torch.load(tmp_path / "killed" / "dit" / "dit.pt", weights_only=True)["done"])
    killed, again = finished(tmp_path / "killed")
    sys.stdout.write(f"{kills} kills in {time.monotonic() - begin:.0f} s, at steps {steps}\n")
    assert len(lines) == STEPS // 50
    assert again == lines
    assert equal(whole, killed)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_says_so(tmp_path: Path, number: signal.Signals, code: int) -> None:
    write_latents(tmp_path / "dit")
    process = started(tmp_path, "--save-every", "600")
    time.sleep(0.2)
    end = time.monotonic() + 300
    while not (tmp_path / "dit" / "dit.jsonl").is_file():
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert said.count("\n") == 1
    assert said.startswith(f"stopped by {number.name}: 'dit' is saved after ")
    assert torch.load(tmp_path / "dit" / "dit.pt", weights_only=True)["done"] >= 50
