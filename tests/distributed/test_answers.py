"""What becomes of calls whose answers do not come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from streamt1.distributed.answers import Answers, Asked, Patience
from streamt1.distributed.seats import LinkLostError

SHORT = Patience(first=0.05, again=0.05, after=0.05, arrives=0.5)
SOON = 20


class Process:
    """Answers when it is told to, in order; what is ``lost`` it has done, and nobody hears of it.

    ``travelling``: what it is known to have answered.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Future[Any]]] = []
        self.travelling: set[Any] = set()
        self.pings, self.deaf, self.gone = 0, False, False

    def ask(self, what: Any) -> Asked:
        self.asked.append((what, Future()))
        return Asked(self.asked[-1][1], lambda: what in self.travelling)

    def nothing(self) -> Asked:
        if self.gone:
            raise RuntimeError("there is no cluster")
        self.pings += 1
        return Asked(Future()) if self.deaf else self.ask("nothing")

    def answer_all(self, lost: tuple[Any, ...] = ()) -> None:
        for what, future in self.asked:
            if what not in lost and not future.done():
                future.set_result(what)

    def pinged(self, times: int = 1) -> bool:
        until = time.monotonic() + SOON
        while self.pings < times and time.monotonic() < until:
            time.sleep(0.01)
        return self.pings >= times


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def answers(process) -> Iterator[Answers]:
    made = Answers(process.ask, process.nothing, SHORT)
    yield made
    made.end()


def test_answers_and_errors_are_handed_on(process, answers):
    first, second = answers.call(1), answers.call(2)
    process.asked[0][1].set_result("one")
    process.asked[1][1].set_exception(ValueError("two"))
    assert first.result(SOON) == "one"
    with pytest.raises(ValueError, match="two"):
        second.result(SOON)


def test_a_process_that_is_busy_is_waited_for(process, answers):
    answer = answers.call("long")
    assert process.pinged(3)
    assert not answer.done()
    process.answer_all()
    assert answer.result(SOON) == "long"


def test_an_answer_that_a_later_one_overtook_is_lost_and_the_rest_are_not(process, answers):
    kept, lost = answers.call("kept"), answers.call("lost")
    assert process.pinged()
    process.answer_all(lost=("lost",))
    with pytest.raises(LinkLostError, match="lost on its way"):
        lost.result(SOON)
    assert kept.result(SOON) == "kept"
    later = answers.call("later")
    process.answer_all(lost=("lost",))
    assert later.result(SOON) == "later"


def test_what_is_on_its_way_is_waited_for_and_not_for_ever(process, answers):
    large, never = answers.call("large"), answers.call("never")
    process.travelling |= {"large", "never"}
    assert process.pinged()
    process.answer_all(lost=("large", "never"))
    time.sleep(3 * (SHORT.after + SHORT.first))
    assert not large.done()
    process.answer_all(lost=("never",))
    assert large.result(SOON) == "large"
    with pytest.raises(LinkLostError):
        never.result(SOON)


def test_a_call_made_after_what_overtook_is_still_awaited(process, answers):
    lost = answers.call("lost")
    assert process.pinged()
    later = answers.call("later")
    for what, future in process.asked:
        if what == "nothing":
            future.set_result(None)
    process.deaf = True
    with pytest.raises(LinkLostError):
        lost.result(SOON)
    assert not later.done()
    process.answer_all(lost=("lost",))
    assert later.result(SOON) == "later"


def test_what_comes_after_all_is_of_no_use_and_does_no_harm(process, answers):
    lost = answers.call("lost")
    assert process.pinged()
    process.answer_all(lost=("lost",))
    with pytest.raises(LinkLostError):
        lost.result(SOON)
    process.answer_all()
    with pytest.raises(LinkLostError):
        lost.result()


def test_what_follows_may_be_lost_too(process, answers):
    process.deaf = True
    lost = answers.call("lost")
    assert process.pinged(2)
    process.deaf = False
    assert process.pinged(process.pings + 1)
    process.answer_all(lost=("lost",))
    with pytest.raises(LinkLostError):
        lost.result(SOON)


def test_with_nobody_to_ask_all_answers_are_lost(process, answers):
    process.gone = True
    one, other = answers.call(1), answers.call(2)
    for answer in (one, other):
        with pytest.raises(LinkLostError):
            answer.result(SOON)


def test_a_call_that_cannot_be_made_is_not_awaited(process):
    def refuse(*_: Any) -> Asked:
        raise OSError("no")

    answers = Answers(refuse, process.nothing, SHORT)
    with pytest.raises(OSError, match="no"):
        answers.call(1)
    time.sleep(3 * SHORT.first)
    assert process.pings == 0


def test_nothing_is_followed_once_it_is_ended(process, answers):
    answers.call(1)
    answers.end()
    answers._watcher.join(SOON)
    assert not answers._watcher.is_alive()
    before = process.pings
    time.sleep(3 * SHORT.first)
    assert process.pings == before
