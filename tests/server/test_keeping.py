"""How long videos are kept, how much room they may take, and what a full disk refuses."""

from __future__ import annotations

import dataclasses
import math
import socket
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from streamt1.cli.main import app
from streamt1.core.errors import ConfigError, DiskFullError
from streamt1.server import queue as queues
from streamt1.server import service as services
from streamt1.server.app import make_app
from streamt1.server.job_store import Once
from streamt1.server.limits import Limits, parse_age
from streamt1.server.service import Service
from tests.server.test_queue import ORDER
from tests.server.test_videos import create, finished
from tests.server.toy import Gate, toy_service, until


def serving(tmp_path: Path, gate: Gate, limits: Limits) -> TestClient:
    return TestClient(make_app(toy_service(tmp_path, gate, limits)))


def service_of(client: TestClient) -> Service:
    return client.app.state.service  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2592000), ("12h", 43200), ("1.5m", 90), ("60s", 60)])
def test_times_are_read(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "30", "-1d", "0h", "nand", "infd", "3 weeks", "1e400d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write 30d"):
        parse_age(text)


def test_a_video_says_when_it_goes_and_goes_then(tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "SWEPT_EVERY", 0.02)
    with serving(tmp_path, gate, Limits(keep=1000)) as client:
        service = service_of(client)
        old, new = (finished(client, create(client, seed=seed)["id"]) for seed in range(2))
        assert old["expires_at"] == old["completed_at"] + 1000
        gate.shut()
        waiting = create(client)
        assert waiting["expires_at"] is None
        past = int(time.time()) - 1001
        with service.queue.store.lock, service.queue.store.connection as connection:
            connection.execute("UPDATE jobs SET completed_at = ? WHERE id = ?", (past, old["id"]))
        until(lambda: client.get(f"/v1/videos/{old['id']}").status_code == 404)
        until(lambda: not (tmp_path / "videos" / old["id"]).exists())
        assert client.get(f"/v1/videos/{new['id']}").json() == new
        assert client.get(f"/v1/videos/{waiting['id']}").status_code == 200
        gate.open()


def test_videos_that_were_done_first_make_room(tmp_path: Path, gate: Gate) -> None:
    with serving(tmp_path, gate, Limits(keep_bytes=1e12)) as client:
        service = service_of(client)
        names = [finished(client, create(client, seed=seed)["id"])["id"] for seed in range(3)]
        with service.queue.store.lock, service.queue.store.connection as connection:
            for age, name in enumerate(names):
                connection.execute("UPDATE jobs SET completed_at = ? WHERE id = ?", (1000 + age, name))
        files = [path for path in (tmp_path / "videos").rglob("*") if path.is_file()]
        each = sum(path.stat().st_size for path in files if names[2] in str(path))
        assert any(path.name == f"{names[2]}.tape" for path in files), "viewers that come late are shown it"
        assert service.queue.sweep() == []
        object.__setattr__(service.queue.limits, "keep_bytes", 2 * each - 1)
        assert service.queue.sweep() == names[:2]
        assert [job["id"] for job in client.get("/v1/videos").json()["data"]] == names[2:]


def test_a_disk_without_room_takes_no_video_and_says_so(tmp_path: Path, gate: Gate) -> None:
    with serving(tmp_path, gate, Limits(free=1e30)) as client:
        answer = client.post("/v1/videos", json=ORDER)
        assert (answer.status_code, answer.json()["error"]["code"]) == (507, "storage")
        assert "MB free" in answer.json()["error"]["message"]
        assert client.get("/v1/videos").json()["data"] == []
        health = client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "disk_full")
        assert health.json()["disk_free_bytes"] > 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
