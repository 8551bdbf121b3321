"""One worker a device: takes a job, makes its video and its report, takes the next."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from pathlib import Path

from streamt1.core.errors import Cancelled, ConfigError, OutputError, StreamT1Error
from streamt1.core.files import is_trouble, write_whole
from streamt1.core.peak import give_back_freed
from streamt1.families.fingerprint import fingerprints
from streamt1.media.thumbnails import middle_thumbnail
from streamt1.pipeline.asked import Asked, check_same_weights
from streamt1.pipeline.given import Given
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.run_files import REPORT, VIDEO, is_finished, stored_summary, tidy
from streamt1.pipeline.run_folder import run_folder
from streamt1.pipeline.session import Live
from streamt1.pipeline.stream import Stream
from streamt1.pipeline.taking_up import check_unfinished, taken_up
from streamt1.report import write_report
from streamt1.search.watcher import Watcher, Watchers
from streamt1.server import troubles
from streamt1.server.metrics import Metrics
from streamt1.server.models import LoadedPresets
from streamt1.server.queue import JobQueue, Running
from streamt1.server.recording import Recording
from streamt1.server.remains import THUMBNAIL, THUMBNAIL_SIDE
from streamt1.server.schemas import Job, as_made, configured, timeline_of
from streamt1.trace.events import ChunkCommitted, Event

log = logging.getLogger("streamt1.server")
ALMOST = 99
"""Percent: a video is complete when its files are written."""


class Worker:
    """Works on one device, in a thread of its own, until the queue closes."""

    def __init__(self, queue: JobQueue, presets: LoadedPresets, metrics: Metrics) -> None:
        self.queue, self.presets, self.metrics = queue, presets, metrics
        self._thread = threading.Thread(target=self._serve, name=f"worker-{presets.device}", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Waits for its end, which comes after the queue has closed."""
        self._thread.join(seconds)

    @property
    def alive(self) -> bool:
        """Whether it takes jobs."""
        return self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            running, presets, burnt = None, None, None
            self.presets.begin()
            try:
                running = self.queue.take()
                presets = None if running is None else self._taken(running)
            except Exception as error:  # whatever it is, the other jobs still want to be made
                burnt = error
            finally:
                self.presets.began()
            if running is not None:
                try:
                    self._work(running, presets, burnt)
                except Exception:  # of what comes after a video: the next one still wants to be made
                    log.exception("job %s: what it left cannot be put in order", running.job.id)
                finally:
                    self.queue.let_go(running)
                    if presets is not None:
                        presets.give_back()
                    give_back_freed()
            elif burnt is not None:
                log.error("cannot take a job; trying again in %g seconds", troubles.PAUSE, exc_info=burnt)
                time.sleep(troubles.PAUSE)
            else:
                return

    def _taken(self, running: Running) -> LoadedPresets | None:
        """The presets on the devices of a job; None where it is stopped before they are free."""
        return self.presets.take(running.job.request.fields.devices, lambda: running.stop is None)

    def _work(self, running: Running, presets: LoadedPresets | None, burnt: Exception | None) -> None:
        """Makes one video. Whatever goes wrong ends this job, not the worker; ``burnt`` went wrong before it began.

        A job that the machine could not go on with is tried again (``JobQueue.again``).
        """
        job, begin, outcome = running.job, time.monotonic(), "failed"
        folder = self.queue.folder_of(job)
        try:
            if burnt is not None:
                raise burnt
            if presets is None:
                raise Cancelled(f"stopped: {running.stop}")
            self.queue.begin(running)
            outcome = self._make(running, folder, presets)
        except Cancelled:
            outcome = "cancelled"
            self._stop(running)
        except Exception as error:
            running.session.tape.close()
            if is_trouble(error) and self._again(running, error):
                return
            ended = self._went_wrong(running, error)
            if ended is None:
                return  # nobody knows that it has ended: it waits again, with all that there is
            outcome = ended
        seconds = time.monotonic() - begin
        self.metrics.finished(outcome, seconds)
        stop = self.queue.why_stopped(running)
        if stop == "cancelled":
            self.queue.files.keep_made(job.id)
        elif outcome != "completed" and stop not in ("closing", "deleted"):  # what is deleted the queue clears
            shutil.rmtree(folder, ignore_errors=True)
        self.queue.put_back(running, seconds if outcome == "completed" else None)
        running.session.tape.close()
        self._tell(running)

    def _make(self, running: Running, path: Path, presets: LoadedPresets) -> str:
        """The video and all that belongs to it; goes on with what an earlier server left. How it ended."""
        job, fields = running.job, running.job.request.fields
        preset = job.request.preset
        if preset not in presets.served:
            raise ConfigError(
                f"this server no longer serves {preset!r}, which the video was asked of; it serves"
                f" {', '.join(presets.served)}"
            )
        pipeline = presets.pipeline(preset, configured(presets.config(preset), fields))
        given = self._given(job, pipeline)
        asked = pipeline.asked(timeline_of(fields, job.request.chunks), None, fields.seed, given=given)
        if _is_made(path, asked):
            tidy(path)
            return self._finished(job, path, pipeline)
        done = _goes_on(path, asked)
        if done is None:
            shutil.rmtree(path, ignore_errors=True)  # what an older version, or older weights, began
            running.session.tape.clear()
        with run_folder(path, asked, pipeline.models.decoder.fps, again=True) as folder:
            live, recording = running.session.live or Live(), Recording(running.session.tape)
            if recording.scene is not None and recording.scene[0] == done:  # said before a kill, and not yet written
                live.again(recording.scene[1])
            seeing = _Stop(running), recording, self.metrics, _Progress(self.queue, running), live
            live.most = job.request.chunks if fields.endless else None
            run = Stream(pipeline.search(asked, folder, Watchers(seeing), live.next_scene)).finish()
            if running.stop is not None:
                raise Cancelled(f"stopped: {running.stop}")
            write_report(path)
            write_whole(path / THUMBNAIL, middle_thumbnail(run.pixels, THUMBNAIL_SIDE))
            self.metrics.passes.inc(run.result.cost.model_passes)
        return self._finished(job, path, pipeline)

    def _given(self, job: Job, pipeline: Pipeline) -> Given | None:
        """What a job's video begins with. Raises ``OutputError`` where its picture is not there any more."""
        path = self.queue.picture_of(job)
        if job.request.fields.input_reference is None:
            return None
        if not path.is_file():
            raise OutputError("the picture that this video begins with is lost: send it again")
        return pipeline.given(image=path)

    def _finished(self, job: Job, path: Path, pipeline: Pipeline) -> str:
        made = as_made(job.request, stored_summary(path) or {}, pipeline)
        return "completed" if self.queue.store.finish(job.id, made) else "cancelled"

    def _stop(self, running: Running) -> None:
        """A deleted or cancelled job has its row already; what a closing server has not finished waits again."""
        if running.stop != "closing":
            return
        try:
            self.queue.store.give_back(running.job.id, running.begun)
        except StreamT1Error:
            log.exception("job %s was stopped, and that cannot be noted", running.job.id)

    def _again(self, running: Running, error: Exception) -> bool:
        """Whether a job waits again that the machine could not go on with."""
        try:
            seconds = self.queue.again(running)
        except StreamT1Error:  # the sweeper finds it in nobody's hands
            log.exception("job %s is to wait again, and that cannot be noted", running.job.id)
            return True
        if seconds is not None:
            log.error("job %s could not go on (%s): it is tried again in %g seconds", running.job.id, error, seconds)
        return seconds is not None

    def _went_wrong(self, running: Running, error: Exception) -> str | None:
        """How a job ended that raised an error: failed, unless it was stopped before; None where that is not noted."""
        if running.stop is not None:
            self._stop(running)
            return "cancelled"
        code, message = type(error).__name__, str(error)
        if not isinstance(error, StreamT1Error):
            log.error("job %s failed", running.job.id, exc_info=error)
            code, message = "server_error", f"the run ended unexpectedly ({code}); the server's log says more"
        try:
            self.queue.store.fail(running.job.id, code, message)
        except StreamT1Error:
            log.exception("job %s failed (%s), and that cannot be noted", running.job.id, message)
            return None
        return "failed"

    def _tell(self, running: Running) -> None:
        """The last word to whoever views it."""
        try:
            self.queue.ended(running)
        except StreamT1Error as error:
            log.info("job %s: %s", running.job.id, error)


