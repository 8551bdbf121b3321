"""Ctrl-C and SIGTERM at any moment of a command: one line, and the signal's exit code."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WHILE = {
    "commands come together": "import streamt1.cli.main as m; m.main = send",
    "a command works": "import streamt1.config.load as c; c.preset_names = send",
    "a command loads a module": "sys.modules.pop('streamt1.config.load', None); sys.meta_path.insert(0, Finder())",
}
BEGIN = """
import signal, sys
def send(*a, **k): signal.raise_signal(signal.{number})
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "streamt1.config.load":
            send()
sys.argv = ["streamt1", "presets"]
from streamt1.cli.entry import main
import streamt1.cli.main
{then}
main()
print("went on")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("moment", WHILE)
def test_a_signal_ends_a_command_in_one_line(number: signal.Signals, moment: str) -> None:
    code = BEGIN.format(number=number.name, then=WHILE[moment])
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 128 + number
    assert ended.stderr == f"ended by {number.name}\n"
    assert not ended.stdout


LEAVING = """
import signal
from streamt1.core.stopping import before_leaving, leave
with before_leaving(lambda: print("one", flush=True)):
    pass
with before_leaving(lambda: print("two", flush=True)), before_leaving(lambda: print("three", flush=True)):
    signal.signal(signal.SIGTERM, leave)
    signal.raise_signal(signal.SIGTERM)
"""


def test_what_must_be_done_before_leaving_is_done_last_first() -> None:
    ended = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGTERM, "three\ntwo\n")


def test_what_fails_before_leaving_holds_nothing_up() -> None:
    code = LEAVING.replace('print("three", flush=True)', "1 / 0")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGTERM, "ended by SIGTERM\n")
