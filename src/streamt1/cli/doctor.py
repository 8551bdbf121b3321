"""``streamt1 doctor`` and ``streamt1 plan``: what would run here, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamt1.cli.errors import FAILED, reported
from streamt1.core.errors import ConfigError

Memory = Annotated[str | None, typer.Option(help="Plan for so much, such as 24GB, instead of what is free here.")]


@reported
def doctor(
    models: Annotated[Path | None, typer.Option(help="Folder of downloads; the hub's cache by default.")] = None,
    memory: Memory = None,
) -> None:
    """Say what this machine has, which presets would run, and what mends the others. Ends in 1 if pocket would not."""
    from streamt1.placement.doctor import examine
    from streamt1.placement.memory_plan import parse_size

    checks = list(examine(models, None if memory is None else parse_size(memory)))
    for check in checks:
        typer.echo(f"{'ok ' if check.fine else '-- '} {check.name:22} {check.found}")
        if check.mend:
            typer.echo(f"{'':26} {check.mend}")
    if not all(check.fine for check in checks if check.name in ("preset pocket", "torch", "av", "H.264")):
        raise typer.Exit(FAILED)


@reported
def plan(
    preset: Annotated[str, typer.Argument(help="A preset of Wan's models.")] = "longlive",
    memory: Memory = None,
    beam_size: Annotated[int | None, typer.Option(help="Candidates per beam and chunk.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Beams that survive a chunk.")] = None,
) -> None:
    """Print what a preset needs of a device, part by part, and where each part would be."""
    from streamt1.config.load import load_config
    from streamt1.placement.memory_plan import plan_memory

    sizes = {"search.beam_size": beam_size, "search.top_k": top_k}
    config = load_config(preset, {key: value for key, value in sizes.items() if value is not None})
    made = plan_memory(config, free_memory(memory))
    typer.echo("\n".join(made.lines()))
    for key, value in made.placement.model_dump().items():
        typer.echo(f"  placement.{key} = {value}")
    typer.echo(f"  search.candidate_batch = {made.candidate_batch}")


def free_memory(text: str | None) -> float:
    """Bytes that a user named, or that are free on the device. Raises ``ConfigError`` where there is none."""
    import torch

    from streamt1.placement.memory_plan import parse_size

    if text is not None:
        return parse_size(text)
    if not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device here; say for how much to plan, as in --memory 24GB")
    return torch.cuda.mem_get_info()[0]
