"""Going on from a finished run: a new run that begins with all of its video."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load

from streamt1.config.schema import Placement, RunConfig
from streamt1.core.timeline import Scene, Timeline
from streamt1.families.fingerprint import fingerprints, of_vae
from streamt1.pipeline.asked import Asked
from streamt1.pipeline.given import Given, clip, given_chunks
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.run import digest
from streamt1.pipeline.run_files import LATENTS_KEPT, VIDEO


def anywhere(config: RunConfig) -> RunConfig:
    """The configuration of a finished run, for a new one that may be made on another machine, or on several devices.

    What stays where, how many candidates are computed together, and which of several GPUs computes are found anew: a
    finished run tells what was found for its own machine.
    """
    placement = Placement(reward_devices=config.placement.reward_devices)
    search = dataclasses.replace(config.search, candidate_batch=None)
    device = "auto" if config.device.startswith("cuda:") else config.device
    return config.model_copy(update={"placement": placement, "search": search, "device": device})


def extended(
    pipeline: Pipeline,
    folder: Path,
    asked: Asked,
    summary: Mapping[str, Any],
    chunks: int,
    prompt: str | None = None,
    seed: int | None = None,
) -> Asked:
    """What asks for the video of a finished run and more.

    The run's latents are given, under the prompts that they were made under. Where they are not kept, by older versions
    and of videos without an end, or are another VAE's, the video's last frames are encoded, and the new one begins with
    these.

    Args:
        folder, asked, summary: see ``finished_run``.
        chunks: to make.
        prompt: of a new scene, that begins with what is made; None: the last one goes on.
        seed: the run's own by default.

    Raises:
        ConfigError: models that begin videos with text alone, or no video to go on from.
        PromptError: the prompt cannot be used.
    """
    given_chunks(pipeline.models)
    given, before = _kept(pipeline, folder, summary), asked.scenes
    if isinstance(given, str):
        lost = f"{folder} keeps {given}: it is gone on from by its video's last frames"
        given = clip(pipeline.models, folder / VIDEO)
        given = dataclasses.replace(given, told=(lost, *given.told))
        before = Timeline.plain(before.scenes[-1].prompt, len(given.latents) // pipeline.clock.latents)
    seed = asked.seed if seed is None else seed
    return pipeline.asked(_longer(before, chunks, prompt), None, seed, given=given)


def _kept(pipeline: Pipeline, folder: Path, summary: Mapping[str, Any]) -> Given | str:
    """The latents of a run's whole video; why there are none, where they are not there, or not what they were."""
    digests, stored, whole = summary.get("digests"), summary.get("weights"), "no latents that are whole"
    before = of_vae(stored) if isinstance(stored, dict) else {}
    if before and before != of_vae(fingerprints(pipeline.config)):
        return "latents of another VAE"
    told = digests.get("latents") if isinstance(digests, dict) else None
    try:
        latents = load((folder / LATENTS_KEPT).read_bytes())["latents"]
    except Exception:  # of the disk, or of safetensors: the video is there in any case
        return whole
    if told is None or digest(latents) != told:
        return whole
    seconds = pipeline.clock.seconds(len(latents) // pipeline.clock.latents)
    return Given(latents, told, (f"the {seconds:.2f} s of {folder} begin the video",))


def _longer(before: Timeline, chunks: int, prompt: str | None) -> Timeline:
    last = before.scenes[-1]
    if prompt is not None and prompt != last.prompt:
        return Timeline((*before.scenes, Scene(prompt, chunks)))
    return Timeline((*before.scenes[:-1], dataclasses.replace(last, chunks=(last.chunks or 0) + chunks)))
