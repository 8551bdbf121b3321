"""Recall: what a scene looked like is put back when it returns.

Pages are never written twice, so keeping one costs its bytes and nothing else. The first chunk of a scene decides how
the scene looks. It is put aside, on the host, and when the scene's prompt returns, the next chunks read it again as one
more sink; at the next switch it is put back. What is still among the sinks or in the window is not read twice, and what
leaves the window while its scene is back is read on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from streamt1.memory.pages import Page

if TYPE_CHECKING:
    from streamt1.memory.branch import Branch

HOST = torch.device("cpu")


def with_first(branch: Branch, scene: str, page: Page, most: int) -> Branch:
    """The branch that has put a page aside, if it is the first of its scene; the scene shown longest ago goes first.

    Args:
        scene: an identity of its prompt.
        most: how many scenes are kept.
    """
    if not most or any(scene == other for other, _ in branch.shelf):
        return branch
    return replace(branch, shelf=(*branch.shelf, (scene, page.at(HOST)))[-most:])


def recalled(branch: Branch, scene: str, device: torch.device) -> Branch:
    """The branch that reads a scene's first chunk again, if it has it, on ``device``; what it recalled before, no more.

    The scene becomes the one that was shown last.
    """
    back = [page for other, page in branch.shelf if other == scene]
    others = tuple(one for one in branch.shelf if one[0] != scene)
    read = {page.start for page in (*branch.sinks, *branch.window)}
    return replace(
        branch,
        returned=bool(back),
        shelf=(*others, *((scene, page) for page in back)),
        recalled=tuple(page.at(device) for page in back if page.start not in read),
    )


def read_on(before: Branch, branch: Branch, scene: str) -> Branch:
    """A branch after an eviction from ``before``: where the scene is back, its own first chunk stays as it was read."""
    if not branch.returned or branch.recalled:
        return branch
    own = {page.start for name, page in branch.shelf if name == scene}
    kept = {page.start for page in (*branch.sinks, *branch.window)}
    return replace(branch, recalled=tuple(page for page in before.window if page.start in own - kept))


def first_alone(branch: Branch, scene: str) -> Branch:
    """The branch as one that remembers nothing but the first chunk: of the scene where scenes are put aside, else the
    first sink. As it is where the scene has no first chunk yet.
    """
    if not branch.shelf:
        return replace(branch, sinks=branch.pages[:1], recalled=(), window=())
    there = {page.id: page for page in branch.pages}  # where it is read, and not on the host
    own = tuple(there.get(page.id, page) for name, page in branch.shelf if name == scene)
    return replace(branch, sinks=own, recalled=(), window=()) if own else branch
