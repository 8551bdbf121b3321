"""What a tape tells of a search: its events, pictures of candidates, and the final chunks as pieces of a video."""

from __future__ import annotations

import base64
import time

from torch import Tensor

from streamt1.core.remote import Frames, applied
from streamt1.core.timeline import Scene
from streamt1.media.fragments import FragmentWriter
from streamt1.media.pixels import shown
from streamt1.media.thumbnails import middle_thumbnail
from streamt1.search.watcher import Watcher
from streamt1.server.tape import Tape
from streamt1.trace.events import ChunkSettled, ChunkStarted, Event, RunStarted, SceneStarted


class Recording(Watcher):
    """Writes a search onto a tape, in the search's thread.

    Where an earlier server told a part of it, this goes on: what happened before the chunk that is begun next is not
    told twice, and a chunk that was open then is told again from its start.

    Attributes:
        scene: the last scene that was begun then, and with which chunk; None where none was.
    """

    def __init__(self, tape: Tape) -> None:
        self._tape, self._begin, self._fps = tape, time.perf_counter(), 16
        self._writer: FragmentWriter | None = None
        self.scene: tuple[int, Scene] | None = None
        self._again, self._settled, self._pieces, self._frames = False, 0, 0, 0
        for message, _ in tape.records():
            self._again = self._again or message["event"] == RunStarted.kind
            if message["event"] == ChunkSettled.kind:
                self._settled = message["chunk"] + 1
            elif message["event"] == SceneStarted.kind:
                self.scene = message["chunk"], Scene(message["prompt"], None, message["memory"])
            elif message["event"] == "fragment":
                self._pieces, self._frames = self._pieces + 1, self._frames + message["frames"]

    def happened(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._begin, self._fps = time.perf_counter(), event.fps
        if isinstance(event, ChunkStarted):
            self._again = False
        known = isinstance(event, ChunkSettled) and event.chunk < self._settled
        if not known and not self._again:
            self._say(event.record())

    def proposed(self, candidate: int, frames: Frames) -> None:
        picture = base64.b64encode(applied(middle_thumbnail, frames)).decode()
        self._say({"event": "picture", "candidate": candidate, "webp": picture})

    def settled(self, chunk: int, frames: Tensor) -> None:
        """The first chunk brings the header along; every piece is announced."""
        if chunk < self._pieces:
            return
        if self._writer is None:
            self._writer = FragmentWriter(self._fps)
            self._writer.go_on(self._pieces, self._frames)
        writer, pixels = self._writer, shown(frames)
        start = writer.frames
        fragment = writer.write(pixels)
        if not chunk:
            height, width = pixels.shape[1:3]
            media = {"event": "media", "type": writer.kind, "width": width, "height": height, "fps": self._fps}
            self._say(media, writer.header)
        times = {"start": start / self._fps, "end": writer.frames / self._fps}
        self._say({"event": "fragment", "chunk": chunk, "frames": len(pixels), **times}, fragment)

    def _say(self, message: dict[str, object], piece: bytes = b"") -> None:
        self._tape.append({"seconds": round(time.perf_counter() - self._begin, 3), **message}, piece)
