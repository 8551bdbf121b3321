"""What a machine cannot do at the moment, and a database cannot note, costs no video and ends no thread."""

from __future__ import annotations

import errno
import json
import logging
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from streamt1.core.errors import DiskFullError, OutputError
from streamt1.core.files import is_trouble, read_or_none
from streamt1.pipeline.checkpoints import Checkpoints
from streamt1.pipeline.run_files import CHECKPOINT, PARTIAL
from streamt1.server import patience, remains, service, troubles, websocket, worker
from streamt1.server.app import make_app
from streamt1.server.limits import Limits
from streamt1.server.service import Service
from streamt1.server.troubles import Troubles
from streamt1.server.video_files import VideoFiles
from tests.server.live import listening
from tests.server.test_queue import ORDER
from tests.server.test_sessions import after
from tests.server.toy import Gate, toy_service, until

LONG = {**ORDER, "seconds": 1, "lag": 0}
ROOM = Limits(free=1000)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "PAUSE", 0.02)


def failing(times: int, error: Exception, otherwise: Callable[..., Any], after: int = 0) -> Callable[..., Any]:
    """Fails so often, after so many calls that do not."""
    calls = []

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if after < len(calls) <= after + times:
            raise error
        return otherwise(*args, **kwargs)

    return call


def unnoted() -> OutputError:
    """What comes of a database that cannot write."""
    error = OutputError("cannot use the jobs: database or disk is full")
    error.__cause__ = sqlite3.OperationalError("database or disk is full")
    return error


def ordered(client: TestClient, **fields: Any) -> str:
    order = {key: value for key, value in {**LONG, **fields}.items() if value is not None}
    return client.post("/v1/videos", json=order).json()["id"]


def done(service: Service, name: str) -> Any:
    return until(lambda: (job := service.queue.get(name)).status not in ("queued", "in_progress") and job)


def made_in_peace(folder: Path) -> bytes:
    """The same video of a server that has no trouble."""
    with TestClient(make_app(calm := toy_service(folder, lambda: None))) as client:
        name = ordered(client)
        assert done(calm, name).status == "completed"
        return (calm.queue.folder / name / "video.mp4").read_bytes()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE, errno.EIO])
def test_a_job_that_the_machine_could_not_go_on_with_goes_on(
    tmp_path: Path, service: Service, client: TestClient, gate: Gate, code: int
) -> None:
    gate.first = failing(3, OSError(code, "no"), lambda: None, after=5)
    name, waiting = ordered(client), ordered(client, seed=2)
    assert [done(service, one).status for one in (name, waiting)] == ["completed", "completed"]
    assert (service.queue.folder / name / "video.mp4").read_bytes() == made_in_peace(tmp_path / "calm")
    told = [line for line in client.get(f"/v1/videos/{name}/events").text.splitlines() if line.startswith("event:")]
    assert told.count("event: media") == 1
    assert told.count("event: fragment") == told.count("event: chunk_settled") > 3


def test_not_for_ever(service: Service, client: TestClient, gate: Gate) -> None:
    gate.first = failing(10**6, OSError(errno.EIO, "Input/output error"), lambda: None)
    job = done(service, ordered(client))
    assert job.status == "failed"
    assert job.error[0] == "server_error"
    gate.first = lambda: None
    assert done(service, ordered(client)).status == "completed"


def test_what_is_stopped_in_trouble_is_stopped(service: Service, client: TestClient, gate: Gate) -> None:
    gate.first = failing(10**6, OSError(errno.EMFILE, "Too many open files"), lambda: None, after=6)
    name = ordered(client)
    until(lambda: service.queue._troubles._of)
    assert client.post(f"/v1/videos/{name}/cancel").json()["status"] == "cancelled"
    until(lambda: client.get(f"/v1/videos/{name}/content").status_code == 200)
    assert "event: cancelled" in client.get(f"/v1/videos/{name}/events").text


