"""Runs an evaluation to its end, from wherever it stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from streamt1.config.schema import RunConfig
from streamt1.core.errors import ConfigError, OutputError, PromptError
from streamt1.core.files import check_writable
from streamt1.evaluation.clip import clip_timeline, make_clip
from streamt1.evaluation.judge import check_judge
from streamt1.evaluation.manifest import NAME, check_rows, claim, go_on
from streamt1.evaluation.pool import Pool, open_pool
from streamt1.evaluation.rows import Row, RowFile, open_rows, write_csv
from streamt1.evaluation.suites import Suite
from streamt1.evaluation.tasks import ClipTask, plan, row_key
from streamt1.evaluation.vbench import video_path, write_prompts

ROWS, TABLE = "rows.jsonl", "rows.csv"
Watch = Callable[[int, int, Row], None]
OpenPool = Callable[[RunConfig, int], AbstractContextManager[Pool]]


def run_suite(
    suite: Suite,
    config: RunConfig,
    folder: Path,
    jobs: int = 1,
    export: Path | None = None,
    watch: Watch = lambda done, total, row: None,
    opener: OpenPool = open_pool,
) -> list[Row]:
    """Makes every clip that the folder lacks; returns all rows in the order of the plan, and writes ``rows.csv``.

    Args:
        folder: of the results. What it holds already is not made again.
        jobs: processes.
        export: keeps all videos there, in VBench's layout; videos that are missing are made once more.
        watch: called after every clip with how many are done, how many there are, and the row.
        opener: of the pool.

    Raises:
        ConfigError: the folder holds, or is in use by, another evaluation; a budget is out of range; or the judge
            is no column of this model's clips.
        PromptError: the model cannot use a prompt; nothing has been made then.
        OutputError: a folder cannot be written.
        DeviceLostError: clips could not be made, for want of a device that stays; all others have been.
    """
    check_judge(config, suite.judge)
    tasks = [_placed(task, jobs, export) for task in plan(suite)]
    for task in tasks:
        task.config(config)
    check_writable(folder)
    there = folder.exists()
    check_rows(folder / ROWS)
    with open_rows(folder / ROWS) as held, _new_or_held(folder, there):
        claim(folder, suite, config)
        return _made(tasks, config, folder, held, jobs, export, watch, opener)


@contextmanager
def _new_or_held(folder: Path, there: bool) -> Iterator[None]:
    """Where an evaluation cannot even begin, nothing of it is left in the folder; ``there``: which was there before.

    Its rows are open, so that no other process can have begun one meanwhile.
    """
    new = not (folder / NAME).exists()
    try:
        yield
    except (ConfigError, PromptError):
        if new and not any(map(_size, (folder / ROWS, folder / TABLE))):
            for name in (NAME, ROWS):
                (folder / name).unlink(missing_ok=True)
            if not there:
                with suppress(OSError):  # somebody else has put something there
                    folder.rmdir()
        raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _made(
    tasks: list[ClipTask],
    config: RunConfig,
    folder: Path,
    opened: tuple[list[Row], RowFile],
    jobs: int,
    export: Path | None,
    watch: Watch,
    opener: OpenPool,
) -> list[Row]:
    rows, file = opened
    held = {row_key(row): row for row in rows}
    missing = [task for task in tasks if task.key not in held or (task.video and not task.video.exists())]
    if missing:
        go_on(folder)
        with opener(config, jobs) as pool:
            pool.map(check_clips, [missing])
            for index, row in pool.run(make_clip, missing):
                _check_video(missing[index])
                if row_key(row) not in held:
                    file.append(row)
                    held[row_key(row)] = row
                watch(len(held), len(tasks), row)
    if export is not None:
        write_prompts(export, tasks)
    ordered = in_order(tasks, held.values())
    write_csv(folder / TABLE, ordered)
    return ordered


def in_order(tasks: Iterable[ClipTask], rows: Iterable[Row]) -> list[Row]:
    """Rows as they are planned, one for each clip; last those that are not planned any more."""
    held = {row_key(row): row for row in rows}
    return [held.pop(task.key) for task in tasks if task.key in held] + list(held.values())


def _check_video(task: ClipTask) -> None:
    """Raises ``OutputError`` where another machine has made the clip and written its video there."""
    if task.video is not None and not task.video.exists():
        raise OutputError(
            f"{task.video} was written on another machine: export to a folder that all machines of the cluster share"
        )


def check_clips(pipeline: Any, tasks: Sequence[ClipTask]) -> None:
    """Raises ``PromptError`` and ``ConfigError`` for the first prompt or length that the model cannot use."""
    for task in {(task.scenes, task.seconds): task for task in tasks}.values():
        clip_timeline(pipeline, task)


def _placed(task: ClipTask, jobs: int, export: Path | None) -> ClipTask:
    return dataclasses.replace(task, jobs=jobs, video=export and video_path(export, task).absolute())
