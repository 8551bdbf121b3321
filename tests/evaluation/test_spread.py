"""An evaluation's work on processes that end: of fakes in this process, and of a Ray that is started for it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import typer.testing

from streamt1.cli.main import app
from streamt1.core.errors import ConfigError, DeviceLostError, PromptError
from streamt1.distributed import LinkLostError
from streamt1.evaluation import pool as pools
from streamt1.evaluation import spread
from streamt1.evaluation.pool import Pool
from streamt1.evaluation.runner import run_suite
from streamt1.evaluation.spread import HostExecutor
from streamt1.evaluation.tasks import row_key
from streamt1.pipeline.pipeline import Pipeline
from tests.evaluation.test_runner import without_clocks
from tests.evaluation.toy import CLIPS, CONFIG, SUITE, ToyPipeline, toy_pool

pytestmark = pytest.mark.filterwarnings("ignore:.*is lost:streamt1.core.errors.StreamT1Warning")


class FakeProcess:
    """Satisfies ``Process``: calls are done by a thread each, and ``dies`` says which end it."""

    def __init__(self, place: int, dies: Callable[[Any], bool]) -> None:
        self.name, self._dies, self.gone = f"device {place}", dies, threading.Event()

    def call(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        answer: Future[Any] = Future()
        threading.Thread(target=self._work, args=(answer, function, args), daemon=True).start()
        return answer

    def _work(self, answer: Future[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if self._dies(args):
            self.gone.set()
        if self.gone.is_set():
            answer.set_exception(LinkLostError("it was switched off"))
            return
        try:
            answer.set_result(function(*args))
        except Exception as error:
            answer.set_exception(error)

    def end(self) -> None:
        self.gone.set()


class FakePlaces:
    """Satisfies ``Places``."""

    def __init__(self, count: int, dies: Callable[[Any], bool] = lambda args: False) -> None:
        self.count, self._dies, self.started = count, dies, list[FakeProcess]()

    def start(self, place: int) -> FakeProcess:
        self.started.append(FakeProcess(place, self._dies))
        return self.started[-1]


def hello() -> str:
    return "here"


def squared(number: int) -> int:
    return number * number


def test_work_goes_to_whoever_is_idle() -> None:
    gate = threading.Event()
    with HostExecutor(FakePlaces(2), (hello, ())) as executor:
        slow = executor.submit(gate.wait, 30)
        asked = [executor.submit(squared, n) for n in range(20)]
        assert [one.result(10) for one in asked] == [n * n for n in range(20)]
        assert not slow.done()
        gate.set()
        assert slow.result(10)


def test_what_a_process_did_when_it_ended_is_done_elsewhere_once() -> None:
    chance, done = random.Random(3), list[int]()
    places = FakePlaces(3, lambda args: chance.random() < 0.2)

    def note(number: int) -> int:
        done.append(number)
        return number

    with HostExecutor(places, (hello, ())) as executor:
        assert [one.result(10) for one in [executor.submit(note, n) for n in range(50)]] == list(range(50))
    assert sorted(done) == list(range(50))
    assert len(places.started) > 5
    assert all(process.gone.is_set() for process in places.started)


@pytest.mark.parametrize("count", [1, 2])
def test_work_that_ends_its_processes_is_given_up_and_the_rest_is_done(count: int) -> None:
    places = FakePlaces(count, lambda args: args == (7,))
    with HostExecutor(places, (hello, ())) as executor:
        asked = {n: executor.submit(squared, n) for n in range(12)}
        with pytest.raises(DeviceLostError, match=r"it ended 4 processes one after another \(it was switched off\)"):
            asked.pop(7).result(10)
        assert [one.result(10) for one in asked.values()] == [n * n for n in asked]
    assert len(places.started) <= count + spread.ATTEMPTS


def test_processes_that_never_stay_are_no_endless_loop() -> None:
    places = FakePlaces(2, lambda args: True)
    with HostExecutor(places, (hello, ())) as executor:
        for _ in range(2):
            with pytest.raises(DeviceLostError, match=r"no device is left: device \d is lost"):
                executor.submit(squared, 2).result(10)
    assert len(places.started) == 2 * spread.SPOILT


def test_a_process_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "PATIENCE", 0.05)
    monkeypatch.setattr(FakeProcess, "_work", lambda *args: None)
    with (
        HostExecutor(FakePlaces(2), (hello, ())) as executor,
        pytest.raises(DeviceLostError, match=r"no device is left: its process did not come within 0\.05 seconds"),
    ):
        executor.submit(squared, 2).result(10)


def test_what_the_first_call_raises_ends_everything() -> None:
    def fails() -> None:
        raise ConfigError("on here: no weights")

    with HostExecutor(FakePlaces(2), (fails, ())) as executor:
        for _ in range(2):
            with pytest.raises(ConfigError, match="no weights"):
                executor.submit(squared, 2).result(10)


def test_processes_that_differ_are_refused() -> None:
    told = iter(("one", "other"))

    def check(both: list[str]) -> None:
        if both[0] != both[1]:
            raise ConfigError("they differ")

    with HostExecutor(FakePlaces(2), (lambda: next(told), ()), check) as executor:
        time.sleep(0.2)
        with pytest.raises(ConfigError, match="they differ"):
            executor.submit(squared, 2).result(10)


def test_an_executor_that_is_left_ends_what_runs() -> None:
    places, never = FakePlaces(1), threading.Event()
    executor = HostExecutor(places, (hello, ()))
    running, waiting = executor.submit(never.wait), executor.submit(squared, 2)
    while not running.running():
        time.sleep(0.01)
    executor.shutdown(wait=False)
    assert waiting.cancelled()
    assert places.started[0].gone.is_set()
    never.set()
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(squared, 2)


@contextmanager
def fake_pool(places: FakePlaces) -> Iterator[Pool]:
    with HostExecutor(places, (hello, ())) as executor:
        yield Pool(CONFIG, places.count, executor)


def test_a_suite_on_processes_that_end_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_loaded", [cast(Pipeline, ToyPipeline())])
    chance = random.Random(5)
    places = FakePlaces(2, lambda args: chance.random() < 0.15)
    rows = run_suite(SUITE, CONFIG, tmp_path / "one", 2, opener=lambda config, jobs: fake_pool(places))
    assert len(places.started) > 4
    assert len((tmp_path / "one" / "rows.jsonl").read_text().splitlines()) == CLIPS
    whole = run_suite(SUITE, CONFIG, tmp_path / "whole", 2, opener=toy_pool())
    assert without_clocks(rows) == without_clocks(whole)


def test_a_clip_that_ends_its_processes_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_loaded", [cast(Pipeline, ToyPipeline())])

    def dies(args: Any) -> bool:
        return len(args) == 3 and getattr(args[2], "name", "") == "beam" and args[2].key == deadly

    rows = run_suite(SUITE, CONFIG, tmp_path / "whole", opener=toy_pool())
    deadly = next(row_key(row) for row in rows if row["method"] == "beam")
    told = r"^1 of 40 could not be made; the first is the clip of 'one' by beam, 2x1, 2 s, seed 0: it ended 4 processes"
    with pytest.raises(DeviceLostError, match=told):
        run_suite(SUITE, CONFIG, tmp_path / "one", opener=lambda config, jobs: fake_pool(FakePlaces(2, dies)))
    assert len((tmp_path / "one" / "rows.jsonl").read_text().splitlines()) == CLIPS - 1
    again = run_suite(SUITE, CONFIG, tmp_path / "one", opener=toy_pool())
    assert without_clocks(again) == without_clocks(rows)


def test_a_prompt_that_cannot_be_used_is_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(pipeline: Any, task: Any) -> None:
        raise PromptError("no such word")

    monkeypatch.setattr(pools, "_loaded", [cast(Pipeline, ToyPipeline())])
    with fake_pool(FakePlaces(2)) as pool, pytest.raises(PromptError, match="no such word"):
        pool.map(refuses, [1])


@pytest.mark.parametrize("more", [("--devices", "2"), ("--ray", "auto")])
def test_jobs_and_devices_exclude_one_another(more: tuple[str, str], tmp_path: Path) -> None:
    arguments = ["evaluate", "pocket-quick", "--out", str(tmp_path / "out"), "--jobs", "1", *more]
    found = typer.testing.CliRunner().invoke(app, arguments)
    assert found.exit_code == 2
    assert "give --jobs (processes of this machine), or --devices and --ray" in found.stderr


def test_a_ray_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    arguments = ["evaluate", "pocket-quick", "--out", str(tmp_path / "out"), "--ray", "127.0.0.1:1"]
    found = typer.testing.CliRunner().invoke(app, arguments)
    assert found.exit_code == 2
    assert found.stderr.startswith("error: there is no Ray at '127.0.0.1:1'")
    assert not (tmp_path / "out").exists()
