"""Shots (LongLive 2): a scene may begin a new shot, whose first chunk stays in the window while the shot lasts.

Where a shot begins, time jumps: its chunks stand ``shot_offset`` latent frames later than they would. The chunk that
begins it still reads the first chunk of the shot before; once it is written it takes that one's place, which becomes an
ordinary chunk of the window, the oldest one, and so leaves next.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from streamt1.core.errors import ConfigError
from streamt1.memory.pages import Page

if TYPE_CHECKING:
    from streamt1.memory.branch import Branch, MemoryConfig


def check_shots(config: MemoryConfig) -> None:
    """Raises ``ConfigError`` where shots do not go with the other rules."""
    if config.local_chunks < 3:
        raise ConfigError(
            f"switch='shot' needs a window of two chunks and the current one behind the sink; window={config.window}"
            f" less sink={config.sink} holds {config.local_chunks} of chunk={config.chunk}"
        )
    if config.positions == "relative":
        raise ConfigError("switch='shot' moves chunks in time, so it needs positions='absolute'")


def opened(branch: Branch) -> Branch:
    """The branch whose next chunk begins a shot."""
    return replace(branch, shots=branch.shots + 1, opening=True)


def with_shot(branch: Branch, page: Page) -> Branch:
    """The branch that a chunk is being written to: it stays, if it begins a shot."""
    return replace(branch, opening=False, shot=page.start) if branch.opening else branch


def next_to_leave(branch: Branch) -> Page:
    """The oldest page of the window, but for the one that began the shot."""
    return next(page for page in branch.window if page.start != branch.shot or len(branch.window) == 1)
