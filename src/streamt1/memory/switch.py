"""What a new prompt does to a memory that was written under another.

``keep``: nothing; what was written stays as it is. ``cut``: it is emptied. ``recache`` (LongLive 1): the frames that
the window holds are read and written once more, together, under the new prompt. Which frames, and what becomes of the
sinks, stands here; the pass itself is the backbone's. ``shot`` (LongLive 2): a new shot begins, see ``memory.shots``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streamt1.memory.branch import Branch, BranchingMemory, MemoryConfig
from streamt1.memory.pages import Page


@dataclass(frozen=True)
class Recache:
    """One joint pass over clean latents.

    Attributes:
        kept: sinks that stay as they are; the pass reads them before itself.
        chunks: what is written again, indices of chunks in the video; empty where the window's only one is a sink.
    """

    kept: tuple[Page, ...]
    chunks: range


def recache_of(config: MemoryConfig, branch: Branch) -> Recache:
    """What a re-cache reads and writes.

    All frames of the window (``config.window``, those included that the next chunk pushes out), and their sinks with
    them, as long as the window has not slid. Once it has, sinks stay as they are, appended and blended ones too, and
    the rest of the window is written again; without ``global_sink``, or without sinks, all of the window is, and its
    first frames become the sinks.
    """
    each, end = config.chunk, branch.chunks
    slid = (end - branch.since) * each > config.window
    if not slid or not config.global_sink or not branch.sinks:
        return Recache((), range(max(branch.since, end - config.window // each), end))
    first = end - (config.window - config.sink) // each
    if any(page.start == first * each for page in branch.sinks):  # it has left already, and was appended
        first += 1
    return Recache(branch.sinks, range(first, end))


def recached(memory: BranchingMemory, branch: Branch, done: Recache, pages: Sequence[Page]) -> Branch:
    """The branch over the pages of a re-cache; what the next chunk pushes out has left. It holds nothing yet.

    Where sinks were kept, the chunk that left last was read, and it is not routed a second time.
    """
    branch = replace(branch, eviction=None)
    if done.kept:
        left = len(pages) - len(branch.window)
        return replace(branch, sinks=done.kept, window=tuple(pages[left:]))
    sinks = memory.config.sink // memory.config.chunk
    return memory.evict(replace(branch, sinks=tuple(pages[:sinks]), window=tuple(pages[sinks:])))


def emptied(branch: Branch) -> Branch:
    """The branch that reads nothing; time goes on, and what was put aside stays there."""
    return Branch(chunks=branch.chunks, since=branch.chunks, shelf=branch.shelf, shots=branch.shots)
