"""When is a search worth its cost? Finished evaluations side by side, what each gained against what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, ValidationError

from streamt1.core.errors import ConfigError
from streamt1.core.json_text import JsonError, parse_json
from streamt1.evaluation.drawing import GREY, INTERVALS, headline
from streamt1.evaluation.figures import png
from streamt1.evaluation.labels import candidates, clips, colour, curves, label, scale, unit
from streamt1.evaluation.statistics import is_lone, told_apart
from streamt1.evaluation.summary import RIVALS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUMMARY = "summary.json"
SHOWN = ("best_of_n", "best_of_n_per_scene", "stream_t1")
"""Methods that are drawn; a panel with all of them has no room for more."""
ACROSS = 3
"""Panels side by side."""
_EQUAL = {rival: gain for gain, rival in RIVALS.items()}


class Panel(NamedTuple):
    """One kind of clips: its name, its judge, and budget -> method -> numbers, as in a summary."""

    title: str
    judge: str
    budgets: dict[str, Any]


_Budget = Annotated[str, StringConstraints(pattern=r"^[1-9]\d{0,5}x[1-9]\d{0,5}$")]


class _Gain(BaseModel):
    mean: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    n: int
    prompts: int | None = None


class _Cost(BaseModel):
    seconds: float = Field(gt=0, allow_inf_nan=False)
    model_passes: FiniteFloat


class _Numbers(BaseModel):
    """Of a method at a budget, what is drawn."""

    model_config = ConfigDict(extra="allow")
    cost: _Cost
    gain_over_greedy: _Gain | None = None
    gain_over_best_of_n_at_equal_cost: _Gain | None = None
    gain_over_best_of_n_per_scene_at_equal_cost: _Gain | None = None


class _Summary(BaseModel):
    judge: str
    lengths: dict[str, dict[_Budget, dict[str, _Numbers]]]


def read_panels(named: Sequence[str]) -> list[Panel]:
    """Of each ``FOLDER`` all its kinds of clips, of each ``FOLDER:LENGTH`` one, as ``results/pocket:5``.

    Kinds are named as in ``summary.json``; those without one sample of a method that is shown are left out.

    Raises:
        ConfigError: a folder has no summary that can be read, no clips of that length, or nothing to draw.
    """
    return [panel for name in named for panel in _read(name)]


def _read(name: str) -> Iterator[Panel]:
    folder, length = Path(name), ""
    if not folder.is_dir() and ":" in name:
        place, _, length = name.rpartition(":")
        folder = Path(place)
    summary = _parsed(folder / SUMMARY)
    if length and length not in summary.lengths:
        known = ", ".join(summary.lengths) or "none"
        raise ConfigError(f"{folder / SUMMARY} has no clips of length {length!r}; it has {known}")
    panels = [
        Panel(clips(key), summary.judge, found)
        for key, budgets in summary.lengths.items()
        if not length or key == length
        if (found := _drawable(budgets))
    ]
    if not panels:
        raise ConfigError(f"{folder / SUMMARY} has no search beside one sample, so that there is no gain to draw")
    yield from panels


def _parsed(path: Path) -> _Summary:
    try:
        return _Summary.model_validate(parse_json(path.read_bytes()))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}; `streamt1 evaluate` writes it") from error
    except JsonError as error:
        raise ConfigError(
            f"{path} is damaged ({error}); make it again with `streamt1 evaluate --report-only`"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path} is no summary of an evaluation ({place}: {first['msg']})") from error


def _drawable(budgets: dict[str, dict[str, _Numbers]]) -> dict[str, Any]:
    """One sample and the methods that are shown, as plain numbers; empty where either is missing."""
    kept = {
        budget: {m: n.model_dump(exclude_none=True) for m, n in methods.items() if m in (*SHOWN, "greedy")}
        for budget, methods in budgets.items()
    }
    lines = curves(kept)
    gains = any("gain_over_greedy" in n for method in SHOWN for _, n in lines.get(method, []))
    return kept if gains and "greedy" in lines else {}


def worth_png(panels: Sequence[Panel]) -> bytes:
    """A panel for each kind of clips: gains over one sample against seconds, in multiples of one sample's; a PNG.

    Raises ``MissingExtraError`` without matplotlib.
    """
    down, across = _grid(panels)
    return png((max(8.0, 4.3 * across), 1.3 + 3.7 * down), lambda figure: worth_chart(figure, panels))


def _grid(panels: Sequence[Panel]) -> tuple[int, int]:
    """Rows and columns."""
    across = min(ACROSS, len(panels))
    return -(-len(panels) // across), across


def worth_chart(figure: Figure, panels: Sequence[Panel]) -> None:
    """Draws what ``worth_png`` tells."""
    down, across = _grid(panels)
    axes = figure.subplots(down, across, squeeze=False).flatten()
    first: dict[str, Axes] = {}
    for axis, panel in zip(axes, panels):
        if panel.judge in first:
            axis.sharey(first[panel.judge])
        _draw_panel(axis, panel)
        first.setdefault(panel.judge, axis)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for row in range(down):
        axes[row * across].set_ylabel(f"gain over one sample,\n{unit(panels[row * across].judge)}")
    shown = [method for method in SHOWN if any(method in curves(panel.budgets) for panel in panels)]
    for method in shown:
        axes[0].plot([], [], "o-", color=colour(method), label=label(method))
    figure.legend(loc="outside lower center", ncols=len(shown), frameon=False)
    headline(figure, "When is a search worth its cost?", _BELOW)


_BELOW = f"Lines begin at one sample; each point has more candidates. Full: told apart from one sample. {INTERVALS}"


def _draw_panel(axis: Axes, panel: Panel) -> None:
    lines, factor = curves(panel.budgets), scale(panel.judge)
    alone = lines["greedy"][0][1]["cost"]["seconds"]
    for method in SHOWN:
        points = [numbers for _, numbers in lines.get(method, []) if "gain_over_greedy" in numbers]
        for numbers in points:
            mean, low, high = (factor * numbers["gain_over_greedy"][name] for name in ("mean", "low", "high"))
            look: dict[str, Any] = {"color": colour(method), "capsize": 3, "markersize": 6, "fmt": "o", "zorder": 3}
            look["markerfacecolor"] = colour(method) if told_apart(numbers["gain_over_greedy"]) else "white"
            axis.errorbar(numbers["cost"]["seconds"] / alone, mean, yerr=[[mean - low], [high - mean]], **look)
        x = [1.0, *(numbers["cost"]["seconds"] / alone for numbers in points)]
        y = [0.0, *(factor * numbers["gain_over_greedy"]["mean"] for numbers in points)]
        axis.plot(x, y, color=colour(method), linewidth=1.5)
    axis.axhline(0, color=GREY, linewidth=1, linestyle=":")
    axis.locator_params(axis="x", integer=True)
    axis.set_xlabel("seconds, times those of one sample")
    judged = "" if panel.judge == "oracle" else f", {unit(panel.judge).partition(' points')[0].removeprefix('oracle ')}"
    axis.set_title(f"{panel.title}{judged}\n", loc="left", fontweight="bold", fontsize=10)
    axis.text(0, 1.02, _lead(lines, factor), transform=axis.transAxes, fontsize=9, color=colour("stream_t1"))
    axis.grid(axis="y", color="#e6e6e6")


def _lead(lines: dict[str, list[tuple[str, dict[str, Any]]]], factor: float) -> str:
    """Stream-T1 at its widest with a rival, over the strongest there, in words; empty where there is none."""
    for budget, numbers in reversed(lines.get("stream_t1", [])):
        leads = {rival: numbers[gain] for rival, gain in _EQUAL.items() if gain in numbers}
        told = {rival: lead for rival, lead in leads.items() if not is_lone(lead)}
        if told:
            rival = min(told, key=lambda name: told[name]["mean"])
            mean, low, high = (factor * told[rival][name] for name in ("mean", "low", "high"))
            return f"{candidates(budget)} candidates, over {label(rival)}: {mean:+.1f} [{low:+.1f}, {high:+.1f}]"
    return ""
