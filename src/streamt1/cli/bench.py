"""``streamt1 bench``: what a search costs beyond its model passes."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from streamt1.cli.errors import reported
from streamt1.core.errors import UnknownNameError

QUESTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "overhead": tuple({"name": name, "width": width} for name in ("pocket", "random") for width in (2, 4)),
    "naive_twin": ({}, {"name": "wan-small", "chunks": 14}, {"name": "wan-small", "chunks": 14, "lean": True}),
    "growth": ({},),
    "width": ({"threads": 1}, {"threads": 2}),
    "memory": ({},),
    "host": ({},),
    "passes": ({},),
    "phases": ({"device": 80}, {"device": 24}, {"device": 12}),
    "gpu": ({}, {"compile": True}, {"policy": "beam"}),
    "cheaper": ({},),
    "switch": ({},),
    "length": ({"policy": "greedy"}, {}),
    "packets": ({},),
    "pages": ({},),
    "heads": ({},),
    "reuse": ({"preset": "pocket"}, {"preset": "pocket-euler"}),
    "devices": ({},),
    "reward_devices": ({},),
}
"""Modules of ``streamt1.bench``, and the settings that each is asked at."""


@reported
def bench(
    question: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(QUESTIONS)}; all by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
    write: Annotated[
        Path | None,
        typer.Option(help="Folder for charts and numbers: of devices, reward_devices, heads and reuse."),
    ] = None,
) -> None:
    """Measure, as ratios within one run: overhead, slow twin, growth, width, memory, host, cheaper ways, new
    scenes, long runs, packets, pages in fewer bits, heads without a past, reuse.

    Passes and phases are counted at full size on a GPU that is not there; gpu is measured on one, with random weights,
    and left out where there is none. Devices are simulated: processes on Ray that
    sleep, for some minutes.
    """
    answers: dict[str, list[dict[str, Any]]] = {}
    for name in question or QUESTIONS:
        if name not in QUESTIONS:
            raise UnknownNameError("question", name, QUESTIONS)
        module = import_module(f"streamt1.bench.{name}")
        if not question and hasattr(module, "possible") and not module.possible():
            continue
        with redirect_stdout(sys.stderr):  # Ray says there what it thinks of many processes
            answers[name] = [module.measure(**settings) for settings in QUESTIONS[name]]
        if write is not None and hasattr(module, "write"):
            module.write(answers[name], write)
        if not as_json:
            typer.echo(f"{name}:")
            for row in answers[name]:
                typer.echo("  " + "  ".join(f"{key} {_short(value)}" for key, value in row.items()))
    if as_json:
        typer.echo(json.dumps({name: rows if len(rows) > 1 else rows[0] for name, rows in answers.items()}, indent=2))


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + " ".join(f"{key} {_short(inner)}" for key, inner in value.items()) + ")"
    if isinstance(value, list):
        return "".join(f"\n    {_short(inner)}" for inner in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
