"""Scorers: devices that hold the rewards alone. Frames are sent to them; what they say is waited for when needed.

A device keeps what it was sent for as long as the frames live here, so that a window's earlier frames are sent once.
One that comes later, or in place of one that was lost, is sent what it lacks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from streamt1.distributed.recipes import FRAMES, Sent, Shown
from streamt1.distributed.seats import ATTEMPTS, Link, LinkLostError, Renew, Seat, Seats
from streamt1.distributed.worker import Job, MissingHereError, Request


@dataclass(eq=False)
class Question:
    """Something that the rewards are asked, and what becomes of it.

    Attributes:
        frames: that the job reads, by their names, ``[T, 3, H, W]`` each.
        weight: about how long it takes, in frames that are looked at.
        answered: whether there is an answer, or an error.
        attempts: how many devices were lost over it.
    """

    job: Job
    frames: Mapping[str, Tensor] = field(default_factory=dict)
    weight: int = 1
    answered: bool = False
    answer: Any = None
    error: Exception | None = None
    attempts: int = 0


class Scorers(Seats):
    """The devices of the rewards. See ``Seats`` for its arguments."""

    kind = "reward devices"

    def __init__(self, links: Sequence[Link], renew: Renew = lambda lost: None) -> None:
        super().__init__(links, renew)
        self._gone: deque[str] = deque()
        self._last = -1

    def let_go(self, decoded: str) -> None:
        """Frames of this decode are not needed any more. May be called from anywhere, at any time."""
        self._gone.append(decoded)

    def ask(self, questions: Sequence[Question]) -> None:
        """Sends the questions out, each to the device that has least to do; waits for no answer.

        Raises ``DeviceLostError`` where no device is left, or a question has ended several.
        """
        with self._lock:
            for seat in list(self._seats):
                while seat.asked and seat.asked[0][0].done():
                    self._hear(seat)
            self._admit()
            self._tidy()
            for question in questions:
                self._submit(question)

    def answers(self, questions: Sequence[Question]) -> list[Any]:
        """What was said, once all of these questions have been answered.

        Raises:
            DeviceLostError: no device is left, or a question has ended several.
            Exception: what a device raised; of several, that of the first question.
        """
        with self._lock:
            while left := {id(question) for question in questions if not question.answered}:
                busy = [seat for seat in self._seats if any(id(one) in left for _, own in seat.asked for one in own)]
                if not busy:  # whoever heard of the loss has been told; these were given up with it
                    raise self.given_up()
                wait([seat.asked[0][0] for seat in busy], return_when=FIRST_COMPLETED)
                for seat in [seat for seat in busy if seat.asked and seat.asked[0][0].done()]:
                    self._hear(seat)
            error = next((question.error for question in questions if question.error), None)
            if error is not None:
                raise error
            return [question.answer for question in questions]

    def answer(self, job: Job) -> Any:
        """What one device says at once of something that needs no frames. Raises as ``answers`` does."""
        question = Question(job)
        self.ask([question])
        return self.answers([question])[0]

    def flush(self) -> None:
        """Frees now what is to be freed, and not with the next question."""
        with self._lock:
            self._tidy()
            for seat in self._seats:
                freed, seat.freed = tuple(seat.freed), []
                seat.asked.append((seat.link.submit(Request(freed)), []))

    def _submit(self, question: Question) -> None:
        """Asks the device that has least to do; of several the one that lacks the fewest frames, then the next."""
        count = len(self._seats)
        place = min(range(count), key=lambda at: (*self._cost(question, at), (at - self._last - 1) % count))
        seat, self._last = self._seats[place], place
        makes = {name: frames for name, frames in question.frames.items() if name + FRAMES not in seat.held}
        keep = frozenset(name + FRAMES for name in makes)
        shown = [(name, Shown(Sent(frames))) for name, frames in makes.items()]
        request = Request(tuple(seat.freed), {}, shown, keep, [question.job])
        seat.held |= keep
        seat.freed = []
        seat.asked.append((seat.link.submit(request), [question]))

    def _cost(self, question: Question, place: int) -> tuple[int, int]:
        seat = self._seats[place]
        load = sum(one.weight for _, own in seat.asked for one in own)
        return load, sum(name + FRAMES not in seat.held for name in question.frames)

    def _hear(self, seat: Seat) -> None:
        """The reply to the oldest request of a device; what it could not answer is asked again."""
        future, questions = seat.asked[0]
        try:
            reply = future.result()
        except LinkLostError as error:
            left = [one for _, own in seat.asked for one in own]
            seat.asked.clear()
            self._lose(seat, error)
            self._again(left)
            return
        seat.asked.popleft()
        if isinstance(reply.error, MissingHereError):
            later = {name + FRAMES for _, own in seat.asked for question in own for name in question.frames}
            seat.held = set(reply.held) | later & seat.held
            self._again(questions)
            return
        for row, question in enumerate(questions):
            question.answered, question.error = True, reply.error
            question.answer = None if reply.error else reply.answers[row]

    def _again(self, questions: Sequence[Question]) -> None:
        """Asks once more. The first of them was being answered, and may be why it was not."""
        if questions:
            questions[0].attempts += 1
            if questions[0].attempts >= ATTEMPTS:
                raise self.given_up()
            self._admit()
        for question in questions:
            self._submit(question)

    def _tidy(self) -> None:
        """Has devices let go of frames that do not live here any more."""
        gone = set[str]()
        while self._gone:
            gone.add(self._gone.popleft())
        if not gone:
            return
        for seat in self._seats:
            freed = [key for key in seat.held if key.partition("/")[0] in gone]
            seat.freed += freed
            seat.held.difference_update(freed)
