"""``streamt1 report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamt1.cli.errors import reported


@reported
def report(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.", metavar="RUN", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="The page's file; report.html in RUN by default.")] = None,
) -> None:
    """Write the page of a run: one HTML file with its videos, candidates, scores, memory and cost. Needs no network."""
    from streamt1.report import write_report

    path = write_report(run, out)
    typer.echo(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
