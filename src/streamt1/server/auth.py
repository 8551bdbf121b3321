"""Who may use the service: whoever has a key, and no page of another site through its visitor's browser."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from streamt1.core.errors import ConfigError, ForbiddenError
from streamt1.server.keys import KeyFile
from streamt1.server.throttle import Throttle

COOKIE = "streamt1"


class Auth:
    """Checks requests.

    Args:
        key: the operator's API key.
        keys: keys of others. Without both, everybody is let in.
        origins: sites whose pages may ask, as ``https://example.org``.
    """

    def __init__(self, key: str | None, keys: KeyFile | None = None, origins: Sequence[str] = ()) -> None:
        self._key, self._keys, self.origins = key or None, keys, tuple(origins)
        self._throttle = Throttle()

    @property
    def needed(self) -> bool:
        """Whether a key is needed."""
        return self._key is not None or self._keys is not None

    def check(self, connection: HTTPConnection) -> str | None:
        """Whose videos the request may see; None for all. Raises ``ForbiddenError``."""
        self.check_origin(connection)
        if not self.needed:
            return None
        shown = connection.cookies.get(COOKIE, "")
        for cookie, owner in self._cookies():
            if _same(shown, cookie):
                return owner
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise ForbiddenError("this server wants its API key: send the header 'Authorization: Bearer KEY'")
        return self._known(key.strip())[1]

    def check_again(self, connection: HTTPConnection, owner: str | None) -> None:
        """A connection that goes on may go on seeing what it was let in to. Raises ``ForbiddenError``."""
        if self.check(connection) not in (None, owner):
            raise ForbiddenError("this key sees the videos of another name now: come again with it")

    def log_in(self, connection: HTTPConnection, key: str) -> str:
        """What a browser shows instead of a key; the key cannot be made of it.

        Raises ``ForbiddenError``, and ``ThrottledError`` after too many wrong keys, whatever this one is. ``check``
        does not count: one client whose key is out of date would lock out all others of its address.
        """
        self.check_origin(connection)
        address = connection.client.host if connection.client else ""
        self._throttle.check(address)
        try:
            return self._known(key)[0] if self.needed else ""
        except ForbiddenError:
            self._throttle.failed(address)
            raise

    def check_origin(self, connection: HTTPConnection) -> None:
        """A browser says from which site a page asks; it must be this one. Raises ``ForbiddenError``."""
        origin = connection.headers.get("origin")
        if origin is None or origin in self.origins:
            return
        if _host_of(origin) != connection.headers.get("host"):
            raise ForbiddenError("a page of another site asks; this server answers its own pages and plain clients")

    def _known(self, key: str) -> tuple[str, str | None]:
        """The cookie of a key, and whose videos it sees. Raises ``ForbiddenError``."""
        if self._key is not None and _same(key, self._key):
            return _cookie(self._key), None
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        for known in self._keys.keys() if self._keys else ():
            if _same(digest, known.digest):
                return known.cookie, known.owner
        raise ForbiddenError("this is not the server's API key")

    def _cookies(self) -> list[tuple[str, str | None]]:
        own = [] if self._key is None else [(_cookie(self._key), None)]
        return [*own, *((key.cookie, key.owner) for key in (self._keys.keys() if self._keys else ()))]


def check_origins(origins: Sequence[str]) -> None:
    """Raises ``ConfigError`` for what is no site as a browser names it."""
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
            raise ConfigError(f"--cors-origin {origin[:80]!r} is no site: write https://example.org, and no path")


def _cookie(key: str) -> str:
    return hmac.new(key.encode(), b"streamt1 page", hashlib.sha256).hexdigest()


def _same(given: str, key: str) -> bool:
    """In a time that tells nothing; what a client gives may hold half an emoji, which is no UTF-8."""
    return hmac.compare_digest(*(text.encode("utf-8", "surrogatepass") for text in (given, key)))


def _host_of(origin: str) -> str | None:
    """None where it is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
