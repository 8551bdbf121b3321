"""What one client may ask for, and how much may wait."""

from __future__ import annotations

import math
from dataclasses import dataclass

from streamt1.core.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """Bounds of the service.

    Attributes:
        prompt: characters of a prompt; Wan reads 512 tokens, about 2,500 characters, and says where it cuts.
        seconds: length of a video.
        width: candidates of a chunk, ``beam_size * top_k``.
        waiting: jobs that may wait; one more is answered with 429.
        daily: videos that one key may ask for within 24 hours; None for any number.
        body: bytes of a request.
        keep: seconds that a video is kept once it is done; None for ever.
        keep_bytes: most that all done videos may take on the disk, with what is kept for their viewers; those that
            were done first go first. None: no bound.
        free: bytes that must be free on the disk for a video to be taken on.
        patience: seconds that a stream's client may take to say what it wants.
        picture: bytes of a picture that comes with a request, in a form.
        linger: seconds that a stream without an end goes on while nobody views it.
    """

    prompt: int = 4000
    seconds: float = 60.0
    width: int = 16
    waiting: int = 10
    daily: int | None = None
    body: int = 65536
    patience: float = 30.0
    keep: float | None = None
    keep_bytes: float | None = None
    free: float = 5e8
    picture: int = 20_000_000
    linger: float = 60.0

    def __post_init__(self) -> None:
        for name in ("prompt", "seconds", "width", "waiting", "linger"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"the limit {name}={getattr(self, name)} must be a finite number above 0")
        for name in ("keep", "keep_bytes", "daily"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"the limit {name}={value} must be a finite number above 0, or None")
        for name in ("body", "patience", "free", "picture"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"the limit {name}={getattr(self, name)} must be a finite number, 0 or more")

    def check_prompt(self, prompt: str) -> None:
        """Raises ``ConfigError`` for a prompt that is too long."""
        if len(prompt) > self.prompt:
            raise ConfigError(f"the prompt has {len(prompt)} characters; this server reads at most {self.prompt}")

    def check_seconds(self, seconds: float) -> None:
        """Raises ``ConfigError`` for a video that is too long."""
        if seconds > self.seconds:
            raise ConfigError(f"seconds={seconds:g} is too long; this server makes at most {self.seconds:g}")

    def check_width(self, beam_size: int, top_k: int) -> None:
        """Raises ``ConfigError`` for a search that is too wide."""
        if beam_size * top_k > self.width:
            raise ConfigError(
                f"beam_size={beam_size} times top_k={top_k} is {beam_size * top_k} candidates a chunk;"
                f" this server tries at most {self.width}"
            )


UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_age(text: str, what: str = "to keep videos for") -> float:
    """``30d``, ``12h``, ``90m`` or ``60s`` -> seconds. Raises ``ConfigError``."""
    number, unit = text[:-1], text[-1:]
    try:
        value = float(number) * UNITS[unit]
    except (ValueError, KeyError):
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigError(f"{text[:32]!r} is no time {what}: write 30d, 12h, 90m or 60s")
    return value
