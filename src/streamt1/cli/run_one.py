"""One run of the command line, into a folder of its own: begun, gone on with, or found finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from streamt1.cli.progress import ProgressView
from streamt1.cli.signals import Stopping
from streamt1.core.errors import DiskFullError, OutputError, Stopped
from streamt1.core.words import counted
from streamt1.pipeline.run_files import (
    BASELINE,
    COMPARISON,
    REPORT,
    SHEET,
    SUMMARY,
    TRACE,
    VIDEO,
    check_free,
    has_checkpoint,
    is_finished,
    same_video,
    stored_summary,
    tidy,
)

if TYPE_CHECKING:
    from streamt1.pipeline.asked import Asked
    from streamt1.pipeline.packet import Packet
    from streamt1.pipeline.pipeline import Pipeline
    from streamt1.pipeline.run import Run
    from streamt1.pipeline.run_folder import RunFolder

PACK = Annotated[
    bool, typer.Option("--pack", help="Where it is stopped, leave its memory in the folder: resume --packet needs it.")
]
Standing = Literal["free", "unfinished", "finished", "other"]
DEFAULT = Path("outputs")


@dataclass(frozen=True)
class Options:
    """What a command wants besides the video.

    Attributes:
        compare: also one plain sample, and both side by side.
        page: also a report.
        fresh: delete what an earlier run has left in the folder.
        packet: to take memory from, in place of a replay.
        pack: leave such a file where the run is stopped.
        four_bits: memory may travel in four bits, which ``run.json`` tells from then on.
    """

    compare: bool = False
    page: bool = True
    fresh: bool = False
    packet: Packet | None = None
    pack: bool = False
    four_bits: bool = False

    def told(self, path: Path) -> dict[str, Any]:
        """Words of the ``run.json`` in a folder. Raises ``OutputError`` where that cannot be read."""
        before = None if self.fresh else stored_summary(path)
        four_bits = self.four_bits or (before is not None and before.get("four_bits") is True)
        return {"compare": self.compare, **({"four_bits": True} if four_bits else {})}


def standing(path: Path, asked: Asked, compare: bool) -> tuple[Standing, str]:
    """What is in a folder, seen from a run that would be written there; for another's, also what it is."""
    try:
        summary = stored_summary(path)
        if summary is None:
            check_free(path)
            return "free", ""
    except OutputError as error:
        return "other", str(error)
    different = asked.difference(summary)
    if different is None and "compare" in summary and (summary["compare"] is True) != compare:
        different = "with --compare" if not compare else "without --compare"
    if different is not None:
        told = f"{path} holds another run ({different}); give another --out, or --fresh to delete it and begin anew"
        return "other", told
    done = is_finished(summary) and (path / (COMPARISON if compare else VIDEO)).exists()
    return ("finished" if done else "unfinished"), ""


def default_folder(suits: Callable[[Path], bool]) -> Path:
    """``outputs``, or the first of ``outputs-2``, ``outputs-3``, ... that suits; says so where it is another."""
    found, number = DEFAULT, 1
    while not suits(found):
        number += 1
        found = DEFAULT.with_name(f"{DEFAULT.name}-{number}")
    if found != DEFAULT:
        typer.echo(f"{DEFAULT} holds something else; this run goes to {found}", err=True)
    return found


