"""A search that its watcher ends gives everything back, wherever it is."""

from __future__ import annotations

import itertools

import pytest

from streamt1.backbones.gaussian import GaussianBackbone, IdentityDecoder, TargetClipReward, TargetFrameReward
from streamt1.core.errors import Cancelled
from streamt1.search.config import SearchConfig
from streamt1.search.engine import Engine
from streamt1.trace.events import Event


def test_every_event_is_a_place_to_stop() -> None:
    stopped: set[str] = set()
    for place in itertools.count():
        backbone, seen = GaussianBackbone(), list[Event]()

        def watch(event: Event, seen: list[Event] = seen, place: int = place) -> None:
            seen.append(event)
            if len(seen) > place:
                raise Cancelled("enough")

        engine = Engine(
            backbone, IdentityDecoder(), TargetFrameReward(), TargetClipReward(), SearchConfig(lag=1), watch
        )  # fmt: skip
        try:
            engine.run("", 4)
        except Cancelled:
            assert len(seen) == place + 1
            stopped.add(seen[-1].kind)
        else:
            break
        finally:
            assert backbone.live == 0, seen[-1]
    assert {"run_started", "chunk_committed", "chunk_settled", "candidate_proposed", "run_finished"} <= stopped


def test_cancelled_is_an_error_of_ours() -> None:
    with pytest.raises(Cancelled, match="enough"):
        raise Cancelled("enough")
