"""The bound of the queue, and what survives a server that is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from streamt1.core.errors import OutputError
from streamt1.server.app import make_app
from streamt1.server.job_store import ATTEMPTS
from streamt1.server.service import Service
from tests.server.toy import Gate, toy_service, until

ORDER = {"prompt": "a red circle bouncing on a navy striped background", "seconds": 0.0625, "beam_size": 1, "top_k": 1}


def test_fifty_at_once_against_a_bound_of_ten(client: TestClient, gate: Gate, service: Service) -> None:
    gate.shut()
    running = client.post("/v1/videos", json=ORDER).json()["id"]
    until(lambda: service.queue.at_work() == [running])
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda seed: client.post("/v1/videos", json={**ORDER, "seed": seed}), range(50)))
    assert Counter(answer.status_code for answer in answers) == {200: 10, 429: 40}
    for answer in answers:
        if answer.status_code == 429:
            assert answer.json()["error"]["code"] == "queue_full"
            assert 1 <= int(answer.headers["retry-after"]) <= 120
    taken = [answer.json()["id"] for answer in answers if answer.status_code == 200]
    assert "streamt1_jobs_refused 40.0" in client.get("/metrics").text
    gate.open()
    until(lambda: not service.queue.waiting() and not service.queue.at_work())
    done = client.get("/v1/videos", params={"limit": 100}).json()["data"]
    assert {job["id"] for job in done} == {running, *taken}
    assert {job["status"] for job in done} == {"completed"}
    assert all(client.get(f"/v1/videos/{name}/content").status_code == 200 for name in taken)


def test_two_workers_share_the_queue(tmp_path: Path, gate: Gate) -> None:
    service = toy_service(tmp_path, gate, workers=2)
    gate.shut()
    with TestClient(make_app(service)) as client:
        names = [client.post("/v1/videos", json=ORDER).json()["id"] for _ in range(4)]
        until(lambda: len(service.queue.at_work()) == 2)
        assert service.queue.waiting() == 2
        gate.open()
        until(lambda: not service.queue.waiting() and not service.queue.at_work())
        assert {client.get(f"/v1/videos/{name}").json()["status"] for name in names} == {"completed"}


def test_a_server_that_is_closed_politely_goes_on_where_it_was(tmp_path: Path, gate: Gate) -> None:
    gate.shut()
    service = toy_service(tmp_path, gate)
    with TestClient(make_app(service)) as client:
        names = [client.post("/v1/videos", json=ORDER).json()["id"] for _ in range(3)]
        until(lambda: service.queue.at_work())
        service.queue.close()
        gate.open()
    again = toy_service(tmp_path, gate)
    assert [again.queue.get(name).status for name in names] == ["queued"] * 3
    assert again.queue.get(names[0]).attempts == 0
    with TestClient(make_app(again)) as client:
        until(lambda: all(again.queue.get(name).status == "completed" for name in names))


def test_one_folder_serves_one_server(tmp_path: Path, gate: Gate) -> None:
    service = toy_service(tmp_path, gate)
    with pytest.raises(OutputError, match="another server uses it"):
        toy_service(tmp_path, gate)
    service.queue.store.close()
    toy_service(tmp_path, gate).queue.store.close()


def test_videos_that_the_database_does_not_know_are_kept_and_said(
    tmp_path: Path, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    with TestClient(make_app(service := toy_service(tmp_path, gate))) as client:
        made = [client.post("/v1/videos", json={**ORDER, "seed": seed}).json()["id"] for seed in range(3)]
        until(lambda: all(service.queue.get(name).status == "completed" for name in made))
    mine = tmp_path / "videos" / "mine"
    mine.mkdir()
    (tmp_path / "jobs.sqlite").unlink()
    again = toy_service(tmp_path, gate)
    assert "3 videos" in caplog.text
    assert {path.name for path in (tmp_path / "lost").iterdir()} == set(made)
    assert all((tmp_path / "lost" / name / "video.mp4").stat().st_size for name in made)
    assert mine.exists()
    assert again.queue.store.page(10) == []
    again.queue.store.close()


def test_files_of_a_deleted_video_go_even_if_the_server_was_killed_between(tmp_path: Path, gate: Gate) -> None:
    with TestClient(make_app(service := toy_service(tmp_path, gate))) as client:
        made = client.post("/v1/videos", json=ORDER).json()["id"]
        until(lambda: service.queue.get(made).status == "completed")
        service.queue.store.delete(made)
    assert (tmp_path / "videos" / made).exists()
    again = toy_service(tmp_path, gate)
    assert not (tmp_path / "videos" / made).exists()
    assert not (tmp_path / "lost").exists()
    assert again.queue.store.gone() == set()
    again.queue.store.close()


def test_deleting_leaves_nothing_to_be_deleted(client: TestClient, gate: Gate, service: Service) -> None:
    gate.shut()
    running, waiting = (client.post("/v1/videos", json=ORDER).json()["id"] for _ in range(2))
    until(lambda: service.queue.at_work() == [running])
    for name in (waiting, running):
        assert client.delete(f"/v1/videos/{name}").json()["deleted"]
    gate.open()
    until(lambda: not service.queue.at_work() and not service.queue.store.gone())
    assert not any(service.queue.folder.glob("video_*"))


@contextmanager
def real_server(data: Path) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """A server in a process of its own, over the toy; it works while there is no file ``hold``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.server.serve_toy", str(data), str(port)]
    process = subprocess.Popen(command, cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            until(lambda: _answers(client) or process.poll() is not None, 60)
            yield client, process
    finally:
        process.kill()
        process.wait()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def test_nothing_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    with real_server(tmp_path) as (client, process):
        done = client.post("/v1/videos", json=ORDER).json()["id"]
        until(lambda: client.get(f"/v1/videos/{done}").json()["status"] == "completed")
        hold.touch()
        running, waiting = (client.post("/v1/videos", json=ORDER).json()["id"] for _ in range(2))
        until(lambda: client.get(f"/v1/videos/{running}").json()["status"] == "in_progress")
        process.send_signal(signal.SIGKILL)
        process.wait()
    for _ in range(ATTEMPTS - 1):
        with real_server(tmp_path) as (client, process):
            until(lambda client=client: client.get(f"/v1/videos/{running}").json()["status"] == "in_progress")
            assert client.get(f"/v1/videos/{waiting}").json()["status"] == "queued"
            process.send_signal(signal.SIGKILL)
            process.wait()
    hold.unlink()
    with real_server(tmp_path) as (client, _):
        failed = client.get(f"/v1/videos/{running}").json()
        assert (failed["status"], failed["error"]["code"]) == ("failed", "interrupted")
        assert f"went down {ATTEMPTS} times" in failed["error"]["message"]
        until(lambda: client.get(f"/v1/videos/{waiting}").json()["status"] == "completed")
        for name in (done, waiting):
            assert client.get(f"/v1/videos/{name}/content").content[4:8] == b"ftyp"


def test_what_ran_when_the_server_was_killed_is_done_by_the_next(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    with real_server(tmp_path) as (client, process):
        running = client.post("/v1/videos", json=ORDER).json()["id"]
        until(lambda: client.get(f"/v1/videos/{running}").json()["status"] == "in_progress")
        process.send_signal(signal.SIGKILL)
        process.wait()
    hold.unlink()
    with real_server(tmp_path) as (client, _):
        until(lambda: client.get(f"/v1/videos/{running}").json()["status"] == "completed")
