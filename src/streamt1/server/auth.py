"""Who may use the service: whoever has the key, and no page of another site through its visitor's browser."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from streamt1.core.errors import ForbiddenError

COOKIE = "streamt1"


class Auth:
    """Checks requests.

    Args:
        key: the API key; None lets everybody in.
    """

    def __init__(self, key: str | None) -> None:
        self._key = key or None

    @property
    def needed(self) -> bool:
        """Whether a key is needed."""
        return self._key is not None

    @property
    def cookie(self) -> str:
        """What the live page's browser shows instead of the key; it cannot be turned back into it."""
        return hmac.new((self._key or "").encode(), b"streamt1 page", hashlib.sha256).hexdigest()

    def fits(self, key: str) -> bool:
        """Whether this is the key."""
        return self._key is None or _same(key, self._key)

    def check(self, connection: HTTPConnection) -> None:
        """Raises ``ForbiddenError``."""
        self.check_origin(connection)
        if self._key is None or _same(connection.cookies.get(COOKIE, ""), self.cookie):
            return
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.fits(key.strip()):
            raise ForbiddenError("this server wants its API key: send the header 'Authorization: Bearer KEY'")

    def check_origin(self, connection: HTTPConnection) -> None:
        """A browser says from which site a page asks; it must be this one. Raises ``ForbiddenError``."""
        origin = connection.headers.get("origin")
        if origin is not None and _host_of(origin) != connection.headers.get("host"):
            raise ForbiddenError("a page of another site asks; this server answers its own pages and plain clients")


def _same(given: str, key: str) -> bool:
    """In a time that tells nothing; what a client gives may hold half an emoji, which is no UTF-8."""
    return hmac.compare_digest(*(text.encode("utf-8", "surrogatepass") for text in (given, key)))


def _host_of(origin: str) -> str | None:
    """None where it is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
