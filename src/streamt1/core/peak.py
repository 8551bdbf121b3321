"""The most memory that a piece of work holds, and what is left of it when it is done."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch

MB = 1e6
_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset_peak(device: torch.device) -> None:
    """Starts counting anew, where the machine can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR.exists():
        _CLEAR.write_text("5")


def give_back_freed() -> None:
    """Memory of this process that is free goes back to the system, where the C library can (glibc; milliseconds).

    glibc keeps up to 64 MB free in each of its arenas, of which there are eight a core: a process of many threads
    grows without a leak.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def peak_mb(device: torch.device) -> float:
    """Megabytes (1e6 bytes) since ``reset_peak``: allocated on a CUDA device, else resident in this process, models
    included. Where Linux's counters are missing: since the process began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MB
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / MB
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / MB