class _Stop(Watcher):
    """Ends a search that is not wanted any more."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def happened(self, event: Event) -> None:
        if self._running.stop is not None:
            raise Cancelled(f"stopped: {self._running.stop}")


class _Progress(Watcher):
    """Notes how far a job is."""

    def __init__(self, queue: JobQueue, running: Running) -> None:
        self._queue, self._running = queue, running

    def happened(self, event: Event) -> None:
        if isinstance(event, ChunkCommitted) and event.beam == 0:
            progress = ALMOST * (event.chunk + 1) // self._running.job.request.chunks
            self._queue.advance(self._running, event.chunk, progress)


def _is_made(path: Path, asked: Asked) -> bool:
    """Whether a folder holds this run with all that belongs to it: the server was killed before that was noted."""
    try:
        summary = stored_summary(path)
    except StreamT1Error as error:
        _check_damage(error)
        return False
    if summary is None or asked.difference(summary) is not None or not is_finished(summary):
        return False
    return all((path / name).is_file() for name in (VIDEO, REPORT, THUMBNAIL))


def _goes_on(path: Path, asked: Asked) -> int | None:
    """How many chunks a folder holds of this run, begun by this version and these weights; None where it cannot be
    gone on with."""
    try:
        summary = stored_summary(path)
        if summary is None:
            return None
        check_unfinished(path, asked, summary, again=True)
        check_same_weights(summary, fingerprints(asked.config))
        stored, _ = taken_up(path, "")
    except StreamT1Error as error:
        _check_damage(error)
        return None
    return stored[-1].boundary.chunk if stored else 0


def _check_damage(error: StreamT1Error) -> None:
    """Raises the error where it tells of the machine, and not of what a folder holds: that may be whole."""
    if is_trouble(error):
        raise error
