"""A search that its watcher ends gives everything back, wherever it is."""

from __future__ import annotations

import itertools

import pytest

from streamt1.backbones.gaussian import GaussianBackbone
from streamt1.core.errors import Cancelled, StreamT1Error
from streamt1.search.config import SearchConfig
from streamt1.search.engine import Engine
from streamt1.search.watcher import Watcher
from streamt1.trace.events import Event
from tests.search.toy import Seen, toy


class Stopping(Seen):
    """Ends the search at an event, counted from 0."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    def happened(self, event: Event) -> None:
        super().happened(event)
        if len(self.events) > self.place:
            raise Cancelled("enough")


def test_every_event_is_a_place_to_stop() -> None:
    stopped: set[str] = set()
    for place in itertools.count():
        backbone, seen = GaussianBackbone(), Stopping(place)
        try:
            Engine(toy(backbone), SearchConfig(lag=1), seen).run("", 4)
        except Cancelled:
            assert len(seen.events) == place + 1
            stopped.add(seen.events[-1].kind)
        else:
            break
        finally:
            assert backbone.live == 0, seen.events[-1]
    assert {"run_started", "chunk_committed", "chunk_settled", "candidate_proposed", "run_finished"} <= stopped


@pytest.mark.parametrize("method", ["proposed", "settled"])
def test_every_picture_and_every_final_chunk_is_a_place_to_stop(method: str) -> None:
    class Shy(Watcher):
        def _look(self, *shown: object) -> None:
            raise Cancelled("enough")

    setattr(Shy, method, Shy._look)
    backbone = GaussianBackbone()
    with pytest.raises(Cancelled, match="enough"):
        Engine(toy(backbone), SearchConfig(lag=1), Shy()).run("", 4)
    assert backbone.live == 0


def test_whoever_catches_the_errors_of_this_package_catches_a_cancelled_run() -> None:
    with pytest.raises(StreamT1Error) as caught:
        Engine(toy(), SearchConfig(), Stopping(3)).run("", 4)
    assert type(caught.value) is Cancelled
