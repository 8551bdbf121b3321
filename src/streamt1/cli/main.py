"""``streamt1``: where commands come together. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 and 143 by a signal."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from streamt1.cli.bench import bench
from streamt1.cli.card import card
from streamt1.cli.doctor import doctor, plan
from streamt1.cli.download import download
from streamt1.cli.errors import FAILED, reported
from streamt1.cli.evaluate import evaluate, score
from streamt1.cli.extend import extend
from streamt1.cli.generate import generate
from streamt1.cli.outlets import close_outlets, open_outlets
from streamt1.cli.report import report
from streamt1.cli.resume import pack, replay, resume
from streamt1.cli.serve import serve
from streamt1.cli.train import train
from streamt1.cli.worth import worth

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Test-time scaling for streaming video generation.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(metadata.version("streamt1"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Test-time scaling for streaming video generation."""


@app.command()
@reported
def presets() -> None:
    """List the presets."""
    from streamt1.config.load import load_config, preset_names

    width = max(map(len, preset_names()))
    for name in preset_names():
        typer.echo(f"{name:{width}}  {load_config(name).about}")


app.command()(generate)
app.command()(extend)
app.command()(resume)
app.command()(pack)
app.command()(replay)
app.command()(report)
app.command()(serve)
app.command()(train)
app.command()(card)
app.command()(download)
app.command()(plan)
app.command()(doctor)
app.command()(bench)
app.command()(evaluate)
app.command()(worth)
app.command()(score)


def main() -> None:
    """The console script."""
    open_outlets()
    try:
        app()
    finally:
        lost = close_outlets()
        if lost:
            typer.echo(f"error: standard output could not be written: {lost}", err=True)
            raise SystemExit(FAILED)
