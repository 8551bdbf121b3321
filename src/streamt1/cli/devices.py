"""``--devices`` and ``--ray``, of all commands that take them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamt1.config.schema import RunConfig
    from streamt1.pipeline.pipeline import Pipeline

DEVICES = Annotated[
    int | None, typer.Option(min=1, help="Search over so many devices (Ray); the video does not depend on how many.")
]
RAY = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Of a running Ray cluster, as auto; all its devices by default.")
]


@contextmanager
def loaded(config: RunConfig, count: int | None, address: str | None) -> Iterator[Pipeline]:
    """A pipeline over this process's models, or over those of several devices. Raises what both raise."""
    from streamt1.pipeline.pipeline import Pipeline

    if count is None and address is None:
        yield Pipeline(config)
        return
    from streamt1.distributed.devices import devices, one_by_one

    config = one_by_one(config)
    with devices(config, count, address) as models:
        yield Pipeline(config, models)
