"""Webhooks: every end is told, once it is taken, over restarts, and signed so that the official client believes it."""

from __future__ import annotations

import base64
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from streamt1.cli.main import app as command_line
from streamt1.core.errors import ConfigError, OutputError
from streamt1.server import webhooks
from streamt1.server.app import make_app
from streamt1.server.job_store import JobStore
from streamt1.server.limits import Limits
from streamt1.server.service import Service
from streamt1.server.webhooks import Hook
from tests.server.test_queue import ORDER
from tests.server.toy import Gate, toy_presets, until

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, so").decode()


class Receiver:
    """Takes what comes; answers with ``statuses`` first, then with 204."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, content))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            do_GET = do_POST  # noqa: N815 (the library's name)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def told(self) -> list[tuple[str, str]]:
        events = [json.loads(content) for _, content in self.got]
        return [(event["type"], event["data"]["id"]) for event in events]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(webhooks, "LOOKS_EVERY", 0.02)
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def serving(data: Path, gate: Gate, url: str) -> TestClient:
    return TestClient(make_app(Service.over([toy_presets(gate)], data, Limits(), hook=Hook.read(url, SECRET))))


def service_of(client: TestClient) -> Service:
    return client.app.state.service  # pyright: ignore[reportAttributeAccessIssue]


def left(client: TestClient) -> int:
    store = service_of(client).queue.store
    with store.lock:
        return store.connection.execute("SELECT COUNT(*) FROM outbox").fetchone()[0]


def test_ends_are_told_and_the_openai_client_believes_them(tmp_path: Path, gate: Gate, receiver: Receiver) -> None:
    openai = pytest.importorskip("openai")
    with serving(tmp_path, gate, receiver.url) as client:
        good = client.post("/v1/videos", json=ORDER).json()["id"]
        until(lambda: receiver.told() == [("video.completed", good)])
        backbone: Any = service_of(client).presets.pipeline("pocket").models.backbone
        backbone.wait = lambda: 1 / 0
        bad = client.post("/v1/videos", json=ORDER).json()["id"]
        until(lambda: receiver.told()[1:] == [("video.failed", bad)])
        until(lambda: left(client) == 0)
    official = openai.OpenAI(api_key="x", webhook_secret=SECRET)
    for headers, content in receiver.got:
        event = official.webhooks.unwrap(content, headers)
        assert event.id == headers["webhook-id"] == json.loads(content)["id"]
        assert event.object == "event"
        with pytest.raises(openai.InvalidWebhookSignatureError):
            official.webhooks.unwrap(content + b" ", headers)


def test_what_is_not_taken_is_said_again_and_followed_nowhere(
    tmp_path: Path, gate: Gate, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks.Messenger.__init__, "__defaults__", ((0.01, 0.01),))
    with serving(tmp_path, gate, receiver.url) as client:
        receiver.statuses = [500, 302]
        name = client.post("/v1/videos", json=ORDER).json()["id"]
        until(lambda: left(client) == 0 and len(receiver.got) == 3)
        assert receiver.told() == [("video.completed", name)] * 3
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1, "by which a receiver knows it again"
        receiver.statuses = [500] * 3
        client.post("/v1/videos", json=ORDER)
        until(lambda: left(client) == 0 and len(receiver.got) == 6)


def test_nothing_is_lost_over_a_restart(tmp_path: Path, gate: Gate, receiver: Receiver) -> None:
    """The receiver is away when a video is done, and the server goes down while it makes another."""
    with serving(tmp_path, gate, "http://127.0.0.1:1/nobody") as client:
        first = client.post("/v1/videos", json=ORDER).json()["id"]
        until(lambda: left(client) == 1)
        gate.shut()
        second, third = (client.post("/v1/videos", json=ORDER).json()["id"] for _ in range(2))
        until(lambda: gate.held)
        client.post(f"/v1/videos/{third}/cancel")
        service_of(client).queue.close()
        gate.open()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as connection:
        connection.execute("UPDATE outbox SET due = 0")
    connection.close()
    with serving(tmp_path, gate, receiver.url) as client:
        until(lambda: left(client) == 0)
        until(lambda: len(receiver.got) == 2)
    assert receiver.told() == [("video.completed", first), ("video.completed", second)]


def fails(times: int, error: Exception, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    left = [error] * times
    return lambda *args, **told: raised(left.pop()) if left else otherwise(*args, **told)


def raised(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_a_machine_that_has_no_thread_ends_no_webhook(
    tmp_path: Path, gate: Gate, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    begin, refused = threading.Thread.start, [error] * 3

    def start(thread: threading.Thread) -> None:
        if thread.name == "webhook call" and refused:
            raise refused.pop()
        begin(thread)

    with serving(tmp_path, gate, receiver.url) as client:
        monkeypatch.setattr(threading.Thread, "start", start)
        name = client.post("/v1/videos", json=ORDER).json()["id"]
        until(lambda: receiver.told() == [("video.completed", name)])
        assert refused == []
        assert client.get("/health").json()["status"] == "ok"


@pytest.mark.parametrize(("taken", "note"), [(True, "drop"), (False, "later")])
def test_what_cannot_be_noted_is_not_said_again(
    tmp_path: Path, gate: Gate, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, taken: bool, note: str
) -> None:
    """As on a full disk: what was said stays in the outbox, and may be read there."""
    monkeypatch.setattr(webhooks.Messenger.__init__, "__defaults__", ((0.01,),))
    full = OutputError("cannot use the jobs: database or disk is full")
    monkeypatch.setattr(webhooks.Outbox, note, fails(4, full, getattr(webhooks.Outbox, note)))
    receiver.statuses = [] if taken else [500] * 9
    with serving(tmp_path, gate, receiver.url) as client:
        name = client.post("/v1/videos", json=ORDER).json()["id"]
        until(lambda: receiver.got and left(client) == 0)
        assert receiver.told() == [("video.completed", name)] * (1 if taken else 2)


def test_looks_that_fail_are_further_apart(
    tmp_path: Path, gate: Gate, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhooks, "LONGEST_PAUSE", 0.16)
    monkeypatch.setattr(webhooks.Outbox, "due", fails(6, OutputError("no"), webhooks.Outbox.due))
    with serving(tmp_path, gate, receiver.url) as client:
        name = client.post("/v1/videos", json=ORDER).json()["id"]
        until(lambda: receiver.told() == [("video.completed", name)])
    pauses = [record.args for record in caplog.records if "webhook needs" in record.message]
    assert pauses == [(0.02,), (0.04,), (0.08,), (0.16,), (0.16,), (0.16,)]


def test_looks_may_fail_for_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause is bounded before it is counted: powers of two of so many failures are no numbers of seconds."""
    store, pauses = JobStore(tmp_path / "jobs.sqlite"), list[float]()
    errors = [OutputError("no") for _ in range(3000)]
    monkeypatch.setattr(webhooks.Outbox, "due", lambda self: raised(errors.pop()) if errors else [])
    messenger = webhooks.Messenger(webhooks.Outbox(store), Hook("http://127.0.0.1:9/", b"secret"))

    def waited(pause: float) -> None:
        pauses.append(pause)
        if len(pauses) > 3000:
            messenger._ends.set()

    monkeypatch.setattr(messenger._ends, "wait", waited)
    messenger._run()
    assert len(pauses) == 3001
    assert max(pauses) == webhooks.LONGEST_PAUSE
    assert pauses[-1] == webhooks.LOOKS_EVERY
    store.close()


def test_a_webhook_that_has_ended_is_told_of(
    tmp_path: Path, gate: Gate, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks.Messenger, "_run", lambda self: None)
    with serving(tmp_path, gate, receiver.url) as client:
        until(lambda: client.get("/health").json()["status"] == "failing")
        assert client.get("/health").status_code == 503


@pytest.mark.parametrize("url", ["", "example.org", "ftp://example.org", "https://", "https://me:secret@example.org"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        Hook.read(url, SECRET)


@pytest.mark.parametrize("secret", [None, "", "secret", "whsec_", "whsec_x", "whsec_" + "YQ==", SECRET[6:]])
def test_secrets_that_are_none(secret: str | None) -> None:
    with pytest.raises(ConfigError, match="openssl rand"):
        Hook.read("https://example.org/hook", secret)


def test_the_command_says_so_before_models_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMT1_WEBHOOK_SECRET", raising=False)
    for option in (["--webhook", "https://example.org"], ["--keys", "none.yaml"], ["--cors-origin", "*"]):
        done = CliRunner().invoke(command_line, ["serve", "--data", str(tmp_path / "data"), *option])
        assert done.exit_code == 2
        assert "loading" not in done.output
        assert not (tmp_path / "data").exists()
