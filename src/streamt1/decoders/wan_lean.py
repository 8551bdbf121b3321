"""Wan's VAE decoder with fewer passes over memory: the same convolutions around less copying, in 16 bits on a GPU.

Diffusers lays features out channel by channel, pads each in a copy of its own, and norms in float32 by four kernels. A
GPU convolves what has its channels last, so every convolution turned its input and its output around as well. Here
channels stay last, convolutions pad by themselves, and a norm and its SiLU are one pass (``core.fused``).

Like ``wan_vae`` it touches private names of diffusers' ``AutoencoderKLWan``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamt1.core import fused

LAST = torch.channels_last_3d
LAYOUTS = {"WanCausalConv3d": LAST, "Conv2d": torch.channels_last}
"""Of the weights of every kind of convolution."""
EPS = 1e-24
"""Below the square of anything that a norm meets: diffusers divides by the norm itself."""
PAST = 2
"""Frames that a causal convolution over three remembers."""


def make_lean(decoder: nn.Module) -> None:
    """Gives the parts of diffusers' ``WanDecoder3d`` other ways to compute the same. Mutates."""
    modules: list[Any] = list(decoder.modules())
    for module in modules:
        kind = type(module).__name__
        if kind in LAYOUTS:
            weight = module.weight.detach().contiguous(memory_format=LAYOUTS[kind])
            module.weight = nn.Parameter(weight, requires_grad=False)
        if kind == "WanCausalConv3d":
            module.forward = partial(_convolved, module)
        elif kind == "WanRMS_norm":
            module.forward = partial(_normed, module.gamma, False)
        elif kind == "WanUpsample":
            module.forward = _doubled
        elif kind == "WanResample":
            module.forward = partial(_resampled, module)
    for module in modules:
        norms = {"WanResidualBlock": ("norm1", "norm2"), "WanDecoder3d": ("norm_out",)}.get(type(module).__name__, ())
        for name in norms:  # each is followed by the module's SiLU
            norm = getattr(module, name)
            norm.forward = partial(_normed, norm.gamma, True)
        if norms:
            module.nonlinearity = nn.Identity()


def _convolved(conv: Any, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
    """A causal convolution: what is missing of its past is zero. Both ``[B, C, T, H, W]``."""
    columns, _, rows, _, past, _ = conv._padding
    if past:
        known = [] if cache_x is None else [cache_x.to(x.device)]
        missing = past - sum(part.shape[2] for part in known)
        if missing:
            known.insert(0, x.new_zeros(*x.shape[:2], missing, *x.shape[3:]))
        x = torch.cat([part.contiguous(memory_format=LAST) for part in (*known, x)], dim=2)
    x = x.contiguous(memory_format=LAST)
    return F.conv3d(x, conv.weight, conv.bias, conv.stride, (0, rows, columns))


def _normed(gamma: Tensor, silu: bool, x: Tensor) -> Tensor:
    """Root-mean-square norm over the channels of ``[B, C, ...]``, then SiLU if asked; channels come out last."""
    last = x.movedim(1, -1)
    rows = last.reshape(-1, x.shape[1])
    return _rows(rows, gamma.flatten(), silu).view(last.shape).movedim(-1, 1)


def _rows(rows: Tensor, gamma: Tensor, silu: bool) -> Tensor:
    if fused.usable(rows, gamma):
        return fused.silu_norm(rows, gamma, EPS, silu)
    size = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=torch.float32).clamp_(min=EPS**0.5)
    normed = torch.mul(rows, size.reciprocal_().mul_(rows.shape[-1] ** 0.5), out=torch.empty_like(rows)).mul_(gamma)
    return F.silu(normed, inplace=True) if silu else normed


def _resampled(block: Any, x: Tensor, feat_cache: list[Any] | None = None, feat_idx: list[int] | None = None) -> Tensor:
    """Twice the size, and, in blocks that do so, twice the frames but for a video's first."""
    if block.mode == "upsample3d" and feat_cache is not None and feat_idx is not None:
        x = _more_frames(block, x, feat_cache, feat_idx)
    frames = x.transpose(1, 2)
    return block.resample(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).transpose(1, 2)


def _doubled(x: Tensor) -> Tensor:
    """Every pixel of ``[N, C, H, W]`` twice in both directions: what ``nearest-exact`` does at a factor of two."""
    n, c, h, w = x.shape
    last = x.permute(0, 2, 3, 1)[:, :, None, :, None]
    return last.expand(n, h, 2, w, 2, c).reshape(n, 2 * h, 2 * w, c).permute(0, 3, 1, 2)


def _more_frames(block: Any, x: Tensor, feat_cache: list[Any], feat_idx: list[int]) -> Tensor:
    at = feat_idx[0]
    feat_idx[0] += 1
    past, begins = feat_cache[at], isinstance(feat_cache[at], str)
    if past is None:
        feat_cache[at] = "Rep"  # diffusers' mark: the first frame has gone by, which is not doubled
        return x
    last = x[:, :, -PAST:].clone()
    if last.shape[2] < PAST:
        last = torch.cat([torch.zeros_like(last) if begins else past[:, :, -1:].to(x.device), last], dim=2)
    feat_cache[at] = last
    x = block.time_conv(x, None if begins else past)
    b, _, t, h, w = x.shape
    return x.unflatten(1, (2, -1)).permute(0, 3, 1, 4, 5, 2).reshape(b, 2 * t, h, w, -1).permute(0, 4, 1, 2, 3)
