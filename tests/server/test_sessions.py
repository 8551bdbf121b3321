"""Videos that are viewed again, talked to and cancelled over plain HTTP, and streams that nobody views."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from fastapi.testclient import TestClient
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from streamt1.core.errors import OutputError
from streamt1.pipeline.run_files import CHECKPOINT, PARTIAL
from streamt1.server import video_files
from streamt1.server.app import make_app
from streamt1.server.limits import Limits
from streamt1.server.service import Service
from streamt1.server.tape import Reader, Tape
from tests.server.live import listening
from tests.server.toy import Gate, toy_service, until

PROMPT = "a red circle bouncing on a navy striped background"
OTHER = "a green star sliding on a teal plain background"
ORDER = {"prompt": PROMPT, "seconds": 1, "beam_size": 1, "top_k": 2, "lag": 0}
CHUNKS = 16


def after(gate: Gate, calls: int) -> None:
    """Shuts the gate after so many calls of the model."""
    passed = []

    def few() -> None:
        passed.append(1)
        if len(passed) == calls:
            gate.shut()

    gate.first = few


def frames(content: bytes) -> int:
    with av.open(io.BytesIO(content)) as container:
        return len(list(container.decode(video=0)))


def told(lines: Iterator[str]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Server-sent events: each one's id and data."""
    event: dict[str, str] = {}
    for line in lines:
        if not line and "data" in event:
            message = json.loads(event["data"])
            assert message["event"] == event["event"]
            yield event.get("id"), message
            event = {}
        elif line and not line.startswith(":"):
            key, _, value = line.partition(": ")
            event[key] = value


@pytest.fixture
def address(service: Service, gate: Gate) -> Iterator[str]:
    with listening(service) as address:
        yield address
        gate.open()


def test_events_go_on_after_the_one_that_is_known(address: str, gate: Gate) -> None:
    after(gate, 8)
    with httpx.Client(base_url=address, timeout=30) as client:
        name = client.post("/v1/videos", json=ORDER).json()["id"]
        path, first = f"/v1/videos/{name}/events", list[Any]()
        until(lambda: gate.held)
        with client.stream("GET", path) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for event in told(answer.iter_lines()):
                first.append(event)
                if sum(message["event"] == "fragment" for _, message in first) == 3:
                    break
        gate.open()
        with client.stream("GET", path, headers={"Last-Event-ID": first[-1][0]}) as answer:
            rest = list(told(answer.iter_lines()))
        assert rest[0][1]["event"] == "attached"
        assert (rest[-1][0], rest[-1][1]["event"]) == ("over", "completed")
        messages = [message for _, message in [*first, *rest[1:]]]
        assert [one["chunk"] for one in messages if one["event"] == "fragment"] == list(range(CHUNKS))
        assert frames(b"".join(base64.b64decode(one.get("mp4", "")) for one in messages)) == CHUNKS
        assert client.get(path, headers={"Last-Event-ID": "over"}).status_code == 204
        with client.stream("GET", path, headers={"Last-Event-ID": "nothing of ours"}) as answer:
            again = [message for _, message in told(answer.iter_lines())]
        assert again[1:] == messages[1:]
        assert client.get("/v1/videos/video_/events").status_code == 404


def test_a_server_that_stops_says_so(service: Service, gate: Gate) -> None:
    heard, after_it = list[Any](), list[str]()
    with listening(service) as address:
        after(gate, 8)
        name = httpx.post(f"{address}/v1/videos", json=ORDER).json()["id"]

        def view() -> None:
            with httpx.stream("GET", f"{address}/v1/videos/{name}/events", timeout=30) as answer:
                heard.extend(told(answer.iter_lines()))

        def listen() -> None:
            with connect(f"{address.replace('http', 'ws')}/v1/stream?ahead=inf") as socket:
                socket.send(json.dumps({"attach": name}))
                with pytest.raises(ConnectionClosedError, match="1012"):
                    after_it.extend(message for message in socket if isinstance(message, str))

        viewers = [threading.Thread(target=one) for one in (view, listen)]
        for one in viewers:
            one.start()
        until(lambda: gate.held and service.queue.session(name).viewers == 2)
        threading.Timer(0.5, gate.open).start()
    for one in viewers:
        one.join(20)
    assert (heard[-1][0], heard[-1][1]["event"]) == (None, "interrupted")
    assert json.loads(after_it[-1])["event"] == "interrupted"


