"""``streamt1 resume`` and ``streamt1 replay``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streamt1.cli.devices import DEVICES, RAY, loaded
from streamt1.cli.errors import FAILED, reported
from streamt1.cli.progress import ProgressView
from streamt1.cli.run_one import Options, run_one
from streamt1.cli.signals import stopping
from streamt1.core.errors import OutputError
from streamt1.pipeline.run_files import BASELINE, SUMMARY, stored_summary

RUN = Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)]
MODELS = Annotated[Path | None, typer.Option(help="Folder of downloads, where it is not where it was.")]


@reported
def resume(
    run: RUN,
    models: MODELS = None,
    devices: DEVICES = None,
    ray: RAY = None,
    page: Annotated[bool, typer.Option("--report/--no-report", help="Also report.html.")] = True,
) -> None:
    """Go on with a run that was stopped or killed, from its last chunk: the same video as without the stop."""
    from streamt1.pipeline.asked import Asked

    summary = stored_summary(run)
    if summary is None:
        raise OutputError(_no_run(run))
    _check_no_baseline(run)
    asked = Asked.of(summary, run / SUMMARY)
    options = Options(compare=summary.get("compare") is True, page=page)
    config = asked.config.model_copy(update={"models": str(models)} if models else {})
    with stopping() as stop, loaded(config, devices, ray) as pipeline:
        asked = pipeline.asked(asked.scenes, None, asked.seed)
        stop.running = True
        run_one(pipeline, Console(markup=False, emoji=False), asked, run, options, stop)


def _no_run(folder: Path) -> str:
    """Why a folder cannot be gone on with that has no ``run.json``, and what can."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    several = sorted(path.parent.name for path in folder.glob(f"*/{SUMMARY}"))
    if several:
        return (
            f"{folder} holds {len(several)} runs, not one: go on with one of them, as streamt1 resume"
            f" {folder / several[0]}, or with all by the same generate command"
        )
    return f"{folder} holds no run that can be gone on with: there is no {SUMMARY}"


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
