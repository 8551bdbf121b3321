"""Several keys: who sees what, what each may, and what a file of keys must be."""

from __future__ import annotations

import json
import threading
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from streamt1.core.errors import ConfigError, ThrottledError
from streamt1.server import events, throttle, websocket
from streamt1.server import keys as key_files
from streamt1.server.app import make_app
from streamt1.server.auth import check_origins
from streamt1.server.keys import KeyFile, read_keys
from streamt1.server.limits import Limits
from streamt1.server.service import Service
from streamt1.server.throttle import Throttle, place_of
from tests.server.live import listening
from tests.server.test_queue import ORDER
from tests.server.toy import Gate, toy_presets, until

ANN, BOB, BOSS = "the key of ann, long", "the key of bob, long", "the key of the operator"
TWO = [
    {"name": "ann", "key": ANN, "waiting": 2, "daily": 4, "seconds": 0.25, "width": 2, "prompt": 60},
    {"name": "bob", "sha256": sha256(BOB.encode()).hexdigest()},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "keys.json", TWO)


def written(path: Path, entries: Any) -> Path:
    path.write_text(json.dumps(entries))
    return path


def serving(tmp_path: Path, gate: Gate, path: Path, limits: Limits = Limits()) -> TestClient:
    known = KeyFile(path, limits)
    return TestClient(make_app(Service.over([toy_presets(gate)], tmp_path / "data", limits, BOSS, known)))


def of(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def asked(client: TestClient, key: str, **fields: Any) -> Any:
    return client.post("/v1/videos", json={**ORDER, **fields}, headers=of(key))


def test_each_key_sees_its_own_videos_alone(tmp_path: Path, gate: Gate, path: Path) -> None:
    with serving(tmp_path, gate, path) as client:
        service: Service = client.app.state.service  # pyright: ignore[reportAttributeAccessIssue]
        made = {key: asked(client, key).json()["id"] for key in (ANN, BOB, BOSS)}
        until(lambda: not service.queue.waiting() and not service.queue.at_work())
        for key, seen in ((ANN, [ANN]), (BOB, [BOB]), (BOSS, [BOSS, BOB, ANN])):
            listed = client.get("/v1/videos", headers=of(key)).json()["data"]
            assert [video["id"] for video in listed] == [made[one] for one in seen]
            for one, name in made.items():
                status = 200 if one in seen else 404
                for end in ("", "/content", "/report"):
                    assert client.get(f"/v1/videos/{name}{end}", headers=of(key)).status_code == status
        assert client.delete(f"/v1/videos/{made[ANN]}", headers=of(BOB)).status_code == 404
        assert client.delete(f"/v1/videos/{made[ANN]}", headers=of(ANN)).status_code == 200
        with client.websocket_connect("/v1/stream", headers=of(BOB)) as socket:
            socket.send_json(ORDER)
            name = socket.receive_json()["video"]["id"]
            socket.close()
        assert client.get(f"/v1/videos/{name}", headers=of(ANN)).status_code == 404
        with client.websocket_connect("/v1/stream", headers=of(ANN)) as socket:
            socket.send_json({"attach": name})
            assert socket.receive_json()["error"]["code"] == "not_found"
        for method, end in (("GET", "events"), ("POST", "cancel"), ("POST", "say")):
            answer = client.request(method, f"/v1/videos/{name}/{end}", headers=of(ANN), json={"end": True})
            assert answer.status_code == 404
        assert client.get(f"/v1/videos/{name}", headers=of(BOB)).status_code == 200
    with serving(tmp_path, gate, path) as again:
        assert again.get(f"/v1/videos/{made[BOB]}", headers=of(BOB)).json()["status"] == "completed"


def test_each_key_has_its_own_limits(tmp_path: Path, gate: Gate, path: Path) -> None:
    gate.shut()
    with serving(tmp_path, gate, path) as client:
        assert client.get("/v1/models", headers=of(ANN)).json()["limits"] == {
            "prompt": 60, "seconds": 0.25, "width": 2, "waiting": 2,
        }  # fmt: skip
        for bad in ({"seconds": 0.5}, {"beam_size": 2, "top_k": 2}, {"prompt": "a red circle " * 9}):
            assert asked(client, ANN, **bad).json()["error"]["param"] == next(iter(bad))
            assert asked(client, BOB, **bad).status_code == 200 or "prompt" in bad
        once = {**of(ANN), "Idempotency-Key": "x"}
        first = client.post("/v1/videos", json=ORDER, headers=once).json()["id"]
        other = client.post("/v1/videos", json={**ORDER, "seed": 5}, headers={**of(BOB), "Idempotency-Key": "x"})
        assert other.status_code == 200, "keys of requests are of the owner"
        assert asked(client, ANN).status_code == 200
        refused = asked(client, ANN)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "quota")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.post("/v1/videos", json=ORDER, headers=once).json()["id"] == first
        for _ in range(2):
            client.delete(f"/v1/videos/{first}", headers=of(ANN))
            answer = asked(client, ANN)
            assert answer.status_code == 200
            first = answer.json()["id"]
        client.delete(f"/v1/videos/{first}", headers=of(ANN))
        refused = asked(client, ANN)
        assert "4 videos in 24 hours" in refused.json()["error"]["message"], "what is deleted counts"
        assert 86000 < int(refused.headers["retry-after"]) <= 86400
        assert asked(client, BOB).status_code == 200
        gate.open()


