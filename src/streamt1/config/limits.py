"""The longest and the widest run that a configuration allows, so that a slip of the pen is told at once."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from streamt1.core.errors import ConfigError
from streamt1.search.config import SearchConfig
from streamt1.search.width import widest


class RunLimits(BaseModel):
    """Bounds that a user may raise; they are far above what makes sense and below what hurts a machine.

    Attributes:
        seconds: length of a video. A day: the trace alone of a longer one is gigabytes.
        candidates: of a chunk, ``beam_size * top_k`` where the width is constant. All are in memory at once, each with
            its frames.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(default=86400.0, gt=0, allow_inf_nan=False)
    candidates: int = Field(default=1024, ge=1)

    def check_width(self, search: SearchConfig) -> None:
        """Raises ``ConfigError`` for a search that is too wide; see ``check_widths``."""
        if search.beam_size * search.top_k > self.candidates:
            raise ConfigError(
                f"beam_size={search.beam_size} times top_k={search.top_k} is too many candidates a chunk, which are all"
                f" in memory at once; the limit is {self.candidates}: take fewer, or set limits.candidates"
            )

    def check_widths(self, search: SearchConfig, lengths: Sequence[int]) -> None:
        """The same for the widest chunk of scenes of so many chunks, which ``taper`` and ``adaptive`` make wider.

        Raises ``ConfigError``.
        """
        most = widest(search, lengths)
        if most > self.candidates:
            raise ConfigError(
                f"taper={search.taper:g} and adaptive={search.adaptive:g} may give a chunk {most} candidates, which"
                f" are all in memory at once; the limit is {self.candidates}: take less, or set limits.candidates"
            )

    def check_seconds(self, seconds: float, given: str) -> None:
        """Raises ``ConfigError`` for a video that is too long; ``given`` is what the user wrote."""
        if seconds > self.seconds:
            raise ConfigError(
                f"{given} is too long: the limit is {self.seconds:g} seconds; ask for less, or set limits.seconds"
            )

    def check_chunks(self, chunks: int, seconds_each: float) -> None:
        """The same for a length in chunks. Raises ``ConfigError``."""
        if chunks > self.seconds / seconds_each:
            raise ConfigError(
                f"a video of {chunks if chunks < 2**60 else 'so many'} chunks is too long: the limit is"
                f" {self.seconds:g} seconds, and a chunk has {seconds_each:g}; ask for less, or set limits.seconds"
            )
