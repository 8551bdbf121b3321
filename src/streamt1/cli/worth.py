"""``streamt1 worth``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamt1.cli.errors import reported


@reported
def worth(
    results: Annotated[
        list[str],
        typer.Argument(help="Folders of evaluations; FOLDER:LENGTH takes one kind of its clips.", metavar="FOLDER..."),
    ],
    out: Annotated[Path, typer.Option(help="The picture, a PNG file.")],
) -> None:
    """Draw when a search is worth its cost: evaluations side by side, their gains over one sample against seconds.

    Reads the summary.json that `streamt1 evaluate` wrote. For instance:
    streamt1 worth results/short results/long:30 --out worth.png
    """
    from streamt1.core.files import write_whole
    from streamt1.evaluation.worth import read_panels, worth_png

    panels = read_panels(results)
    write_whole(out, worth_png(panels))
    typer.echo(f"{out}: {len(panels)} kinds of clips")
