"""Copies over the bus: from locked memory of the host they run beside the host's work."""

from __future__ import annotations

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """The tensor on a device, in ``dtype``; itself where nothing is to do. The host doesn't wait for the copy."""
    return tensor.to(device, dtype, non_blocking=device.type == "cuda")


def locked(tensor: Tensor, device: torch.device) -> Tensor:
    """A host tensor that is bound for a device, in locked memory where the device is CUDA.

    Itself where it is elsewhere or holds no numbers, or where the system lends no more such memory.
    """
    if device.type != "cuda" or tensor.device.type != "cpu" or type(tensor) is not Tensor or tensor.is_pinned():
        return tensor
    try:
        return tensor.pin_memory()
    except RuntimeError:
        return tensor


def room(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, lock: bool = False) -> Tensor:
    """Memory that is to be written; on the host locked on demand, where the system lends so much of it."""
    if lock and device.type == "cpu":
        try:
            return torch.empty(shape, dtype=dtype, pin_memory=True)
        except RuntimeError:
            pass
    return torch.empty(shape, dtype=dtype, device=device)