def test_the_file_is_read_again_when_it_changes(
    tmp_path: Path, gate: Gate, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(key_files, "LOOKED_AT_EVERY", 0.0)
    with serving(tmp_path, gate, path) as client:
        cookie = client.post("/page/login", json={"key": ANN}).cookies["streamt1"]
        client.cookies.clear()
        assert client.get("/v1/videos", headers={"Cookie": f"streamt1={cookie}"}).status_code == 200
        path.write_text("- {name: ann, key: [")
        assert client.get("/v1/videos", headers=of(ANN)).status_code == 200
        assert "stay as they were" in caplog.text
        assert ANN not in caplog.text
        written(
            path, [{"name": "ann", "key": "another key of ann's"}, {"name": "carl", "key": "the key of carl, long"}]
        )
        statuses = [
            client.get("/v1/videos", headers=of(key)).status_code for key in (ANN, BOB, "the key of carl, long")
        ]
        assert statuses == [401, 401, 200]
        assert client.get("/v1/videos", headers={"Cookie": f"streamt1={cookie}"}).status_code == 401
        written(path, [{"name": "carl", "key": "the key of carl, long", "operator": True}])
        asked(client, BOSS)
        assert len(client.get("/v1/videos", headers=of("the key of carl, long")).json()["data"]) == 1


@pytest.fixture
def attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_files, "LOOKED_AT_EVERY", 0.0)
    for module in (events, websocket):
        monkeypatch.setattr(module, "QUIET", 0.05)


@pytest.mark.usefixtures("attentive")
@pytest.mark.parametrize("talks", [False, True])
@pytest.mark.parametrize("now", [[TWO[1]], [{**TWO[0], "name": "another"}]], ids=["gone", "renamed"])
def test_a_socket_ends_with_its_key(
    tmp_path: Path, gate: Gate, path: Path, monkeypatch: pytest.MonkeyPatch, talks: bool, now: list[Any]
) -> None:
    if talks:
        monkeypatch.setattr(websocket, "QUIET", 60.0)
    gate.shut()
    with serving(tmp_path, gate, path) as client, client.websocket_connect("/v1/stream", headers=of(ANN)) as socket:
        socket.send_json(ORDER)
        assert socket.receive_json()["event"] == "queued"
        written(path, now)
        if talks:
            socket.send_json({"end": True})
        heard = [{"event": "here"}]
        while heard[-1]["event"] in ("here", "run_started", "chunk_started"):
            heard.append(socket.receive_json())
            assert len(heard) < 50
        assert (heard[-1]["event"], heard[-1]["error"]["code"]) == ("refused", "invalid_api_key")
        assert socket.receive()["code"] == websocket.POLICY
        gate.open()


@pytest.mark.usefixtures("attentive")
@pytest.mark.parametrize("busy", [False, True])
def test_events_end_with_their_key(tmp_path: Path, gate: Gate, path: Path, busy: bool) -> None:
    gate.shut()
    service = Service.over([toy_presets(gate)], tmp_path / "data", Limits(), BOSS, KeyFile(path, Limits()))
    with listening(service) as address, httpx.Client(base_url=address, headers=of(ANN), timeout=20) as client:
        name = client.post("/v1/videos", json=ORDER).json()["id"]
        with client.stream("GET", f"/v1/videos/{name}/events") as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("retry")
            written(path, [TWO[1]])
            tape, ends = service.queue.session(name).tape, threading.Event()

            def talk() -> None:
                """Tells something more often than the key is looked at."""
                while busy and not ends.wait(0.01):
                    tape.append({"event": "warned", "message": "something"})

            talking = threading.Thread(target=talk)
            talking.start()
            told = list(islice(lines, 900))
            ends.set()
            talking.join()
        assert told[-3] == "event: refused"
        assert json.loads(told[-2].removeprefix("data: "))["error"]["code"] == "invalid_api_key"
        assert client.get(f"/v1/videos/{name}/events").status_code == 401, "a browser does not come again"
        gate.open()


@pytest.mark.usefixtures("attentive")
def test_viewers_of_other_keys_stay(tmp_path: Path, gate: Gate, path: Path) -> None:
    gate.shut()
    with serving(tmp_path, gate, path) as client, client.websocket_connect("/v1/stream", headers=of(BOB)) as socket:
        socket.send_json(ORDER)
        written(path, [{**TWO[1], "operator": True}])
        heard = [socket.receive_json()["event"] for _ in range(8)]
        assert heard.count("here") >= 3
        gate.open()
        while socket.receive()["type"] != "websocket.close":
            pass