def test_a_stream_without_an_end_by_plain_http(address: str, gate: Gate) -> None:
    gate.first = lambda: time.sleep(0.002)
    with httpx.Client(base_url=address, timeout=30) as client:
        order = {"prompt": PROMPT, "endless": True, "lag": 0}
        name = client.post("/v1/videos", json=order).json()["id"]
        say, seen = f"/v1/videos/{name}/say", list[str]()
        with client.stream("GET", f"/v1/videos/{name}/events") as answer, httpx.Client(base_url=address) as other:
            for _, message in told(answer.iter_lines()):
                seen.append(message["event"])
                if seen.count("fragment") == 2 and message["event"] == "fragment":
                    assert other.post(say, json={"prompt": "a zebra"}).json()["error"]["code"] == "invalid_prompt"
                    assert other.post(say, json={"prompt": OTHER}).json() == {"event": "prompt_taken", "prompt": OTHER}
                if message["event"] == "scene_started":
                    assert message["prompt"] == OTHER
                    assert other.post(say, json={"end": True}).json() == {"event": "ending"}
        assert seen[-1] == "completed"
        assert [scene["prompt"] for scene in client.get(f"/v1/videos/{name}").json()["timeline"]] == [PROMPT, OTHER]
        assert client.post(say, json={"prompt": OTHER}).status_code == 409
        plain = client.post("/v1/videos", json=ORDER).json()["id"]
        assert "has a length" in client.post(f"/v1/videos/{plain}/say", json={"end": True}).json()["error"]["message"]


def test_what_was_made_of_a_cancelled_video_plays(client: TestClient, gate: Gate, service: Service) -> None:
    after(gate, 8)
    name = client.post("/v1/videos", json=ORDER).json()["id"]
    until(lambda: gate.held)
    cancelled = client.post(f"/v1/videos/{name}/cancel").json()
    assert (cancelled["status"], cancelled["error"]["code"]) == ("cancelled", "cancelled")
    assert client.get(f"/v1/videos/{name}/content").json()["error"]["code"] == "not_ready"
    gate.open()
    until(lambda: not service.queue.at_work())
    job = client.get(f"/v1/videos/{name}").json()
    video = client.get(f"/v1/videos/{name}/content")
    assert 0 < frames(video.content) < CHUNKS
    assert (job["status"], job["chunks"]) == ("cancelled", frames(video.content))
    assert float(job["seconds"]) == pytest.approx(job["chunks"] / 16, abs=1e-3)
    assert client.get(f"/v1/videos/{name}/content?variant=thumbnail").content[8:12] == b"WEBP"
    assert not {PARTIAL, CHECKPOINT} & {path.name for path in (service.queue.folder / name).iterdir()}
    assert "cancelled" in client.get(f"/v1/videos/{name}/report").json()["error"]["message"]
    assert client.post(f"/v1/videos/{name}/cancel").json() == job
    assert 'streamt1_jobs_total{outcome="cancelled"} 1.0' in client.get("/metrics").text
    assert client.delete(f"/v1/videos/{name}").json()["deleted"]


def test_cancelling_what_waits_what_has_begun_and_what_is_done(
    client: TestClient, gate: Gate, service: Service
) -> None:
    gate.shut()
    running, waiting, kept = (client.post("/v1/videos", json=ORDER).json()["id"] for _ in range(3))
    until(lambda: gate.held)
    for name in (waiting, running):
        assert client.post(f"/v1/videos/{name}/cancel").json()["status"] == "cancelled"
    gate.open()
    until(lambda: service.queue.get(kept).status == "completed")
    for name in (waiting, running):
        until(lambda one=name: client.get(f"/v1/videos/{one}").json()["chunks"] == 0)
        assert service.queue.get(name).status == "cancelled"
        answer = client.get(f"/v1/videos/{name}/content")
        assert "when nothing of it" in answer.json()["error"]["message"]
    assert client.post(f"/v1/videos/{kept}/cancel").status_code == 409
    assert client.post("/v1/videos/video_/cancel").status_code == 404


