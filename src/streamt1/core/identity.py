"""Identity is content: names that mean the same in every process, and in every run from the same inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def content_id(*parts: str | float | Tensor | None) -> str:
    """A name of 32 hexadecimal digits that depends on every part: texts, numbers, and the bytes of tensors."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = _bytes(part) if isinstance(part, Tensor) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


SAMPLED = 16384
"""Numbers of each weight that its model's name depends on: two trained models differ in nearly all of theirs."""


def weights_id(weights: Mapping[str, Tensor]) -> str:
    """A name of a model: of its weights' names, types, shapes, and of ``SAMPLED`` numbers of each, evenly spread."""
    parts: list[str | Tensor] = []
    for name in sorted(weights):
        values = weights[name].detach().flatten()
        parts += [name, str(tuple(weights[name].shape)), values[:: max(1, -(-len(values) // SAMPLED))]]
    return content_id(*parts)


def byte_view(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor on the host; not a copy, and writing to them changes it."""
    return tensor.detach().view(-1).view(torch.uint8).numpy().data


def raw_bytes(tensor: Tensor) -> bytes:
    """A tensor's numbers as they lie in memory."""
    return byte_view(tensor.cpu().contiguous()).tobytes()


def _bytes(tensor: Tensor) -> bytes:
    """Type, shape and content."""
    return f"{tensor.dtype}{tuple(tensor.shape)}".encode() + raw_bytes(tensor)
