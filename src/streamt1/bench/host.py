"""How long does the host work on a chunk's frames, from the decoder to the rewards and to the file?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from torch import Tensor

from streamt1.core.frames import floats, picked, truncated
from streamt1.media.mp4 import VideoWriter
from streamt1.media.pixels import shown
from streamt1.media.thumbnails import middle_thumbnail
from streamt1.rewards.hpsv3 import PIXELS
from streamt1.rewards.vision import patches_of, resized_clip, resized_picture, sampled_frames

T = TypeVar("T")
CANDIDATES, SURVIVORS = 4, 2
CHUNK, WINDOW, FPS = 12, 117, 16
"""Pixel frames of a chunk and of the reward window (nine chunks and the opening's nine frames), frames a second."""
CLIP_PIXELS = (100352, 200704)
"""Fewest and most of a frame that VideoReward looks at, by its ``model_config.json``."""
REPEATS = 3
ON_DEVICE = ("clips", "patches")
"""What a GPU does where there is one."""


def measure(height: int = 480, width: int = 832) -> dict[str, Any]:
    """CPU seconds (of all threads, the best of three) of one chunk at 2x2, by what they go into.

    ``seconds`` is all but ``encode``, the H.264 encoder's own for the chunk that leaves; ``seconds_beside_a_gpu``
    leaves out ``clips`` and ``patches``, which are made where the rewards work. ``floats`` is the same with frames in
    float32 and windows joined whole, as a decoder and rewards that know neither bytes nor samples get it.
    """
    torch.manual_seed(0)
    past = torch.randint(0, 256, (SURVIVORS, WINDOW - CHUNK, 3, height, width), dtype=torch.uint8)
    made = torch.randint(0, 256, (CANDIDATES, CHUNK, 3, height, width), dtype=torch.uint8)
    parts = _best(past, made, whole=False)
    encode = min(_encoded(made[0]) for _ in range(REPEATS))
    wide = _best(floats(past), floats(made), whole=True)
    beside = sum(spent for part, spent in parts.items() if part not in ON_DEVICE)
    return {
        "size": f"{width}x{height}", "seconds": sum(parts.values()), "seconds_beside_a_gpu": beside, "encode": encode,
        "parts": parts,
        "floats": {"seconds": sum(wide.values()), **wide}, "ratio": sum(parts.values()) / sum(wide.values()),
    }  # fmt: skip


def _best(past: Tensor, made: Tensor, whole: bool) -> dict[str, float]:
    runs = [_parts(past, made, whole) for _ in range(REPEATS)]
    return {name: min(run[name] for run in runs) for name in runs[0]}


def _parts(past: Tensor, made: Tensor, whole: bool) -> dict[str, float]:
    """Seconds of each step, over parents' windows ``[2, T, 3, H, W]`` and candidates' frames ``[4, T, 3, H, W]``."""
    spent: dict[str, float] = {}

    def timed(part: str, call: Callable[[], T]) -> T:
        begin = time.process_time()
        result = call()
        spent[part] = spent.get(part, 0.0) + time.process_time() - begin
        return result

    timed("thumbnails", lambda: [middle_thumbnail(frames) for frames in made])
    windows = [[past[rank * SURVIVORS // CANDIDATES], frames] for rank, frames in enumerate(made)]
    chunks = timed("gather", lambda: picked([[frames] for frames in made], None))
    pictures = timed("truncate", lambda: truncated(chunks.flatten(0, 1)))
    resized = timed("pictures", lambda: [resized_picture(picture, PIXELS) for picture in pictures])
    clips = timed("gather", lambda: _seen(windows, whole))
    sampled = timed("truncate", lambda: truncated(clips))
    fitted = timed("clips", lambda: [resized_clip(clip, *CLIP_PIXELS) for clip in sampled])
    timed("patches", lambda: [patches_of(frames[None], torch.float32) for frames in (*resized, *fitted)])
    timed("survivors", lambda: [frames.clone() for frames in made[:SURVIVORS]])
    timed("leaving", lambda: shown(made[0]))
    return spent


def _seen(windows: Sequence[Sequence[Tensor]], whole: bool) -> Tensor:
    """The frames that VideoReward looks at, out of whole windows or gathered alone."""
    index = sampled_frames(WINDOW, FPS)
    return picked(windows, None)[:, index] if whole else picked(windows, index)


def _encoded(frames: Tensor) -> float:
    """CPU seconds of encoding ``[T, 3, H, W]`` uint8."""
    pixels = shown(frames)
    with TemporaryDirectory() as folder:
        begin = time.process_time()
        writer = VideoWriter(Path(folder) / "chunk.mp4", FPS)
        writer.add(pixels)
        writer.close()
        return time.process_time() - begin
