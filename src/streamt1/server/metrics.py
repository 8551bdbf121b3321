"""Numbers for Prometheus. Every server has a registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from streamt1.search.watcher import Watcher
from streamt1.server.queue import JobQueue
from streamt1.trace.events import CandidateProposed, ChunkStarted, Event

SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics(Watcher):
    """Counts what the workers do; what the queue holds is read when it is asked for. Watches every search."""

    def __init__(self, queue: JobQueue) -> None:
        self._registry = registry = CollectorRegistry()
        self._jobs = Counter("streamt1_jobs", "Jobs that ended.", ["outcome"], registry=registry)
        self._seconds = Histogram(
            "streamt1_job_seconds", "Wall-clock of completed jobs.", buckets=SECONDS, registry=registry
        )
        self._chunks = Counter("streamt1_chunks", "Chunk boundaries that were searched.", registry=registry)
        self._candidates = Counter("streamt1_candidates", "Candidates that were proposed.", registry=registry)
        self.passes = Counter("streamt1_model_passes", "Model passes of completed jobs.", registry=registry)
        self._gauge("streamt1_jobs_waiting", "Jobs in the queue.", queue.waiting)
        self._gauge("streamt1_jobs_running", "Jobs in workers' hands.", lambda: len(queue.at_work()))
        self._gauge(
            "streamt1_jobs_refused", "Requests turned away since the start: the queue was full.", lambda: queue.refused
        )
        for outcome in ("completed", "failed", "cancelled"):
            self._jobs.labels(outcome)

    def happened(self, event: Event) -> None:
        if isinstance(event, ChunkStarted):
            self._chunks.inc()
        elif isinstance(event, CandidateProposed):
            self._candidates.inc()

    def finished(self, outcome: str, seconds: float) -> None:
        """Counts a job that ended."""
        self._jobs.labels(outcome).inc()
        if outcome == "completed":
            self._seconds.observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, about: str, read: object) -> None:
        Gauge(name, about, registry=self._registry).set_function(read)  # pyright: ignore[reportArgumentType]
