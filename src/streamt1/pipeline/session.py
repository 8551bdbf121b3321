"""A video that is talked to while it is made: a new prompt acts at the next chunk boundary."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

from streamt1.core.errors import ConfigError, Stopped
from streamt1.core.timeline import Scene, Switch
from streamt1.pipeline.run import Run
from streamt1.pipeline.stream import FinalChunk, Stream
from streamt1.search.watcher import Watcher
from streamt1.trace.events import ChunkStarted, Event

WAITING = 1000
"""Prompts that may wait for their chunk; one acts at each boundary."""


class Live(Watcher):
    """What has been said to a running search, and not acted yet. May be called from any thread.

    Attributes:
        most: chunks after which it ends by itself; None for no such.
    """

    most: int | None = None

    def __init__(self) -> None:
        self._scenes: deque[Scene] = deque()
        self._ended = threading.Event()

    def say(self, scene: Scene) -> None:
        """The scene begins at the next chunk boundary at which none before it does. Raises ``ConfigError``."""
        if self._ended.is_set():
            raise ConfigError("the video is ending: it takes no prompt any more")
        if len(self._scenes) >= WAITING:
            raise ConfigError(f"{WAITING} prompts wait for their chunks already; wait until they are made")
        self._scenes.append(scene)

    def again(self, scene: Scene) -> None:
        """A scene that had begun begins once more, before all that was said since, as its chunk is made again."""
        self._scenes.appendleft(scene)

    def end(self) -> None:
        """The video ends with the chunks that are decided, at least one."""
        self._ended.set()

    def next_scene(self) -> Scene | None:
        """What begins with the next chunk, if there will be one."""
        return self._scenes.popleft() if self._scenes and not self._ended.is_set() else None

    def happened(self, event: Event) -> None:
        if not isinstance(event, ChunkStarted) or not event.chunk:
            return
        if self._ended.is_set():
            raise Stopped("it was told to end")
        if self.most is not None and event.chunk >= self.most:
            raise Stopped("it is as long as it may be")


class Session:
    """The final chunks of one video, which goes on as long as they are read; see ``Stream``.

    ::

        with pipeline.session("a red circle bouncing on a navy striped background") as session:
            for chunk in session:
                show(chunk.frames)
                if chunk.index == 20:
                    session.prompt("a green star sliding on a teal plain background")
                if chunk.index == 40:
                    session.end()
        run = session.finish()

    ``prompt`` and ``end`` may be called from another thread than the one that reads.
    """

    def __init__(self, prompt: str, begun: Callable[[str, Live], Stream], check: Callable[[str], None]) -> None:
        self._first, self._begun, self._check = prompt, begun, check
        self._live = Live()
        self._stream: Stream | None = None
        self._closed = False

    def prompt(self, text: str, memory: Switch | None = None) -> None:
        """From the next chunk that is begun on, the video is of this.

        Chunks that are under way are not changed: with a lag of ``n`` chunks, the first frames under a new prompt come
        after at most ``n + 1`` chunks more. Of several prompts, one acts at each chunk boundary.

        Args:
            memory: what becomes of what was written under the old prompt; as the model was trained by default.

        Raises:
            PromptError: the backbone cannot use it; the video goes on as before.
            ConfigError: too many wait, the video is ending, or a memory that is none of these.
        """
        self._check(text)
        scene = Scene(text, None, memory)
        if self._stream is None and not self._closed:
            self._first = text
        else:
            self._live.say(scene)

    def end(self) -> None:
        """The video ends: what is decided becomes final, and then reading ends."""
        self._live.end()

    def __iter__(self) -> Session:
        return self

    def __next__(self) -> FinalChunk:
        if self._closed and self._stream is None:
            raise StopIteration
        return next(self._opened())

    def finish(self) -> Run:
        """Ends the video, and returns the run once all of it is final; chunks that were not read are skipped."""
        self.end()
        return self._opened().finish()

    def close(self) -> None:
        """Ends the search where it is; nothing can be read or said any more."""
        self._closed = True
        self._live.end()
        if self._stream is not None:
            self._stream.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.close()

    def _opened(self) -> Stream:
        if self._stream is None:
            self._stream = self._begun(self._first, self._live)
        return self._stream
