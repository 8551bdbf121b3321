"""``streamt1 card``: the numbers of pocket's model card, measured again."""

from __future__ import annotations

import functools
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from streamt1.cli.errors import reported
from streamt1.cli.prompts import read_prompts
from streamt1.core.files import whole_file

SHOWN = 14
STORIES = 8
"""Videos of six scenes that a sheet of stories shows."""


@reported
def card(
    preset: Annotated[str, typer.Argument(help="A preset of the pocket model.")] = "pocket",
    count: Annotated[int, typer.Option(min=1, help="How many held-out prompts.")] = 64,
    prompts: Annotated[Path | None, typer.Option(help="A file with one prompt per line, instead.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32, help="Of worlds and runs.")] = 0,
    long: Annotated[bool, typer.Option(help="Also clips of 30 s, which take most of the time.")] = True,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that share the work, each with its own models.")] = 1,
    sheet: Annotated[Path | None, typer.Option(help="Draw the first samples into this PNG file, and stop.")] = None,
    stories: Annotated[
        bool, typer.Option("--stories", help="Videos of several scenes, instead: switches and returns.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Measure a pocket model with the oracle: samples, search gains with intervals, rewards, speed."""
    from streamt1.config.load import load_config
    from streamt1.evaluation.card import draw_samples, measure_card
    from streamt1.evaluation.card_stories import SINKLESS, draw_stories, measure_stories
    from streamt1.evaluation.pool import open_pool
    from streamt1.pocket.scenes import evaluation_scenes, parse

    scenes = [parse(prompt) for prompt in read_prompts(prompts)] if prompts else evaluation_scenes(count)
    lengths = (5, 30) if long else (5,)
    with ExitStack() as stack:
        pool = stack.enter_context(open_pool(load_config(preset), jobs))
        if sheet is not None:
            with whole_file(sheet) as part:
                drawn = draw_stories(pool, STORIES, seed) if stories else draw_samples(pool, scenes[:SHOWN], seed)
                drawn.save(part, format="PNG")
            return
        log = functools.partial(typer.echo, err=True)
        if stories:
            sinkless = stack.enter_context(open_pool(load_config(preset, SINKLESS), jobs))
            measured = measure_stories(pool, sinkless, count, seed, log)
        else:
            measured = measure_card(pool, scenes, seed, lengths, log)
    typer.echo(json.dumps(measured, indent=2) if as_json else "\n".join(_lines(measured)))


def _lines(measured: dict[str, Any]) -> list[str]:
    """One line per number; intervals in brackets."""
    lines = []
    for name, value in measured.items():
        if not isinstance(value, dict):
            lines.append(f"{name:24} {value:.3f}")
            continue
        if "mean" in value:
            lines.append(f"{name:24} {_interval(value)}")
        for part, inner in value.items():
            if part not in ("mean", "low", "high", "n"):
                text = _interval(inner) if isinstance(inner, dict) else f"{inner:.3f}"
                lines.append(f"  {part:22} {text}")
    return lines


def _interval(value: dict[str, float]) -> str:
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}] over {value['n']}"
