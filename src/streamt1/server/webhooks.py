"""Webhooks: the operator's address hears of every video that ends, signed as Standard Webhooks and OpenAI's are.

The address comes from the operator alone, never from a request, and redirects are not followed. What is to be said is
written in the transaction that ends the job, so that nothing is lost when the server goes down.
"""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

from streamt1.core.errors import ConfigError
from streamt1.server.database import transaction
from streamt1.server.job_store import JobStore

log = logging.getLogger("streamt1.server")
SECRET = "STREAMT1_WEBHOOK_SECRET"
"""Variable of the environment."""
RETRIES = (5, 30, 120, 600, 3600, 10800, 43200, 86400)
"""Seconds after which the same is said again, each time that it was not taken; then it is given up."""
PATIENCE, LOOKS_EVERY = 10.0, 1.0
"""Seconds: for an answer, and between two looks at what is to be said."""
LONGEST_PAUSE = 60.0
"""Seconds between two looks, at most, where one after another fails."""
ENDED = """
    CREATE TEMP TRIGGER ended AFTER UPDATE OF status ON main.jobs
    WHEN NEW.status IN ('completed', 'failed') AND OLD.status IS NOT NEW.status AND NEW.code IS NOT 'cancelled'
    BEGIN
        INSERT INTO outbox VALUES ('evt_' || lower(hex(randomblob(16))), 'video.' || NEW.status, NEW.id,
                                   CAST(strftime('%s', 'now') AS INTEGER), 0, 0);
    END
"""


@dataclass(frozen=True)
class Hook:
    """Where to, and signed with what."""

    url: str
    secret: bytes

    @classmethod
    def read(cls, url: str, secret: str | None) -> Hook:
        """Raises ``ConfigError`` for an address or a secret that is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ConfigError(f"--webhook {url[:80]!r} is no address: write https://example.org/path")
        try:
            key = base64.b64decode((secret or "").removeprefix("whsec_"), validate=True)
        except (Base64Error, ValueError):
            key = b""
        if not (secret or "").startswith("whsec_") or len(key) < 24:
            raise ConfigError(
                f"--webhook needs a secret in {SECRET}, by which its receiver knows that it is from here: whsec_ and"
                " base64 of 24 bytes or more, as echo whsec_$(openssl rand -base64 32) prints"
            )
        return cls(url, key)

    def headers(self, name: str, at: int, body: bytes) -> dict[str, str]:
        """Of one message; ``at`` is when it is sent, in seconds since 1970."""
        mac = hmac.new(self.secret, f"{name}.{at}.".encode() + body, sha256).digest()
        signature = f"v1,{base64.b64encode(mac).decode()}"
        told = {"webhook-id": name, "webhook-timestamp": str(at), "webhook-signature": signature}
        return {"Content-Type": "application/json", "User-Agent": "streamt1", **told}


@dataclass(frozen=True)
class Word:
    """One message: its name, what it is, of which job, when that was, and how often it was tried."""

    id: str
    kind: str
    job: str
    at: int
    tries: int

    def body(self) -> bytes:
        """In the shape of OpenAI's events."""
        data = {"id": self.job}
        event = {"id": self.id, "object": "event", "created_at": self.at, "type": self.kind, "data": data}
        return json.dumps(event).encode()


class Outbox:
    """What is still to be said, in the database of the jobs; from now on every job that ends comes into it."""

    def __init__(self, store: JobStore) -> None:
        self.lock, self.connection, self.path = store.lock, store.connection, store.path
        self.give_up_reserve = store.give_up_reserve
        with self.lock, self.connection:
            self.connection.execute(ENDED)

    @transaction
    def due(self) -> list[Word]:
        """What is to be said now, the oldest first; ten at most."""
        query = "SELECT id, kind, job, at, tries FROM outbox WHERE due <= ? ORDER BY due, at LIMIT 10"
        return [Word(*row) for row in self.connection.execute(query, (time.time(),))]

    @transaction
    def drop(self, word: Word) -> None:
        """It was taken, or is given up."""
        self.connection.execute("DELETE FROM outbox WHERE id = ?", (word.id,))

    @transaction
    def later(self, word: Word, seconds: float) -> None:
        """It was not taken."""
        update = "UPDATE outbox SET tries = tries + 1, due = ? WHERE id = ?"
        self.connection.execute(update, (time.time() + seconds, word.id))


class Messenger:
    """Says what is in the outbox, in a thread of its own.

    Args:
        retries: see ``RETRIES``.
    """

    def __init__(self, outbox: Outbox, hook: Hook, retries: Sequence[float] = RETRIES) -> None:
        self._outbox, self._hook, self._retries = outbox, hook, retries
        self._ends = threading.Event()
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._asking: threading.Thread | None = None
        self._unnoted: dict[str, Callable[[], None]] = {}

    @property
    def alive(self) -> bool:
        """Whether it says what is to be said; also before it begins."""
        return self._thread.is_alive() or not self._thread.ident

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def close(self) -> None:
        """Ends, once what is being said is said; the rest waits for the next start."""
        self._ends.set()
        self._thread.join(2 * PATIENCE + 1)

    def _run(self) -> None:
        longer = LOOKS_EVERY
        while not self._ends.is_set():
            try:
                pause = 0.0 if self._look() else LOOKS_EVERY
                longer = LOOKS_EVERY
            except Exception:  # whatever it is, this thread is needed as long as the server runs
                pause, longer = longer, min(LONGEST_PAUSE, 2 * longer)
                log.exception("cannot do what a webhook needs; trying again in %g seconds", pause)
            self._ends.wait(pause)

    def _look(self) -> bool:
        """Says what is to be said now; whether there was any. Raises whatever comes of it."""
        for name, note in list(self._unnoted.items()):
            self._note(name, note)
        words = self._outbox.due()
        for word in words:
            if not self._ends.is_set():
                self._say(word)
        return bool(words)

    def _say(self, word: Word) -> None:
        told = self._posted(word)
        if told is None:
            self._note(word.id, lambda: self._outbox.drop(word))
        elif word.tries >= len(self._retries):
            log.error("the webhook did not take %s of %s (%s): given up", word.kind, word.job, told)
            self._note(word.id, lambda: self._outbox.drop(word))
        else:
            seconds = self._retries[word.tries]
            log.warning("the webhook did not take %s of %s (%s): again in %g s", word.kind, word.job, told, seconds)
            self._note(word.id, lambda: self._outbox.later(word, seconds))

    def _note(self, name: str, note: Callable[[], None]) -> None:
        """Notes what became of a word; until that is done, nothing is said, or it would be said once more."""
        self._unnoted[name] = note
        note()
        del self._unnoted[name]

    def _posted(self, word: Word) -> str | None:
        """Why it was not taken; None where it was. A receiver that answers byte by byte is not waited for."""
        told: list[str | None] = []
        if self._asking is not None and self._asking.is_alive():
            return "it has not answered the call before"
        asking = threading.Thread(target=lambda: told.append(self._answer(word)), name="webhook call", daemon=True)
        asking.start()
        self._asking = asking
        asking.join(2 * PATIENCE)
        return told[0] if told else f"it did not answer within {2 * PATIENCE:g} seconds"

    def _answer(self, word: Word) -> str | None:
        body = word.body()
        headers = self._hook.headers(word.id, int(time.time()), body)
        request = urllib.request.Request(self._hook.url, body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=PATIENCE):
                return None
        except urllib.error.HTTPError as error:
            error.close()
            return f"it answered {error.code}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            return str(getattr(error, "reason", error))[:200]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *told: object) -> None:
        """None is followed: it would lead where the operator has not said."""
        return None
