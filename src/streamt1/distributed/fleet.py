"""The devices that a search runs on, as one: who holds what, who does what, and what happens when one is lost.

At a chunk boundary every device is told to make what lives on: it runs the survivors' context passes and decodes, so
that no memory travels. What a device lacks is made before it is read, from its recipe; so a device that comes later, or
in place of one that was lost, begins with nothing. Memory that another device holds may be shipped to it instead.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from streamt1.distributed.assign import assign
from streamt1.distributed.catching_up import CatchingUp
from streamt1.distributed.recipes import Commit, Decode, Parcel, Recipe, Sent, missing
from streamt1.distributed.seats import ATTEMPTS, Link, LinkLostError, Renew, Seat, Seats
from streamt1.distributed.shipping import DEFAULT, Rebuild, rebuild_of
from streamt1.distributed.worker import Job, MissingHereError, Reply, Request


@dataclass(frozen=True)
class Want:
    """Something to be done.

    Attributes:
        keys: that must be there, with the recipes that make them.
        job: to be answered; None where it is enough that they are there.
        latents: that the device had better know.
    """

    keys: Sequence[tuple[Recipe, Sequence[str]]] = ()
    job: Job | None = None
    latents: Parcel | None = None


class Fleet(Seats):
    """Devices that work on one search at a time.

    Args:
        links, renew: see ``Seats``.
        rebuild: decides whether memory that a device lacks is made again or shipped; see ``shipping``.

    Attributes:
        shown: whether decodes by the draft decoder, and not by the other, are what candidates are shown by.
        catching_up: what has been shipped, and what was measured.
    """

    def __init__(self, links: Sequence[Link], renew: Renew = lambda lost: None, rebuild: Rebuild | None = None) -> None:
        super().__init__(links, renew)
        self._live: dict[str, tuple[Recipe, int]] = {}
        self._recipes: WeakValueDictionary[str, Recipe] = WeakValueDictionary()
        self._gone: deque[str] = deque()
        self.shown = False
        self.catching_up = CatchingUp(self, rebuild or rebuild_of(DEFAULT))

    def the(self, recipe: Recipe) -> Recipe:
        """The one recipe of that name, which knows what has been told of it."""
        return self._recipes.setdefault(recipe.id, recipe)

    def hold(self, recipe: Recipe, key: str) -> None:
        """One more handle needs what is under this key."""
        self._live[key] = recipe, self._live.get(key, (recipe, 0))[1] + 1

    def let_go(self, key: str) -> None:
        """One handle less does. May be called from anywhere, at any time."""
        self._gone.append(key)

    def told(self, recipe: Recipe) -> Any:
        """What the first device that makes it says of it."""
        with self._question():
            self.sync(flush=True)
            while not recipe.told:
                waiting = [seat for seat in self._seats if any(recipe in made for _, made in seat.asked)]
                if not waiting:
                    self.answer([Want([(recipe, recipe.keys[-1:])])])
                    break
                wait([seat.asked[0][0] for seat in waiting], return_when=FIRST_COMPLETED)
                for seat in [seat for seat in waiting if seat.asked[0][0].done()]:
                    try:
                        self._hear(seat)
                    except LinkLostError as error:
                        self._lose(seat, error)
            return recipe.told[0]

    def sync(self, flush: bool = False) -> None:
        """Has every device make what lives on: branches, and decodes of chunks that are in them.

        Waits for none, but for one to which memory is shipped. Memory has a request of its own, the first: who waits
        for what is told of it can go on while devices decode.

        Args:
            flush: free now what is to be freed, and not with the next request.
        """
        with self._lock:
            self._tidy()
            self.catching_up.ship()
            branches = self.branches
            survived = {one.latents.id for one in branches if isinstance(one.call, Commit) and one.latents}
            wanted: dict[str, tuple[Recipe, list[str]]] = {}
            for key, (recipe, _) in self._live.items():
                if self._everywhere(recipe, survived):
                    wanted.setdefault(recipe.id, (recipe, []))[1].append(key)
            decodes = [Want([pair]) for pair in wanted.values() if isinstance(pair[0].call, Decode)]
            memory = [Want([pair]) for pair in wanted.values() if not isinstance(pair[0].call, Decode)]
            for seat in self._seats:
                self._submit(seat, memory, only_missing=True)
                self._submit(seat, decodes, only_missing=not (flush and seat.freed))

    def answer(self, wants: Sequence[Want]) -> list[Any]:
        """What comes of each: spread over the devices, and again over those that are left where one is lost.

        Raises:
            DeviceLostError: none is left, or this work has ended several.
            Exception: what a device raised; of several, that of the first.
        """
        with self._question():
            self.sync()
            answers: dict[int, Any] = {}
            for _ in range(ATTEMPTS):
                self._admit()
                self.catching_up.ship()
                left = [row for row in range(len(wants)) if row not in answers]
                self._collect(self._spread(wants, left) if self._seats else [], answers)
                if len(answers) == len(wants):
                    return [answers[row] for row in range(len(wants))]
            raise self.given_up()

    @property
    def branches(self) -> list[Recipe]:
        """Of memory that lives on."""
        return [recipe for key, (recipe, _) in self._live.items() if key == recipe.id]

    @property
    def seats(self) -> Sequence[Seat]:
        """The devices, as they are now."""
        return tuple(self._seats)

    def ask(self, seat: Seat, job: Job, keep: str | None = None) -> Any:
        """What one device answers at once; None where it is lost, or lacks what the job reads.

        Args:
            keep: a key that the job makes, to be held from now on.
        """
        request = Request(jobs=(job,), keep=frozenset(() if keep is None else (keep,)))
        with self._question():
            future = seat.link.submit(request)
            seat.asked.append((future, []))
            try:
                answers = self._hear_until(seat, future)
            except LinkLostError as error:
                self._lose(seat, error)
                return None
            return answers[0] if answers else None

    def excuse(self) -> None:
        """Nobody waits for what devices were asked until now: it may fail, and is made again where it is needed."""
        with self._lock:
            for seat in self._seats:
                seat.excused = len(seat.asked)

    @contextmanager
    def _question(self) -> Iterator[None]:
        """Where it ends with an error, so may what other devices were asked for it."""
        with self._lock:
            try:
                yield
            except BaseException:
                self.excuse()
                raise

    def _spread(self, wants: Sequence[Want], rows: Sequence[int]) -> list[tuple[Seat, list[int], Future[Reply]]]:
        """Asks the devices for these rows: who was asked for which."""
        places = assign(len(rows), len(self._seats), lambda row, at: self._lacks(wants[rows[row]], at))
        sent = []
        for place, seat in enumerate(self._seats):
            own = [row for row, at in zip(rows, places) if at == place]
            if own:
                sent.append((seat, own, self._submit(seat, [wants[row] for row in own])))
        return sent

    def _everywhere(self, recipe: Recipe, survived: set[str]) -> bool:
        if not isinstance(recipe.call, Decode):
            return True
        return recipe.call.draft == self.shown and recipe.latents is not None and recipe.latents.id in survived

    def _collect(self, sent: list[tuple[Seat, list[int], Future[Reply]]], answers: dict[int, Any]) -> None:
        """Hears all that were asked. Raises what the first row's device raised, once all have answered."""
        errors: dict[int, Exception] = {}
        for seat, rows, future in sent:
            try:
                reply = self._hear_until(seat, future)
            except LinkLostError as error:
                self._lose(seat, error)
            except Exception as error:
                errors[rows[0]] = error
            else:
                if reply is not None:
                    answers.update(zip(rows, reply))
        if errors:
            raise errors[min(errors)]

    def _hear_until(self, seat: Seat, future: Future[Reply]) -> Sequence[Any] | None:
        """The answers to a request; None where the device lacked something, and it must be asked again."""
        while seat.asked:
            last = seat.asked[0][0] is future
            reply = self._hear(seat)
            if last:
                return None if reply is None else reply.answers
        return None

    def _hear(self, seat: Seat) -> Reply | None:
        """The reply to the oldest request of a device; None where it lacked something, or its error is excused."""
        future, makes = seat.asked.popleft()
        excused, seat.excused = seat.excused > 0, max(seat.excused - 1, 0)
        reply = future.result()
        self.catching_up.measured.ran(seat.link.name, *reply.passes)
        by_id = {recipe.id: recipe for recipe in makes}
        for id, said in reply.told.items():
            if not by_id[id].told:
                by_id[id].told.append(said)
        if reply.error is None:
            for id in reply.known:
                seat.knows(id)
            return reply
        later = {key for _, made in seat.asked for recipe in made for key in recipe.keys}
        seat.held, seat.known = set(reply.held) | later & seat.held, OrderedDict.fromkeys(reply.known)
        seat.freed += [key for key in seat.held if key not in self._live]
        if excused or isinstance(reply.error, MissingHereError):
            return None
        raise reply.error

    def _lacks(self, want: Want, place: int) -> int:
        seat = self._seats[place]
        lacking = sum(len(missing([recipe], lambda _, keys=keys: keys, seat.held)) for recipe, keys in want.keys)
        return 2 * lacking + (want.latents is not None and want.latents.id not in seat.known)

    def _submit(self, seat: Seat, wants: Sequence[Want], only_missing: bool = False) -> Future[Reply]:
        """Asks one device for all of this, at once."""
        needed: dict[str, tuple[str, ...]] = {}
        for recipe, keys in (pair for want in wants for pair in want.keys):
            needed[recipe.id] = (*needed.get(recipe.id, ()), *keys)
        makes = missing(
            [recipe for want in wants for recipe, _ in want.keys],
            lambda recipe: needed.get(recipe.id, recipe.keys[-1:]),
            seat.held,
        )
        if only_missing and not makes:
            return Future()
        keep = frozenset(key for recipe in makes for key in recipe.keys if key in self._live)
        parcels = self._parcels(seat, makes, wants)
        jobs = [] if only_missing else [want.job or _Nothing() for want in wants]
        calls = [(recipe.id, recipe.call) for recipe in makes]
        request = Request(tuple(seat.freed), parcels, calls, keep, jobs)
        seat.held = (seat.held - set(seat.freed)) | {key for recipe in makes for key in recipe.keys if key in keep}
        seat.freed = []
        future = seat.link.submit(request)
        seat.asked.append((future, makes))
        return future

    def _parcels(self, seat: Seat, makes: Iterable[Recipe], wants: Sequence[Want]) -> dict[str, Sent]:
        """Latents that the device is not known to have."""
        parcels: dict[str, Sent] = {}
        for parcel in [*(recipe.latents for recipe in makes), *(want.latents for want in wants)]:
            if parcel is not None:
                if parcel.id not in seat.known:
                    parcels[parcel.id] = Sent(parcel.tensor)
                seat.knows(parcel.id)
        return parcels

    def _tidy(self) -> None:
        """Frees what no handle needs any more."""
        while self._gone:
            key = self._gone.popleft()
            recipe, count = self._live[key]
            if count > 1:
                self._live[key] = recipe, count - 1
                continue
            del self._live[key]
            for seat in self._seats:
                if key in seat.held:
                    seat.freed.append(key)


@dataclass(frozen=True)
class _Nothing:
    def do(self, worker: Any) -> None:
        return None
