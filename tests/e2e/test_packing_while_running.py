"""Packets of runs that go on meanwhile, and of commands that are stopped or killed: whole, or refused in a sentence."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamt1.pipeline.packet import Packet
from tests.e2e.test_killing import PROMPT, assert_same

pytestmark = pytest.mark.slow
GENERATE = ["generate", PROMPT, "--chunks", "8", "--beam-size", "2", "--top-k", "2"]
ROUNDS = 6


def begun(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "streamt1", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(*arguments: str) -> tuple[int, str]:
    process = begun(*arguments)
    _, errors = process.communicate(timeout=180)
    return process.returncode, errors


def wait_for_chunks(run: Path, count: int) -> None:
    until = time.monotonic() + 120
    lines = run / "checkpoint" / "boundaries.jsonl"
    while not lines.exists() or lines.read_bytes().count(b"\n") < count:
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert ended(*GENERATE, "--out", str(folder))[0] == 0
    return folder


def test_a_run_that_goes_on_is_not_packed(whole: Path, tmp_path: Path) -> None:
    run, packet = tmp_path / "run", tmp_path / "packet.safetensors"
    going = begun(*GENERATE, "--out", str(run), "--pack")
    wait_for_chunks(run, 1)
    refused = 0
    while going.poll() is None:
        code, errors = ended("pack", str(run), "--out", str(packet))
        if going.poll() is not None:
            break
        assert code == 1
        assert errors.count("\n") == 1
        assert "another run writes to" in errors or "is finished" in errors
        assert not packet.exists()
        refused += 1
    assert going.returncode == 0
    assert refused
    assert_same(run, whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_run_that_is_stopped_leaves_a_whole_packet_or_none(
    number: signal.Signals, whole: Path, tmp_path: Path
) -> None:
    chance = random.Random(number)
    for turn in range(ROUNDS):
        run = tmp_path / f"run{turn}"
        going = begun(*GENERATE, "--out", str(run), "--pack")
        wait_for_chunks(run, chance.randint(1, 6))
        time.sleep(chance.uniform(0, 0.5))
        going.send_signal(number)
        time.sleep(chance.uniform(0, 0.3))
        if number is signal.SIGTERM and turn % 2:
            going.kill()  # while it writes its packet, perhaps
        going.communicate(timeout=60)
        packet = run / "checkpoint" / "packet.safetensors"
        if not packet.exists():
            packet = tmp_path / f"packet{turn}.safetensors"
            assert ended("pack", str(run), "--out", str(packet)) == (0, "")
        Packet.read(packet)
        code, errors = ended("resume", str(run), "--packet", str(packet))
        assert code == 0, errors
        assert_same(run, whole)


def test_packing_that_is_killed_leaves_nothing_torn(whole: Path, tmp_path: Path) -> None:
    run, chance = tmp_path / "run", random.Random(5)
    going = begun(*GENERATE, "--out", str(run))
    wait_for_chunks(run, 3)
    going.terminate()
    going.communicate(timeout=60)
    packet = tmp_path / "packet.safetensors"
    begin = time.monotonic()
    assert ended("pack", str(run), "--out", str(packet)) == (0, "")
    spent = time.monotonic() - begin
    for _ in range(ROUNDS):
        packing = begun("pack", str(run), "--out", str(packet))
        time.sleep(chance.uniform(0.5, 1.0) * spent)
        packing.kill()
        packing.communicate()
        Packet.read(packet)
    assert ended("resume", str(run), "--packet", str(packet))[0] == 0
    assert_same(run, whole)
