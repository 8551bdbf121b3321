"""``streamt1 serve``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamt1.cli.errors import reported
from streamt1.core.errors import needs_extra

if TYPE_CHECKING:
    from streamt1.config.schema import RunConfig

KEY = "STREAMT1_API_KEY"


@reported
def serve(
    preset: Annotated[list[str] | None, typer.Option(help="To serve, the default first; repeat it for more.")] = None,
    host: Annotated[str, typer.Option(help="Beyond loopback a key is needed, in STREAMT1_API_KEY.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Of the server.", min=0, max=65535)] = 8000,
    device: Annotated[list[str] | None, typer.Option(help="One worker each; repeat it. auto by default.")] = None,
    data: Annotated[Path, typer.Option(help="Folder of jobs and videos.")] = Path("outputs/server"),
    queue: Annotated[int, typer.Option(help="Videos that may wait.", min=1)] = 10,
    max_prompt: Annotated[int, typer.Option(help="Characters of a prompt.", min=1)] = 4000,
    max_seconds: Annotated[float, typer.Option(help="Length of a video.", min=0.1)] = 60.0,
    max_width: Annotated[int, typer.Option(help="Candidates of a chunk: beam size times top k.", min=1)] = 16,
    models: Annotated[Path | None, typer.Option(help="Folder of downloads; the hub's cache by default.")] = None,
    memory: Annotated[str | None, typer.Option(help="Plan for so much of each device, as 24GB; all of it.")] = None,
) -> None:
    """Serve videos over HTTP, as OpenAI's Videos API does, with a live page at /. See docs/serving.md."""
    with needs_extra("serve", "streamt1 serve"):
        from streamt1.core.devices import resolve_device
        from streamt1.server.app import check_address, listen
        from streamt1.server.limits import Limits
        from streamt1.server.models import LoadedPresets
    key = os.environ.get(KEY)
    check_address(host, key)
    limits = Limits(max_prompt, max_seconds, max_width, queue)
    names, devices = preset or ["pocket"], device or ["auto"]
    devices_loaded = []
    for place in (str(resolve_device(one)) for one in devices):
        configs = {name: _config(name, place, models, memory) for name in names}
        typer.echo(f"loading {', '.join(names)} on {place}", err=True)
        devices_loaded.append(LoadedPresets.load(place, configs))
    listen(devices_loaded, data, limits, key, host, port)


def _config(name: str, device: str, models: Path | None, memory: str | None) -> RunConfig:
    """A preset on a device."""
    from streamt1.config.load import load_config

    named = {"models": str(models) if models else None, "device_memory": memory}
    return load_config(name, {"device": device, **{key: value for key, value in named.items() if value is not None}})
