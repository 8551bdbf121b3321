"""Processes below this one, found and ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from streamt1.distributed.processes import _of_proc, _of_ps, below, end_below, own_groups

MARK = "a mark of this test"
CHILD = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def test_what_is_below_a_marked_child_is_found_and_nothing_else() -> None:
    table = {
        1: (0, "init"), 5: (1, "python us"), 6: (5, "/ray/gcs"), 7: (5, "/ray/raylet"), 8: (7, "python worker"),
        9: (8, "sh"), 10: (5, "ffmpeg"), 11: (10, "/ray/of-another"), 12: (1, "/ray/raylet"),
    }  # fmt: skip
    assert below(5, "/ray/", table) == {6, 7, 8, 9}
    assert below(5, "/none/", table) == set()


@linux
def test_marked_children_end_with_all_that_they_started() -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    marked = subprocess.Popen([sys.executable, "-c", CHILD + "time.sleep(60)", MARK])
    try:
        until = time.monotonic() + 30
        while len(there := below(os.getpid(), MARK, _of_proc())) < 2:
            assert time.monotonic() < until
            time.sleep(0.02)
        end_below(MARK)
        assert marked.wait(10) == -9
        while there & _of_proc().keys() and time.monotonic() < until:
            time.sleep(0.02)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@linux
@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps")
def test_ps_tells_the_same() -> None:
    one, other = _of_proc(), _of_ps()
    assert one[os.getpid()][0] == other[os.getpid()][0] == os.getppid()
    assert "pytest" in other[os.getpid()][1] or "python" in other[os.getpid()][1]


@linux
def test_what_is_started_apart_has_a_group_of_its_own() -> None:
    def group() -> bool:
        code = "import os; print(os.getpgid(0) == os.getpid())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=lambda: None)
        return done.stdout == "True\n"

    assert not group()
    with own_groups():
        assert group()
    assert not group()
