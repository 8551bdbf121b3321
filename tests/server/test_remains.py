"""What stays of a cancelled video, whenever it was cancelled and whatever fails then: its file and its row agree."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from streamt1.pipeline.run_files import CHECKPOINT, PARTIAL, REPORT
from streamt1.server import remains, video_files, worker
from streamt1.server.app import make_app
from streamt1.server.job_store import JobStore
from streamt1.server.remains import THUMBNAIL, begun_scenes
from streamt1.server.service import Service
from tests.server.test_sessions import ORDER, OTHER, PROMPT, after, frames
from tests.server.test_trouble import cancelled_by_a_kill, failing, unnoted
from tests.server.toy import Gate, toy_service, until

ENDLESS = {"prompt": PROMPT, "endless": True, "lag": 0}
STAR = "a blue star sliding on a teal plain background"


def agrees(client: TestClient, name: str) -> dict[str, Any]:
    """The record of a video, which is as long as its file."""
    record = client.get(f"/v1/videos/{name}").json()
    assert record["chunks"] == frames(client.get(f"/v1/videos/{name}/content").content)
    assert float(record["seconds"]) == pytest.approx(record["chunks"] / 16, abs=1e-3)
    return record


def say(client: TestClient, name: str, **words: Any) -> None:
    assert client.post(f"/v1/videos/{name}/say", json=words).status_code == 200


@pytest.mark.parametrize("written", [False, True])
def test_a_video_that_is_cancelled_while_its_report_is_written(
    client: TestClient, service: Service, gate: Gate, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    """It is whole by then, and much shorter than the server would have let it become."""
    write, names = worker.write_report, list[str]()

    def cancelling(path: Path) -> None:
        if written:
            write(path)
        client.post(f"/v1/videos/{names[0]}/cancel")
        if not written:
            write(path)

    monkeypatch.setattr(worker, "write_report", cancelling)
    after(gate, 6)
    names.append(client.post("/v1/videos", json=ENDLESS).json()["id"])
    until(lambda: gate.held)
    say(client, names[0], end=True)
    gate.open()
    until(lambda: not service.queue.at_work())
    record = agrees(client, names[0])
    assert (record["status"], record["chunks"] > 0) == ("cancelled", True)
    assert client.get(f"/v1/videos/{names[0]}/report").status_code == 400
    assert client.get(f"/v1/videos/{names[0]}/content?variant=thumbnail").status_code == 200


@pytest.mark.parametrize("said", ['{"finished": true}', '{"finished": true, "outcome": null}', "{", ""])
def test_a_damaged_summary_keeps_no_server_from_beginning(tmp_path: Path, gate: Gate, said: str) -> None:
    name, folder = cancelled_by_a_kill(tmp_path, gate)
    remains.keep_made(folder)
    (folder / PARTIAL).unlink()
    stored = json.loads((folder / "run.json").read_text()) if (folder / "run.json").exists() else {}
    (folder / "run.json").write_text(said if not said.endswith("}") else json.dumps({**stored, **json.loads(said)}))
    with TestClient(make_app(toy_service(tmp_path, gate))) as client:
        assert client.get(f"/v1/videos/{name}").json()["status"] == "cancelled"


def test_a_kill_after_the_files_are_in_order_and_before_that_is_noted(tmp_path: Path, gate: Gate) -> None:
    name, folder = cancelled_by_a_kill(tmp_path, gate)
    (folder / REPORT).write_text("of before")
    remains.keep_made(folder)
    with TestClient(make_app(toy_service(tmp_path, gate))) as client:
        assert 0 < agrees(client, name)["chunks"] < 16
    assert not {PARTIAL, CHECKPOINT, REPORT} & {path.name for path in folder.iterdir()}
    assert (folder / THUMBNAIL).is_file()


def test_what_cannot_be_read_when_it_is_tried_again_is_not_forgotten(
    client: TestClient, service: Service, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = service.queue.store
    monkeypatch.setattr(store, "kept", failing(1, unnoted(), store.kept))
    after(gate, 6)
    name = client.post("/v1/videos", json=ORDER).json()["id"]
    until(lambda: gate.held)
    client.post(f"/v1/videos/{name}/cancel")
    gate.open()
    until(lambda: not service.queue.at_work())
    monkeypatch.setattr(store, "get", failing(1, unnoted(), store.get))
    for _ in range(2):
        service.queue.files.retry()
    assert agrees(client, name)["chunks"] < 16
    assert store.unkept() == []


def test_a_start_writes_nothing_for_what_is_in_order(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = toy_service(tmp_path, gate)
    names = [made.queue.submit(made.checked(ORDER)).id for _ in range(3)]
    for name in names:
        made.queue.cancel(name)
    made.queue.store.close()
    calls = list[str]()
    for method in ("kept", "put_away"):
        kept = getattr(JobStore, method)
        monkeypatch.setattr(JobStore, method, lambda *told, kept=kept: calls.append(told[1]) or kept(*told))
    again = toy_service(tmp_path, gate)
    assert calls == []
    assert {again.queue.get(name).request.chunks for name in names} == {0}
    again.queue.store.close()


def test_what_a_server_of_before_left_is_kept_once(tmp_path: Path, gate: Gate) -> None:
    """Its database does not say which videos these are."""
    name, folder = cancelled_by_a_kill(tmp_path, gate)
    with sqlite3.connect(tmp_path / "jobs.sqlite") as connection:
        connection.execute("DROP TABLE unkept")
        connection.execute("PRAGMA user_version = 8")
    connection.close()
    again = toy_service(tmp_path, gate)
    assert 0 < again.queue.get(name).request.chunks < 16
    assert (again.queue.store.unkept(), (folder / PARTIAL).exists()) == ([], False)
    again.queue.store.close()


@pytest.mark.parametrize("taped", [True, False])
def test_a_cancelled_stream_knows_its_scenes(
    client: TestClient, service: Service, gate: Gate, monkeypatch: pytest.MonkeyPatch, taped: bool
) -> None:
    """By its tape, or where that is gone by its trace."""
    if not taped:
        monkeypatch.setattr(
            video_files, "begun_scenes", lambda folder, tape: begun_scenes(folder, tape.with_suffix(""))
        )
    calls, names = list[int](), list[str]()

    def later() -> None:
        calls.append(1)
        if len(calls) in (4, 16):
            say(client, names[0], prompt=OTHER if len(calls) == 4 else STAR)
        if len(calls) == 28:
            client.post(f"/v1/videos/{names[0]}/cancel")

    gate.shut()
    names.append(name := client.post("/v1/videos", json=ENDLESS).json()["id"])
    gate.first = later
    gate.open()
    until(lambda: len(calls) >= 28 and not service.queue.at_work())
    record = agrees(client, name)
    assert [scene["prompt"] for scene in record["timeline"]] == [PROMPT, OTHER, STAR]
    assert sum(scene["chunks"] for scene in record["timeline"]) == record["chunks"]


def test_damaged_lines_of_a_trace_are_passed_over(tmp_path: Path) -> None:
    scene = {"event": "scene_started", "chunk": 3, "scene": 1, "prompt": OTHER, "memory": "cut"}
    lines = [json.dumps({**scene, "memory": "nonsense"}), json.dumps([scene]), json.dumps(scene)]
    (tmp_path / "trace.jsonl").write_text("\n".join([*lines, lines[-1][:50]]))
    [(chunk, found)] = begun_scenes(tmp_path, tmp_path / "none.tape")
    assert (chunk, found.prompt, found.memory) == (3, OTHER, "cut")
    assert begun_scenes(tmp_path / "none", tmp_path / "none.tape") == ()
