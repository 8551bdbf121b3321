"""Everything that the routes need, as one thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamt1.server.desk import Desk
from streamt1.server.guard import Guard
from streamt1.server.limits import Limits
from streamt1.server.metrics import Metrics
from streamt1.server.orders import Order, take_order
from streamt1.server.store import Store
from streamt1.server.studio import Studio
from streamt1.server.worker import Worker

GRACE = 30.0
"""Seconds that a closing server waits for its workers; what they hold is begun again at the next start."""


@dataclass(eq=False)
class Service:
    """The desk, its workers, and who may come in."""

    desk: Desk
    guard: Guard
    metrics: Metrics
    workers: Sequence[Worker]

    @classmethod
    def over(cls, studios: Sequence[Studio], data: Path, limits: Limits = Limits(), key: str | None = None) -> Service:
        """A service that keeps everything in the folder ``data``. Raises ``OutputError``."""
        desk = Desk(Store(data / "jobs.sqlite"), data / "videos", limits)
        desk.open()
        metrics = Metrics(desk)
        return cls(desk, Guard(key), metrics, [Worker(desk, studio, metrics) for studio in studios])

    @property
    def studio(self) -> Studio:
        """The first device's; all devices serve the same presets."""
        return self.workers[0].studio

    def order(self, fields: Any) -> Order:
        """Raises ``ConfigError`` and ``PromptError``; see ``take_order``."""
        return take_order(fields, self.studio, self.desk.limits)

    def open(self) -> None:
        """The workers begin."""
        for worker in self.workers:
            worker.start()

    def close(self) -> None:
        """The workers end, within a chunk."""
        self.desk.close()
        for worker in self.workers:
            worker.join(GRACE)
        self.desk.store.close()

    def health(self) -> dict[str, Any]:
        """Whether the workers live, and how much waits."""
        alive = [worker.alive for worker in self.workers]
        workers = [{"device": w.studio.device, "alive": one} for w, one in zip(self.workers, alive)]
        running, waiting = len(self.desk.at_work()), self.desk.waiting()
        return {"status": "ok" if all(alive) else "failing", "workers": workers, "running": running, "waiting": waiting}
