"""What one client may ask for, and how much may wait."""

from __future__ import annotations

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
        body: bytes of a request.
        patience: seconds that a stream's client may take to say what it wants.
        picture: bytes of a picture that comes with a request, in a form.
    """

    prompt: int = 4000
    seconds: float = 60.0
    width: int = 16
    waiting: int = 10
    body: int = 65536
    patience: float = 30.0
    picture: int = 20_000_000

    def __post_init__(self) -> None:
        for name in ("prompt", "seconds", "width", "waiting"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"the limit {name}={getattr(self, name)} must be above 0")

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