def test_a_timeline_that_is_cancelled_ends_with_the_scene_that_it_came_to(
    client: TestClient, gate: Gate, service: Service
) -> None:
    after(gate, 14)
    scenes = [{"prompt": PROMPT, "seconds": 0.5}, {"prompt": OTHER, "seconds": 0.5}]
    order = {key: value for key, value in ORDER.items() if key not in ("prompt", "seconds")}
    name = client.post("/v1/videos", json={**order, "timeline": scenes}).json()["id"]
    until(lambda: gate.held)
    client.post(f"/v1/videos/{name}/cancel")
    gate.open()
    until(lambda: not service.queue.at_work())
    job = client.get(f"/v1/videos/{name}").json()
    assert [scene["chunks"] for scene in job["timeline"]] == [8, job["chunks"] - 8]


def test_a_cancelled_video_whose_server_was_killed_is_kept_by_the_next(tmp_path: Path, gate: Gate) -> None:
    after(gate, 8)
    with TestClient(make_app(service := toy_service(tmp_path, gate))) as client:
        name = client.post("/v1/videos", json=ORDER).json()["id"]
        until(lambda: gate.held)
        service.queue.close()
        gate.open()
    gate.first = lambda: None
    again = toy_service(tmp_path, gate)
    again.queue.store.cancel(name, "as a server does that is killed then")
    assert (tmp_path / "videos" / name / PARTIAL).exists()
    again.queue.open()
    job = again.queue.get(name)
    assert job.status == "cancelled"
    assert frames((tmp_path / "videos" / name / "video.mp4").read_bytes()) == job.request.chunks
    again.queue.store.close()


def test_a_stream_without_an_end_that_nobody_views_ends_and_is_kept(tmp_path: Path, gate: Gate) -> None:
    gate.first = lambda: time.sleep(0.002)
    service = toy_service(tmp_path, gate, Limits(seconds=3600, linger=0.2))
    with TestClient(make_app(service)) as client:
        with client.websocket_connect("/v1/stream") as socket:
            socket.send_json({"prompt": PROMPT, "lag": 0})
            name = socket.receive_json()["video"]["id"]
            while socket.receive_json()["event"] != "media":
                continue
            socket.close()
        alone = client.post("/v1/videos", json={"prompt": PROMPT, "endless": True, "lag": 0}).json()["id"]
        for one in (name, alone):
            until(lambda one=one: service.queue.get(one).status == "cancelled")
            until(lambda one=one: one not in service.queue.at_work())
            error = client.get(f"/v1/videos/{one}").json()["error"]
            assert error["message"] == "nobody viewed this stream without an end for 0.2 seconds"
            assert frames(client.get(f"/v1/videos/{one}/content").content) > 0


def test_a_stream_without_an_end_outlives_its_server(tmp_path: Path, gate: Gate) -> None:
    after(gate, 8)
    limits = Limits(seconds=3600)
    with TestClient(make_app(service := toy_service(tmp_path, gate, limits))) as client:
        name = client.post("/v1/videos", json={"prompt": PROMPT, "endless": True, "lag": 0}).json()["id"]
        until(lambda: gate.held)
        service.queue.close()
        gate.open()
    gate.first = lambda: time.sleep(0.002)
    with (
        TestClient(make_app(service := toy_service(tmp_path, gate, limits))) as client,
        client.websocket_connect("/v1/stream?ahead=inf") as socket,
    ):
        socket.send_json({"attach": name})
        seen, said = list[dict[str, Any]](), False
        while (message := socket.receive())["type"] != "websocket.close":
            seen += [json.loads(message["text"])] if message.get("text") else []
            if not said and seen[-1]["event"] == "fragment" and seen[-1]["chunk"] > 12:
                said = True
                socket.send_json({"end": True})
        chunks = [one["chunk"] for one in seen if one["event"] == "fragment"]
        assert chunks == list(range(len(chunks)))
        assert seen[-1]["video"]["chunks"] == len(chunks) > 12
        assert frames(client.get(f"/v1/videos/{name}/content").content) == len(chunks)


