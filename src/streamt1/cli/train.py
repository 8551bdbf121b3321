"""``streamt1 train``: makes the pocket model again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from streamt1.cli.errors import reported
from streamt1.core.errors import Cancelled, ConfigError, UnknownNameError
from streamt1.core.stopping import SIGNALLED, Stop, on_signals

LARGEST_SEED = 10**11
"""Steps are drawn from ``seed * 10**7 + step``, which must fit into 64 bits."""


@reported
def train(
    stage: Annotated[str, typer.Argument(help="world, vae, dit, distill or rewards.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and logs.")] = Path("runs"),
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="Budget; the recipe's own by default."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="Stop after so many steps.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Clips per step.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of data and weights.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "cpu",
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in --out.")] = True,
    warm: Annotated[bool, typer.Option("--warm", help="Start from the bundled weights.")] = False,
    reward_weight: Annotated[
        float, typer.Option(help="Distillation: weight each rollout by exp(this * its reward), as Stream-R1 does.")
    ] = 0.0,
    save_every: Annotated[float, typer.Option(min=0, help="Seconds from one checkpoint to the next.")] = 60.0,
    export: Annotated[bool, typer.Option("--export", help="Write the weights into the package at the end.")] = False,
) -> None:
    """Train one stage of the pocket model. SIGTERM and Ctrl-C save it first."""
    stop = Stop()
    try:
        with on_signals(stop):
            from streamt1.core.devices import resolve_device
            from streamt1.training import RECIPE_MINUTES, STAGES, TrainOptions

            if stage not in STAGES:
                raise UnknownNameError("stage", stage, STAGES)
            if minutes is not None and not math.isfinite(minutes):
                raise ConfigError(f"--minutes {minutes} must be a finite number")
            if not math.isfinite(reward_weight):
                raise ConfigError(f"--reward-weight {reward_weight} must be a finite number")
            device = str(resolve_device(device))
            if minutes is None and steps is None:
                minutes = RECIPE_MINUTES.get(stage)
            options = TrainOptions(
                out / stage, minutes, steps, batch, seed, device, resume, export, warm, reward_weight, typer.echo,
                save_every, stop,
            )  # fmt: skip
            STAGES[stage](options)
    except Cancelled as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(SIGNALLED + (stop.signal or 0)) from error
