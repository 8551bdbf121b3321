"""The command line as a process: pipes that close, disks that are full, users without a home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROMPT = "a red circle bouncing on a navy striped background"
GENERATE = ["generate", PROMPT, "--chunks", "2", "--beam-size", "1", "--top-k", "1", "--no-report"]


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "streamt1", *args]


def test_a_reader_that_leaves_does_not_end_the_run(tmp_path: Path) -> None:
    process = subprocess.Popen(command(*GENERATE, "--out", "[red]x[" + "/]"), stdout=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(120) == 0
    assert (tmp_path / "[red]x[" / "]" / "run.json").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_is_said_once_the_work_is_done(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            command(*GENERATE, "--out", "out"),
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == "error: standard output could not be written: No space left on device\n"
    assert (tmp_path / "out" / "run.json").is_file()


def test_markup_is_printed_as_typed(tmp_path: Path) -> None:
    ended = subprocess.run(
        command(*GENERATE, "--out", "[bold]x:smile:"), capture_output=True, cwd=tmp_path, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "[bold]x:smile:/video.mp4" in ended.stdout


def test_a_user_without_a_home_is_served(tmp_path: Path) -> None:
    code = (
        "import pwd, pathlib\n"
        "def nobody(*_): raise KeyError('no such user')\n"
        "pwd.getpwuid = pwd.getpwnam = nobody\n"
        "from streamt1.cli.main import app\n"
        "app(['presets'])"
    )
    bare = {key: value for key, value in os.environ.items() if key != "HOME"}
    ended = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "pocket" in ended.stdout
