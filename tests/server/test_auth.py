"""Keys, other sites, and addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from streamt1.cli.main import app as command_line
from streamt1.core.errors import ConfigError
from streamt1.server.app import LOOPBACK, check_address, is_loopback, make_app
from tests.server.toy import Gate, toy_service

KEY = "a key of some length"
PATHS = ("/v1/videos", "/v1/models", "/metrics", "/v1/videos/video_" + "0" * 32)


def test_without_the_key_nothing_is_told(tmp_path: Path, gate: Gate) -> None:
    with TestClient(make_app(toy_service(tmp_path, gate, key=KEY))) as client:
        for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}, {"Cookie": f"streamt1={KEY}"}):
            for path in PATHS:
                answer = client.get(path, headers=wrong)
                assert answer.status_code == 401
                assert answer.json()["error"]["code"] == "invalid_api_key"
                assert KEY not in answer.text
            assert client.post("/v1/videos", json={"prompt": "x"}, headers=wrong).status_code == 401
        with client.websocket_connect("/v1/stream") as socket:
            assert socket.receive_json()["error"]["code"] == "invalid_api_key"
        assert client.get("/health").status_code == 200
        assert client.get("/").status_code == 200
        assert client.get("/v1/videos", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200


def test_the_page_gets_a_cookie_for_the_key(tmp_path: Path, gate: Gate) -> None:
    with TestClient(make_app(toy_service(tmp_path, gate, key=KEY))) as client:
        assert client.get("/page/login/state").json() == {"key_needed": True}
        assert client.post("/page/login", json={"key": "wrong"}).status_code == 401
        assert client.post("/page/login", json=[]).status_code == 401
        answer = client.post("/page/login", json={"key": KEY})
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "samesite=strict" in answer.headers["set-cookie"].lower()
        assert KEY not in answer.headers["set-cookie"]
        assert client.get("/page/login/state").json() == {"key_needed": False}
        assert client.get("/v1/videos").status_code == 200


def test_a_page_of_another_site_cannot_use_a_visitor_s_server(tmp_path: Path, gate: Gate) -> None:
    with TestClient(make_app(toy_service(tmp_path, gate))) as client:
        assert client.get("/v1/videos", headers={"Origin": "http://testserver"}).status_code == 200
        for origin in ("http://evil.example", "null"):
            assert client.post("/v1/videos", json={"prompt": "x"}, headers={"Origin": origin}).status_code == 401
        with client.websocket_connect("/v1/stream", headers={"Origin": "http://evil.example"}) as socket:
            assert "another site" in socket.receive_json()["error"]["message"]
    with TestClient(make_app(toy_service(tmp_path, gate), LOOPBACK), base_url="http://evil.example") as client:
        assert client.get("/v1/videos").status_code == 400
    for name in ("localhost:8000", "127.0.0.1"):
        with TestClient(make_app(toy_service(tmp_path, gate), LOOPBACK), base_url=f"http://{name}") as client:
            assert client.get("/v1/videos").status_code == 200


def test_the_network_is_served_with_a_key_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.org")
    check_address("0.0.0.0", True)
    check_address("127.0.0.1", True, ["videos.example.org"])
    for host, names in (("0.0.0.0", []), ("127.0.0.1", ["videos.example.org"])):
        with pytest.raises(ConfigError, match="STREAMT1_API_KEY"):
            check_address(host, False, names)
    for name in ("https://videos.example.org", "videos.example.org:443", "*", ""):
        with pytest.raises(ConfigError, match="is no name"):
            check_address("127.0.0.1", True, [name])
    monkeypatch.delenv("STREAMT1_API_KEY", raising=False)
    data = str(tmp_path / "data")
    result = CliRunner().invoke(command_line, ["serve", "--host", "0.0.0.0", "--data", data])
    assert result.exit_code == 2
    assert "STREAMT1_API_KEY" in result.stderr
    assert not (tmp_path / "data").exists()
    result = CliRunner().invoke(command_line, ["serve", "--preset", "pockets", "--data", data])
    assert result.exit_code == 2
    assert "did you mean 'pocket'" in result.stderr
