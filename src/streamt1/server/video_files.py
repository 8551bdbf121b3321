"""What stands in the folder of the videos: each has a folder, and beside it what its makers and its viewers need."""

from __future__ import annotations

import itertools
import logging
import shutil
import time
from contextlib import suppress
from pathlib import Path

from streamt1.core.errors import StreamT1Error, UnknownVideoError
from streamt1.core.files import bytes_in, check_writable, free_bytes, is_trouble
from streamt1.pipeline.run_files import tidy
from streamt1.server.job_store import JobStore
from streamt1.server.remains import Made, begun_scenes, keep_made
from streamt1.server.schemas import as_kept, checked_id, is_id

log = logging.getLogger("streamt1.server")
LOST = "lost"
"""Folder beside that of the videos, for those that the database does not know."""
PICTURE, TAPE = ".picture", ".tape"
KEPT = 600
"""Seconds that a tape is kept after the end of its job, for viewers who come again."""


class VideoFiles:
    """The files of the jobs of one server. Every method may be called from any thread."""

    def __init__(self, store: JobStore, folder: Path) -> None:
        self.store, self.folder = store, folder
        self._unkept = dict[str, Made | None]()

    def take_up(self) -> None:
        """Takes up what an earlier server left. Raises ``OutputError`` for a folder that cannot be written.

        The files of jobs that were deleted go; those of videos that the database does not know are put into ``lost``
        beside them, since it may be the database that was lost.
        """
        check_writable(self.folder, keep=True)
        for name in filter(is_id, self.store.gone()):
            self.clear(name)
        for name in filter(is_id, self.store.failed()):
            shutil.rmtree(self.of(name), ignore_errors=True)
        for name in filter(is_id, self.store.unkept()):
            self.keep_made(name)
        known, lost = self.store.names(), self.folder.parent / LOST
        done = known - self.store.unfinished()
        for path in self.folder.glob(f"*{PICTURE}"):
            if path.stem in done:
                self.drop(path.stem, PICTURE)
        for path in self.folder.glob(f".*{PICTURE}.part"):  # of a request that a kill cut off
            path.unlink(missing_ok=True)
        strange = [path for path in self.folder.iterdir() if _owner(path) and _owner(path) not in known]
        # The folder holds all that a tape tells. A picture without its job came with a request that was never answered,
        # where the database is not new: a kill fell between the two.
        for path in [one for one in strange if one.suffix == TAPE or (one.suffix == PICTURE and known)]:
            path.unlink()
            strange.remove(path)
        for path in strange:
            lost.mkdir(exist_ok=True)
            path.rename(_free_name(lost / path.name))
        if strange:
            log.warning(
                "%d videos in %s are not in %s: they are now in %s, whole; nothing was deleted",
                len({_owner(path) for path in strange}), self.folder, self.store.path, lost,
            )  # fmt: skip

    def clear(self, name: str) -> None:
        """Deletes the files of a job that is deleted."""
        folder = self.of(name)
        shutil.rmtree(folder, ignore_errors=True)
        self.drop(name, PICTURE)
        self.drop(name, TAPE)
        if not folder.exists():
            self.store.cleared(name)

    def drop(self, name: str, kind: str) -> None:
        """Deletes what stands beside a job's folder."""
        with suppress(OSError):
            self.beside(name, kind).unlink(missing_ok=True)

    def of(self, name: str) -> Path:
        """The folder of a job. Raises ``UnknownVideoError`` for what can be no job's name: it names no file."""
        return self.folder / checked_id(name)

    def beside(self, name: str, kind: str) -> Path:
        """Where a picture or a tape is. Raises as ``of`` does."""
        return self.folder / f"{checked_id(name)}{kind}"

    def bytes_of(self, name: str) -> int:
        """What a video and what is kept for its viewers take."""
        size = bytes_in(self.of(name))
        with suppress(FileNotFoundError):
            size += self.beside(name, TAPE).stat().st_size
        return size

    def free(self) -> int:
        """Bytes that are free on the disk. Raises ``OutputError``."""
        return free_bytes(self.folder)

    def keep_made(self, name: str, made: Made | None = None) -> None:
        """What is decided of a cancelled job's video becomes the video; where there is none, nothing stays.

        Where that cannot be done now, it is tried again, and all that there is stays.

        Args:
            made: what there is, where its files are in order, and its row is not.
        """
        self._unkept.pop(name, None)
        try:
            request, folder = self.store.get(name).request, self.of(name)
            made = made or keep_made(folder)
            if made is not None:
                said = begun_scenes(folder, self.beside(name, TAPE)) if request.fields.endless else ()
                self.store.kept(name, as_kept(request, *made, said))
                tidy(folder)
            self.store.put_away(name)
        except UnknownVideoError:
            log.info("job %s was deleted before what there is of it was kept", name)
        except (StreamT1Error, OSError) as error:
            log.error("of job %s, which was cancelled, nothing can be kept: %s", name, error)
            if is_trouble(error):
                self._unkept[name] = made

    def retry(self) -> None:
        """Keeps what could not be kept when it was to be."""
        for name, made in list(self._unkept.items()):
            self.keep_made(name, made)

    def drop_tapes(self) -> None:
        """Deletes the tapes of jobs that are over for long enough."""
        late, needed = time.time() - KEPT, self.store.unfinished()
        for path in self.folder.glob(f"*{TAPE}"):
            with suppress(OSError):
                if path.stem not in needed and path.stat().st_mtime < late:
                    path.unlink()


def _free_name(path: Path) -> Path:
    """The path, or one with a number where there is something."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return path if not path.exists() else next(one for one in numbered if not one.exists())


def _owner(path: Path) -> str | None:
    """The job that a folder, a picture or a tape belongs to; None for what is no job's."""
    name = path.stem if path.suffix in (PICTURE, TAPE) else path.name
    return name if is_id(name) else None