def test_no_video_is_begun_while_the_disk_is_full(
    service: Service, client: TestClient, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.shut()
    running, waiting = ordered(client), ordered(client)
    until(lambda: gate.held)
    monkeypatch.setattr(VideoFiles, "free", lambda self: 0)
    gate.open()
    assert done(service, running).status == "completed"
    time.sleep(10 * troubles.PAUSE)
    assert (service.queue.get(waiting).status, client.get("/health").json()["status"]) == ("queued", "disk_full")
    monkeypatch.setattr(VideoFiles, "free", lambda self: 10**12)
    assert done(service, waiting).status == "completed"


def test_a_video_whose_end_cannot_be_noted_is_kept(
    service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.queue.store, "finish", failing(2, unnoted(), service.queue.store.finish))
    name = ordered(client)
    assert done(service, name).status == "completed"
    assert client.get(f"/v1/videos/{name}/content").content[4:8] == b"ftyp"


def test_what_nobody_could_note_is_found(service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    store = service.queue.store
    monkeypatch.setattr(store, "advance", failing(1, unnoted(), store.advance, after=2))
    monkeypatch.setattr(store, "give_back", failing(1, unnoted(), store.give_back))
    name = ordered(client)
    until(lambda: not service.queue.at_work() and service.queue._troubles._of)
    assert service.queue.get(name).status == "in_progress"
    service.queue.mend()
    assert done(service, name).status == "completed"


def test_viewers_hear_of_an_end_that_could_not_be_told(
    service: Service, client: TestClient, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.shut()
    name = ordered(client)
    session = service.queue.session(name)
    monkeypatch.setattr(service.queue, "ended", failing(1, unnoted(), service.queue.ended))
    gate.open()
    done(service, name)
    until(lambda: not service.queue.at_work())
    assert session.last is None
    service.queue.mend()
    assert session.last is not None
    assert session.last.status == "completed"


def test_a_worker_outlives_what_it_cannot_put_in_order(
    service: Service, client: TestClient, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.queue.store, "cleared", failing(1, unnoted(), service.queue.store.cleared))
    gate.shut()
    name = ordered(client)
    until(lambda: gate.held)
    client.delete(f"/v1/videos/{name}")
    gate.open()
    assert done(service, ordered(client)).status == "completed"
    until(lambda: not service.queue.at_work())
    assert client.get("/health").json()["status"] == "ok"


def test_the_sweeper_outlives_whatever_it_meets(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "LOOKED_EVERY", 0.01)
    monkeypatch.setattr(service, "SWEPT_EVERY", 0.01)
    made = toy_service(tmp_path, gate)
    swept = []
    monkeypatch.setattr(made.queue, "sweep", failing(2, OSError(errno.EMFILE, "no"), lambda: swept.append(1)))
    with caplog.at_level(logging.CRITICAL), TestClient(make_app(made)) as client:
        until(lambda: swept)
        assert client.get("/health").json()["status"] == "ok"
    assert TestClient(make_app(made)).get("/health").json()["status"] == "failing", "it ended with the server"


def test_a_checkpoint_that_cannot_be_read_now_is_not_thrown_away(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TestClient(make_app(before := toy_service(tmp_path / "own", gate))) as client:
        after(gate, 6)
        name = ordered(client)
        until(lambda: gate.held)
        before.queue.close()
        gate.open()
    folder = before.queue.folder / name
    chunks = len(list((folder / CHECKPOINT).glob("*.safetensors")))
    assert chunks
    seen = []
    error = OutputError("cannot read run.json: Too many open files")
    error.__cause__ = OSError(errno.EMFILE, "Too many open files")
    monkeypatch.setattr(worker, "stored_summary", failing(2, error, worker.stored_summary))
    gate.first = lambda: seen.append(len(list((folder / CHECKPOINT).glob("*.safetensors"))))
    with TestClient(make_app(again := toy_service(tmp_path / "own", gate))):
        assert done(again, name).status == "completed"
    assert seen[0] >= chunks
    assert (folder / "video.mp4").read_bytes() == made_in_peace(tmp_path / "calm")


def cancelled_by_a_kill(data: Path, gate: Gate) -> tuple[str, Path]:
    """A job that was cancelled when the server went down, before what was decided of it was kept."""
    with TestClient(make_app(service := toy_service(data, gate))) as client:
        after(gate, 6)
        name = ordered(client)
        until(lambda: gate.held)
        service.queue.close()
        gate.open()
    store = toy_service(data, gate).queue.store
    store.cancel(name, "asked for")
    store.close()
    return name, data / "videos" / name


def test_a_cancelled_video_that_is_damaged_does_not_stop_the_server(tmp_path: Path, gate: Gate) -> None:
    name, folder = cancelled_by_a_kill(tmp_path, gate)
    content = (folder / PARTIAL).read_bytes()
    at = content.index(b"moov") + 4
    (folder / PARTIAL).write_bytes(content[:at] + bytes(200) + content[at + 200 :])
    with TestClient(make_app(toy_service(tmp_path, gate))) as client:
        assert client.get(f"/v1/videos/{name}").json()["status"] == "cancelled"
        assert (folder / PARTIAL).exists()


def test_a_cancelled_video_that_cannot_be_read_now_is_kept_later(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, folder = cancelled_by_a_kill(tmp_path, gate)
    error = OutputError("cannot read partial.mp4")
    error.__cause__ = OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(remains, "is_video", failing(1, error, remains.is_video))
    with TestClient(make_app(again := toy_service(tmp_path, gate))) as client:
        assert again.queue.get(name).status == "cancelled"
        until(lambda: client.get(f"/v1/videos/{name}/content").status_code == 200)  # the sweeper tries again
        until(lambda: not (folder / PARTIAL).exists())


def test_the_tape_of_a_job_that_waits_is_kept(tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy_service(tmp_path, gate)
    with made.queue._changed:
        job = made.queue.submit(made.checked(LONG))
    tape = made.queue.folder / f"{job.id}.tape"
    tape.write_bytes(b"")
    monkeypatch.setattr("streamt1.server.video_files.KEPT", -10)
    made.queue.files.drop_tapes()
    assert tape.exists()
    made.queue.cancel(job.id)
    made.queue.files.drop_tapes()
    assert not tape.exists()
    made.queue.store.close()


def test_a_chunk_that_takes_longer_than_a_closing_server_waits_is_no_attempt(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "GRACE", 0.1)
    with TestClient(make_app(before := toy_service(tmp_path, gate))) as client:
        gate.shut()
        name = ordered(client)
        until(lambda: gate.held)
    again = toy_service(tmp_path, gate)
    assert (again.queue.get(name).status, again.queue.get(name).attempts) == ("queued", 0)
    again.queue.store.close()
    gate.open()
    before.workers[0].join(20)


def test_what_a_failed_job_left_is_cleared_at_the_next_start(tmp_path: Path, gate: Gate) -> None:
    made = toy_service(tmp_path, gate)
    jobs = [made.queue.submit(made.checked(LONG)) for _ in range(2)]
    folder = made.queue.folder
    for job in jobs:
        (folder / job.id).mkdir()
        (folder / f"{job.id}.picture").write_bytes(b"x")
    (folder / f".{jobs[0].id}.picture.part").write_bytes(b"x")
    made.queue.store.fail(jobs[0].id, "server_error", "it ended")
    made.queue.store.close()
    toy_service(tmp_path, gate).queue.store.close()
    assert {path.name for path in folder.iterdir()} == {jobs[1].id, f"{jobs[1].id}.picture"}


def test_a_name_that_is_taken_among_the_lost(tmp_path: Path, gate: Gate) -> None:
    name = f"video_{'a' * 32}"
    for place in ("lost", "videos"):
        (tmp_path / place / name).mkdir(parents=True)
        (tmp_path / place / name / "file").write_text(place)
    toy_service(tmp_path, gate).queue.store.close()
    assert (tmp_path / "lost" / f"{name}-2" / "file").read_text() == "videos"


def test_a_database_on_a_full_disk_gives_up_its_reserve(
    service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = ordered(client)
    assert done(service, name).status == "completed"
    store = service.queue.store
    reserve = store.path.with_name("jobs.sqlite.reserve")
    assert reserve.stat().st_size == 1 << 20
    monkeypatch.setattr(store, "delete", failing(0, unnoted(), store.delete))
    pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
    store.connection.execute(f"PRAGMA max_page_count = {pages}")
    given_up = store.give_up_reserve

    def room() -> bool:
        store.connection.execute("PRAGMA max_page_count = 100000")
        return given_up()

    monkeypatch.setattr(store, "give_up_reserve", room)
    for seed in range(60):
        ordered(client, seed=seed, prompt="a red circle resting on a teal plain background")
        if not reserve.exists():
            break
    assert not reserve.exists()
    service.queue.mend()
    assert reserve.exists()


@pytest.fixture
def address(service: Service) -> Iterator[tuple[str, int]]:
    with listening(service) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        yield host, int(port)


def ended(client: socket.socket) -> bool:
    client.settimeout(5)
    try:
        return client.recv(1) == b""
    except OSError:
        return True


def test_no_more_connections_than_files_can_be_spared(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "most_connections", lambda: 3)
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(6)]
        assert [ended(one) for one in clients[3:]] == [True] * 3
        clients[0].sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        clients[0].settimeout(5)
        assert b"200 OK" in clients[0].recv(4096)


def test_a_server_asks_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    limits = {"now": (256, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda kind, now: limits.update(now=now))
    assert patience.most_connections() == 128
    patience.ask_for_files()
    assert limits["now"] == (4096, 4096)
    assert patience.most_connections() == 2048


def test_a_client_that_takes_nothing_is_let_go(
    service: Service, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "STALLED", 0.3)
    with httpx.Client(base_url="http://{}:{}".format(*address)) as client:
        name = client.post("/v1/videos", json=LONG).json()["id"]
        assert done(service, name).status == "completed"
    with (service.queue.folder / name / "video.mp4").open("r+b") as file:
        file.truncate(1 << 28)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(address)
        client.sendall(f"GET /v1/videos/{name}/content HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        time.sleep(1.5)
        got = 0
        client.settimeout(5)
        try:
            while part := client.recv(1 << 20):
                got += len(part)
        except ConnectionResetError:
            pass
        assert 0 < got < 1 << 27


def test_what_is_trouble_and_what_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_trouble(unnoted())
    assert not is_trouble(OutputError("the picture is lost"))
    assert not is_trouble(OSError(errno.ENOENT, "none"))
    assert read_or_none(tmp_path / "none") is None
    monkeypatch.setattr(Path, "read_bytes", failing(1, OSError(errno.EMFILE, "Too many open files"), Path.read_bytes))
    with pytest.raises(OutputError, match="Too many open files"):
        read_or_none(tmp_path / "some")


def test_a_socket_on_which_nothing_happens_says_so(
    client: TestClient, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "QUIET", 0.05)
    gate.shut()
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json(LONG)
        heard = [socket.receive_json()["event"] for _ in range(12)]
        gate.open()
        assert (heard[0], heard[-3:]) == ("queued", ["here"] * 3)
        while socket.receive()["type"] != "websocket.close":
            pass


def test_a_chunk_that_is_made_again_is_no_step_forward(
    service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoint cannot be written, ever, and there is room for videos."""
    full = DiskFullError("cannot write the checkpoint: Disk quota exceeded")
    monkeypatch.setattr(Checkpoints, "add", failing(10**6, full, Checkpoints.add, after=3))
    assert done(service, ordered(client)).status == "failed"


@pytest.mark.parametrize("furthest", [[-1] * 20, [3] * 20])
def test_tries_are_counted_from_the_last_step_forward(furthest: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "PAUSE", 2.0)
    met = Troubles()
    paused = [met.met("a", chunk) for chunk in furthest]
    assert paused[: troubles.TRIES] == [2, 4, 8, 16, 32, 60, 60, None]
    assert met.met("a", 5) == 2
    assert list(met.resting()) == ["a"]
    met.forget("a")
    assert not met.resting()


def test_a_job_rests_however_many_workers_there_are(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are made meanwhile, at once."""
    monkeypatch.setattr(troubles, "PAUSE", 0.4)
    made = toy_service(tmp_path, gate, workers=8)
    with TestClient(make_app(made)) as client:
        gate.first = failing(2, OSError(errno.EMFILE, "Too many open files"), lambda: None)
        begun = time.monotonic()
        name = ordered(client)
        until(lambda: name in made.queue._troubles._of and made.queue._troubles._of[name].tries == 2)
        others = [ordered(client, seed=seed) for seed in range(2, 5)]
        assert {done(made, one).status for one in others} == {"completed"}
        assert made.queue.get(name).status != "failed"
        assert done(made, name).status == "completed"
        assert time.monotonic() - begun > 3 * troubles.PAUSE


def test_what_was_said_to_a_stream_keeps_its_order_through_trouble(
    service: Service, client: TestClient, gate: Gate
) -> None:
    """And one that was told to end ends, and does not fail."""
    star, square = "a green star sliding on a teal plain background", "a red square resting on a navy plain background"
    after(gate, 2)
    name = ordered(client, endless=True, seconds=None)
    until(lambda: gate.held)
    for words in ({"prompt": star}, {"prompt": square}):
        assert client.post(f"/v1/videos/{name}/say", json=words).status_code == 200
    passed: list[int] = []

    def later() -> None:
        passed.append(1)
        if len(passed) == 3:
            raise OSError(errno.EIO, "Input/output error")
        if len(passed) == 12:
            client.post(f"/v1/videos/{name}/say", json={"end": True})
            raise OSError(errno.EIO, "Input/output error")

    gate.first = later
    gate.open()
    assert done(service, name).status == "completed"
    told = [
        json.loads(line[6:])
        for line in client.get(f"/v1/videos/{name}/events").text.splitlines()
        if line[:6] == "data: "
    ]
    scenes = [one["prompt"] for one in told if one["event"] == "scene_started"]
    assert scenes == [star, square]


def test_what_was_kept_is_noted_later(
    service: Service, client: TestClient, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.queue.store, "kept", failing(1, unnoted(), service.queue.store.kept))
    after(gate, 6)
    name = ordered(client)
    until(lambda: gate.held)
    client.post(f"/v1/videos/{name}/cancel")
    gate.open()
    until(lambda: not service.queue.at_work())
    service.queue.mend()
    assert float(client.get(f"/v1/videos/{name}").json()["seconds"]) < 1


def test_a_job_whose_failure_cannot_be_noted_keeps_what_it_has(
    service: Service, client: TestClient, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.queue.store, "fail", failing(1, unnoted(), service.queue.store.fail))
    gate.first = failing(1, ValueError("once"), lambda: None, after=6)
    name = ordered(client)
    until(lambda: not service.queue.at_work())
    assert list((service.queue.folder / name / CHECKPOINT).glob("*.safetensors"))
    service.queue.mend()
    assert done(service, name).status == "completed"
