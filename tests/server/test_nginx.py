"""Behind nginx with TLS, as docs/deploy/nginx.conf has it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from streamt1.server import throttle
from tests.server.live import listening
from tests.server.test_queue import ORDER
from tests.server.toy import Gate, toy_service, until

websockets = pytest.importorskip("websockets.sync.client")
CONFIG = Path(__file__).parents[2] / "docs/deploy/nginx.conf"
KEY = "the key of the operator"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("nginx") or not shutil.which("openssl"), reason="nginx or openssl is missing"),
]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def proxied(folder: Path, server: str, plain: int, port: int) -> Path:
    """The documented configuration, with other ports and a certificate of its own, as a whole configuration."""
    pem, key = folder / "cert.pem", folder / "cert.key"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost", "-out", str(pem), "-keyout", str(key)]
    subprocess.run(made, check=True, capture_output=True)
    text = CONFIG.read_text()
    for old, new in (
        ("server 127.0.0.1:8000;", f"server {server.removeprefix('http://')};"),
        ("listen 80;", f"listen 127.0.0.1:{plain};"), ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("server_name videos.example.org;", "server_name localhost;"),
        ("/etc/ssl/videos.example.org.pem", str(pem)), ("/etc/ssl/videos.example.org.key", str(key)),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""  # who may write below a temporary folder
    whole = f"{user} daemon off; pid {folder}/pid; events {{}} http {{ access_log off; {temporary}\n{text}\n}}"
    (folder / "nginx.conf").write_text(whole)
    return pem


@pytest.fixture
def secure(tmp_path: Path, gate: Gate) -> Iterator[tuple[httpx.Client, ssl.SSLContext]]:
    """A client of the proxy, and what its certificate is checked by."""
    plain, port = free_port(), free_port()
    service = toy_service(tmp_path / "data", gate, key=KEY)
    with listening(service) as server:
        context = ssl.create_default_context(cafile=str(proxied(tmp_path, server, plain, port)))
        command = ["nginx", "-p", str(tmp_path), "-e", str(tmp_path / "error.log"), "-c", str(tmp_path / "nginx.conf")]
        process = subprocess.Popen(command)
        try:
            with httpx.Client(base_url=f"https://localhost:{port}", verify=context, timeout=20) as client:
                until(lambda: _answers(client) or process.poll() is not None, 20)
                moved = httpx.get(f"http://localhost:{plain}/docs?x=1", headers={"Host": "videos.example.org"})
                assert (moved.status_code, moved.headers["location"]) == (301, "https://videos.example.org/docs?x=1")
                yield client, context
        finally:
            process.terminate()
            process.wait(20)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def test_page_login_range_and_stream(secure: tuple[httpx.Client, ssl.SSLContext], gate: Gate) -> None:
    client, context = secure
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["strict-transport-security"]
    assert client.get("/page/live.js").status_code == 200
    assert client.get("/v1/videos").status_code == 401
    login = client.post("/page/login", json={"key": KEY}, headers={"Origin": str(client.base_url).rstrip("/")})
    assert login.status_code == 200, login.text
    assert "secure" in login.headers["set-cookie"].lower()
    assert client.get("/v1/videos").json()["data"] == []
    assert client.get("/v1/videos", headers={"Origin": "https://evil.example"}).status_code == 401
    assert client.get("/docs").status_code == 200

    name = client.post("/v1/videos", json=ORDER).json()["id"]
    until(lambda: client.get(f"/v1/videos/{name}").json()["status"] == "completed")
    whole = client.get(f"/v1/videos/{name}/content")
    part = client.get(f"/v1/videos/{name}/content", headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert part.headers["content-range"] == f"bytes 4-7/{len(whole.content)}"
    again = client.get(f"/v1/videos/{name}/content", headers={"If-None-Match": whole.headers["etag"]})
    assert again.status_code == 304
    large = {"input_reference": ("a.png", b"x" * 15_000_000)}
    assert client.post("/v1/videos", data={"prompt": ORDER["prompt"]}, files=large).status_code == 400

    gate.shut()
    address = f"wss://localhost:{client.base_url.port}/v1/stream"
    cookie = {"Cookie": f"streamt1={client.cookies['streamt1']}", "Origin": str(client.base_url).rstrip("/")}
    with websockets.connect(address, ssl=context, additional_headers=cookie) as socket:
        socket.send(json.dumps({**ORDER, "seconds": 0.25, "lag": 0}))
        assert json.loads(socket.recv(10))["event"] == "queued", "it comes before anything is made"
        gate.open()
        messages = list(socket)
    assert json.loads(messages[-1])["event"] == "completed"
    assert b"".join(part for part in messages if isinstance(part, bytes))[4:8] == b"ftyp"


def test_wrong_keys_are_counted_whatever_the_client_says_of_itself(
    secure: tuple[httpx.Client, ssl.SSLContext],
) -> None:
    client, _ = secure
    for number in range(throttle.WRONG + 1):
        answer = client.post("/page/login", json={"key": "wrong"}, headers={"X-Forwarded-For": f"10.0.0.{number}"})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
