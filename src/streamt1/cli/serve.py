"""``streamt1 serve``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streamt1.cli.devices import RAY
from streamt1.cli.errors import reported
from streamt1.core.errors import ConfigError, needs_extra

if TYPE_CHECKING:
    from streamt1.config.schema import RunConfig
    from streamt1.server.models import LoadedPresets

KEY = "STREAMT1_API_KEY"


@reported
def serve(
    preset: Annotated[list[str] | None, typer.Option(help="To serve, the default first; repeat it for more.")] = None,
    host: Annotated[str, typer.Option(help="Beyond loopback a key is needed, in STREAMT1_API_KEY.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Of the server.", min=0, max=65535)] = 8000,
    device: Annotated[list[str] | None, typer.Option(help="One worker each; repeat it. auto by default.")] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="So many devices (Ray), of which every video takes some, or all.")
    ] = None,
    devices_per_job: Annotated[
        int | None, typer.Option(min=1, help="Devices of a video that does not say how many; all by default.")
    ] = None,
    ray: RAY = None,
    data: Annotated[Path, typer.Option(help="Folder of jobs and videos.")] = Path("outputs/server"),
    queue: Annotated[int, typer.Option(help="Videos that may wait.", min=1)] = 10,
    max_prompt: Annotated[int, typer.Option(help="Characters of a prompt.", min=1)] = 4000,
    max_seconds: Annotated[float, typer.Option(help="Length of a video.", min=0.1)] = 60.0,
    max_width: Annotated[int, typer.Option(help="Candidates of a chunk: beam size times top k.", min=1)] = 16,
    keep: Annotated[str | None, typer.Option(help="How long done videos are kept, as 30d or 12h; for ever.")] = None,
    keep_gb: Annotated[
        float | None, typer.Option(help="Most that all done videos may take; those that were done first go first.")
    ] = None,
    min_free_gb: Annotated[
        float, typer.Option(help="Free room on the disk below which no video is taken on.", min=0)
    ] = 0.5,
    linger: Annotated[str, typer.Option(help="How long an endless stream goes on unviewed, as 60s or 5m.")] = "60s",
    hostname: Annotated[list[str] | None, typer.Option(help="Name behind a proxy; repeat it. Wants a key.")] = None,
    keys: Annotated[Path | None, typer.Option(help="File of API keys, with limits of their own; YAML or JSON.")] = None,
    cors_origin: Annotated[list[str] | None, typer.Option(help="Site whose pages may ask; repeat it.")] = None,
    webhook: Annotated[
        str | None, typer.Option(help="Address that is told of every video that ends; STREAMT1_WEBHOOK_SECRET signs.")
    ] = None,
    log_format: Annotated[Literal["text", "json"], typer.Option(help="Of the log, on stderr.")] = "text",
    models: Annotated[Path | None, typer.Option(help="Folder of downloads; the hub's cache by default.")] = None,
    memory: Annotated[str | None, typer.Option(help="Plan for so much of each device, as 24GB; all of it.")] = None,
) -> None:
    """Serve videos over HTTP, as OpenAI's Videos API does, with a live page at /. See docs/serving.md."""
    with needs_extra("serve", "streamt1 serve"):
        from streamt1.server.app import check_address, door_at, listen
        from streamt1.server.auth import check_origins
        from streamt1.server.keys import KeyFile
        from streamt1.server.limits import Limits, parse_age
        from streamt1.server.webhooks import SECRET, Hook
    key, origins = os.environ.get(KEY), cors_origin or []
    named = hostname or []
    check_address(host, bool(key) or keys is not None, named)
    check_origins(origins)
    hook = None if webhook is None else Hook.read(webhook, os.environ.get(SECRET))
    limits = Limits(
        max_prompt, max_seconds, max_width, queue, keep=None if keep is None else parse_age(keep),
        keep_bytes=None if keep_gb is None else keep_gb * 1e9, free=min_free_gb * 1e9,
        linger=parse_age(linger, "for a stream to be left alone"),
    )  # fmt: skip
    known = None if keys is None else KeyFile(keys, limits)
    names, places = preset or ["pocket"], device or ["auto"]
    shared = devices is not None or ray is not None
    if devices_per_job is not None and not shared:
        raise ConfigError("--devices-per-job is of the devices that --devices or --ray names; give one of them too")
    if shared and len(places) > 1:
        raise ConfigError("--devices and --ray name devices that videos share: give one --device at most with them")
    with door_at(host, port) as door:
        at = (data, limits, key, host, door, known, origins, hook, log_format, named)
        if not shared:
            listen(_on_each(names, places, models, memory), *at)
            return
        configs = {name: _config(name, places[0], models, memory) for name in names}
        with _over(configs, places[0], devices, ray, devices_per_job) as loaded:
            listen([loaded] * loaded.most, *at)


def _on_each(names: list[str], places: list[str], models: Path | None, memory: str | None) -> list[LoadedPresets]:
    """All presets on every device of this machine that is named."""
    from streamt1.core.devices import resolve_device
    from streamt1.server.models import LoadedPresets

    loaded = []
    for place in (str(resolve_device(one)) for one in places):
        configs = {name: _config(name, place, models, memory) for name in names}
        typer.echo(f"loading {', '.join(names)} on {place}", err=True)
        loaded.append(LoadedPresets.load(place, configs))
    return loaded


@contextmanager
def _over(
    configs: dict[str, RunConfig], device: str, count: int | None, address: str | None, usual: int | None = None
) -> Iterator[LoadedPresets]:
    """All presets, each on all devices: a process for every preset on every device. Raises what ``devices`` does."""
    from streamt1.distributed.devices import one_by_one, pool_of
    from streamt1.distributed.ray_hosts import ray_hosts
    from streamt1.server.shared import SharedPresets, check_share

    def check_usual(most: int) -> None:
        for name, config in configs.items() if usual is not None else ():
            least = most if config.placement.reward_devices else 1
            check_share("--devices-per-job", usual or 0, most, name, least)

    configs = {name: one_by_one(config) for name, config in configs.items()}
    if count is not None:
        check_usual(count)
    with ray_hosts(count, address, device, len(configs)) as hosts:
        check_usual(hosts.count)
        where = f"{hosts.count} x {hosts.device}"
        typer.echo(f"loading {', '.join(configs)} on {where}", err=True)
        with pool_of(hosts, configs) as pool:
            yield SharedPresets(where, configs, pool, usual)


def _config(name: str, device: str, models: Path | None, memory: str | None) -> RunConfig:
    """A preset on a device."""
    from streamt1.config.load import load_config

    named = {"models": str(models) if models else None, "device_memory": memory}
    return load_config(name, {"device": device, **{key: value for key, value in named.items() if value is not None}})
