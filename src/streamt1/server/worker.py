"""One worker a device: takes a job, makes its video and its report, takes the next."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from pathlib import Path

from streamt1.assemble.run import Run
from streamt1.codec.pixels import thumbnail
from streamt1.core.errors import Cancelled, StreamT1Error, UnknownVideoError
from streamt1.core.files import write_whole
from streamt1.report import write_report
from streamt1.server.desk import Desk, Running
from streamt1.server.jobs import Job
from streamt1.server.metrics import Metrics
from streamt1.server.orders import configured
from streamt1.server.studio import Studio
from streamt1.trace.events import ChunkCommitted, Event

log = logging.getLogger("streamt1.server")
THUMBNAIL = "thumbnail.webp"
THUMBNAIL_SIDE = 256
PAUSE = 2.0
"""Seconds, before the store is asked again that could not answer."""
ALMOST = 99
"""Percent: a video is complete when its files are written."""


class Worker:
    """Works on one device, in a thread of its own, until the desk closes."""

    def __init__(self, desk: Desk, studio: Studio, metrics: Metrics) -> None:
        self.desk, self.studio, self.metrics = desk, studio, metrics
        self._thread = threading.Thread(target=self._serve, name=f"worker-{studio.device}", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Waits for its end, which comes after the desk has closed."""
        self._thread.join(seconds)

    @property
    def alive(self) -> bool:
        """Whether it takes jobs."""
        return self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            try:
                running = self.desk.take()
            except StreamT1Error:
                log.exception("cannot take a job; trying again in %g seconds", PAUSE)
                time.sleep(PAUSE)
                continue
            if running is None:
                return
            self._work(running)

    def _work(self, running: Running) -> None:
        """Makes one video. Whatever goes wrong ends this job, not the worker."""
        job, begin, outcome = running.job, time.monotonic(), "failed"
        folder = self.desk.folder_of(job)
        try:
            run = self._search(running)
            _write(run, folder)
            outcome = "completed" if self.desk.store.finish(job.id) else "cancelled"
            self.metrics.passes.inc(run.result.cost["model_passes"])
        except Cancelled:
            outcome = "cancelled"
            self._stop(running)
        except StreamT1Error as error:
            self._fail(running, type(error).__name__, str(error))
        except Exception as error:
            log.exception("job %s failed", job.id)
            name = type(error).__name__
            self._fail(running, "server_error", f"the run ended unexpectedly ({name}); the server's log says more")
        seconds = time.monotonic() - begin
        self.metrics.finished(outcome, seconds)
        if outcome != "completed":
            shutil.rmtree(folder, ignore_errors=True)
        self.desk.put_back(running, seconds if outcome == "completed" else None)
        self._tell(running)

    def _search(self, running: Running) -> Run:
        job, listener = running.job, running.listener
        request, preset = job.order.request, job.order.preset
        pipeline = self.studio.pipeline(preset, configured(self.studio.config(preset), request))

        def watch(event: Event) -> None:
            if running.stop is not None:
                raise Cancelled(f"stopped: {running.stop}")
            listener.happened(event)
            self.metrics.saw(event)
            if isinstance(event, ChunkCommitted) and event.beam == 0:
                self.desk.store.advance(job.id, ALMOST * (event.chunk + 1) // job.order.chunks)

        chunks, seed = job.order.chunks, request.seed
        run = pipeline.run(request.prompt, chunks, seed, None, watch, listener.settled, listener.pictured)
        if running.stop is not None:
            raise Cancelled(f"stopped: {running.stop}")
        return run

    def _stop(self, running: Running) -> None:
        """A deleted job is gone already; a stream without its client has failed; a closing server keeps the rest."""
        name, store = running.job.id, self.desk.store
        if running.stop == "closing" and not running.job.stream:
            store.give_back(name)
        elif running.stop == "closing":
            store.fail(name, "client_gone", "the server was stopped before this stream was done")
        elif running.stop != "deleted":
            store.fail(name, "cancelled", "the client closed the stream")

    def _fail(self, running: Running, code: str, message: str) -> None:
        try:
            self.desk.store.fail(running.job.id, code, message)
        except StreamT1Error:
            log.exception("job %s failed (%s), and that cannot be noted", running.job.id, message)

    def _tell(self, running: Running) -> None:
        """The last word to whoever listens."""
        try:
            running.listener.ended(self._last(running))
        except StreamT1Error as error:
            log.info("job %s: %s", running.job.id, error)

    def _last(self, running: Running) -> Job:
        try:
            return self.desk.store.get(running.job.id)
        except UnknownVideoError:
            return running.job.deleted()


def _write(run: Run, folder: Path) -> None:
    run.save(folder)
    write_report(folder)
    write_whole(folder / THUMBNAIL, thumbnail(run.frames[len(run.frames) // 2], THUMBNAIL_SIDE))
