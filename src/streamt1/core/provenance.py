"""Which source and which libraries make the numbers."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path


def versions() -> dict[str, str | None]:
    """Of the package, torch, Python, the system, and the source's commit."""
    return {
        "streamt1": version("streamt1"),
        "commit": commit(),
        "torch": version("torch"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


@cache
def commit() -> str | None:
    """Of the source that runs, with ``-dirty`` where it was changed; None where it is no git checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip() or None
