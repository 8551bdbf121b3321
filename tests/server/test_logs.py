"""The log as JSON."""

from __future__ import annotations

import json
import logging
import logging.config
from typing import Any

import pytest

from streamt1.server.logs import JsonLines, log_config


def record(message: str, *args: Any, **told: Any) -> logging.LogRecord:
    return logging.getLogger("streamt1.server").makeRecord(
        "streamt1.server", 40, "x.py", 1, message, args, None, **told
    )


def test_each_line_is_an_object() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        failed = record("job %s\nfailed \ud800", "x")
        failed.exc_info = (ValueError, error, error.__traceback__)
    line = JsonLines().format(failed)
    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["logger"], told["message"]) == ("error", "streamt1.server", "job x\nfailed \ud800")
    assert "two\nlines" in told["exception"]
    assert told["time"].endswith("+00:00")


@pytest.mark.parametrize("kind", ["text", "json"])
def test_the_configuration_is_one(kind: Any) -> None:
    before = {name: (logging.getLogger(name).handlers[:], logging.getLogger(name).propagate)
              for name in ("", "uvicorn", "streamt1")}  # fmt: skip
    try:
        logging.config.dictConfig(log_config(kind))
        [handler] = logging.getLogger("streamt1").handlers
        assert isinstance(handler.formatter, JsonLines) == (kind == "json")
    finally:
        for name, (handlers, propagate) in before.items():
            logging.getLogger(name).handlers[:] = handlers
            logging.getLogger(name).propagate = propagate
