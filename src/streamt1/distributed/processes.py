"""Processes that a library has started below this one, and their end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Table = dict[int, tuple[int, str]]
"""Process -> its parent, and its command line."""


_apart = set[int]()
"""Threads whose forks get groups of their own."""


@contextmanager
def own_groups() -> Iterator[None]:
    """What this thread starts inside gets a process group of its own, where it is forked with a hook of Python's.

    So a signal to the group of this process, as of a terminal or of ``timeout``, is for this process alone.
    """
    me = threading.get_ident()
    _apart.add(me)
    try:
        yield
    finally:
        _apart.discard(me)


def _forked() -> None:
    if threading.get_ident() in _apart:
        os.setpgid(0, 0)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forked)


def end_below(mark: str) -> None:
    """Ends the children of this process whose command lines hold a text, and all that these have started.

    They are stopped first, until no new one is found: whose parent is gone can't be told from others.
    """
    found = set[int]()
    while new := below(os.getpid(), mark, processes()) - found:
        found |= new
        _send(new, signal.SIGSTOP)
    _send(found, signal.SIGKILL)


def below(parent: int, mark: str, table: Table) -> set[int]:
    """The children of a process whose command lines hold a text, and all that is below these."""
    found = {pid for pid, (above, line) in table.items() if above == parent and mark in line}
    while more := {pid for pid, (above, _) in table.items() if above in found} - found:
        found |= more
    return found


def processes() -> Table:
    """All processes of this machine."""
    return _of_proc() if sys.platform.startswith("linux") else _of_ps()


def _of_proc() -> Table:
    table = Table()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # it has ended
                above = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                table[int(folder.name)] = above, line
    return table


def _of_ps() -> Table:
    table = Table()
    command = ["ps", "-A", "-o", "pid=,ppid=,command="]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as asked:
        for line in asked.stdout or ():
            pid, above, *told = line.split(maxsplit=2)
            table[int(pid)] = int(above), told[0] if told else ""
    table.pop(asked.pid, None)
    return table


def _send(pids: set[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it has ended
            os.kill(pid, number)
