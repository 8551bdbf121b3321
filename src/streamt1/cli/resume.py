"""``streamt1 resume``, ``streamt1 pack`` and ``streamt1 replay``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from streamt1.cli.devices import DEVICES, RAY, REBUILD, check_one_device, in_four_bits, loaded
from streamt1.cli.errors import FAILED, reported
from streamt1.cli.progress import ProgressView
from streamt1.cli.run_one import PACK, Options, run_one
from streamt1.cli.signals import stopping
from streamt1.core.errors import ConfigError, OutputError
from streamt1.core.words import counted
from streamt1.pipeline.run_files import BASELINE, SUMMARY, is_finished, stored_summary

if TYPE_CHECKING:
    from streamt1.pipeline.packet import Packet

RUN = Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)]
MODELS = Annotated[Path | None, typer.Option(help="Folder of downloads, where it is not where it was.")]


@reported
def resume(
    run: RUN,
    models: MODELS = None,
    devices: DEVICES = None,
    ray: RAY = None,
    rebuild: REBUILD = None,
    packet: Annotated[
        Path | None, typer.Option(help="Of `streamt1 pack` or --pack: memory comes from it, and is not made again.")
    ] = None,
    pack: PACK = False,
    page: Annotated[bool, typer.Option("--report/--no-report", help="Also report.html.")] = True,
) -> None:
    """Go on with a run that was stopped or killed, from its last chunk: the same video as without the stop."""
    from streamt1.pipeline.asked import Asked

    check_one_device(packet is not None or pack, devices, ray)
    summary = _summary(run)
    asked = Asked.stored(summary, run)
    taken = None if packet is None else _packet(packet)
    four_bits = in_four_bits(rebuild) or (taken is not None and taken.bits is not None)
    compare = summary.get("compare") is True
    options = Options(compare=compare, page=page, packet=taken, pack=pack, four_bits=four_bits)
    config = asked.config.model_copy(update={"models": str(models)} if models else {})
    if (devices is not None or ray is not None) and config.search.candidate_batch != 1:
        raise ConfigError(
            f"{run} was begun on one device, which computes candidates together and so rounds otherwise than several"
            " do: go on without --devices and --ray"
        )
    with stopping() as stop, loaded(config, devices, ray, rebuild) as pipeline:
        asked = pipeline.asked(asked.scenes, None, asked.seed, given=asked.given)
        stop.running = True
        run_one(pipeline, Console(markup=False, emoji=False), asked, run, options, stop)


@reported
def pack(
    run: RUN,
    out: Annotated[
        Path | None, typer.Option(help="A file NAME.safetensors; by default in the run's checkpoint.")
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(help="4 makes memory a third as large (of 16 bits); the video then is another one."),
    ] = None,
    models: MODELS = None,
) -> None:
    """Pack a run that was stopped, to go on with it on another machine without making its memory again.

    Copy the run's folder and the file, then: streamt1 resume RUN --packet FILE. A run that is made with --pack leaves
    its packet itself where it is stopped.
    """
    from streamt1.pipeline.asked import Asked
    from streamt1.pipeline.packing import check_packable, pack_run
    from streamt1.pipeline.pipeline import Pipeline

    summary = _summary(run)
    asked = Asked.stored(summary, run)
    check_packable(run, summary, asked.config.memory, out, bits)
    pipeline = Pipeline(asked.config.model_copy(update={"models": str(models)} if models else {}))
    asked = pipeline.asked(asked.scenes, None, asked.seed, given=asked.given)
    options = {name: summary[name] for name in ("compare", "four_bits") if name in summary}
    path, snapshot = pack_run(pipeline, run, asked, options, out, bits)
    chunk = counted(snapshot.metadata["chunk"], "chunk")
    typer.echo(
        f"{path}: {snapshot.nbytes / 1e6:.1f} MB after {chunk}; go on with: streamt1 resume {run} --packet {path}"
    )


def _summary(run: Path) -> dict[str, Any]:
    """The ``run.json`` of a run that can be gone on with by itself. Raises ``OutputError``."""
    summary = stored_summary(run) if run.is_dir() else None
    if summary is None:
        raise OutputError(_no_run(run))
    _check_no_baseline(run)
    return summary


def _packet(path: Path) -> Packet:
    """Raises ``CheckpointError`` for a file that is no packet, before models are loaded."""
    from streamt1.pipeline.packet import Packet

    return Packet.read(path)


def _no_run(folder: Path) -> str:
    """Why a folder cannot be gone on with that has no ``run.json``, and what can."""
    if not folder.is_dir():
        return f"{folder} is a file, not the folder of a run" if folder.exists() else f"there is no folder {folder}"
    several = sorted(path.parent for path in folder.glob(f"*/{SUMMARY}"))
    if several:
        begun = [run for run in several if _is_begun(run)]
        what = (
            f"go on with one of them, as streamt1 resume {begun[0]}"
            if begun
            else "none of them waits to be gone on with"
        )
        return f"{folder} holds {len(several)} runs, not one: {what}"
    return f"{folder} holds no run that can be gone on with: there is no {SUMMARY}"


def _is_begun(run: Path) -> bool:
    """Whether a run has not come to its end; not so of what cannot be read."""
    try:
        summary = stored_summary(run)
    except OutputError:
        return False
    return summary is not None and not is_finished(summary)


def _check_no_baseline(run: Path) -> None:
    """Raises ``OutputError`` for the plain sample of a comparison, which is made as a part of it."""
    whole = run.resolve().parent
    if run.resolve().name != BASELINE or not (whole / SUMMARY).is_file():
        return
    summary = stored_summary(whole)
    if summary is not None and summary.get("compare") is True:
        raise OutputError(f"{run} is the plain sample of another run; go on with that one: streamt1 resume {whole}")


@reported
def replay(run: RUN, models: MODELS = None) -> None:
    """Make a finished run again, and compare latents, frames and every decision; exit code 1 where they differ."""
    from streamt1.pipeline.pipeline import Pipeline
    from streamt1.pipeline.replay import finished_run
    from streamt1.pipeline.replay import replay as made_again

    asked, summary = finished_run(run)
    pipeline = Pipeline(asked.config.model_copy(update={"models": str(models)} if models else {}))
    with ProgressView(Console(markup=False, emoji=False), "replay") as view:
        differences = made_again(pipeline, run, asked, summary, view)
    for difference in differences:
        typer.echo(difference)
    if differences:
        raise typer.Exit(FAILED)
    numbers = (
        "latents, frames and trace" if summary.get("digests") else "trace (older runs and endless ones keep no digests)"
    )
    typer.echo(f"{run}: the same {numbers}, bit for bit")
