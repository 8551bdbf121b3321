"""Contact sheets: rows of frames as one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from streamt1.core.files import whole_file
from streamt1.pocket.paths import Floats


def write_sheet(file: Path, rows: list[Floats], scale: int = 2) -> None:
    """Writes rows of frames, each [K, 3, H, W] in [0, 1] with the same K, H, W, as one PNG with white borders."""
    frame = ((0, 0), (1, 1), (1, 1))
    lines = [np.concatenate([np.pad(f, frame, constant_values=1) for f in row], axis=2) for row in rows]
    pixels = (np.concatenate(lines, axis=1).clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    picture = Image.fromarray(pixels)
    with whole_file(file) as part:
        picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST).save(part, "PNG")
