"""``--devices`` and ``--ray``, of all commands that take them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from streamt1.core.errors import ConfigError

if TYPE_CHECKING:
    from streamt1.config.schema import RunConfig
    from streamt1.pipeline.pipeline import Pipeline

DEVICES = Annotated[
    int | None, typer.Option(min=1, help="Search over so many devices (Ray); the video does not depend on how many.")
]
RAY = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Of a running Ray cluster, as auto; all its devices by default.")
]
REBUILD = Annotated[
    str | None,
    typer.Option(
        help="How a device that comes late gets memory: by cost (default), compute, ship; cost-4bit and ship-4bit"
        " change the video."
    ),
]


def check_one_device(packets: bool, count: int | None, address: str | None) -> None:
    """Raises ``ConfigError`` where packets are wanted, which one device makes and reads, and several are asked for."""
    if packets and (count is not None or address is not None):
        raise ConfigError("--packet and --pack are for one device: leave out --devices and --ray")


@contextmanager
def loaded(config: RunConfig, count: int | None, address: str | None, rebuild: str | None = None) -> Iterator[Pipeline]:
    """A pipeline over this process's models, or over those of several devices. Raises what both raise.

    Also ``ConfigError`` where memory is to be rebuilt in some way, and there is one device.
    """
    from streamt1.pipeline.pipeline import Pipeline

    if count is None and address is None:
        if rebuild is not None:
            raise ConfigError("--rebuild is for several devices: give --devices or --ray, too, or leave it out")
        yield Pipeline(config)
        return
    from streamt1.distributed.devices import devices, one_by_one
    from streamt1.distributed.shipping import DEFAULT

    config = one_by_one(config)
    with devices(config, count, address, rebuild or DEFAULT) as models:
        yield Pipeline(config, models)


def in_four_bits(rebuild: str | None) -> bool:
    """Whether memory may travel in four bits, so that results depend on when devices are lost."""
    from streamt1.distributed.shipping import REBUILDS

    return rebuild is not None and rebuild in REBUILDS and REBUILDS[rebuild].bits is not None
