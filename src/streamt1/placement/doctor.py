"""What this machine has, which presets would run on it, and what is missing."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

from streamt1.config.load import load_config, preset_names
from streamt1.config.schema import RunConfig
from streamt1.core.errors import StreamT1Error
from streamt1.families.build import check_files
from streamt1.hub.origins import locate
from streamt1.placement.memory_plan import GB, needs_plan, plan_memory, room_for

PACKAGES = ("torch", "transformers", "diffusers", "huggingface_hub", "ftfy", "torchao", "av")
EXTRA = {"transformers": "wan", "diffusers": "wan", "huggingface_hub": "wan", "ftfy": "wan", "torchao": "quant"}


@dataclass(frozen=True)
class Check:
    """One finding: what was looked at, whether it is as needed, what was found, and the command that mends it."""

    name: str
    fine: bool
    found: str
    mend: str = ""


def examine(models: Path | None = None, available: float | None = None) -> Iterator[Check]:
    """Everything, one finding after another. ``available`` bytes stand in for the device's free memory."""
    yield Check("python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        yield _package(name)
    yield _device()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Check("host memory", memory > 4 * GB, f"{memory / GB:.0f} GB, {os.cpu_count()} processors")
    yield _encoder()
    place = models or Path(os.path.expanduser("~"))
    place = place if place.exists() else Path.cwd()
    free = shutil.disk_usage(place).free
    yield Check("disk", free > GB, f"{free / GB:.0f} GB free at {place}")
    for name in preset_names():
        yield _preset(name, models, available)


def _package(name: str) -> Check:
    try:
        return Check(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", f"pip install 'streamt1[{EXTRA.get(name, 'wan')}]'")


def _device() -> Check:
    if not torch.cuda.is_available():
        built = torch.version.cuda or "none"
        return Check("device", True, f"cpu only (torch is built with CUDA: {built}); enough for the pocket presets")
    index = torch.cuda.current_device()
    free, total = torch.cuda.mem_get_info(index)
    name = torch.cuda.get_device_name(index)
    formats = "float32" + ", bfloat16" * torch.cuda.is_bf16_supported()
    return Check("device", True, f"{name}: {free / GB:.1f} of {total / GB:.1f} GB free; {formats}")


def _encoder() -> Check:
    from av.codec import codecs_available

    found = "libx264" in codecs_available or "h264" in codecs_available
    return Check("H.264", found, "videos can be written" if found else "no encoder", "" if found else "pip install av")


def _preset(name: str, models: Path | None, available: float | None) -> Check:
    config = load_config(name)
    if not needs_plan(config):
        return Check(f"preset {name}", True, "ready")
    missing = [key for key, source in config.files.items() if not _is_here(key, source, config, models)]
    if missing:
        return Check(f"preset {name}", False, f"{len(missing)} downloads are missing", f"streamt1 download {name}")
    try:
        check_files(config.model_copy(update={"models": str(models) if models else None}))
    except StreamT1Error as error:
        return Check(f"preset {name}", False, str(error), f"streamt1 download {name}")
    return _room(name, config, available)


def _is_here(key: str, source: object, config: RunConfig, models: Path | None) -> bool:
    try:
        locate(key, config.files[key], models)
    except StreamT1Error:
        return False
    return source is not None


def _room(name: str, config: RunConfig, available: float | None) -> Check:
    if available is None:
        if not torch.cuda.is_available():
            return Check(f"preset {name}", False, "needs a CUDA device", "plan one with: streamt1 plan --memory 24GB")
        available = torch.cuda.mem_get_info()[0]
    try:
        plan = plan_memory(config, dataclasses.replace(room_for(config), device=available))
    except StreamT1Error as error:
        return Check(f"preset {name}", False, str(error).split("\n")[0], f"streamt1 plan {name} --memory ...")
    sizes = f"fits with {plan.peak / GB:.1f} GB of the device and {plan.host_peak / GB:.1f} GB of the host"
    return Check(f"preset {name}", True, f"{sizes}: {plan.placement.summary()}")
