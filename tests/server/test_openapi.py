"""The OpenAPI document tells every route and field, and what the server answers is as it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from streamt1.server.app import make_app
from streamt1.server.openapi import ROUTES
from streamt1.server.schemas import VideoRequest
from tests.server.test_bad_input import GOOD
from tests.server.test_videos import create, finished
from tests.server.toy import Gate, toy_service

jsonschema = pytest.importorskip("jsonschema", reason="answers are checked by it (pip install jsonschema)")


@pytest.fixture
def told(client: TestClient) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def fits(told: dict[str, Any], value: Any, name: str) -> bool:
    schema = {"$ref": f"#/components/schemas/{name}", "components": told["components"]}
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def check(told: dict[str, Any], answer: Any, path: str) -> None:
    """That an answer has a status, a kind and a shape that the document tells of its route."""
    operation = told["paths"][path][answer.request.method.lower()]
    found = operation["responses"][str(answer.status_code)]
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in found["content"], (path, answer.status_code, kind)
    if kind == "application/json":
        schema = {**found["content"][kind]["schema"], "components": told["components"]}
        jsonschema.validate(answer.json(), schema, cls=jsonschema.Draft202012Validator)


def test_every_route_is_told(client: TestClient, told: dict[str, Any]) -> None:
    app: Any = client.app
    routes = [route for route in app.state.routes if isinstance(route, APIRoute) and route.include_in_schema]
    assert {route.name for route in routes} == ROUTES.keys()
    for route in routes:
        assert {method.lower() for method in route.methods} <= told["paths"][route.path].keys()
    assert "/v1/stream" in told["info"]["description"]


def test_every_field_is_told(told: dict[str, Any]) -> None:
    schemas = told["components"]["schemas"]
    assert schemas["VideoRequest"]["properties"].keys() == VideoRequest.model_fields.keys()
    assert all(schema["description"] for schema in schemas["VideoRequest"]["properties"].values())


@pytest.mark.parametrize("fields", [
    {}, {"seconds": 0.25}, {"seconds": "4"}, {"seed": 7, "lag": 0, "budget": "9999"}, {"beam_size": "2", "top_k": 2},
    {"policy": "greedy", "model": "pocket"}, {"lag": None, "budget": 5000, "size": "256x256"},
])  # fmt: skip
def test_what_can_be_asked_for(client: TestClient, told: dict[str, Any], fields: dict[str, Any]) -> None:
    assert fits(told, {**GOOD, **fields}, "VideoRequest")
    check(told, client.post("/v1/videos", json={**GOOD, **fields}), "/v1/videos")


@pytest.mark.parametrize("fields", [
    {"seconds": 0}, {"seconds": 61}, {"seconds": True}, {"seconds": None}, {"policy": ""}, {"beam_size": 17},
    {"top_k": 1.5}, {"seed": -1}, {"prompt": None}, {"prompt": 5}, {"endless": True}, {"size": "1x1"}, {"x": 1},
    {"timeline": [{"prompt": "x"}]}, {"input_reference": "x.png"}, {"devices": 2}, {"budget": "much"},
    {"budget": "-5s"},
])  # fmt: skip
def test_what_cannot_be_asked_for(client: TestClient, told: dict[str, Any], fields: dict[str, Any]) -> None:
    assert not fits(told, {**GOOD, **fields}, "VideoRequest")
    answer = client.post("/v1/videos", json={**GOOD, **fields})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(fields))
    check(told, answer, "/v1/videos")


def test_answers_are_as_they_are_told(client: TestClient, told: dict[str, Any]) -> None:
    one, at = "/v1/videos/{video_id}", "/v1/videos"
    scenes = {"timeline": [{"prompt": GOOD["prompt"], "seconds": 0.25}, [GOOD["prompt"], 0.25]]}
    name = create(client)["id"]
    other = client.post(at, json=scenes)
    check(told, other, at)
    for done in (name, other.json()["id"]):
        assert finished(client, done)["status"] == "completed"
        check(told, client.get(f"{at}/{done}"), one)
    for path in (at, "/v1/models", "/health", "/metrics", "/docs", "/openapi.json"):
        check(told, client.get(path), path)
    check(told, client.get("/v1/models/pocket"), "/v1/models/{name}")
    for variant in ("video", "thumbnail", "spritesheet"):
        answer = client.get(f"{at}/{name}/content", params={"variant": variant})
        check(told, answer, f"{one}/content")
        assert ("x-image-size" in answer.headers) == (variant != "video")
    check(told, client.get(f"{at}/{name}/report"), f"{one}/report")
    for range_, status in (("bytes=0-9", 206), ("bytes=0-9,20-29", 206), ("bytes=9999999-", 416), ("bytes=9-2", 400)):
        answer = client.get(f"{at}/{name}/content", headers={"Range": range_})
        assert answer.status_code == status
        check(told, answer, f"{one}/content")
        assert status < 400 or answer.json()["error"]["param"] == "Range"
    check(told, client.get(f"{at}?limit=0"), at)
    check(told, client.get(f"{at}?after=x"), at)
    check(told, client.delete(f"{at}/{name}"), one)
    for path in (one, f"{one}/content", f"{one}/report"):
        check(told, client.get(path.format(video_id=name)), path)
    check(told, client.delete(f"{at}/{name}"), one)
    check(told, client.get("/v1/models/sora"), "/v1/models/{name}")


def test_the_page_shows_it_all_and_comes_from_here(client: TestClient, told: dict[str, Any]) -> None:
    page = client.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "//" not in page.text.replace("<!doctype", "")
    assert "<script" not in page.text
    for path in told["paths"]:
        assert path in page.text
    for field in VideoRequest.model_fields:
        assert f"<code>{field}</code>" in page.text


def test_with_a_key_it_is_told_to_those_who_have_it(tmp_path: Path, gate: Gate) -> None:
    with TestClient(make_app(toy_service(tmp_path, gate, key="a key"))) as client:
        assert [client.get(path).status_code for path in ("/openapi.json", "/docs")] == [401, 401]
        client.headers["Authorization"] = "Bearer a key"
        told = client.get("/openapi.json").json()
        assert told["paths"]["/v1/videos"]["post"]["security"] == [{"key": []}]
        assert told["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
        assert client.get("/docs").status_code == 200


def test_what_openai_s_api_has_besides_is_said_to_be_elsewhere(client: TestClient) -> None:
    name = create(client)["id"]
    for path in (f"/v1/videos/{name}/remix", "/v1/videos/edits", "/v1/videos/extensions", "/v1/videos/characters"):
        answer = client.post(path, json={"prompt": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert "POST /v1/videos" in answer.json()["error"]["message"]


def test_a_method_that_is_none_says_which_are(client: TestClient) -> None:
    assert client.put("/v1/videos").headers["allow"] == "GET, HEAD, POST"
    assert client.options(f"/v1/videos/{'x' * 9}").headers["allow"] == "DELETE, GET, HEAD"


def test_a_video_tells_the_search_that_it_has(client: TestClient, gate: Gate) -> None:
    gate.shut()
    search = ("policy", "beam_size", "top_k", "lag", "budget", "seed", "seconds", "size", "model")
    plain, single = create(client), create(client, policy="greedy", beam_size=40, top_k=9, lag=3)
    assert [plain[name] for name in search] == ["stream_t1", 2, 2, None, None, 0, "0.25", "256x256", "pocket"]
    assert [single[name] for name in search[:4]] == ["greedy", None, None, None]
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"prompt": GOOD["prompt"]})
        assert socket.receive_json()["video"]["lag"] == 7, "the preset's window"
        socket.close()


def test_a_report_may_fetch_nothing(client: TestClient) -> None:
    answer = client.get(f"/v1/videos/{finished(client, create(client)['id'])['id']}/report")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts")
