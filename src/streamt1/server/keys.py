"""API keys in a file of the operator's, each with its own name and limits; the file is read again when it changes."""

from __future__ import annotations

import dataclasses
import hmac
import logging
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from streamt1.config.yaml_text import read_yaml
from streamt1.core.errors import ConfigError, UnknownNameError
from streamt1.server.limits import Limits

log = logging.getLogger("streamt1.server")
OWN_LIMITS = {"waiting": int, "daily": int, "seconds": float, "width": int, "prompt": int}
"""Limits that a key may have of its own, see ``Limits``."""
FIELDS = ("name", "key", "sha256", "operator", *OWN_LIMITS)
SHORTEST = 16
"""Characters of a key."""
LOOKED_AT_EVERY = 1.0
"""Seconds."""


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        name: whose it is; their videos are known by it, so that a new key of theirs sees the old videos.
        digest: SHA-256 of the key, in hexadecimal digits.
        operator: whether it sees the videos of all.
        limits: those of the server, with its own.
    """

    name: str
    digest: str
    operator: bool
    limits: Limits

    @property
    def owner(self) -> str | None:
        """Of the videos that it sees; None for all."""
        return None if self.operator else self.name

    @property
    def cookie(self) -> str:
        """What the live page's browser shows instead of the key."""
        return hmac.new(self.digest.encode(), b"streamt1 page", sha256).hexdigest()


class KeyFile:
    """The keys of a file. Every method may be called from any thread.

    Args:
        limits: of the server, for what a key does not say.

    Raises ``ConfigError`` for a file that cannot be read; one that is damaged later is told in the log, and what it
    held before goes on to count.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits, self._lock = path, limits, threading.Lock()
        self._stamp, self._looked = _stamp(path), time.monotonic()
        self._keys = read_keys(path, limits)

    def keys(self) -> tuple[Key, ...]:
        """As the file has them now."""
        with self._lock:
            if time.monotonic() - self._looked >= LOOKED_AT_EVERY:
                self._looked = time.monotonic()
                self._look()
            return self._keys

    def limits(self, owner: str | None) -> Limits:
        """Of the owner of videos; the server's for one who has no key any more."""
        return next((key.limits for key in self.keys() if key.owner == owner is not None), self._limits)

    def _look(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = read_keys(self._path, self._limits)
        except ConfigError as error:
            log.error("the keys stay as they were: %s", error)
        else:
            log.info("%s has %d keys now", self._path, len(self._keys))


def read_keys(path: Path, limits: Limits) -> tuple[Key, ...]:
    """The keys of a file: a list in YAML or JSON. Raises ``ConfigError``, which names the entry and never a key."""
    told = read_yaml(path, "the file of keys")
    if not isinstance(told, list) or not told:
        raise ConfigError(f"{path} must be a list of keys, each with its name and its key: - {{name: ann, key: ...}}")
    keys = tuple(_key(entry, f"{path}, key {number}", limits) for number, entry in enumerate(told, 1))
    for what, values in (("name", [key.name for key in keys]), ("key", [key.digest for key in keys])):
        if len(set(values)) < len(values):
            raise ConfigError(f"{path}: two entries have the same {what}: give each its own")
    return keys


def _key(entry: Any, where: str, limits: Limits) -> Key:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} must have a name and a key: {{name: ann, key: ...}}")
    for field in entry:
        if field not in FIELDS:
            raise ConfigError(f"{where}: {UnknownNameError('field', field, FIELDS)}")
    name, key, digest, operator = (entry.get(field) for field in FIELDS[:4])
    if not isinstance(name, str) or not re.fullmatch(r"[\w.@-]{1,64}", name):
        raise ConfigError(f"{where}: name must be a word of at most 64 letters, digits, and . @ _ -")
    if (key is None) == (digest is None):
        raise ConfigError(f"{where}: give key, or sha256 in its place")
    if key is not None and (not isinstance(key, str) or len(key) < SHORTEST or key != key.strip()):
        raise ConfigError(f"{where}: key must be a text of at least {SHORTEST} characters, in quotes")
    if digest is not None and (not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest)):
        raise ConfigError(f"{where}: sha256 must be 64 hexadecimal digits, as sha256sum prints them")
    if operator not in (None, True, False):
        raise ConfigError(f"{where}: operator must be true or false")
    own = {
        field: _limit(entry[field], f"{where}: {field}", OWN_LIMITS[field]) for field in OWN_LIMITS if field in entry
    }
    found = digest or sha256(str(key).encode("utf-8", "surrogatepass")).hexdigest()
    return Key(name, found, bool(operator), dataclasses.replace(limits, **own))


def _limit(value: Any, where: str, kind: type) -> float:
    fits = type(value) is int or (kind is float and type(value) is float)
    if not fits or not 0 < value < 1e9:
        raise ConfigError(f"{where} must be a number above 0")
    return value


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes with a file; None where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
