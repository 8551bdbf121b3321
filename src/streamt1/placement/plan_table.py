"""Plans for devices of the usual sizes, as a table for people."""

from __future__ import annotations

from collections.abc import Iterator

from streamt1.config.schema import RunConfig
from streamt1.core.errors import DoesNotFitError
from streamt1.placement.memory_plan import GB, Room, plan_memory

DEVICES = (80, 48, 32, 24, 16, 12)
"""GB."""
HOST = 128
"""GB; what of it is needed stands in the table."""


def plan_table(config: RunConfig) -> Iterator[str]:
    """Lines of Markdown: of each size what is needed of device and host, and what is elsewhere than on the device.

    Raises ``ConfigError`` for a preset that needs no plan.
    """
    yield "| device | needed | of the host | candidates at once | placement |"
    yield "|---|---|---|---|---|"
    for size in DEVICES:
        try:
            plan = plan_memory(config, Room(size * GB, HOST * GB))
        except DoesNotFitError:
            yield f"| {size} GB | does not fit | | | |"
            continue
        needed = f"{plan.peak / GB:.1f} GB | {plan.host_peak / GB:.1f} GB | {plan.candidate_batch}"
        yield f"| {size} GB | {needed} | {plan.placement.summary()} |"
