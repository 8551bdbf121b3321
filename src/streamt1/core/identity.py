"""Identity is content: names that mean the same in every process, and in every run from the same inputs."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def content_id(*parts: str | float | Tensor | None) -> str:
    """A name of 32 hexadecimal digits that depends on every part: texts, numbers, and the bytes of tensors."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = _bytes(part) if isinstance(part, Tensor) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def raw_bytes(tensor: Tensor) -> bytes:
    """A tensor's numbers as they lie in memory."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _bytes(tensor: Tensor) -> bytes:
    """Type, shape and content."""
    return f"{tensor.dtype}{tuple(tensor.shape)}".encode() + raw_bytes(tensor)
