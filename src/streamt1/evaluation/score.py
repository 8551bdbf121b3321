"""Scores any folder of clips: the metrics that need no download, and a preset's rewards."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from streamt1.config.schema import RunConfig
from streamt1.core.devices import resolve_device
from streamt1.core.errors import ConfigError, PromptError, StreamT1Error
from streamt1.core.json_text import parse_json
from streamt1.evaluation.metrics import measure_clip
from streamt1.evaluation.rows import Row
from streamt1.families.build import build_rewards
from streamt1.media.reading import read_video
from streamt1.pipeline.asked import Asked
from streamt1.pipeline.run_files import COMPARISON, PARTIAL, SUMMARY

POCKET_SIDE = 64
"""Pixels that pocket's rewards take; its clips are stored enlarged."""
Rewards = Callable[[Tensor, float, str], dict[str, float]]
"""Scores of uint8 frames ``[T, H, W, 3]`` at some frames per second, under a prompt."""


def find_clips(folder: Path) -> list[Path]:
    """All ``.mp4`` files below a folder, sorted, but for those that a run keeps beside its video.

    Raises ``ConfigError`` where there is none.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}")
    clips = sorted(path for path in folder.rglob("*.mp4") if not _is_aside(path))
    if not clips:
        raise ConfigError(f"there is no .mp4 file in {folder}")
    return clips


def _is_aside(path: Path) -> bool:
    """Whether a run shows two videos side by side in it, or what it had before it was stopped."""
    return path.name in (COMPARISON, PARTIAL) and path.with_name(SUMMARY).exists()


def read_prompt_file(path: Path) -> dict[str, str]:
    """A JSON object from file names to prompts, as VBench takes it. Raises ``PromptError``."""
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PromptError(f"cannot read the prompts file {path}: {reason}") from error
    if not isinstance(found, dict) or not all(isinstance(prompt, str) for prompt in found.values()):
        raise PromptError(f'the prompts file {path} must read {{"file name": "prompt", ...}}')
    return found


def prompt_of(clip: Path, prompts: Mapping[str, str] | None = None) -> str:
    """From the prompts where given; else from ``run.json`` beside the clip; else from its name, ``<prompt>-<n>.mp4``.

    Raises:
        PromptError: prompts are given, but not this clip's.
    """
    if prompts is not None:
        if clip.name not in prompts:
            raise PromptError(f"the prompts file does not name {clip.name}")
        return prompts[clip.name]
    try:
        told = parse_json((clip.parent / "run.json").read_bytes())["prompt"]
    except (OSError, ValueError, KeyError, TypeError):
        told = None
    return told if isinstance(told, str) else re.sub(r"-\d+$", "", clip.stem)


def scenes_of(clip: Path, frames: Tensor) -> list[tuple[str, Tensor]]:
    """Prompts, and the frames under each: the scenes that ``run.json`` beside the clip tells of; one where none does.

    Scenes begin where the run's chunks did; the video's first latent frame gives one frame, the others share the rest.
    """
    try:
        summary = parse_json((clip.parent / "run.json").read_bytes())
        asked = Asked.of(summary, clip.parent) if isinstance(summary, dict) and "timeline" in summary else None
    except (OSError, ValueError, StreamT1Error):
        asked = None  # not one of our runs
    if asked is None or asked.timeline is None or not asked.chunks:
        return [(prompt_of(clip), frames)]
    latents, scenes = asked.config.memory.chunk, asked.timeline.scenes
    stride = (len(frames) - 1) / max(1, asked.chunks * latents - 1)
    starts = [round(1 + stride * (start * latents - 1)) if start else 0 for start in asked.timeline.starts]
    parts = pairwise([*starts, len(frames)])
    return [(scene.prompt, frames[begin:end]) for scene, (begin, end) in zip(scenes, parts)]


def score_clips(
    clips: list[Path], folder: Path, prompts: Mapping[str, str] | None = None, rewards: Rewards | None = None
) -> Iterator[Row]:
    """A row for each clip: its name within the folder, prompt, frames, metrics, and scores where there are rewards.

    A clip of several scenes is scored scene by scene, each under its own prompt; its scores are means over them.

    Raises:
        ConfigError: a file that does not play.
        PromptError: see ``prompt_of``.
    """
    for clip in clips:
        frames, fps = read_video(clip)
        scenes = [(prompt_of(clip, prompts), frames)] if prompts is not None else scenes_of(clip, frames)
        told = " / ".join(prompt for prompt, _ in scenes)
        row: Row = {"clip": str(clip.relative_to(folder)), "prompt": told, "frames": len(frames), "fps": fps}
        row |= measure_clip(frames)
        if rewards is not None:
            found = [rewards(part, fps, prompt) for prompt, part in scenes]
            row |= {name: sum(one[name] for one in found) / len(found) for name in found[0]}
        yield row


def load_rewards(config: RunConfig) -> Rewards:
    """The two rewards of a preset, without its video model.

    Raises:
        UnknownNameError, ConfigError: a reward or device that is not there.
        CheckpointError, MissingExtraError: weights or packages that are missing; the message says how to get them.
    """
    device = resolve_device(config.device)
    frame, clip = build_rewards(config, device)

    def score(frames: Tensor, fps: float, prompt: str) -> dict[str, float]:
        shown = [_pixels(frames, name).to(device) for name in (config.frame_reward, config.clip_reward)]
        with torch.no_grad():
            found = frame.score(shown[0], prompt), clip.score(shown[1], fps, prompt)
        names = f"frame/{config.frame_reward}", f"clip/{config.clip_reward}"
        row = {name: output.score.item() for name, output in zip(names, found)}
        for name, output in zip(names, found):
            row |= {f"{name}/{part}": value.item() for part, value in output.components.items()}
        return row

    return score


def _pixels(frames: Tensor, reward: str) -> Tensor:
    """``[1, T, 3, H, W]`` in 0..1, of the size that a reward takes."""
    pixels = frames.permute(0, 3, 1, 2).float() / 255
    if reward == "pocket" and pixels.shape[-2:] != (POCKET_SIDE, POCKET_SIDE):
        pixels = F.interpolate(pixels, (POCKET_SIDE, POCKET_SIDE), mode="area")
    return pixels[None]
