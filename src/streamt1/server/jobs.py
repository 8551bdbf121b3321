"""A job: what was ordered, and how far it is."""

from __future__ import annotations

import dataclasses
import re
import secrets
from dataclasses import dataclass
from typing import Any, Literal

from streamt1.server.orders import Order

Status = Literal["queued", "in_progress", "completed", "failed"]
_ID = re.compile(r"video_[0-9a-f]{32}")


@dataclass(frozen=True)
class Job:
    """One video that was asked for.

    Attributes:
        stream: whether a client listens on a socket; without it the job is pointless.
        progress: percent.
        attempts: how often it has been begun.
        created_at, completed_at: seconds since 1970.
        error: a code and a sentence, for failed jobs.
    """

    id: str
    order: Order
    stream: bool
    created_at: int
    status: Status = "queued"
    progress: int = 0
    attempts: int = 0
    completed_at: int | None = None
    error: tuple[str, str] | None = None

    def deleted(self) -> Job:
        """The job as whoever listened to it hears of it last."""
        return dataclasses.replace(self, status="failed", error=("deleted", "the video was deleted"))

    def record(self) -> dict[str, Any]:
        """The job in the shape of OpenAI's ``Video``, with the search's own fields after it."""
        request = self.order.request
        return {
            "id": self.id,
            "object": "video",
            "model": self.order.preset,
            "status": self.status,
            "progress": self.progress,
            "created_at": self.created_at,
            "completed_at": self.completed_at,
            "expires_at": None,
            "error": {"code": self.error[0], "message": self.error[1]} if self.error else None,
            "prompt": request.prompt,
            "seconds": f"{request.seconds:g}",
            "size": self.order.size,
            "remixed_from_video_id": None,
            "preset": self.order.preset,
            "chunks": self.order.chunks,
            "stream": self.stream,
            **request.model_dump(include={"policy", "beam_size", "top_k", "seed", "lag", "budget"}),
        }


def new_id() -> str:
    """A name that cannot be guessed."""
    return f"video_{secrets.token_hex(16)}"


def is_id(text: str) -> bool:
    """Whether a text can be a job's name; what is not never meets the disk."""
    return _ID.fullmatch(text) is not None
