"""``streamt1 download``: the weights of a preset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from streamt1.cli.errors import reported


@reported
def download(
    preset: Annotated[str, typer.Argument(help="A preset, such as longlive.")],
    to: Annotated[
        Path | None, typer.Option(help="A folder, instead of the hub's cache; then use --models DIR.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be fetched.")] = False,
) -> None:
    """Fetch what a preset needs: says first how much that is, goes on where it was cut off, checks what arrived.

    HF_ENDPOINT names a mirror of the hub, HF_TOKEN who asks, PIP_INDEX_URL a mirror of PyPI; with HF_HUB_OFFLINE it
    only says what is missing.
    """
    from streamt1.config.load import load_config
    from streamt1.hub.download import check_room, fetch, plan_download

    items = plan_download(load_config(preset).files, to, os.environ.get("PIP_INDEX_URL", ""))
    for item in items:
        note = "here already" if item.present else f"{item.size / 1e6:.1f} MB" if item.size else "size unknown"
        typer.echo(f"  {item.origin.repo or 'file'}  {item.name}  {note}")
    for licence in dict.fromkeys(item.origin.licence for item in items if item.origin.licence):
        typer.echo(f"  licence: {licence}")
    missing = check_room(items, to)
    typer.echo(f"{missing / 1e9:.2f} GB to fetch, {sum(item.size for item in items) / 1e9:.2f} GB in all")
    if dry_run:
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("downloading", total=missing or None)
        for item in items:
            if not item.present:
                progress.update(task, description=item.name)
                fetch(item, lambda size: progress.advance(task, size))
    typer.echo(f'done; generate with: streamt1 generate "..." --preset {preset}{f" --models {to}" if to else ""}')
