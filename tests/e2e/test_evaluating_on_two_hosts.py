"""An evaluation over two hosts, which are network namespaces with a cable between them: the rows of one host."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import test_killing_evaluations
from tests.e2e.test_killing_devices import kill_all, processes_of, two_hosts
from tests.e2e.test_killing_evaluations import rows_of, wait_for_rows, whole

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
__all__ = ["two_hosts", "whole"]
HEAD = "10.91.0.1:6379"
CLIPS = test_killing_evaluations.CLIPS


def across(hosts: Any, suite: Path, folder: Path) -> subprocess.Popen[bytes]:
    """The command, on the first host."""
    (first, _), around = hosts
    command = [sys.executable, "-m", "streamt1", "evaluate", str(suite), "--out", str(folder), "--ray", HEAD]
    return subprocess.Popen(
        ["ip", "netns", "exec", first, *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **around},
    )  # fmt: skip


def has_device(host: str) -> bool:
    for pid in processes_of(host):
        with suppress(OSError):  # it has ended
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Calls"):
                return True
    return False


def test_both_hosts_make_the_rows_of_one(two_hosts: Any, whole: Any, tmp_path: Path) -> None:
    suite, rows = whole
    process, seen = across(two_hosts, suite, tmp_path / "across"), set[str]()
    while process.poll() is None:
        seen |= {host for host in two_hosts[0] if has_device(host)}
        time.sleep(0.1)
    assert process.returncode == 0, process.communicate()[1].decode()
    assert seen == set(two_hosts[0]), "each host has a device"
    assert rows_of(tmp_path / "across") == rows


def test_a_host_is_lost_in_the_middle(two_hosts: Any, whole: Any, tmp_path: Path) -> None:
    """All of its processes are killed, and its cable is cut: as if it were switched off."""
    (suite, rows), second = whole, two_hosts[0][1]
    process = across(two_hosts, suite, tmp_path / "across")
    wait_for_rows(process, tmp_path / "across", random.Random(6).randint(3, 6))
    assert process.poll() is None
    subprocess.run(["ip", "netns", "exec", second, "ip", "link", "set", "st1b", "down"], check=True)
    kill_all(second)
    errors = process.communicate(timeout=400)[1].decode()
    assert process.returncode == 0, errors
    assert "is lost" in errors
    assert rows_of(tmp_path / "across") == rows


def test_the_command_and_then_a_host_are_lost(two_hosts: Any, whole: Any, tmp_path: Path) -> None:
    suite, rows = whole
    process = across(two_hosts, suite, tmp_path / "across")
    wait_for_rows(process, tmp_path / "across", 4)
    process.kill()
    process.communicate()
    process = across(two_hosts, suite, tmp_path / "across")
    wait_for_rows(process, tmp_path / "across", 3)
    kill_all(two_hosts[0][1])
    errors = process.communicate(timeout=400)[1].decode()
    assert process.returncode == 0, errors
    assert rows_of(tmp_path / "across") == rows
