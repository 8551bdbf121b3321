"""Test-time scaling for streaming video generation: Stream-T1 (arXiv 2605.04461) as a library.

::

    import streamt1

    run = streamt1.generate("a red circle bouncing on a navy striped background", seconds=5)
    run.save("outputs/circle")
"""

from streamt1.api import generate
from streamt1.assemble.config import RunConfig, load_config
from streamt1.assemble.pipeline import Pipeline
from streamt1.assemble.run import Run
from streamt1.core.errors import (
    CheckpointError,
    ConfigError,
    MemoryIntegrityError,
    OutputError,
    PromptError,
    RewardError,
    StreamT1Error,
    UnknownNameError,
)
from streamt1.search.engine import Engine, Result
from streamt1.search.policies import SearchConfig

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Engine",
    "MemoryIntegrityError",
    "OutputError",
    "Pipeline",
    "PromptError",
    "Result",
    "RewardError",
    "Run",
    "RunConfig",
    "SearchConfig",
    "StreamT1Error",
    "UnknownNameError",
    "generate",
    "load_config",
]
