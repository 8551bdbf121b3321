"""``streamt1 doctor`` and ``streamt1 plan``: what would run here, and how."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamt1.cli.errors import FAILED, reported
from streamt1.cli.settings import read_settings
from streamt1.core.errors import ConfigError

if TYPE_CHECKING:
    from streamt1.families.family import Holds
    from streamt1.placement.trial import Step

Memory = Annotated[str | None, typer.Option(help="Plan for so much, such as 24GB, instead of what is free here.")]


@reported
def doctor(
    models: Annotated[Path | None, typer.Option(help="Folder of downloads; the hub's cache by default.")] = None,
    memory: Memory = None,
    trial: Annotated[bool, typer.Option("--try", help="Load a preset and do each kind of its work once.")] = False,
    preset: Annotated[str | None, typer.Option(help="With --try: a preset or a YAML file; pocket by default.")] = None,
    device: Annotated[str | None, typer.Option(help="With --try: auto, cpu, cuda or cuda:N.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="With --try: any config key.")
    ] = None,
) -> None:
    """Say what this machine has, which presets would run, and what mends the others. Ends in 1 if pocket would not.

    With --try, before the first video: loads a preset's own files on the device, encodes a prompt, denoises, commits,
    decodes and scores over a full memory, and says of each what it took. Ends in 1 if any of it fails.
    """
    from streamt1.placement.doctor import examine
    from streamt1.placement.memory_plan import parse_size

    available = None if memory is None else parse_size(memory)
    if trial:
        named = {"models": str(models) if models else None, "device": device, "device_memory": memory}
        return _try_out(preset or "pocket", {**read_settings(setting or []), **_given(named)})
    if preset or device or setting:
        raise ConfigError("--preset, --device and --set say what to try; add --try")
    checks = list(examine(models, available))
    for check in checks:
        typer.echo(f"{'ok ' if check.fine else '-- '} {check.name:22} {check.found}")
        if check.mend:
            typer.echo(f"{'':26} {check.mend}")
    if not all(check.fine for check in checks if check.name in ("preset pocket", "torch", "av", "H.264")):
        raise typer.Exit(FAILED)


def _given(named: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in named.items() if value is not None}


def _try_out(preset: str, settings: dict[str, Any]) -> None:
    """Prints each step of a trial as soon as it is done. Raises ``typer.Exit`` where one has a problem."""
    from streamt1.config.load import load_config
    from streamt1.placement.trial import Trial, chunk_seconds

    typer.echo(f"    {preset:14}{'seconds':>9}{'first':>9}{'peak GB':>9}{'plan GB':>9}  finite  of")
    done: list[Step] = []
    for step in Trial(load_config(preset, settings)).steps():
        done.append(step)
        typer.echo(_line(step))
    if done[-1].problem:
        typer.echo(f"    {done[-1].problem}")
        raise typer.Exit(FAILED)
    typer.echo(f"a chunk of a search takes about {chunk_seconds(done):.2f} s once its memory is full")


def _line(step: Step) -> str:
    first = "" if step.first is None else f"{step.first:.3f}"
    plan = "" if step.planned is None else f"{step.planned / 1e9:.2f}"
    finite = "" if step.finite is None else "yes" if step.finite else "NO"
    row = f"{step.name:14}{step.seconds:9.3f}{first:>9}{step.peak / 1e9:9.2f}{plan:>9}  {finite:6}  {step.note}"
    return f"{'-- ' if step.problem else 'ok '} {row}".rstrip()


@reported
def plan(
    preset: Annotated[str, typer.Argument(help="A preset of Wan's models.")] = "longlive",
    memory: Memory = None,
    host_memory: Annotated[str | None, typer.Option(help="The same of the host, such as 64GB.")] = None,
    beam_size: Annotated[int | None, typer.Option(help="Candidates per beam and chunk.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Beams that survive a chunk.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any config key, as wan.height=320.")
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="One line for each usual size of a device.")] = False,
) -> None:
    """Print what a preset needs of a device and of the host, part by part, and where each part would be."""
    from streamt1.config.load import load_config
    from streamt1.placement.memory_plan import advice, plan_memory, room_for
    from streamt1.placement.plan_table import plan_table

    if table and (memory or host_memory):
        raise ConfigError("--table is for devices of the usual sizes: leave out --memory and --host-memory, or --table")
    named = {
        "search.beam_size": beam_size, "search.top_k": top_k, "device_memory": memory, "host_memory": host_memory
    }  # fmt: skip
    config = load_config(preset, {**read_settings(setting or []), **_given(named)})
    if table:
        typer.echo("\n".join(plan_table(config)))
        return
    room = room_for(config)
    if room.device is None:
        raise ConfigError("there is no CUDA device here; say for how much to plan, as in --memory 24GB")
    if memory is not None and host_memory is None:  # some other machine is meant
        room = replace(room, host=math.inf)
    kinds: list[tuple[Holds, str]] = [("all", "")]
    if config.placement.reward_devices:
        kinds = [("generator", "a device that generates:"), ("rewards", "a device of the rewards:")]
    for holds, title in kinds:
        made = plan_memory(config, room, holds)
        typer.echo("\n".join([title, *made.lines()] if title else made.lines()))
        for key, value in made.placement.model_dump().items():
            typer.echo(f"  placement.{key} = {value}")
        typer.echo(f"  search.candidate_batch = {made.candidate_batch}")
        if said := advice(config, made, holds):
            typer.echo(f"  {said}")
