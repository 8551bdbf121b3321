"""Copies over the bus: from locked memory of the host they run beside the host's work."""

from __future__ import annotations

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """The tensor on a device, in ``dtype``; the tensor itself where nothing is to do."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return locked(tensor).to(device, dtype, non_blocking=True)
    return tensor.to(device, dtype)


def locked(tensor: Tensor) -> Tensor:
    """A host tensor in locked memory; itself where the system lends no more of it, and where it holds no numbers."""
    if type(tensor) is not Tensor or tensor.is_pinned():
        return tensor
    try:
        return tensor.pin_memory()
    except RuntimeError:
        return tensor
