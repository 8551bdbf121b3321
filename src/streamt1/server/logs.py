"""What the server writes to its log: lines for people, or one JSON object a line."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any, Literal

Format = Literal["text", "json"]
NAMES = ("uvicorn", "streamt1")
"""Loggers; those below them write as they do."""


class JsonLines(logging.Formatter):
    """``{"time", "level", "logger", "message"}``, and ``exception`` where there is one; the time is in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        told = {"time": time, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told)


def log_config(kind: Format) -> dict[str, Any]:
    """For ``logging.config.dictConfig``: everything to stderr."""
    lines = {
        "text": {"()": "uvicorn.logging.DefaultFormatter", "fmt": "%(levelprefix)s %(message)s", "use_colors": None},
        "json": {"()": JsonLines},
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": lines[kind]},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines", "stream": "ext://sys.stderr"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {name: {"level": "INFO", "handlers": ["stderr"], "propagate": False} for name in NAMES},
    }
