"""``streamt1 bench``: what a search costs beyond its model passes."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from streamt1.bench import cheaper, growth, memory, naive_twin, overhead, width
from streamt1.cli.errors import reported
from streamt1.core.errors import UnknownNameError


def _overhead() -> list[dict[str, Any]]:
    return [overhead.measure(name, wide) for name in ("pocket", "random") for wide in (2, 4)]


def _width() -> list[dict[str, Any]]:
    return [width.measure("pocket", threads) for threads in (1, 2)]


QUESTIONS = {
    "overhead": _overhead,
    "naive_twin": naive_twin.measure,
    "growth": growth.measure,
    "width": _width,
    "memory": memory.measure,
    "cheaper": cheaper.measure,
}


@reported
def bench(
    question: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(QUESTIONS)}; all by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Measure, as ratios within one run: overhead, slow twin, growth with length, width, memory, cheaper searches."""
    answers: dict[str, Any] = {}
    for name in question or QUESTIONS:
        if name not in QUESTIONS:
            raise UnknownNameError("question", name, QUESTIONS)
        answers[name] = QUESTIONS[name]()
        if not as_json:
            typer.echo(f"{name}:")
            for row in answers[name] if isinstance(answers[name], list) else [answers[name]]:
                typer.echo("  " + "  ".join(f"{key} {_short(value)}" for key, value in row.items()))
    if as_json:
        typer.echo(json.dumps(answers, indent=2))


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + " ".join(f"{key} {_short(inner)}" for key, inner in value.items()) + ")"
    if isinstance(value, list):
        return "".join(f"\n    {_short(inner)}" for inner in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
