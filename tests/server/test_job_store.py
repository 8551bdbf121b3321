"""The database of jobs: what older versions wrote, and what nobody wrote."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from streamt1.core.errors import DeviceLostError, OutputError, UnknownVideoError
from streamt1.server.app import make_app
from streamt1.server.database import MIGRATIONS
from streamt1.server.job_store import JobStore
from streamt1.server.video_files import VideoFiles
from tests.server.test_queue import ORDER
from tests.server.toy import Gate, toy_presets, toy_service, until

COLUMNS = {
    "request": ["not json", "[]", '{"prompt": 3}', '{"prompt": "x", "a_field_of_tomorrow": 1}', b"\xff", ""],
    "status": ["burning", "", 7],
    "progress": ["half", b"x", 0.5],
    "attempts": ["twice"],
    "created_at": ["yesterday", 0.25],
    "completed_at": ["never"],
    "chunks": ["many", 1.5],
    "preset": [b"x"],
    "size": [b"x"],
    "stream": ["yes"],
    "code": [b"x"],
    "message": [b"x"],
    "owner": [b"x"],
}
"""Values that a column may hold and that mean nothing."""
DAMAGES = [(column, value) for column, values in COLUMNS.items() for value in values]


def damaged(data: Path, column: str, value: object, name: str) -> None:
    with sqlite3.connect(data / "jobs.sqlite") as connection:
        connection.execute(f"UPDATE jobs SET {column} = ? WHERE id = ?", (value, name))
    connection.close()


@pytest.mark.parametrize(("column", "value"), DAMAGES)
def test_a_damaged_row_is_told_and_stops_nothing(column: str, value: object, tmp_path: Path, gate: Gate) -> None:
    gate.shut()
    service = toy_service(tmp_path, gate)
    first, second = (service.queue.submit(service.checked({**ORDER, "seed": seed})).id for seed in range(2))
    service.queue.store.close()
    damaged(tmp_path, column, value, first)
    gate.open()
    with TestClient(make_app(service := toy_service(tmp_path, gate))) as client:
        until(lambda: service.queue.get(second).status == "completed")
        listed = {job["id"]: job for job in client.get("/v1/videos").json()["data"]}
        assert listed[second]["status"] == "completed"
        told = client.get(f"/v1/videos/{first}").json()
        assert told == listed[first]
        assert (told["status"], told["error"]["code"]) == ("failed", "damaged")
        assert column in told["error"]["message"] or column == "request"
        assert client.get(f"/v1/videos/{first}/content").status_code == 400
        assert client.delete(f"/v1/videos/{first}").json()["deleted"]
        assert client.get(f"/v1/videos/{first}").status_code == 404


BAD_IDS = ["", ".", "..", "../videos", "OUTSIDE", "a/b", "video_", f"video_{'A' * 32}", b"x", f"video_{'0' * 32}\0/.."]


@pytest.mark.parametrize("bad", BAD_IDS)
@pytest.mark.parametrize("code", ["server_error", "cancelled"])
def test_a_damaged_id_names_no_file_and_can_be_deleted(bad: str | bytes, code: str, tmp_path: Path, gate: Gate) -> None:
    bad = str(tmp_path / "outside") if bad == "OUTSIDE" else bad
    service = toy_service(tmp_path / "data", gate)
    name = service.queue.submit(service.checked(ORDER)).id
    service.queue.store.fail(name, code, "it ended")
    service.queue.store.close()
    own = tmp_path / "data" / "videos" / f"video_{'1' * 32}" / "file"
    outside = tmp_path / "outside" / "file"
    for path in (own, outside):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of somebody")
    with sqlite3.connect(tmp_path / "data" / "jobs.sqlite") as connection:
        connection.execute("UPDATE jobs SET id = ?", (bad,))
        connection.execute("INSERT INTO gone VALUES (?, 7, TRUE)", (bad,))
    connection.close()
    store = JobStore(tmp_path / "data" / "jobs.sqlite")
    VideoFiles(store, tmp_path / "data" / "videos").take_up()  # also before the rows are mended
    store.close()
    service = toy_service(tmp_path / "data", gate)
    client = TestClient(make_app(service))
    assert outside.exists()
    assert (tmp_path / "data" / "lost" / own.parent.name / "file").read_text() == "of somebody"
    [told] = client.get("/v1/videos").json()["data"]
    assert (told["status"], told["error"]["code"]) == ("failed", "damaged")
    assert client.delete(f"/v1/videos/{told['id']}").json()["deleted"]
    assert client.get("/v1/videos").json()["data"] == []
    service.queue.store.close()


def test_what_is_no_id_meets_no_file(tmp_path: Path) -> None:
    files = VideoFiles(JobStore(tmp_path / "jobs.sqlite"), tmp_path / "videos")
    for reach in (files.of, files.clear, files.bytes_of, lambda name: files.beside(name, ".tape")):
        with pytest.raises(UnknownVideoError):
            reach("..")
    assert (tmp_path / "jobs.sqlite").exists()
    files.store.close()


LATER = {
    1: ["DROP TABLE gone"],
    2: ["DROP TABLE once"],
    3: ["DROP INDEX jobs_by_status"],
    4: ["DROP INDEX jobs_by_owner", "ALTER TABLE jobs DROP COLUMN owner"],
    6: ["DROP TABLE asked", "DROP TABLE outbox"],
    8: ["DROP TABLE unkept"],
}
"""What takes away what came after a version of the schema."""


@pytest.mark.parametrize("version", [0, 1, 2, 3, 6, 8])
def test_a_database_of_an_older_version_opens_with_all_that_is_in_it(tmp_path: Path, gate: Gate, version: int) -> None:
    """Those of 0.1 and 0.2 have no number."""
    service = toy_service(tmp_path, gate)
    jobs = [service.queue.submit(service.checked({**ORDER, "seed": seed})) for seed in range(3)]
    service.queue.store.close()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as connection:
        for first, statements in LATER.items():
            for statement in statements if first >= version else ():
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    store = JobStore(tmp_path / "jobs.sqlite")
    assert store.page(10, order="asc") == jobs
    assert store.connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
    store.close()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    JobStore(tmp_path / "jobs.sqlite").close()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (tmp_path / "jobs.sqlite").read_bytes()
    with pytest.raises(OutputError, match="newer streamt1"):
        JobStore(tmp_path / "jobs.sqlite")
    assert (tmp_path / "jobs.sqlite").read_bytes() == before


def test_a_job_of_a_preset_that_is_no_longer_served_says_so(tmp_path: Path, gate: Gate) -> None:
    from streamt1.server.service import Service

    gate.shut()
    service = toy_service(tmp_path, gate)
    name = service.queue.submit(service.checked({**ORDER, "preset": "paper"})).id
    service.queue.store.close()
    gate.open()
    with TestClient(make_app(service := Service.over([toy_presets(gate)], tmp_path))) as client:
        job = until(lambda: client.get(f"/v1/videos/{name}").json(), 5)
        until(lambda: service.queue.get(name).status == "failed")
        job = client.get(f"/v1/videos/{name}").json()
    assert job["error"]["code"] == "ConfigError"
    assert "no longer serves 'paper'" in job["error"]["message"]


def test_a_worker_outlives_whatever_taking_a_job_raises(
    client: TestClient, service, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised, take = threading.Event(), service.queue.take

    def burns():
        if raised.is_set():
            return take()
        raised.set()
        raise MemoryError("of nobody's making")

    monkeypatch.setattr("streamt1.server.troubles.PAUSE", 0.01)
    monkeypatch.setattr(service.queue, "take", burns)
    for _ in range(2):  # the first wakes the worker out of the take that it waits in
        name = client.post("/v1/videos", json=ORDER).json()["id"]
        until(lambda name=name: service.queue.get(name).status == "completed")
    assert raised.is_set()
    assert service.health()["status"] == "ok"


def test_a_job_whose_devices_cannot_be_taken_fails_and_the_next_is_made(
    client: TestClient, service, monkeypatch: pytest.MonkeyPatch
) -> None:
    presets, raised = service.workers[0].presets, iter((DeviceLostError("no device is left"), ValueError("strange")))
    take = presets.take

    def burns(count, wanted):
        for error in raised:
            raise error
        return take(count, wanted)

    monkeypatch.setattr(presets, "take", burns)
    names = [client.post("/v1/videos", json={**ORDER, "seed": seed}).json()["id"] for seed in range(3)]
    until(lambda: service.queue.get(names[-1]).status == "completed")
    told = [client.get(f"/v1/videos/{name}").json()["error"] for name in names]
    assert told[0] == {"code": "DeviceLostError", "message": "no device is left"}
    assert told[1]["code"] == "server_error"
    assert told[2] is None
    until(lambda: not service.queue.at_work())


def test_a_deleted_job_s_folder_is_cleared_once(
    client: TestClient, gate: Gate, service, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleared: list[Path] = []
    monkeypatch.setattr("shutil.rmtree", lambda path, **told: cleared.append(path))
    gate.shut()
    name = client.post("/v1/videos", json=ORDER).json()["id"]
    until(service.queue.at_work)
    until(lambda: gate.held)
    client.delete(f"/v1/videos/{name}")
    cleared.clear()  # what was there before the search began
    gate.open()
    until(lambda: not service.queue.at_work() and cleared)
    assert cleared.count(service.queue.folder / name) == 1
