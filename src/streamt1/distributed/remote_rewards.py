"""Rewards that are elsewhere: on the devices that decode, or on devices of their own, where frames are sent to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from streamt1.core.remote import Frames, Later, RemoteClips
from streamt1.core.types import RewardOutput
from streamt1.distributed.fleet import Fleet, Want
from streamt1.distributed.jobs import LooksAt, Piece, Score
from streamt1.distributed.recipes import FRAMES, Sent
from streamt1.distributed.remote_frames import DecodedFrames, bring
from streamt1.distributed.scorers import Question, Scorers

Answers = Sequence[tuple[float, dict[str, float]]]
"""Of each clip the score and its named parts."""


class RemoteReward:
    """Both rewards: clips are spread over the devices that hold their frames, or are sent to those of the rewards.

    Args:
        clip: whether it is the clip reward.
        scorers: devices of the rewards' own, which answer later; None where the fleet's devices hold the rewards.
    """

    takes_bytes = True
    """What it is shown goes on as it is; the reward itself says how it wants its frames."""

    def __init__(self, fleet: Fleet, clip: bool, scorers: Scorers | None = None) -> None:
        self._fleet, self._clip, self._scorers = fleet, clip, scorers

    def asked(
        self, clips: RemoteClips | Tensor, text: str, fps: float = 0.0, seen: int | None = None
    ) -> RewardOutput | Later[RewardOutput]:
        """What the reward says of clips, wherever their frames are."""
        shown = RemoteClips([[clip] for clip in clips], None) if isinstance(clips, Tensor) else clips
        about = partial(Score, self._clip, text=text, fps=fps, seen=seen)
        if self._scorers is None:
            return _output(self._fleet.answer([_want(parts, shown.index, about) for parts in shown.clips]))
        scorers, wanted = self._scorers, defaultdict[DecodedFrames, set[int]](set)
        for parts in shown.clips:
            for part, index in _far(parts, shown.index):
                wanted[part].update(index)
        bring(self._fleet, wanted)
        questions = [_question(parts, shown.index, about) for parts in shown.clips]
        scorers.ask(questions)
        return Later(lambda: _output(scorers.answers(questions)))


class RemoteFrameReward(RemoteReward):
    """Satisfies ``FrameReward``."""

    def score(self, frames: Any, text: str) -> Any:
        return self.asked(frames, text)


class RemoteClipReward(RemoteReward):
    """Satisfies ``ClipReward``."""

    def score(self, clips: Any, fps: float, text: str) -> Any:
        return self.asked(clips, text, fps)


class RemoteSamplingClipReward(RemoteClipReward):
    """Satisfies ``SamplingClipReward``."""

    def __init__(self, fleet: Fleet, clip: bool, scorers: Scorers | None = None) -> None:
        super().__init__(fleet, clip, scorers)
        self._looks: dict[tuple[int, float], list[int]] = {}

    def looks_at(self, total: int, fps: float) -> Sequence[int]:
        if (total, fps) not in self._looks:
            job = LooksAt(total, fps)
            told = self._fleet.answer([Want((), job)])[0] if self._scorers is None else self._scorers.answer(job)
            self._looks[total, fps] = told
        return self._looks[total, fps]

    def score_seen(self, seen: Any, total: int, fps: float, text: str) -> Any:
        return self.asked(seen, text, fps, total)


def _output(said: Answers) -> RewardOutput:
    names = list(said[0][1]) if said else []
    scores = torch.tensor([score for score, _ in said], dtype=torch.float64)
    return RewardOutput(
        scores, {name: torch.tensor([own[name] for _, own in said], dtype=torch.float64) for name in names}
    )


def _want(parts: Sequence[Frames], index: Sequence[int] | None, about: Callable[..., Score]) -> Want:
    """A question about a clip whose frames are where the rewards are."""
    pieces = [_piece(parts[place], own) for place, own in _pieces(parts, index)]
    wanted = {piece.decoded for piece in pieces}
    far = [cast(DecodedFrames, part) for part in parts if not isinstance(part, Tensor)]
    keys = [(part.recipe, (part.recipe.id + FRAMES,)) for part in far if part.recipe.id in wanted]
    return Want(keys, about(pieces=pieces))


def _far(parts: Sequence[Frames], index: Sequence[int] | None) -> list[tuple[DecodedFrames, Sequence[int]]]:
    """What a clip needs of frames that are elsewhere."""
    return [
        (part, range(len(part)) if own is None else own)
        for part, own in ((parts[place], own) for place, own in _pieces(parts, index))
        if isinstance(part, DecodedFrames)
    ]


def _question(parts: Sequence[Frames], index: Sequence[int] | None, about: Callable[..., Score]) -> Question:
    """A question about a clip whose frames are here; each of a decode has a name, by which devices know it again."""
    pieces, frames, count = list[Piece](), dict[str, Tensor](), 0
    for place, own in _pieces(parts, index):
        part = parts[place]
        count += len(part) if own is None else len(own)
        if not isinstance(part, DecodedFrames):
            pieces.append(_piece(part, own))
            continue
        for one in range(len(part)) if own is None else own:
            name = f"{part.recipe.id}/{one}"
            frames[name] = part.near[one][None]
            pieces.append(Piece(name))
    return Question(about(pieces=pieces), frames, count)


def _pieces(parts: Sequence[Frames], index: Sequence[int] | None) -> list[tuple[int, tuple[int, ...] | None]]:
    """Which frames of which parts a clip is made of, in order."""
    if index is None:
        return [(place, None) for place in range(len(parts))]
    found = [(place, frame) for place, part in enumerate(parts) for frame in range(len(part))]
    pieces: list[tuple[int, list[int]]] = []
    for place, frame in (found[one] for one in index):
        if not pieces or pieces[-1][0] != place:
            pieces.append((place, []))
        pieces[-1][1].append(frame)
    return [(place, tuple(own)) for place, own in pieces]


def _piece(part: Frames, index: tuple[int, ...] | None) -> Piece:
    if isinstance(part, Tensor):
        return Piece(None, None, Sent(part if index is None else part[list(index)]))
    return Piece(cast(DecodedFrames, part).recipe.id, index)
