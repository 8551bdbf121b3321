"""``streamt1 pack``, and going on with what it leaves."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamt1.cli.main import app
from streamt1.cli.signals import Stopping
from streamt1.trace.events import CandidateProposed, Event

PROMPT = "a red circle bouncing on a navy striped background"
GENERATE = ["generate", PROMPT, "--chunks", "3", "--policy", "greedy", "--no-report"]


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that got a signal in its second chunk, and leaves a packet."""

    class Signalled(Stopping):
        def happened(self, event: Event) -> None:
            if isinstance(event, CandidateProposed) and event.chunk == 1:
                signal.raise_signal(signal.SIGTERM)
            super().happened(event)

    monkeypatch.setattr("streamt1.cli.signals.Stopping", Signalled)
    run = tmp_path / "run"
    result = CliRunner().invoke(app, [*GENERATE, "--out", str(run), "--pack"])
    assert result.exit_code == 128 + signal.SIGTERM
    packet = run / "checkpoint" / "packet.safetensors"
    assert f"go on with: streamt1 resume {run} --packet {packet}" in result.stderr
    monkeypatch.undo()
    return run


def test_a_stopped_run_goes_on_from_its_packet(stopped: Path, tmp_path: Path) -> None:
    packet = stopped / "checkpoint" / "packet.safetensors"
    result = CliRunner().invoke(app, ["resume", str(stopped), "--packet", str(packet), "--no-report"])
    assert result.exit_code == 0, result.output
    assert "four_bits" not in json.loads((stopped / "run.json").read_text())
    again = CliRunner().invoke(app, ["replay", str(stopped)])
    assert again.exit_code == 0, again.output
    result = CliRunner().invoke(app, ["pack", str(stopped)])
    assert result.exit_code == 1
    assert "finished" in result.stderr


def test_memory_in_few_bits_is_not_packed_in_four_again(stopped: Path) -> None:
    """It would change nothing, and be told as a change."""
    path = stopped / "run.json"
    summary = json.loads(path.read_text())
    summary["config"]["memory"]["bits"] = 8
    path.write_text(json.dumps(summary))
    result = CliRunner().invoke(app, ["pack", str(stopped), "--bits", "4"])
    assert result.exit_code == 2
    assert "keeps its memory in few bits as it is (memory.bits=8): leave --bits out" in result.stderr


def test_four_bits_are_told_in_the_record(stopped: Path, tmp_path: Path) -> None:
    packet = tmp_path / "small.safetensors"
    result = CliRunner().invoke(app, ["pack", str(stopped), "--out", str(packet), "--bits", "4"])
    assert result.exit_code == 0, result.output
    assert f"MB after 1 chunk; go on with: streamt1 resume {stopped} --packet {packet}" in result.stdout
    result = CliRunner().invoke(app, ["resume", str(stopped), "--packet", str(packet), "--no-report"])
    assert result.exit_code == 0, result.output
    assert json.loads((stopped / "run.json").read_text())["four_bits"] is True


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["pack", "nowhere"], 1, "there is no folder nowhere"),
        ([*GENERATE, "--pack", "--devices", "2"], 2, "--pack are for one device"),
        ([*GENERATE, "--rebuild", "ship"], 2, "--rebuild is for several devices"),
        ([*GENERATE, "--rebuild", "shop", "--devices", "2"], 2, "did you mean 'ship'"),
    ],
)
def test_what_cannot_be_is_said(
    arguments: list[str], code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, says in result.stderr) == (code, True), result.output


def test_packets_are_for_one_device_and_must_be_there(stopped: Path) -> None:
    for arguments, code, says in (
        (["--pack", "--devices", "2"], 2, "are for one device"),
        (["--packet", str(stopped / "none.safetensors")], 1, "none.safetensors"),
    ):
        result = CliRunner().invoke(app, ["resume", str(stopped), *arguments])
        assert (result.exit_code, says in result.stderr) == (code, True), result.output


def test_a_packet_is_written_over_nothing_else(stopped: Path, tmp_path: Path) -> None:
    kept, text = stopped / "checkpoint" / "000001.safetensors", tmp_path / "mine.safetensors"
    text.write_text("mine")
    for path in (kept, text):
        before = path.read_bytes()
        result = CliRunner().invoke(app, ["pack", str(stopped), "--out", str(path)])
        assert result.exit_code == 1
        assert "is there already and is no packet" in result.stderr
        assert path.read_bytes() == before
    packet = tmp_path / "packet.safetensors"
    for _ in range(2):
        assert CliRunner().invoke(app, ["pack", str(stopped), "--out", str(packet)]).exit_code == 0
