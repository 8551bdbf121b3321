"""A server on this machine that speaks as much of the Hugging Face hub's protocol as downloads need."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What a test sees of the server.

    Attributes:
        root: ``<owner>/<name>/<file>`` for repositories, any other file by its plain path.
        cut: names of files of which the next download breaks off in the middle, once.
        lie: names of files that arrive with one byte changed.
        sent: (file, first byte) of every download.
        refusal: status and error code that every question is answered with, instead of an answer.
        silent: accepts connections and never answers.
    """

    root: Path
    url: str = ""
    cut: set[str] = field(default_factory=set)
    lie: set[str] = field(default_factory=set)
    sent: list[tuple[str, int]] = field(default_factory=list)
    refusal: tuple[int, str] | None = None
    silent: bool = False


@contextmanager
def serving(root: Path) -> Iterator[Hub]:
    """Serves a folder as a hub."""
    hub = Hub(root)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            del format, args

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, body: bool) -> None:
            if hub.silent:
                threading.Event().wait(60)
            if hub.refusal is not None:
                return self._send(hub.refusal[0], b'{"error": "no"}', {"X-Error-Code": hub.refusal[1]})
            path = unquote(urlsplit(self.path).path).strip("/")
            if path.startswith("api/models/"):
                return self._info(path.removeprefix("api/models/").removesuffix("/revision/main"))
            repo, _, rest = path.partition("/resolve/")
            file = root / repo / rest.partition("/")[2] if rest else root / path
            file = file / "index.html" if file.is_dir() else file
            return self._file(file, body) if file.is_file() else self._send(404, b"{}", {})

        def _info(self, repo: str) -> None:
            folder = root / repo
            if not folder.is_dir():
                return self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
            siblings = []
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                data = file.read_bytes()
                lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 1}
                siblings.append({"rfilename": str(file.relative_to(folder)), "size": len(data), "lfs": lfs})
            info = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
            return self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

        def _file(self, file: Path, body: bool) -> None:
            data = file.read_bytes()
            headers = {
                "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "Accept-Ranges": "bytes",
            }
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            if file.name in hub.lie:
                data = data[:-1] + bytes([data[-1] ^ 1])
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            part = data[start:]
            if body:
                hub.sent.append((file.name, start))
            if body and file.name in hub.cut:
                hub.cut.discard(file.name)
                self._send(206 if start else 200, part[: len(part) // 2], headers, length=len(part))
                self.close_connection = True
                self.connection.close()
                return
            self._send(206 if start else 200, part, headers, body=body)

        def _send(
            self, code: int, data: bytes, headers: dict[str, str], body: bool = True, length: int | None = None
        ) -> None:
            self.send_response(code)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data) if length is None else length))
            self.end_headers()
            if body:
                with suppress(ConnectionError):  # the client has heard enough
                    self.wfile.write(data)
                    self.wfile.flush()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
