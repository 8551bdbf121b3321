"""Many requests that nobody would send, to a real server: ``python -m tests.server.fuzz_requests [COUNT [SEED]]``.

Whatever comes is answered, below 500 or with 503 and 507 as documented, in the shape of an error, and leaves nothing
on the disk that is no video of a request that was taken.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from streamt1.server.keys import KeyFile
from streamt1.server.limits import Limits
from streamt1.server.schemas import VideoRequest
from streamt1.server.service import Service
from tests.server.live import listening
from tests.server.toy import toy_presets, until

KEY, OTHER = "the key of the operator", "the key of ann, who is another"
PROMPT = "a red circle bouncing on a navy striped background"
ALLOWED = (503, 507)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "get", "X" * 40)
PATHS = (
    "/", "/v1/videos", "/v1/videos/{id}", "/v1/videos/{id}/content", "/v1/videos/{id}/report", "/v1/videos/{id}/events",
    "/v1/videos/{id}/cancel", "/v1/videos/{id}/remix", "/v1/videos/edits", "/v1/models", "/v1/models/{id}", "/health",
    "/metrics", "/docs", "/openapi.json", "/page/{id}", "/page/login", "/page/login/state", "/v1/stream",
)  # fmt: skip
WORDS = (
    "", "0", "-1", "1e400", "NaN", "null", "true", "../../etc/passwd", "%00", "\x00", "\ud800", "\U0001f600", "a" * 300,
    "' OR 1=1 --", "<script>", "{{7*7}}", "video_" + "0" * 32, "pocket", "60s", "9" * 400, "\r\nX: y", "bytes=0-9", "*",
    "bytes=9-2", "bytes=-0", "bytes=0-0,2-3", "W/\"x\"", "Bearer", f"Bearer {KEY}", "http://[",
    "https://a.example",
)  # fmt: skip
HEADERS = (
    "Range", "If-Range", "If-None-Match", "Idempotency-Key", "Origin", "Authorization", "Cookie", "Content-Type",
    "Accept", "Last-Event-ID", "X-Forwarded-For", "X-Forwarded-Proto", "Expect", "Upgrade", "Content-Encoding", "Host",
)  # fmt: skip
TYPES = (
    "application/json",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "text/plain",
    "",
    "a/b; charset=x",
)


class Sender:
    """Sends requests of one seed.

    Attributes:
        statuses: how many answers of each status.
        wrong: requests that were answered as none may be, in words.
    """

    def __init__(self, client: httpx.Client, seed: int) -> None:
        self.client, self.random = client, random.Random(seed)
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.names = ["x"]

    def value(self, depth: int = 0) -> Any:
        """Of any kind, nested now and then."""
        pick = self.random
        plain: tuple[Callable[[], Any], ...] = (
            lambda: pick.choice(WORDS), lambda: pick.choice((True, False, None)), lambda: pick.randint(-3, 20),
            lambda: pick.choice((2**63, 2**64, 10**40, -(10**40), 1e308, 0.25, -0.0, 1e-320)),
        )  # fmt: skip
        if depth < 4 and pick.random() < 0.2:
            inner = [self.value(depth + 1) for _ in range(pick.randint(0, 3))]
            return inner if pick.random() < 0.5 else {str(pick.choice(WORDS)): one for one in inner}
        return pick.choice(plain)()

    def fields(self) -> Any:
        """A request, of which some fields are strange; or something else."""
        pick = self.random
        if pick.random() < 0.05:
            return self.value()
        told: dict[Any, Any] = {"prompt": PROMPT, "seconds": 0.0625, "policy": "greedy"}
        for _ in range(pick.randint(0, 3)):
            told[pick.choice((*VideoRequest.model_fields, "x", "\ud800"))] = self.value()
        if pick.random() < 0.1:
            told.pop("prompt", None)
            told["timeline"] = [{"prompt": PROMPT, pick.choice(("seconds", "chunks", "memory", "y")): self.value()}]
        return told

    def content(self) -> tuple[bytes, str]:
        """A body, and what it is said to be."""
        pick, kind = self.random, self.random.choice(TYPES)
        if pick.random() < 0.7:
            kind = "application/json"
        body = json.dumps(self.fields()).encode()
        if kind.startswith("multipart") and pick.random() < 0.7:
            part = f'--x\r\nContent-Disposition: form-data; name="{pick.choice(tuple(VideoRequest.model_fields))}"'
            part += pick.choice(("", '; filename="a.png"')) + f"\r\n\r\n{pick.choice(WORDS)}\r\n--x--\r\n"
            body, kind = part.encode("utf-8", "replace"), "multipart/form-data; boundary=x"
        if pick.random() < 0.15 and body:
            place = pick.randrange(len(body))
            body = pick.choice((body[:place], body[:place] + pick.randbytes(3) + body[place:], pick.randbytes(40)))
        return (body if pick.random() < 0.99 else body + b" " * 70_000), kind

    def send(self) -> None:
        """One request."""
        pick = self.random
        method = pick.choice(METHODS) if pick.random() < 0.5 else pick.choice(METHODS[:3])
        path = pick.choice(PATHS).format(id=_sendable(pick.choice((*self.names[-5:], *WORDS))))
        if pick.random() < 0.2:
            path += f"?{pick.choice(('after', 'limit', 'order', 'variant', 'z'))}={_sendable(pick.choice(WORDS))}"
        if pick.random() < 0.3:
            method, path = "POST", "/v1/videos"
        body, kind = self.content() if method in ("POST", "PUT", "PATCH") or pick.random() < 0.1 else (b"", "")
        headers = {
            "Authorization": f"Bearer {pick.choice((KEY, KEY, OTHER))}",
            **({"Content-Type": kind} if kind else {}),
        }
        for _ in range(pick.choice((0, 0, 1, 2))):
            headers[pick.choice(HEADERS)] = "".join(c for c in pick.choice(WORDS) if " " <= c <= "~")
        try:
            request = self.client.build_request(method, path, content=body, headers=headers)
        except (httpx.InvalidURL, ValueError):
            return self.send()
        try:
            answer = self.client.send(request)
        except httpx.TransportError as error:
            self.wrong.append(f"{_told(request)}: {error!r}")
        else:
            self._judge(request, answer)

    def _judge(self, request: httpx.Request, answer: httpx.Response) -> None:
        status = answer.status_code
        self.statuses[status] += 1
        told = f"{_told(request)}: {status} {answer.text[:200]}"
        if status >= 500 and status not in ALLOWED:
            self.wrong.append(told)
        elif status >= 400 and request.method != "HEAD" and "Invalid HTTP" not in answer.text:
            try:
                assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
            except (ValueError, KeyError, TypeError, AssertionError):
                self.wrong.append(told)
        elif status == 200 and request.method == "POST" and answer.text.startswith('{"id":"video_'):
            self.names.append(answer.json()["id"])


def _told(request: httpx.Request) -> str:
    return f"{request.method} {request.url} {dict(request.headers)} {request.content[:300]!r}"


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def fuzz(folder: Path, count: int, seed: int) -> tuple[Counter[int], list[str], list[str]]:
    """Statuses of so many answers, those that none may be, and what is left on the disk when all videos are deleted."""
    keys = folder / "keys.json"
    keys.write_text(json.dumps([{"name": "ann", "key": OTHER, "waiting": 5, "daily": count}]))
    limits = Limits(seconds=1.0, waiting=20)
    data = folder / "data"
    service = Service.over([toy_presets(lambda: None)], data, limits, KEY, KeyFile(keys, limits))
    service.auth._throttle.check = lambda address: None  # wrong keys are a part of it
    with listening(service) as address, httpx.Client(base_url=address, timeout=30) as client:
        sender = Sender(client, seed)
        for _ in range(count):
            sender.send()
        until(lambda: not service.queue.waiting() and not service.queue.at_work(), 120)
        operator = {"Authorization": f"Bearer {KEY}"}
        while page := client.get("/v1/videos?limit=100", headers=operator).json()["data"]:
            for video in page:
                client.delete(f"/v1/videos/{video['id']}", headers=operator)
        health = client.get("/health").json()["status"]
    left = [path.name for path in (data / "videos").iterdir()]
    left += [path.name for path in data.iterdir() if path.name not in ("videos", "jobs.sqlite", "jobs.sqlite.reserve")]
    left += [path.name for path in folder.iterdir() if path.name not in ("data", "keys.json")]
    return sender.statuses, sender.wrong + ([] if health == "ok" else [f"health: {health}"]), left


def main(count: int = 10_000, seed: int = 0) -> int:
    with tempfile.TemporaryDirectory() as folder:
        statuses, wrong, left = fuzz(Path(folder), count, seed)
    print(f"{sum(statuses.values())} answers: {dict(sorted(statuses.items()))}; left on the disk: {left}")  # noqa: T201
    print("\n".join(wrong[:20]), f"{len(wrong)} wrong", sep="\n")  # noqa: T201
    return 1 if wrong or left else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
