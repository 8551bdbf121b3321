"""What stays on the device: computed before anything is loaded, from what a family says that its models need.

A reserve covers what frameworks keep for themselves.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from streamt1.config.schema import Placement, RunConfig
from streamt1.core.devices import resolve_device
from streamt1.core.errors import ConfigError, DoesNotFitError
from streamt1.core.validation import parse_size
from streamt1.families.build import check_files, family_of
from streamt1.families.family import PHASES, Holds, Part
from streamt1.search.width import widest

GB = 10**9
RESERVE = 1.5 * GB
"""Of the device: for the driver, the libraries and fragmentation."""
BUS, DEVICE = 25 * GB, 1000 * GB
"""Bytes a second that come over from the host (PCIe 4, 16 lanes), and that a device with 24 GB reads and writes."""
DECODED = 15
"""Bytes that a device reads and writes to decode a number of a page."""
LEFT_OUT = "leave placement.* out, to have it planned"
SMALLER = "use a smaller height and width, or fewer survivors (--top-k)"


@dataclass(frozen=True)
class Room:
    """What a run may take (bytes); where it runs on the host, ``device`` is None and everything is the host's."""

    device: float | None
    host: float


@dataclass(frozen=True)
class MemoryPlan:
    """A placement, what it needs, and what there is (bytes)."""

    placement: Placement
    candidate_batch: int
    parts: tuple[Part, ...]
    room: Room

    def in_phase(self, phase: str) -> float:
        """Bytes of the device that are needed at once in a phase, with the reserve; 0 without a device."""
        return 0.0 if self.room.device is None else self._sum(phase, "device") + RESERVE

    def host_in_phase(self, phase: str) -> float:
        """Bytes of the host that are needed at once in a phase."""
        beside = 0.0 if self.room.device is not None else self._sum(phase, "device")
        return self._sum(phase, "host") + beside

    def _sum(self, phase: str, place: str) -> float:
        return sum(part.bytes for part in self.parts if part.place == place and phase in part.phases)

    @property
    def peak(self) -> float:
        """The most that any phase needs of the device."""
        return max(self.in_phase(phase) for phase in PHASES)

    @property
    def host_peak(self) -> float:
        """The most that any phase needs of the host."""
        return max(self.host_in_phase(phase) for phase in PHASES)

    @property
    def fits_device(self) -> bool:
        return self.room.device is None or self.peak <= self.room.device

    @property
    def fits_host(self) -> bool:
        return self.host_peak <= self.room.host

    @property
    def fits(self) -> bool:
        return self.fits_device and self.fits_host

    def applied(self, config: RunConfig) -> RunConfig:
        """The configuration with the plan put into effect."""
        search = dataclasses.replace(config.search, candidate_batch=self.candidate_batch)
        return config.model_copy(update={"placement": self.placement, "search": search})

    def lines(self) -> list[str]:
        """The plan as a table: parts, where they are, and when."""
        rows = [f"  {'':24}{'GB':>8}  {'':6}  {'  '.join(PHASES)}"]
        shown = [part for part in self.parts if part.bytes]
        for part in (*shown, *([Part("reserve", RESERVE)] if self.room.device is not None else [])):
            marks = "  ".join(("x" if phase in part.phases else "").center(len(phase)) for phase in PHASES)
            rows.append(f"  {part.name:24}{part.bytes / GB:8.2f}  {part.place:6}  {marks}  {part.note}".rstrip())
        if self.room.device is not None:
            rows.append(self._total("device", self.in_phase, self.peak, self.room.device))
        rows.append(self._total("host", self.host_in_phase, self.host_peak, self.room.host))
        return rows

    @staticmethod
    def _total(place: str, of_phase: Callable[[str], float], peak: float, there: float) -> str:
        sums = "  ".join(f"{of_phase(phase) / GB:.1f}".center(len(phase)) for phase in PHASES)
        limit = f"  of {there / GB:.1f} GB" if math.isfinite(there) else ""
        return f"  {'needed':24}{peak / GB:8.2f}  {place:6}  {sums}{limit}".rstrip()


def needs_plan(config: RunConfig) -> bool:
    """Whether a configuration's models are so large that their placement must be planned."""
    return family_of(config).needs is not None


def planned(config: RunConfig, holds: Holds = "all") -> tuple[RunConfig, MemoryPlan | None]:
    """A configuration whose parts are where they fit, and the plan; as it is, and None, where none is needed.

    A placement that the configuration names itself is kept. Sizes are read off the files, which are looked at first.

    Args:
        holds: what of the models the device is to load.

    Raises:
        CheckpointError: a file is missing or wrong, see ``families.build.check_files``.
        DoesNotFitError: the models fit nowhere.
    """
    if not needs_plan(config):
        return config, None
    check_files(config)
    plan = plan_memory(config, room_for(config), holds)
    return plan.applied(config), plan


def room_for(config: RunConfig) -> Room:
    """What a configuration may take: as much as it names, else what is free. Raises ``ConfigError``."""
    host = _free_host() if config.host_memory is None else parse_size(config.host_memory)
    if config.device_memory is not None:
        return Room(parse_size(config.device_memory), host)
    device = resolve_device(config.device)
    return Room(float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else None, host)


