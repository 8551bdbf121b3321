"""Everything that the routes need, as one thing."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from streamt1.core.errors import StreamT1Error
from streamt1.core.timeline import Scene
from streamt1.media.reading import check_picture
from streamt1.server.auth import Auth
from streamt1.server.job_store import JobStore
from streamt1.server.keys import KeyFile
from streamt1.server.limits import Limits
from streamt1.server.metrics import Metrics
from streamt1.server.models import LoadedPresets
from streamt1.server.queue import JobQueue
from streamt1.server.schemas import CheckedRequest, about, check_request, check_scene
from streamt1.server.webhooks import Hook, Messenger, Outbox
from streamt1.server.worker import Worker

log = logging.getLogger("streamt1.server")
SWEPT_EVERY, LOOKED_EVERY = 60.0, 1.0
"""Seconds: between looks for old videos, and for streams that nobody views."""
GRACE = 30.0
"""Seconds that a closing server waits for its workers; what they hold is begun again at the next start."""


@dataclass(eq=False)
class Service:
    """The queue, its workers, who may come in, and who is told of videos that end."""

    queue: JobQueue
    auth: Auth
    metrics: Metrics
    workers: Sequence[Worker]
    messenger: Messenger | None = None
    _ends: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._sweeper = threading.Thread(target=self._sweep, name="sweeper", daemon=True)

    @classmethod
    def over(
        cls, devices: Sequence[LoadedPresets], data: Path, limits: Limits = Limits(), key: str | None = None,
        keys: KeyFile | None = None, origins: Sequence[str] = (), hook: Hook | None = None,
    ) -> Service:  # fmt: skip
        """A service that keeps everything in the folder ``data``; see ``Auth`` for the rest. Raises ``OutputError``."""
        queue = JobQueue(JobStore(data / "jobs.sqlite", limits.keep), data / "videos", limits, keys)
        messenger = None if hook is None else Messenger(Outbox(queue.store), hook)
        queue.open()
        metrics = Metrics(queue)
        workers = [Worker(queue, presets, metrics) for presets in devices]
        return cls(queue, Auth(key, keys, origins), metrics, workers, messenger)

    @property
    def presets(self) -> LoadedPresets:
        """The first device's; all devices serve the same presets."""
        return self.workers[0].presets

    def checked(self, fields: Any, stream: bool = False, owner: str | None = None) -> CheckedRequest:
        """A request, of the key that asks. Raises ``ConfigError`` and ``PromptError``; see ``check_request``."""
        request = check_request(fields, self.presets, self.queue.limits_of(owner), stream)
        return dataclasses.replace(request, owner=owner)

    def check_picture(self, request: CheckedRequest) -> None:
        """Decodes the picture of a request, where there would be room for its video.

        A large one takes a second, and hundreds of megabytes. Raises ``ConfigError``, and as ``JobQueue.submit`` does.
        """
        if request.picture is not None:
            self.queue.check_room(request.owner)
            with about("input_reference"):
                check_picture(BytesIO(request.picture), "the file")

    def scene(self, fields: Any, request: CheckedRequest) -> Scene:
        """What a client says to its running stream: ``{"prompt": ..., "memory": ...}``. Raises as ``checked`` does."""
        return check_scene(fields, self.presets.config(request.preset), self.queue.limits_of(request.owner))

    def open(self) -> None:
        """The workers begin."""
        for worker in self.workers:
            worker.start()
        if self.messenger is not None:
            self.messenger.start()
        self._sweeper.start()

    def _sweep(self) -> None:
        """Looks for streams that are left alone, and now and then for what is no longer to be kept."""
        next_time = 0.0
        while True:
            try:
                self.queue.end_lonely()
                if time.monotonic() >= next_time:
                    self.queue.mend()
                    self.queue.sweep()
                    self.queue.files.drop_tapes()
                    next_time = time.monotonic() + SWEPT_EVERY
            except Exception:  # whatever it is, this thread is needed as long as the server runs
                log.exception("cannot look for what is no longer to be kept; trying again in %g seconds", SWEPT_EVERY)
                next_time = time.monotonic() + SWEPT_EVERY
            if self._ends.wait(LOOKED_EVERY):
                return

    def close(self) -> None:
        """The workers end, within a chunk."""
        self._ends.set()
        self.queue.close()
        for worker in self.workers:
            worker.join(GRACE)
        try:
            self.queue.abandon()
        except StreamT1Error:
            log.exception("what is being made cannot be given back: it counts as an attempt")
        if self.messenger is not None:
            self.messenger.close()
        self.queue.store.close()

    def health(self) -> dict[str, Any]:
        """Whether the workers live, how much waits, and whether the disk takes more."""
        alive = [worker.alive for worker in self.workers]
        sweeps = self._sweeper.is_alive() or not self._sweeper.ident
        tells = self.messenger is None or self.messenger.alive
        workers = [{"device": w.presets.device, "alive": one} for w, one in zip(self.workers, alive)]
        waiting = free = None
        try:
            waiting, free = self.queue.waiting(), self.queue.free()
        except StreamT1Error:
            log.exception("the folder of the videos, or their database, cannot be used")
        full = free is not None and free < self.queue.limits.free
        status = "failing" if free is None or not (all(alive) and sweeps and tells) else "disk_full" if full else "ok"
        counts = {"running": len(self.queue.at_work()), "waiting": waiting or 0, "disk_free_bytes": free or 0}
        return {"status": status, "workers": workers, **counts}
