"""What a pass, a commit and a chunk's pages ask of a GPU at full size, counted on a device that is not there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from streamt1.backbones.sampling import Schedule
from streamt1.backbones.wan.backbone import WanBackbone, WanBranch
from streamt1.backbones.wan.model import WanModel
from streamt1.bench.fake_cuda import CUDA, Device, fake_cuda, placed
from streamt1.config.load import load_config
from streamt1.core.types import Route
from streamt1.families.wan_sizes import latent_size, wan_sizes
from streamt1.memory import Branch, Page

CANDIDATES, BEAMS, PAST = 4, 2, 3
"""Of a search at 2x2, after nine latent frames: a sink and a window that the next commit evicts from."""
LAYERS = 1
"""Of the model whose pages are counted: what crosses the bus is proportional to them."""
GB = 1e9
PLACES: dict[str, dict[str, Any]] = {
    "on the host": {"kv_device": "cpu"},
    "on the host, copies on the device": {"kv_device": "cpu", "device_pages": float("inf")},
}
"""Where pages are kept other than on the device, as settings of a backbone."""


def measure(preset: str = "longlive") -> dict[str, Any]:
    """Kernels, bytes and copies, for four candidates after nine latent frames, in bfloat16.

    Returns:
        ``work``: of a first denoising step (its noise comes over for all steps), of each further one, and of a commit,
        by what becomes of the chunk that leaves. Kernels, gigabytes read and written by kind, bytes over the bus, calls
        that make the host wait, and the peak of memory above what was alive.
        ``pages``: how many pages cross the bus in one chunk at 2x2, by where they are kept and what becomes of those
        that leave.
    """
    with fake_cuda() as device:
        backbone = full_size(preset)
        branch = _remembering(backbone)
        work = [
            _counted(device, "first step", lambda: denoise(backbone, [branch] * CANDIDATES, 1)),
            _counted(device, "first and further step", lambda: denoise(backbone, [branch] * CANDIDATES, 2)),
        ]
        work[1] = _less("further step", work[1], work[0])
        for route in Route:
            parent = _leaving(branch, route)
            work.append(_counted(device, f"commit, {route.value}", lambda parent=parent: commit(backbone, parent)))
    return {"work": work, "pages": _crossings(preset)}


def full_size(preset: str, layers: int | None = None, **place: Any) -> WanBackbone:
    config = load_config(preset)
    sizes = wan_sizes(config.wan)
    sizes = dataclasses.replace(sizes, num_layers=layers or sizes.num_layers)
    with torch.device("meta"):
        model = WanModel(sizes)
    model = placed(model, torch.bfloat16)
    text = torch.zeros(1, sizes.text_len, sizes.text_dim, device=CUDA, dtype=torch.bfloat16)
    schedule = Schedule(config.wan.steps, config.wan.shift, config.sampler)
    return WanBackbone(model, lambda prompt: text, latent_size(config.wan), config.memory, schedule, **place)


def _remembering(backbone: WanBackbone) -> WanBranch:
    """A branch with nine latent frames behind it."""
    sizes, (frames, _, height, width) = backbone.model.config, backbone.chunk_shape
    rows, columns = sizes.grid(height, width)
    shape = (2, sizes.num_layers, frames * rows * columns, sizes.num_heads, sizes.head_dim)
    written = [torch.empty(shape, device=CUDA, dtype=torch.bfloat16) for _ in range(PAST)]
    sink, *window = (Page(frames * at, kv[0], kv[1], f"chunk {at}") for at, kv in enumerate(written))
    return WanBranch(backbone.start("").prompt, Branch((sink,), tuple(window), PAST))


def grown(backbone: WanBackbone, branch: WanBranch, chunks: int, route: Route | None) -> WanBranch:
    for _ in range(chunks):
        parent, branch = branch, commit(backbone, branch, route)
        backbone.release(parent)
    return branch


def commit(backbone: WanBackbone, parent: WanBranch, route: Route | None = None) -> WanBranch:
    """The latents are where ``denoise`` left them; their content goes to the host for the page's name."""
    return backbone.commit(parent, torch.zeros(backbone.chunk_shape, device=CUDA), route)


def _leaving(branch: WanBranch, route: Route) -> WanBranch:
    """The same memory, whose oldest chunk of the window leaves by a route."""
    held = branch.memory
    oldest = dataclasses.replace(held.window[0], route=route)
    return WanBranch(branch.prompt, Branch(held.sinks, (oldest, *held.window[1:]), held.chunks))


def denoise(backbone: WanBackbone, parents: list[WanBranch], steps: int) -> None:
    noise = torch.zeros(len(parents), 1 + backbone.draws, *backbone.chunk_shape)
    backbone.denoise(parents, noise[:, 0], noise[:, 1:], range(steps))


def _counted(device: Device, what: str, ask: Callable[[], object]) -> dict[str, Any]:
    before, work = device.live["cuda"], device.begin()
    kept = ask()
    peak = device.peak["cuda"] - before
    del kept
    return {
        "what": what, "kernels": work.kernels, "elementwise_gb": work.elementwise_bytes / GB,
        "matrix_gb": work.matrix_bytes / GB, "attention_gb": work.attention_bytes / GB, "to_device": work.to_device,
        "to_host": work.to_host, "syncs": work.syncs, "peak_gb": peak / GB,
    }  # fmt: skip


def _less(what: str, both: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    """What a step adds to one before it; the peak is the higher one."""
    counts = {name: both[name] - first[name] for name in both if name not in ("what", "peak_gb")}
    return {"what": what, **counts, "peak_gb": both["peak_gb"]}


def _crossings(preset: str) -> list[dict[str, Any]]:
    """Pages of one chunk over the bus; what crosses beside them, noise and latents, does so where pages do not."""
    others = _chunk(preset, Route.DISCARD, {})
    return [
        {"kept": kept, "leaving": route.value}
        | {name: (found[name] - others[name]) / others["page"] for name in ("to_device", "to_host")}
        for kept, place in PLACES.items()
        for route in Route
        for found in [_chunk(preset, route, place)]
    ]


def _chunk(preset: str, route: Route, place: dict[str, Any]) -> dict[str, int]:
    """Bytes over the bus in one chunk of a search at 2x2 whose beams have parted, and those of a page."""
    with fake_cuda() as device:
        backbone = full_size(preset, LAYERS, **place)
        root = grown(backbone, backbone.start(""), 1, None)
        beams = [grown(backbone, commit(backbone, root, route), PAST - 1, route) for _ in range(BEAMS)]
        backbone.release(root)
        del root
        work = device.begin()
        denoise(backbone, [beam for beam in beams for _ in range(CANDIDATES // BEAMS)], backbone.steps)
        for beam in beams:
            backbone.release(commit(backbone, beam, route))
        newest = beams[0].memory.window[-1]
        return {"to_device": work.to_device, "to_host": work.to_host, "page": newest.nbytes}