def run_one(
    pipeline: Pipeline, console: Console, asked: Asked, path: Path, options: Options, stopping: Stopping
) -> None:
    """Makes one video, or says that it is there.

    Raises:
        OutputError: the folder holds another run, or cannot be written.
        Stopped: by a signal; what is there can be gone on with.
        StreamT1Error: what the run raises.
    """
    from streamt1.pipeline.run import write_comparison
    from streamt1.pipeline.run_folder import run_folder

    console.print(asked.prompt, style="bold", highlight=False, markup=False)
    found = "free" if options.fresh else standing(path, asked, options.compare)[0]
    if found == "finished":
        for folder in (path, path / BASELINE):
            tidy(folder)
        told = f"  is finished in {path}; generate makes it again with --fresh"
        console.print(told, highlight=False, markup=False, soft_wrap=True)
        _report(path, options, missing=True)
        return
    fps = pipeline.models.decoder.fps
    with _advised(path), ExitStack() as stack:
        folders = (options.fresh, options.compare, options.told(path), options.packet, options.pack)
        main = stack.enter_context(run_folder(path, asked, fps, *folders))
        if options.compare:
            plain = pipeline.asked(asked.scenes, None, asked.seed, "greedy", given=asked.given)
            below = path / BASELINE
            folder = stack.enter_context(run_folder(below, plain, fps, _spent(below, plain), True))
            baseline = _recorded(pipeline, console, "one sample", plain, folder, stopping, path)
        run = _recorded(pipeline, console, asked.config.policy, asked, main, stopping, path)
        if options.compare:
            folder.check_there()
            write_comparison(run, baseline, path)
    _report(path, options)
    _sum_up(console, run, path, options)


@contextmanager
def _advised(path: Path) -> Iterator[None]:
    """Says how a run that the disk had no room for is gone on with."""
    try:
        yield
    except DiskFullError as error:
        raise DiskFullError(f"{error}; make room, then: streamt1 resume {path}") from error


def _spent(baseline: Path, plain: Asked) -> bool:
    """Whether this plain sample is finished, and cannot be compared with any more: its numbers are gone."""
    summary = stored_summary(baseline)
    if summary is None or plain.difference(summary) is not None:
        return False
    return is_finished(summary) and not has_checkpoint(baseline)


def _recorded(
    pipeline: Pipeline, console: Console, title: str, asked: Asked, folder: RunFolder, stopping: Stopping, told: Path
) -> Run:
    from streamt1.pipeline.stream import Stream
    from streamt1.search.watcher import Watchers

    if folder.resumed:
        typer.echo(f"going on with {folder.path} after {counted(folder.resumed, 'chunk')}", err=True)
    try:
        with ProgressView(console, title, folder.resumed) as view:
            return Stream(pipeline.search(asked, folder, Watchers((view, stopping)))).finish()
    except Stopped as error:
        folder.close()
        frames, more = folder.video.frames, "" if folder.packed is None else f" --packet {folder.packed}"
        how = f"go on with: streamt1 resume {told}{more}"
        raise Stopped(f"{error} after {counted(frames, 'final frame')}; {how}") from error


def _report(path: Path, options: Options, missing: bool = False) -> None:
    if options.page and not (missing and (path / REPORT).exists()):
        from streamt1.report import write_report

        write_report(path)


def _sum_up(console: Console, run: Run, path: Path, options: Options) -> None:
    cost = run.result.cost
    made = counted(len(run.result.beam.lineage), "chunk") if run.result.endless else f"{len(run.pixels)} frames"
    lines = [
        f"{made} in {cost.seconds['total']:.1f} s: {cost.model_passes} model passes,"
        f" {cost.latents_decoded} latent frames decoded, {cost.reward_calls} reward calls"
    ]
    names = [REPORT] * options.page + [VIDEO] + [COMPARISON] * options.compare
    lines += [f"  {path / name}" for name in [*names, SHEET, TRACE, SUMMARY]]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def check_suits(path: Path, asked: Asked, options: Options) -> None:
    """Raises ``OutputError`` where a run cannot go to this folder, before any is begun."""
    if options.fresh and not (path / SUMMARY).is_file():
        check_free(path)
    if options.compare:
        _check_baseline(path, asked)
    found, told = standing(path, asked, options.compare)
    if found == "other" and not options.fresh:
        raise OutputError(told)


def _check_baseline(path: Path, asked: Asked) -> None:
    """Raises ``OutputError`` where the plain sample's folder holds something that is not of the run above it."""
    summary, below = stored_summary(path), stored_summary(path / BASELINE)
    if below is None:
        check_free(path / BASELINE)
    elif not same_video(below, asked.record()) and (summary or {}).get("compare") is not True:
        raise OutputError(f"{path / BASELINE} holds another run; give another folder for a comparison")
