"""Names and colours of methods and columns, as people read them."""

from __future__ import annotations

from typing import Any

from streamt1.evaluation.statistics import turned
from streamt1.evaluation.summary import RIVALS

METHOD_LABELS = {
    "greedy": "one sample",
    "best_of_n": "best of n",
    "best_of_n_per_scene": "best of n per scene",
    "beam": "beam search",
    "stream_t1": "Stream-T1",
    "tapered": "Stream-T1, tapered",
    "without_propagation": "without noise propagation",
    "without_pruning": "without reward pruning",
    "without_sinking": "without memory sinking",
}
COLOURS = {
    "greedy": "#555555",
    "best_of_n": "#d55e00",
    "best_of_n_per_scene": "#e69f00",
    "beam": "#56b4e9",
    "stream_t1": "#004488",
    "tapered": "#009e73",
}
"""Told apart by colour-blind readers, and in grey."""
OTHERS = ("#cc79a7", "#b8860b", "#7f3c8d")
MEASURES = {
    "oracle": "oracle",
    "oracle_presence": "presence",
    "oracle_shape": "shape",
    "oracle_colour": "colour",
    "oracle_motion": "motion",
    "oracle_background": "background",
    "oracle_memory": "memory",
    "oracle_identity": "identity of returns",
    "oracle_drift": "drift (oracle)",
    "temporal_flickering": "temporal flickering",
    "subject_consistency": "subject consistency*",
    "background_consistency": "background consistency*",
    "motion_smoothness": "motion smoothness*",
    "dynamic_degree": "dynamic degree*",
    "imaging_quality": "imaging quality*",
    "drift": "drift (colours)",
    "sharpness_drift": "drift (sharpness)",
    "reward_final": "own clip reward",
    "reward_short": "own frame reward",
}
"""Columns of the table that are shown, in this order; a star marks a proxy."""
ORACLE = ("oracle", "oracle_identity")
"""Judges that are shown in points of a hundredth."""
LOWER_IS_BETTER = ("oracle_drift", "drift", "sharpness_drift")


def label(method: str) -> str:
    return METHOD_LABELS.get(method, method.replace("_", " "))


def effects(budgets: dict[str, Any], units: bool) -> list[tuple[str, str, dict[str, Any]]]:
    """Of one length's ablations: method, budget, and the difference that is told of it.

    With ``units`` of those that take a unit out, what Stream-T1 has more; else of all others, what they have more.
    """
    return [
        (method, budget, loss if units else turned(loss))
        for budget, methods in budgets.items()
        for method, numbers in methods.items()
        if (loss := numbers.get("loss_without_unit")) and method.startswith("without_") == units
    ]


GAINS = {"gain_over_greedy": label("greedy"), **{gain: label(rival) for gain, rival in RIVALS.items()}}
"""Paired gains of a summary -> over whom."""


def clips(length: str) -> str:
    """Clips of a summary's length: ``"30"`` is "30 s clips", ``"ABA x 5"`` "clips of scenes ABA, 5 s each"."""
    scenes, several, seconds = length.partition(" x ")
    return f"clips of scenes {scenes}, {seconds} s each" if several else f"{length} s clips"


def short(length: str) -> str:
    """``"30"`` is "30 s", ``"ABA x 5"`` "ABA x 5 s"."""
    return f"{length} s"


def colour(method: str) -> str:
    """The same for the same name, always."""
    return COLOURS.get(method) or OTHERS[sum(method.encode()) % len(OTHERS)]


def scale(judge: str) -> float:
    """The oracle is shown in points of a hundredth; other judges as they are."""
    return 100.0 if judge in ORACLE else 1.0


def unit(judge: str) -> str:
    return f"{judge.replace('_', ' ')} points (0..100)" if judge in ORACLE else judge


def curves(budgets: dict[str, Any]) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Of one length: method -> its (budget, numbers), cheapest first. The suite's ablations are left out."""
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for budget, methods in budgets.items():
        for method, numbers in methods.items():
            if "loss_without_unit" not in numbers:
                found.setdefault(method, []).append((budget, numbers))
    for points in found.values():
        points.sort(key=lambda point: point[1]["cost"]["model_passes"])
    return found


def candidates(budget: str) -> int:
    """Of ``"<beam_size>x<top_k>"``."""
    beam_size, _, top_k = budget.partition("x")
    return int(beam_size) * int(top_k)
