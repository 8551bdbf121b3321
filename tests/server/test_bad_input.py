"""What is wrong is refused with a 4xx and one sentence, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from streamt1.server.service import Service

PROMPT = "a red circle bouncing on a navy striped background"
GOOD = {"prompt": PROMPT, "seconds": 0.25}
BAD: list[tuple[dict[str, Any], str, str | None]] = [
    ({"prompt": "a red circle " * 400}, "5200 characters; this server reads at most 4000", "prompt"),
    ({"prompt": ""}, "the prompt is empty", "prompt"),
    ({"prompt": "   \n"}, "the prompt is empty", "prompt"),
    ({"prompt": "a red zebra"}, "does not know the word 'zebra'", "prompt"),
    ({"prompt": "a red \ud800"}, "half of a character", None),
    ({"prompt": "a red \x00 circle"}, "does not know the word", "prompt"),
    ({"prompt": None}, "prompt", "prompt"),
    ({"prompt": 5}, "prompt", "prompt"),
    ({"prompt": ["a red circle"]}, "prompt", "prompt"),
    ({"seconds": 61}, "seconds=61 is too long; this server makes at most 60", "seconds"),
    ({"seconds": 0}, "seconds", "seconds"),
    ({"seconds": -4}, "seconds", "seconds"),
    ({"seconds": 0.01}, "below one chunk", "seconds"),
    ({"seconds": "four"}, "seconds", "seconds"),
    ({"seconds": "nan"}, "seconds", "seconds"),
    ({"seconds": "1e999"}, "seconds", "seconds"),
    ({"beam_size": 5, "top_k": 4}, "20 candidates a chunk; this server tries at most 16", "beam_size"),
    ({"beam_size": 10**9}, "this server tries at most 16", "beam_size"),
    ({"beam_size": 0}, "beam_size", "beam_size"),
    ({"beam_size": "two"}, "beam_size", "beam_size"),
    ({"top_k": 1.5}, "top_k", "top_k"),
    ({"top_k": {"$gt": 0}}, "top_k", "top_k"),
    ({"lag": -1}, "lag", "lag"),
    ({"seed": -1}, "seed", "seed"),
    ({"seed": 2**70}, "seed", "seed"),
    ({"policy": "beams"}, "did you mean 'beam'?", "policy"),
    ({"preset": "pockets"}, "did you mean 'pocket'?", "preset"),
    ({"preset": "longlive"}, "unknown preset 'longlive'", "preset"),
    ({"preset": "../../etc/passwd"}, "unknown preset", "preset"),
    ({"preset": "/etc/hosts.yaml"}, "unknown preset", "preset"),
    ({"model": "sora-2"}, "unknown model 'sora-2'", "model"),
    ({"model": "pocket", "preset": "paper"}, "mean the same", "preset"),
    ({"size": "1280x720"}, "pocket makes 256x256", "size"),
    ({"budget": "much"}, "budget 'much' is neither", "budget"),
    ({"budget": "nans"}, "budget 'nans' is neither", "budget"),
    ({"budget": "3"}, "buys no 4 chunks", "budget"),
    ({"budget": "-5s"}, "above 0", "budget"),
    ({"policy": ""}, "unknown policy ''", "policy"),
    ({"preset": ""}, "unknown preset ''", "preset"),
    ({"devices": 99}, "devices=99: every video of this server takes one device", "devices"),
    *(
        ({name: True}, f"{name}: True must be a number", name)
        for name in ("seconds", "beam_size", "top_k", "lag", "seed", "devices")
    ),
    ({"top_k": 20}, "this server tries at most 16", "top_k"),
    ({"beams": 2}, "did you mean 'beam_size'?", "beams"),
    ({"input_reference": "x.png"}, "send the picture as a file of a form", "input_reference"),
]


def nothing_happened(client: TestClient, service: Service) -> None:
    assert client.get("/v1/videos").json()["data"] == []
    assert list(service.queue.folder.iterdir()) == []


@pytest.mark.parametrize(("fields", "says", "param"), BAD, ids=[json.dumps(bad[0])[:40] for bad in BAD])
def test_a_request_that_cannot_be_run(
    client: TestClient, service: Service, fields: dict[str, Any], says: str, param: str | None
) -> None:
    body = json.dumps({**GOOD, **fields})
    answer = client.post("/v1/videos", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert says in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert "Traceback" not in answer.text
    nothing_happened(client, service)
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_text(body)
        refused = socket.receive_json()
        assert refused["event"] == "refused"
        assert says in refused["error"]["message"]
    nothing_happened(client, service)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[" * 30000, "application/json", 400),
        (b"\xff\xfe\x00", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'"prompt"', "application/json", 400),
        (b"{}", "text/plain", 400),
        (b"{}", "application/json", 400),
        (b"nonsense", "multipart/form-data", 400),
        (b"nonsense", "multipart/form-data; boundary=x", 400),
        (b"prompt=a&prompt=b", "application/x-www-form-urlencoded", 400),
        (b"x" * 70000, "application/json", 413),
    ],
)
def test_a_body_that_is_no_request(client: TestClient, service: Service, body: bytes, kind: str, status: int) -> None:
    answer = client.post("/v1/videos", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]
    nothing_happened(client, service)


def test_a_body_without_a_length_is_bounded_too(client: TestClient, service: Service) -> None:
    answer = client.post("/v1/videos", content=iter([b"x" * 1000] * 100), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    nothing_happened(client, service)


@pytest.mark.parametrize(
    "name",
    [
        "nothing", "..", "%2e%2e", "..%2f..%2fjobs.sqlite", "%2e%2e%2fjobs.sqlite", "video_", "video_" + "0" * 31,
        "video_" + "0" * 32, "video_" + "G" * 32, "video_" + "0" * 32 + "%00", "video_" + "0" * 32 + "%0a", "%00",
        "video_%2e%2e", "' OR 1=1 --", "x" * 5000, "video_" + "0" * 32 + "%2f..", "%ff",
    ],
)  # fmt: skip
def test_a_name_that_is_none(client: TestClient, service: Service, tmp_path: Path, name: str) -> None:
    (service.queue.folder / "mine.txt").write_text("stays")
    for method, end in (("GET", ""), ("GET", "/content"), ("GET", "/report"), ("DELETE", "")):
        answer = client.request(method, f"/v1/videos/{name}{end}")
        assert answer.status_code in (404, 405), (method, end, answer.text)
        assert answer.json()["error"]["message"]
    assert (service.queue.folder / "mine.txt").is_file()
    assert (tmp_path / "jobs.sqlite").is_file()


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=ten", "order=up", "after=nothing", "after=../x"])
def test_a_page_that_is_none(client: TestClient, query: str) -> None:
    answer = client.get(f"/v1/videos?{query}")
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["message"]


def test_methods_and_paths_that_are_none_answer_in_the_same_shape(client: TestClient) -> None:
    assert client.put("/v1/videos").json()["error"]["code"] == "method_not_allowed"
    assert client.get("/v1/nothing").json()["error"]["code"] == "not_found"
    assert client.get("/v1/videos/x/content?variant=sound").status_code == 400
