"""Events and fragments on a socket, while the search goes on."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import av
import pytest
from fastapi.testclient import TestClient

from streamt1.server.app import make_app
from streamt1.server.limits import Limits
from streamt1.server.service import Service
from streamt1.server.websocket import until_first
from tests.server.toy import Gate, toy_service, until

ORDER = {"prompt": "a red circle bouncing on a navy striped background", "seconds": 1, "beam_size": 2, "top_k": 4}
CHUNKS = 16


def heard(client: TestClient, fields: dict[str, Any]) -> list[dict[str, Any] | bytes]:
    """Everything that comes, in order: objects, and fragments as bytes."""
    messages: list[dict[str, Any] | bytes] = []
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_text(json.dumps(fields))
        while True:
            message = socket.receive()
            if message["type"] == "websocket.close":
                assert message["code"] == 1000
                return messages
            text = message.get("text")
            messages.append(json.loads(text) if text is not None else message["bytes"])


def kinds(messages: list[Any]) -> list[str]:
    return [message["event"] if isinstance(message, dict) else "bytes" for message in messages]


@pytest.mark.parametrize("lag", [None, 0, 1, 3])
def test_frames_arrive_while_the_search_goes_on(client: TestClient, lag: int | None) -> None:
    messages = heard(client, {**ORDER, **({} if lag is None else {"lag": lag})})
    names = kinds(messages)
    assert names[0] == "queued"
    assert names[-1] == "completed"
    assert names.count("bytes") == CHUNKS + 1
    assert names.count("picture") == names.count("candidate_proposed")
    chunks = -1
    for message in messages:
        if isinstance(message, dict) and message["event"] == "chunk_started":
            chunks = message["chunk"]
        if lag is not None and isinstance(message, dict) and message["event"] == "fragment":
            assert chunks - message["chunk"] <= lag
    first = names.index("bytes")
    if lag is not None:
        assert names[:first].count("chunk_started") <= lag + 1
        assert first < names.index("run_finished")
    media = messages[names.index("media")]
    assert isinstance(media, dict)
    assert media["type"].startswith('video/mp4; codecs="avc1.')
    assert (media["width"], media["height"], media["fps"]) == (256, 256, 16)


def test_the_fragments_together_are_the_video(client: TestClient) -> None:
    messages = heard(client, {**ORDER, "lag": 1})
    parts = [message for message in messages if isinstance(message, bytes)]
    told = [m for m in messages if isinstance(m, dict) and m["event"] == "fragment"]
    assert [one["chunk"] for one in told] == list(range(CHUNKS))
    assert [part[4:8] for part in parts] == [b"ftyp"] + [b"moof"] * CHUNKS
    with av.open(io.BytesIO(b"".join(parts))) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == [one["start"] for one in told] == [index / 16 for index in range(CHUNKS)]
    last = messages[-1]
    assert isinstance(last, dict)
    content = client.get(f"/v1/videos/{last['video']['id']}/content")
    with av.open(io.BytesIO(content.content)) as container:
        assert len(list(container.decode(video=0))) == CHUNKS
    assert client.get(f"/v1/videos/{last['video']['id']}/report").status_code == 200


OTHER = "a green star sliding on a teal plain background"


def test_a_stream_without_a_length_is_talked_to_and_told_to_end(tmp_path: Path, gate: Gate) -> None:
    service = toy_service(tmp_path, gate, Limits(seconds=80000))
    with TestClient(make_app(service)) as client, client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"prompt": ORDER["prompt"], "lag": 1})
        messages: list[dict[str, Any]] = []

        def heard_until(event: str) -> dict[str, Any]:
            while True:
                message = socket.receive()
                assert message["type"] != "websocket.close", messages[-1]
                if message.get("text"):
                    messages.append(json.loads(message["text"]))
                    if messages[-1]["event"] == event:
                        return messages[-1]

        heard_until("fragment")
        socket.send_json({"prompt": OTHER})
        assert heard_until("prompt_taken")["prompt"] == OTHER
        begun = heard_until("scene_started")
        assert (begun["scene"], begun["prompt"]) == (1, OTHER)
        for wrong, says in (({"prompt": "a zebra"}, "zebra"), ({"prompt": 5}, "no prompt"), ({"end": 1}, "say"),
                            ([], "say"), ({"prompt": OTHER, "memory": "x"}, "none of keep")):  # fmt: skip
            socket.send_json(wrong)
            assert says in heard_until("not_understood")["error"]["message"]
        socket.send_text("{")
        heard_until("not_understood")
        socket.send_json({"end": True})
        heard_until("ending")
        socket.send_json({"prompt": OTHER})
        assert "is ending" in heard_until("not_understood")["error"]["message"]
        done = heard_until("completed")
        check(client, done["video"], messages)
        assert done["video"] == client.get(f"/v1/videos/{done['video']['id']}").json()
        made = sum(message["event"] == "fragment" for message in messages)
        assert done["video"]["chunks"] == made
        assert float(done["video"]["seconds"]) == pytest.approx(made / 16, abs=1e-3)
        first = begun["chunk"]
        assert [(scene["prompt"], scene["chunks"]) for scene in done["video"]["timeline"]] == [
            (ORDER["prompt"], first), (OTHER, made - first),
        ]  # fmt: skip


def check(client: TestClient, video: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    """The video has all frames that were sent, and its report is there."""
    report = client.get(f"/v1/videos/{video['id']}/report")
    assert report.status_code == 200
    frames = [message["frames"] for message in messages if message["event"] == "fragment"]
    with av.open(io.BytesIO(client.get(f"/v1/videos/{video['id']}/content").content)) as container:
        assert len(list(container.decode(video=0))) == sum(frames)


def test_a_stream_without_a_length_ends_at_the_servers_limit(tmp_path: Path, gate: Gate) -> None:
    service = toy_service(tmp_path, gate, Limits(seconds=0.5))
    with TestClient(make_app(service)) as client:
        messages = heard(client, {"prompt": ORDER["prompt"]})
        assert kinds(messages).count("fragment") == 8
        assert kinds(messages)[-1] == "completed"
        assert kinds(heard(client, {"prompt": ORDER["prompt"], "policy": "greedy"})).count("fragment") == 8


def test_a_stream_with_a_length_is_not_talked_to(client: TestClient, gate: Gate, service: Service) -> None:
    gate.shut()
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json(ORDER)
        name = socket.receive_json()["video"]["id"]
        until(lambda: gate.held)
        socket.send_json({"prompt": OTHER})
        while (message := socket.receive_json())["event"] != "not_understood":
            continue
        assert "has a length" in message["error"]["message"]
        socket.close()
        until(lambda: not service.queue.session(name).viewers)
    gate.open()
    until(lambda: service.queue.get(name).status == "completed")


def pieces(messages: list[dict[str, Any] | bytes]) -> bytes:
    return b"".join(message for message in messages if isinstance(message, bytes))


def test_a_stream_goes_on_without_its_viewer_and_is_viewed_again(
    client: TestClient, gate: Gate, service: Service
) -> None:
    gate.shut()
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({**ORDER, "lag": 0})
        name = socket.receive_json()["video"]["id"]
        until(lambda: gate.held)
        socket.close()
    until(lambda: not service.queue.session(name).viewers)
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"attach": name})
        begun = socket.receive_json()
        assert (begun["event"], begun["video"]["status"]) == ("attached", "in_progress")
        gate.open()
        while json.loads(socket.receive().get("text") or "{}").get("event") != "fragment":
            continue
        socket.close()
    until(lambda: service.queue.get(name).status == "completed")
    messages = heard(client, {"attach": name})
    assert kinds(messages)[0 :: len(messages) - 1] == ["attached", "completed"]
    assert kinds(messages).count("fragment") == CHUNKS
    with av.open(io.BytesIO(pieces(messages))) as container:
        assert len(list(container.decode(video=0))) == CHUNKS
    backbone: Any = service.presets.pipeline("pocket").models.backbone
    assert backbone.live == 0


def test_who_comes_again_gets_what_is_missing(client: TestClient, service: Service) -> None:
    whole = heard(client, {**ORDER, "lag": 1})
    name = whole[-1]["video"]["id"]  # type: ignore[index]
    for place in (1, len(whole) // 2, len(whole) - 2):
        known = next((one["id"] for one in reversed(whole[: place + 1]) if isinstance(one, dict) and "id" in one), None)
        rest = heard(client, {"attach": name, "after": known})
        behind = next(at for at, one in enumerate(whole) if isinstance(one, dict) and one.get("id") == known) + 1
        behind += isinstance(whole[behind], bytes)
        assert rest[1:] == whole[behind:]
    for strange in ("", "x", "00000000-5", f"{known[:9]}7", f"{known[:9]}{10**30}"):  # type: ignore[index]
        assert heard(client, {"attach": name, "after": strange})[1:] == whole[1:]
    service.queue.folder.joinpath(f"{name}.tape").unlink()
    assert kinds(heard(client, {"attach": name})) == ["attached", "completed"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"attach": "video_" + "0" * 32}, "there is no video"),
        ({"attach": "../../etc"}, "there is no video"),
        ({"attach": 5}, "say {"),
        ({"attach": "video_", "after": 5}, "say {"),
        ({"attach": "video_", "seconds": 5}, "say {"),
    ],
)
def test_what_cannot_be_viewed_is_refused(client: TestClient, fields: dict[str, Any], says: str) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json(fields)
        refused = socket.receive_json()
        assert refused["event"] == "refused"
        assert says in refused["error"]["message"]


def test_a_client_gets_its_video_no_faster_than_it_can_play_it(client: TestClient) -> None:
    with client.websocket_connect("/v1/stream?ahead=x") as socket:
        assert "ahead='x'" in socket.receive_json()["error"]["message"]
    begin = time.monotonic()
    with client.websocket_connect("/v1/stream?ahead=0.2") as socket:
        socket.send_json({**ORDER, "lag": 0, "policy": "greedy"})
        while (message := socket.receive())["type"] != "websocket.close":
            told = json.loads(message.get("text") or "{}")
            if told.get("event") == "fragment":
                assert told["start"] <= time.monotonic() - begin + 0.2
    assert time.monotonic() - begin > 0.7


def test_deleting_a_stream_closes_it(client: TestClient, gate: Gate, service: Service) -> None:
    gate.shut()
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json(ORDER)
        name = socket.receive_json()["video"]["id"]
        until(lambda: service.queue.at_work() == [name])
        client.delete(f"/v1/videos/{name}")
        gate.open()
        messages = [socket.receive()]
        while messages[-1]["type"] != "websocket.close":
            messages.append(socket.receive())
    assert messages[-2]["text"].find('"deleted"') > 0


def test_a_full_queue_refuses_streams_too(tmp_path: Path, gate: Gate) -> None:
    service = toy_service(tmp_path, gate, Limits(waiting=1, patience=0.2))
    gate.shut()
    with TestClient(make_app(service)) as client:
        client.post("/v1/videos", json=ORDER)
        until(lambda: service.queue.at_work())
        client.post("/v1/videos", json=ORDER)
        with client.websocket_connect("/v1/stream") as socket:
            socket.send_json(ORDER)
            refused = socket.receive_json()
            assert refused["error"]["code"] == "queue_full"
            assert refused["retry_after"] >= 1
            assert socket.receive()["code"] == 1013
        with client.websocket_connect("/v1/stream") as socket:
            assert "no request came" in socket.receive_json()["error"]["message"]
        with client.websocket_connect("/v1/stream") as socket:
            socket.send_text("x" * 70000)
            assert socket.receive_json()["error"]["code"] == "too_large"
        with client.websocket_connect("/v1/stream") as socket:
            socket.close()
        gate.open()


def test_a_stream_that_a_closing_server_cuts_goes_on_with_the_next(tmp_path: Path, gate: Gate) -> None:
    service, passed, heard_before = toy_service(tmp_path, gate), [], list[Any]()

    def few() -> None:
        passed.append(1)
        if len(passed) == 8:
            gate.shut()

    gate.first = few
    with TestClient(make_app(service)) as client, client.websocket_connect("/v1/stream?ahead=inf") as socket:
        socket.send_json({**ORDER, "lag": 1})
        name = socket.receive_json()["video"]["id"]
        until(lambda: gate.held)
        closing = threading.Thread(target=service.queue.close)
        closing.start()
        closing.join()
        gate.open()
        while (message := socket.receive())["type"] != "websocket.close":
            heard_before.append(json.loads(message["text"]) if message.get("text") else message["bytes"])
        assert message["code"] == 1012
    assert heard_before[-1]["event"] == "interrupted"
    gate.first = lambda: None
    again = toy_service(tmp_path, gate)
    assert again.queue.get(name).status == "queued"
    known = [one for one in heard_before if isinstance(one, dict) and "id" in one][-1]["id"]
    with TestClient(make_app(again)) as client:
        rest = heard(client, {"attach": name, "after": known})
        assert kinds(rest)[-1] == "completed"
        assert kinds(rest).count("run_started") == 0
        whole = heard(client, {"attach": name})
        check(client, rest[-1]["video"], [one for one in whole if isinstance(one, dict)])  # type: ignore[index]
    chunks = [one["chunk"] for one in [*heard_before, *rest] if isinstance(one, dict) and one["event"] == "fragment"]
    assert chunks == list(range(CHUNKS))
    with av.open(io.BytesIO(pieces([*heard_before, *rest]))) as container:
        assert [frame.time for frame in container.decode(video=0)] == [at / 16 for at in range(CHUNKS)]


def test_an_order_that_is_sent_again_is_one_video(client: TestClient, service: Service) -> None:
    """Its client did not hear an answer, as its socket was lost."""
    named = {**ORDER, "idempotency_key": "mine"}
    told = []
    for order in (named, named, {**named, "idempotency_key": "other"}):
        with client.websocket_connect("/v1/stream") as socket:
            socket.send_json(order)
            told.append(socket.receive_json())
    assert [one["event"] for one in told] == ["queued"] * 3
    names = [one["video"]["id"] for one in told]
    assert names[0] == names[1] != names[2]
    for order, field in (
        ({**named, "seed": 5}, "Idempotency-Key"),
        ({**ORDER, "idempotency_key": 5}, "must be a text"),
    ):
        with client.websocket_connect("/v1/stream") as socket:
            socket.send_json(order)
            refused = socket.receive_json()
            assert refused["event"] == "refused"
            assert field in refused["error"]["message"]


async def at_once() -> None:
    return


@pytest.mark.parametrize("turns", range(8))
def test_a_scope_that_is_cancelled_while_tasks_end_knows_its_own_end(turns: int) -> None:
    """The error of an ``asyncio.gather`` may not say who cancelled it, so that it would go on through the scope."""

    async def left() -> None:
        loop, never = asyncio.get_running_loop(), asyncio.Event()
        with anyio.CancelScope() as scope:

            def later(left: int) -> None:
                if left:
                    loop.call_soon(later, left - 1)
                else:
                    scope.cancel()

            later(turns)
            await until_first(at_once(), never.wait())

    asyncio.run(left())


def test_what_is_cancelled_leaves_nothing_running() -> None:
    ended = list[str]()

    async def long(name: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(name)

    async def cancelled() -> None:
        running = asyncio.ensure_future(until_first(long("a"), long("b")))
        await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert sorted(ended) == ["a", "b"]

    asyncio.run(cancelled())