def test_a_scene_that_was_begun_when_the_server_went_down_is_begun_again(tmp_path: Path, gate: Gate) -> None:
    after(gate, 7)
    limits = Limits(seconds=3600)
    with TestClient(make_app(service := toy_service(tmp_path, gate, limits))) as client:
        name = client.post("/v1/videos", json={"prompt": PROMPT, "endless": True, "lag": 0}).json()["id"]
        until(lambda: gate.held)
        client.post(f"/v1/videos/{name}/say", json={"prompt": OTHER})
        after(gate, 1)
        gate.open()
        until(lambda: "scene_started" in [one["event"] for one, _ in service.queue.session(name).tape.records()])
        until(lambda: gate.is_shut and gate.held)
        service.queue.close()
        gate.open()
    gate.first = lambda: time.sleep(0.002)
    with TestClient(make_app(service := toy_service(tmp_path, gate, limits))) as client:
        tape = service.queue.session(name).tape
        until(lambda: any(one["event"] == "fragment" and one["chunk"] > 9 for one, _ in tape.records()))
        client.post(f"/v1/videos/{name}/say", json={"end": True})
        until(lambda: service.queue.get(name).status == "completed")
        told = [one for one, _ in tape.records() if one["event"] == "scene_started"]
        timeline = service.queue.get(name).request.fields.timeline
    assert [scene["chunk"] for scene in told] == [7]
    assert timeline is not None
    assert [(scene["prompt"], scene["chunks"] > 0) for scene in timeline] == [(PROMPT, True), (OTHER, True)]
    assert timeline[0]["chunks"] == 7


def test_tapes_go_when_their_jobs_are_over_for_long(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    done = client.post("/v1/videos", json=ORDER).json()["id"]
    until(lambda: service.queue.get(done).status == "completed")
    gate.shut()
    running = client.post("/v1/videos", json=ORDER).json()["id"]
    until(lambda: gate.held)
    monkeypatch.setattr(video_files, "KEPT", -1)
    service.queue.files.drop_tapes()
    assert [path.stem for path in service.queue.folder.glob("*.tape")] == [running]
    client.delete(f"/v1/videos/{running}")
    gate.open()
    until(lambda: not any(service.queue.folder.glob("*.tape")))


def test_a_torn_tape_goes_on_behind_its_last_whole_record(tmp_path: Path) -> None:
    path = tmp_path / "x.tape"
    tape = Tape(path)
    tape.append({"event": "one"}, b"bytes")
    [first] = Reader(tape).read()
    tape.append({"event": "torn"}, b"x" * 100)
    tape.close()
    path.write_bytes(path.read_bytes()[:-1])
    tape = Tape(path)
    assert [message["event"] for message, _ in tape.records()] == ["one"]
    with Reader(tape, first.id) as reader:
        assert reader.read() == []
        tape.append({"event": "two"})
        assert [record.text for record in reader.read()] == ['{"event": "two"}']
        tape.clear()
        tape.append({"event": "three"})
        assert [record.text for record in reader.read()] == ['{"event": "three"}']
    tape.close()
    with pytest.raises(OutputError, match="cannot write"):
        Tape(tmp_path / "nowhere" / "x.tape").append({})


def test_a_reader_holds_little(tmp_path: Path) -> None:
    tape = Tape(tmp_path / "x.tape")
    for _ in range(50):
        tape.append({"event": "fragment"}, bytes(30_000))
    with Reader(tape) as reader:
        batches = []
        while batch := reader.read():
            batches.append(len(batch))
    assert (max(batches), sum(batches)) == (3, 50)
    tape.close()
