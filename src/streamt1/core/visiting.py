"""Models that come to a device for the time of their work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

HOST = torch.device("cpu")


@contextmanager
def at_work(device: torch.device, *modules: nn.Module) -> Iterator[None]:
    """Modules are on a device for the block; those that were not there go back where they came from."""
    homes = [next(module.parameters()).device for module in modules]
    try:
        for module in modules:
            module.to(device)
        yield
    finally:
        for module, home in zip(modules, homes, strict=True):
            module.to(home)