@pytest.mark.parametrize("name", ["seconds", "linger", "keep", "keep_bytes", "free", "patience"])
def test_limits_are_finite_numbers(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"the limit {name}={value} must be a finite number"):
        Limits(**{name: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--keep", "a while"), ("--keep-gb", "0"), ("--keep-gb", "-3"), ("--keep-gb", "inf"), ("--max-seconds", "nan"),
        ("--max-seconds", "inf"), ("--min-free-gb", "nan"), ("--min-free-gb", "inf"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_before_models_are_loaded(option: str, value: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["serve", "--data", str(tmp_path), option, value])
    assert done.exit_code != 0
    assert "loading" not in done.output


def test_the_same_request_sent_twice_is_one_video(client: TestClient, gate: Gate, service: Service) -> None:
    gate.shut()
    once = {"Idempotency-Key": "mine"}
    first, again = (client.post("/v1/videos", json=ORDER, headers=once) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    other = client.post("/v1/videos", json={**ORDER, "seed": 5}, headers=once)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
    assert (
        client.post("/v1/videos", json=ORDER, headers={"Idempotency-Key": "another"}).json()["id"] != first.json()["id"]
    )
    assert client.post("/v1/videos", json=ORDER, headers={"Idempotency-Key": "x" * 256}).status_code == 400
    assert len(client.get("/v1/videos").json()["data"]) == 2
    client.delete(f"/v1/videos/{first.json()['id']}")
    assert client.post("/v1/videos", json=ORDER, headers=once).status_code == 404, "it was made, and is deleted"


def test_a_full_queue_still_answers_what_it_knows(tmp_path: Path, gate: Gate) -> None:
    gate.shut()
    with serving(tmp_path, gate, Limits(waiting=1)) as client:
        until(lambda: service_of(client).queue.at_work() or client.post("/v1/videos", json=ORDER))
        until(service_of(client).queue.at_work)
        once = {"Idempotency-Key": "mine"}
        first = client.post("/v1/videos", json=ORDER, headers=once)
        assert client.post("/v1/videos", json=ORDER).status_code == 429
        assert client.post("/v1/videos", json=ORDER, headers=once).json()["id"] == first.json()["id"]
        gate.open()


def test_a_full_disk_still_answers_what_it_knows(tmp_path: Path, gate: Gate) -> None:
    with serving(tmp_path, gate, Limits()) as client:
        once = {"Idempotency-Key": "mine"}
        first = client.post("/v1/videos", json=ORDER, headers=once)
        object.__setattr__(service_of(client).queue.limits, "free", 1e30)
        assert client.post("/v1/videos", json=ORDER).status_code == 507
        assert client.post("/v1/videos", json=ORDER, headers=once).json()["id"] == first.json()["id"]


def test_a_picture_that_cannot_be_written_leaves_no_trace(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same request, sent again once there is room, is made."""

    def full(path: Path, content: bytes, durable: bool = False) -> None:
        raise DiskFullError(f"cannot write {path}: No space left on device")

    request = dataclasses.replace(service.checked(ORDER), picture=b"a picture", owner="ann")
    once = Once("mine", "digest")
    with monkeypatch.context() as patch:
        patch.setattr(queues, "write_whole", full)
        with pytest.raises(DiskFullError):
            service.queue.submit(request, once=once)
    assert client.get("/v1/videos").json()["data"] == []
    assert service.queue.store.asked("ann") == [], "it is none of the videos that she may ask for in a day"
    job = service.queue.submit(request, once=once)
    assert service.queue.submit(request, once=once).id == job.id


def test_no_job_is_there_without_its_picture(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the two leaves a picture, and no video that can never be made."""
    request = dataclasses.replace(service.checked(ORDER), picture=b"a picture")
    connection, seen = service.queue.store.connection, list[list[str]]()

    def stop(statement: str) -> None:
        if statement.startswith("INSERT INTO jobs"):
            seen.append([path.read_text() for path in service.queue.folder.glob("*.picture")])

    connection.set_trace_callback(stop)
    service.queue.submit(request)
    assert seen == [["a picture"]]
    monkeypatch.setattr(service.queue.store, "add", lambda *told: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        service.queue.submit(request)
    until(lambda: not list(service.queue.folder.glob("*.picture")))


def test_a_port_that_is_taken_is_found_before_models_are_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(app, ["serve", "--data", str(tmp_path / "data"), "--port", port])
    assert done.exit_code == 1
    assert f"127.0.0.1:{port}" in done.output
    assert "loading" not in done.output
    assert not (tmp_path / "data").exists()
