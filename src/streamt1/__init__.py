"""Test-time scaling for streaming video generation: Stream-T1 (arXiv 2605.04461) as a library.

::

    import streamt1

    for chunk in streamt1.stream("a red circle bouncing on a navy striped background", seconds=5):
        print(chunk.index, chunk.frames.shape)

Names are imported when they are first used, so that ``import streamt1`` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamt1.api import generate, stream
    from streamt1.config.load import load_config
    from streamt1.config.schema import RunConfig
    from streamt1.core.errors import (
        Cancelled,
        CheckpointError,
        ConfigError,
        MemoryIntegrityError,
        OutputError,
        PromptError,
        RewardError,
        StreamT1Error,
        UnknownNameError,
    )
    from streamt1.core.protocols import Models
    from streamt1.core.types import RewardOutput, Route
    from streamt1.pipeline.pipeline import Pipeline
    from streamt1.pipeline.run import Run
    from streamt1.pipeline.stream import FinalChunk, Stream
    from streamt1.search.choose import Result
    from streamt1.search.config import SearchConfig
    from streamt1.search.cost import Cost
    from streamt1.search.engine import Engine
    from streamt1.search.state import SearchState
    from streamt1.search.watcher import Watcher

_ERRORS = "streamt1.core.errors"
_HOMES = {
    "Cancelled": _ERRORS,
    "CheckpointError": _ERRORS,
    "ConfigError": _ERRORS,
    "Cost": "streamt1.search.cost",
    "Engine": "streamt1.search.engine",
    "FinalChunk": "streamt1.pipeline.stream",
    "MemoryIntegrityError": _ERRORS,
    "Models": "streamt1.core.protocols",
    "OutputError": _ERRORS,
    "Pipeline": "streamt1.pipeline.pipeline",
    "PromptError": _ERRORS,
    "Result": "streamt1.search.choose",
    "RewardError": _ERRORS,
    "RewardOutput": "streamt1.core.types",
    "Route": "streamt1.core.types",
    "Run": "streamt1.pipeline.run",
    "RunConfig": "streamt1.config.schema",
    "SearchConfig": "streamt1.search.config",
    "SearchState": "streamt1.search.state",
    "Stream": "streamt1.pipeline.stream",
    "StreamT1Error": _ERRORS,
    "UnknownNameError": _ERRORS,
    "Watcher": "streamt1.search.watcher",
    "generate": "streamt1.api",
    "load_config": "streamt1.config.load",
    "stream": "streamt1.api",
}

__all__ = [
    "Cancelled",
    "CheckpointError",
    "ConfigError",
    "Cost",
    "Engine",
    "FinalChunk",
    "MemoryIntegrityError",
    "Models",
    "OutputError",
    "Pipeline",
    "PromptError",
    "Result",
    "RewardError",
    "RewardOutput",
    "Route",
    "Run",
    "RunConfig",
    "SearchConfig",
    "SearchState",
    "Stream",
    "StreamT1Error",
    "UnknownNameError",
    "Watcher",
    "generate",
    "load_config",
    "stream",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # which loads much

        return version("streamt1")
    if name not in _HOMES:
        raise AttributeError(f"module 'streamt1' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})