def _free_host() -> float:
    """Bytes that the host can give: what Linux says is available, elsewhere all there is."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found = next(line for line in file if line.startswith("MemAvailable:"))
        return float(found.split()[1]) * 1024
    except (OSError, StopIteration):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def plan_memory(config: RunConfig, room: Room, holds: Holds = "all") -> MemoryPlan:
    """The first placement that fits, from everything on the device to everything elsewhere.

    What room is left then holds copies of pages and layers of the rewards, which need not come over.

    Args:
        holds: what of the models the device is to load; the rest takes no room.

    Raises:
        DoesNotFitError: not even the last one fits.
        ConfigError: the preset is of other models.
    """
    needs = family_of(config).needs
    if needs is None:
        raise ConfigError(f"backbone {config.backbone!r} needs no memory plan: it runs in less than 1 GB")
    parts, tried = needs(config), list[MemoryPlan]()

    def made(placement: Placement, batch: int) -> MemoryPlan:
        own = (part for part in parts(placement, batch) if holds == "all" or part.of in ("all", holds))
        return MemoryPlan(placement, batch, tuple(own), room)

    for placement, batch in _choices(config, room):
        tried.append(made(placement, batch))
        if tried[-1].fits:
            plan = tried[-1] if _is_given(config, room) else _filled(config, tried[-1], made)
            return dataclasses.replace(plan, placement=_of_what_is_there(plan.placement, holds))
    raise _short(tried, config.placement != _free(config))


def advice(config: RunConfig, plan: MemoryPlan, holds: Holds = "all") -> str | None:
    """What would be faster and is not done unasked, since it changes the video: pages in 4 bits on the device.

    None where pages are on the device, or stay on the host all the same, or where it does not pay: what comes over the
    bus in a chunk is held against what is decoded.
    """
    pages_read = family_of(config).pages_read
    if pages_read is None or plan.room.device is None or plan.placement.kv == "device" or config.memory.bits < 16:
        return None
    coded = config.model_copy(update={"memory": dataclasses.replace(config.memory, bits=4, codec="rotated")})
    crossing, numbers = pages_read(config, plan.placement)
    seconds, decoding = crossing / BUS, numbers * DECODED / DEVICE
    try:
        stays = plan_memory(coded, plan.room, holds).placement.kv == "device"
    except DoesNotFitError:
        return None
    if not stays or decoding >= seconds:
        return None
    codec = "" if config.memory.codec == "rotated" else " --set memory.codec=rotated"
    return (
        f"pages in 4 bits would stay on the device (--set memory.bits=4{codec}): {crossing / GB:.0f} GB a chunk no"
        f" longer cross the bus, about {seconds:.1f} s, and are decoded in about {decoding:.1f} s; it changes the video"
    )


def _of_what_is_there(placement: Placement, holds: Holds) -> Placement:
    """The same placement, which says nothing of models that are not loaded."""
    about = {"rewards", "frame_reward_layers", "clip_reward_layers", "reward_bits"}
    others = Placement.model_fields.keys() - about - {"reward_devices"}
    silent = {"all": set[str](), "generator": about, "rewards": others}[holds]
    return placement.model_copy(update={key: Placement.model_fields[key].default for key in silent})


def _is_given(config: RunConfig, room: Room) -> bool:
    """Whether there is nothing to choose: the configuration names its placement, or there is no device."""
    return config.placement != _free(config) or room.device is None


def _free(config: RunConfig) -> Placement:
    """Everything on the device, on as many devices as the configuration says."""
    return Placement(reward_devices=config.placement.reward_devices)


def _choices(config: RunConfig, room: Room) -> Iterator[tuple[Placement, int]]:
    """Placements from the fastest to the smallest; each gives up one thing more, precision last of all."""
    search = config.effective_search
    batch = search.candidate_batch or widest(search)
    if _is_given(config, room):
        yield config.placement, batch
        return
    sizes = [batch >> halvings for halvings in range(batch.bit_length())]
    for bits in (16, 8, 4):
        placement = _free(config).model_copy(update={"reward_bits": bits})
        yield placement, batch
        for changes in ({"text_encoder": "host"}, {"decoder_states": "recompute"}, {"rewards": "host"}):
            placement = placement.model_copy(update=changes)
            yield placement, batch
        for changes in ({"kv": "host"}, {"decoder_states": "host"}):
            placement = placement.model_copy(update=changes)
            yield from ((placement, size) for size in sizes)


def _filled(config: RunConfig, plan: MemoryPlan, made: Callable[[Placement, int], MemoryPlan]) -> MemoryPlan:
    """The same plan, with what spare room can hold: the family says what, and in which order."""
    spare = family_of(config).spare
    for key, values in spare(config, plan.placement) if spare is not None else ():
        for value in values:
            larger = made(plan.placement.model_copy(update={key: value}), plan.candidate_batch)
            if not larger.fits:
                break
            plan = larger
    return plan


def _short(tried: Sequence[MemoryPlan], given: bool) -> DoesNotFitError:
    """Which of both is short in the plan that comes nearest, and what would help.

    ``given``: the configuration names its placement, so that no other was tried.
    """
    on_device = [plan for plan in tried if plan.fits_device]
    plan = min(on_device or tried, key=lambda plan: plan.host_peak if on_device else plan.peak)
    lines = []
    if not plan.fits_device:
        lines.append(
            f"{(plan.room.device or 0) / GB:.1f} GB of the device do not hold this preset"
            f" {'as placement.* places it' if given else 'at any setting'}: it needs {plan.peak / GB:.1f} GB;"
            f" {LEFT_OUT if given else SMALLER}"
        )
    if not plan.fits_host:
        what = "this preset" if plan.room.device is None else "what this device cannot"
        placed, remedy = "", "use a larger device or lighter rewards, or free memory of the host"
        if given:
            what, placed, remedy = "this preset", " as placement.* places it", LEFT_OUT
        lines.append(
            f"{plan.room.host / GB:.1f} GB of the host do not hold {what}{placed}: it needs"
            f" {plan.host_peak / GB:.1f} GB; {remedy}"
        )
    return DoesNotFitError("; ".join(lines), ["the least it needs:", *plan.lines()])
