"""What a video begins with, where it begins with frames: read from files, encoded, and kept in the run's folder.

Chunks that are given are of the video: its length counts them, and so do ``run.json`` and the trace. A length that is
asked for in seconds or chunks is that of what is made.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from streamt1.core.devices import enough_memory
from streamt1.core.errors import ConfigError, OutputError
from streamt1.core.files import write_whole
from streamt1.core.identity import byte_view, content_id
from streamt1.core.protocols import Encoder, Models, StartingBackbone
from streamt1.core.words import counted
from streamt1.media.reading import check_picture, check_video, fitted, read_picture, read_tail
from streamt1.pipeline.run_files import GIVEN
from streamt1.pipeline.timelines import Clock

_AGAIN = "generate the video again, with --fresh (fresh=True)"


@dataclass(frozen=True, eq=False)
class Given:
    """Clean latents that a video begins with.

    Attributes:
        latents: ``[F, C, H, W]``, float32, on the host.
        source: a digest of what they were made of. A run is the same where that is the same: another machine may
            encode to other last bits, and a run goes on from those of its folder.
        told: what was done to the pixels, for people; a sentence each.
    """

    latents: Tensor
    source: str
    told: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """What ``run.json`` says of it."""
        return {"latents": len(self.latents), "source": self.source, "id": content_id(self.latents)}

    def same(self, told: Any) -> bool:
        """Whether a run that says this of itself begins with the same."""
        mine = self.record()
        return isinstance(told, dict) and all(told.get(name) == mine[name] for name in ("latents", "source"))


def check_beginning(image: str | Path | None, video: str | Path | None) -> None:
    """Looks at a file before models are loaded. Raises ``ConfigError``: both are given, or it cannot be read."""
    if image is not None and video is not None:
        raise ConfigError("a video begins with a picture or with a video: give image or video, not both")
    if image is not None:
        check_picture(Path(image))
    if video is not None:
        check_video(Path(video))


def picture(models: Models, path: Path) -> Given:
    """A picture, which stands still in as many latent frames as the model begins with.

    Raises ``ConfigError``: the file is no picture, or the models begin with text alone.
    """
    encoder, backbone = _starting(models)
    pixels, clock = read_picture(path), Clock.of(models)
    count = clock.frames(backbone.picture_frames)
    stands = [] if count == 1 else [f"{path} stands still for {count} frames, which the model begins with"]
    return _encoded(encoder, path, pixels, stands, count)


def clip(models: Models, path: Path) -> Given:
    """The last frames of a video, as many as the first chunk that is made reads, or as there are.

    Raises ``ConfigError``: the file is no video or too short, or the models begin with text alone.
    """
    encoder, backbone = _starting(models)
    clock = Clock.of(models)
    pixels = read_tail(path, clock.fps, clock.frames(backbone.remembered_frames))
    chunks = (len(pixels) - clock.first) // clock.later + 1
    if chunks < 1:
        raise ConfigError(
            f"{path} is too short: it has {counted(len(pixels), 'frame')} at {clock.fps} a second, and the model goes"
            f" on from at least {clock.first}"
        )
    pixels = pixels[-clock.frames(chunks * clock.latents) :]
    seconds = len(pixels) / clock.fps
    return _encoded(encoder, path, pixels, [f"the last {seconds:.2f} s of {path} begin the video"])


def given_chunks(models: Models) -> int:
    """Whole chunks that a picture gives. Raises ``ConfigError`` for models that begin videos with text alone."""
    _, backbone = _starting(models)
    return backbone.picture_frames // backbone.chunk_shape[0]


def _starting(models: Models) -> tuple[Encoder, StartingBackbone]:
    if models.encoder is None or not isinstance(models.backbone, StartingBackbone):
        raise ConfigError("these models begin videos with text alone: leave out the picture or the video")
    return models.encoder, models.backbone


def _encoded(encoder: Encoder, path: Path, pixels: Tensor, told: list[str], times: int = 1) -> Given:
    """Pixels ``[T, H, W, 3]``, uint8, so often one after another, brought to the size that the model makes."""
    (height, width), (rows, columns) = encoder.size, pixels.shape[1:3]
    if (rows, columns) != (height, width):
        cut = rows * width != columns * height
        how = ", its edges cut off" if cut and encoder.fit == "cover" else ", stretched" if cut else ""
        told = [f"{path} has {columns}x{rows} pixels and is brought to {width}x{height}{how}", *told]
    source = hashlib.sha256(str((times * len(pixels), *pixels.shape[1:])).encode())
    with enough_memory(f"{path} was encoded"):
        for _ in range(times):
            for frame in pixels:
                source.update(byte_view(frame.contiguous()))
        frames = fitted(pixels, height, width, encoder.fit)
        latents = encoder.encode(frames.repeat(times, 1, 1, 1)).float().cpu()
    return Given(latents.contiguous(), source.hexdigest(), tuple(told))


def write_given(folder: Path, given: Given) -> None:
    """Keeps it in a run's folder; it is on the disk when this returns. Raises ``OutputError``."""
    write_whole(folder / GIVEN, save({"latents": given.latents}), durable=True)


def read_given(folder: Path, told: Any) -> Given:
    """What a run in a folder begins with; ``told`` is what its ``run.json`` says of it.

    Raises ``OutputError`` where the file is missing or is not what it was.
    """
    path = folder / GIVEN
    try:
        given = Given(load(path.read_bytes())["latents"], str(told["source"]))
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}; {_AGAIN}") from error
    except Exception as error:  # whatever safetensors raises for what is not its own
        raise OutputError(f"{path} is damaged ({type(error).__name__}); {_AGAIN}") from error
    if given.record() != told:
        raise OutputError(f"{path} is not what this run began with; {_AGAIN}")
    return given
