"""The `world` stage: draws a sheet of the world and measures what the oracle says of true renders."""

from __future__ import annotations

import numpy as np

from streamt1.pocket.oracle import measure
from streamt1.pocket.world import sample_clip
from streamt1.training.loop import TrainOptions
from streamt1.training.sheet import write_sheet


def true_readings(count: int, seed: int, frames: int = 81, two: float = 0.08) -> dict[str, float]:
    """Mean oracle readings over true renders of random training scenes."""
    rng = np.random.default_rng((seed, 1))
    rows = [measure(clip, scene).summary() for scene, clip in (sample_clip(rng, frames, two=two) for _ in range(count))]
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def run(options: TrainOptions) -> None:
    """Writes `<out>/world.png` (a clip a row, every eighth frame) and logs its prompts and the oracle's readings."""
    rng = np.random.default_rng(options.seed)
    rows = []
    for _ in range(12):
        scene, clip = sample_clip(rng, 81, two=0.2)
        options.log(scene.prompt)
        rows.append(clip[::8])
    write_sheet(options.out / "world.png", rows)
    readings = true_readings(options.steps or 64, options.seed)
    options.log("oracle on true renders: " + " ".join(f"{key} {value:.3f}" for key, value in readings.items()))
    options.log(f"wrote {options.out / 'world.png'}")
