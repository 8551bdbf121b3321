"""Memory that is measured, and memory that is given back."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest

from streamt1.core.peak import MB, give_back_freed

BLOCK, BLOCKS = 1 << 16, 1600  # below the size from which glibc asks the system for each block apart


def resident_mb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024 / MB


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_what_is_freed_below_something_that_stays_goes_back() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    blocks = [libc.malloc(BLOCK) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    for block in blocks[:-1]:
        libc.free(block)
    held = resident_mb()
    give_back_freed()
    assert held - resident_mb() > 0.9 * BLOCK * BLOCKS / MB
    libc.free(blocks[-1])
