"""Reads video files."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import torch
from av.error import FFmpegError
from torch import Tensor

from streamt1.core.errors import ConfigError


def read_video(path: Path) -> tuple[Tensor, float]:
    """uint8 frames ``[T, H, W, 3]`` and frames per second. Raises ``ConfigError`` for a file that does not play."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
            fps = float(stream.average_rate or 0)
    except (FFmpegError, IndexError) as error:
        raise ConfigError(f"{path} is not a video that can be read: {error}") from error
    if not frames or not fps:
        raise ConfigError(f"{path} is not a video that can be read: it has no frames, or no frame rate")
    return torch.from_numpy(np.stack(frames)), fps
