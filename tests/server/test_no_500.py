"""Whatever a client sends is answered in the shape of an error or done: the server is never at fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from streamt1.server.app import make_app
from tests.server.toy import Gate, toy_service

PROMPT = '"prompt": "a red circle resting on a navy plain background"'
FIELDS = (
    "prompt", "model", "seconds", "size", "preset", "policy", "beam_size", "top_k", "seed", "lag", "budget", "timeline",
    "endless", "devices", "input_reference", "\\ud800", "user",
)  # fmt: skip
VALUES = (
    r'"\ud800"', r'"a\udfffb"', r'"\u0000"', '""', '"' + "x" * 3000 + '"', "1e400", "-1e400", "NaN", "1" * 4200,
    "-" + "9" * 5000, "1" + "0" * 400, "true", "null", "2.5", '"60s"', '"1e999s"', '"nans"', "[]", "{}", '[["x"]]',
    '{"a": {"b": [1]}}',
)  # fmt: skip
SCENES = (
    '"seconds": ' + "1" * 4200, '"seconds": 1e400', '"seconds": true', '"seconds": "1"', '"chunks": ' + "9" * 4200,
    '"chunks": 1e400', '"chunks": true', '"chunks": -1', r'"memory": "\ud800"', r'"\ud800": 1', '"chunks": {}',
)  # fmt: skip
HEADERS = (
    ("origin", b"http://["), ("origin", b"http://[::1"), ("origin", b"\x80"), ("origin", b"null"), ("host", b"["),
    ("authorization", b"Bearer \xff"), ("authorization", b"\xff"), ("cookie", b"streamt1=\xff\xfe"),
)  # fmt: skip
PATHS = (
    "/v1/videos/%ff",
    "/v1/videos/..%2f..",
    "/v1/videos/%ed%a0%80",
    "/page/%00.js",
    "/v1/models/%ff",
    "/v1/videos/x/remix",
)
QUERIES = ("limit=" + "9" * 4200, "limit=-1", "after=%ff%fe", "after=video_" + "a" * 32, "order=%00", "limit=1e400")


@pytest.fixture
def answering(tmp_path: Path, gate: Gate):
    """A client that sees what is not caught as a 500; nothing is made meanwhile."""
    gate.shut()
    with TestClient(make_app(toy_service(tmp_path, gate)), raise_server_exceptions=False) as client:
        yield client
        gate.open()


def sent(client: TestClient, body: str) -> int:
    answer = client.post("/v1/videos", content=body.encode(), headers={"content-type": "application/json"})
    assert answer.status_code == 200 or set(answer.json()["error"]) == {"message", "type", "param", "code"}
    if answer.status_code == 200:
        client.delete(f"/v1/videos/{answer.json()['id']}")
    return answer.status_code


@pytest.mark.parametrize("field", FIELDS)
def test_whatever_a_field_holds(answering: TestClient, field: str) -> None:
    others = "" if field in ("prompt", "timeline") else f"{PROMPT}, "
    for value in VALUES:
        assert sent(answering, f'{{{others}"{field}": {value}}}') < 500, value


def test_whatever_a_scene_holds(answering: TestClient) -> None:
    for scene in SCENES:
        assert sent(answering, f'{{"timeline": [{{{PROMPT}, {scene}}}]}}') == 400, scene


@pytest.mark.parametrize("key", [None, "secret"])
def test_whatever_headers_say(tmp_path: Path, gate: Gate, key: str | None) -> None:
    service = toy_service(tmp_path, gate, key=key)
    with TestClient(make_app(service), raise_server_exceptions=False) as client:
        for name, value in HEADERS:
            for path in ("/v1/videos", "/page/login/state", "/health", "/metrics"):
                assert client.get(path, headers={name: value}).status_code < 500, (name, value, path)
        for body in (b'{"key": "\\ud800"}', b'{"key": ' + b"1" * 4200 + b"}", b"[]", b'{"key": ["\\ud800"]}', b"\xff"):
            answer = client.post("/page/login", content=body, headers={"content-type": "application/json"})
            assert answer.status_code < 500, body


def test_whatever_is_asked_for(answering: TestClient) -> None:
    for path in PATHS:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            assert 400 <= answering.request(method, path).status_code < 500, (method, path)
    for query in QUERIES:
        assert 400 <= answering.get(f"/v1/videos?{query}").status_code < 500, query