@pytest.mark.parametrize(("entries", "says"), [
    ({}, "must be a list"), ([], "must be a list"), (["x"], "key 1 must have a name"),
    ([{"key": ANN}], "name must be a word"), ([{"name": "a b", "key": ANN}], "name must be a word"),
    ([{"name": "a"}], "give key, or sha256"), ([{"name": "a", "key": ANN, "sha256": "0" * 64}], "give key, or sha256"),
    ([{"name": "a", "key": "short"}], "at least 16"), ([{"name": "a", "key": 1234567890123456}], "in quotes"),
    ([{"name": "a", "sha256": "0" * 63}], "64 hexadecimal"), ([{"name": "a", "key": ANN, "secs": 1}], "did you mean"),
    ([{"name": "a", "key": ANN, "waiting": 0}], "waiting must be a number above 0"),
    ([{"name": "a", "key": ANN, "waiting": 1.5}], "waiting must be"),
    ([{"name": "a", "key": ANN, "seconds": True}], "seconds must be"),
    ([{"name": "a", "key": ANN, "operator": "yes"}], "operator must be"),
    ([{"name": "a", "key": ANN}, {"name": "a", "key": BOB}], "the same name"),
    ([{"name": "a", "key": ANN}, {"name": "b", "key": ANN}], "the same key"),
])  # fmt: skip
def test_a_file_of_keys_that_is_none(tmp_path: Path, entries: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        read_keys(written(tmp_path / "keys.yaml", entries), Limits())
    assert ANN not in str(raised.value)


def test_a_file_of_keys_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the file of keys"):
        KeyFile(tmp_path / "none.yaml", Limits())


def test_the_page_s_login_takes_so_many_wrong_keys(tmp_path: Path, gate: Gate, path: Path) -> None:
    with serving(tmp_path, gate, path) as client:
        cookie = client.post("/page/login", json={"key": BOSS}).cookies["streamt1"]
        client.cookies.clear()
        for number in range(throttle.WRONG):
            assert client.get("/v1/videos", headers=of(f"{number}")).status_code == 401
            assert client.post("/page/login", json={"key": f"{number}"}).status_code == 401
        answer = client.post("/page/login", json={"key": BOSS})
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_attempts")
        assert 1 <= int(answer.headers["retry-after"]) <= throttle.SECONDS
        assert client.get("/v1/videos", headers={"Cookie": f"streamt1={cookie}"}).status_code == 200
        assert client.get("/v1/videos", headers=of(BOSS)).status_code == 200, "another's old key locks nobody out"


def test_addresses_are_told_apart_and_forgotten() -> None:
    now = 0.0
    counts = Throttle(lambda: now)
    for _ in range(throttle.WRONG):
        counts.failed("10.0.0.1")
    with pytest.raises(ThrottledError, match="60 seconds"):
        counts.check("10.0.0.1")
    counts.check("10.0.0.2")
    now = 61.0
    counts.check("10.0.0.1")
    counts.failed("10.0.0.1")
    counts.check("10.0.0.1")
    for number in range(throttle.ADDRESSES + 50):
        counts.failed(f"host {number}")
    assert len(counts) == throttle.ADDRESSES
    assert place_of("2001:db8::1") == place_of("2001:db8::2") != place_of("2001:db8:0:1::1")
    assert place_of("::ffff:10.0.0.1") == place_of("10.0.0.1")


def test_sites_that_may_ask(tmp_path: Path, gate: Gate) -> None:
    site = "https://example.org"
    service = Service.over([toy_presets(gate)], tmp_path, origins=[site])
    with TestClient(make_app(service)) as client:
        answer = client.get("/v1/videos", headers={"Origin": site})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, site)
        assert "access-control-allow-credentials" not in answer.headers
        before = {"Origin": site, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "range"}
        assert client.options("/v1/videos", headers=before).headers["access-control-allow-origin"] == site
        wrong = client.post("/v1/videos", json={}, headers={"Origin": site})
        assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (400, site)
        other = client.get("/v1/videos", headers={"Origin": "https://evil.example"})
        assert other.status_code == 401
        assert "access-control-allow-origin" not in other.headers
    for wrong in ("*", "example.org", "https://example.org/", "https://example.org/x", "null"):
        with pytest.raises(ConfigError, match="--cors-origin"):
            check_origins([wrong])


def test_what_waits_is_found_by_an_index(tmp_path: Path, gate: Gate, path: Path) -> None:
    with serving(tmp_path, gate, path) as client:
        asked(client, ANN)
        store = client.app.state.service.queue.store  # pyright: ignore[reportAttributeAccessIssue]
        plan = store.connection.execute("EXPLAIN QUERY PLAN SELECT * FROM jobs WHERE status = 'queued' ORDER BY seq")
        assert "jobs_by_status" in str([tuple(row) for row in plan])
