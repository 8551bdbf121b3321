"""What self-attention reads of the past: the memory of each candidate's beam, gathered once for all that share it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from streamt1.backbones.wan.attention import attention, shared_prefix_attention
from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import Attend
from streamt1.backbones.wan.rope import Rotary, shift_angles
from streamt1.core.errors import ConfigError
from streamt1.memory.branch import Branch, MemoryConfig
from streamt1.memory.codecs import indices_on, rotation_on
from streamt1.memory.device_pages import DevicePages
from streamt1.memory.storage import Reading
from streamt1.memory.view import read

Heads = tuple[int, ...]
SHIFTS = 16
"""Ways in which a window's keys are turned that are remembered; beams of one search need a few."""


class PastReader:
    """Attention over memory, for one model under one set of rules.

    Args:
        sizes: of the model.
        rules: of its memory.
        copies: of pages that are kept elsewhere.

    Raises:
        ConfigError: ``local_heads`` names a head that the model does not have, or its heads fill no bytes in ``bits``.
    """

    def __init__(self, sizes: WanConfig, rules: MemoryConfig, copies: DevicePages | None) -> None:
        if rules.coded is not None and sizes.head_dim * rules.bits % 8:
            raise ConfigError(
                f"memory.bits={rules.bits} packs {8 // rules.bits} numbers a byte, and this model's heads have"
                f" {sizes.head_dim}: take 8 or 16"
            )
        self._rules, self._copies = rules, copies
        self._local = _local_heads(sizes, rules)
        self._shifts: dict[tuple[tuple[int, ...], torch.device], Rotary] = {}

    def attend(self, memories: Sequence[Branch]) -> Attend:
        """Attention over the memory of each row of the batch; neighbours with the same memory read it together."""
        if not any(memory.pages for memory in memories):
            return lambda layer, q, k, v: attention(q, k, v)
        runs = [list(run) for _, run in groupby(memories, key=lambda memory: memory.id)]
        counts = [len(run) for run in runs]

        def over_memory(layer: int, q: Tensor, k: Tensor, v: Tensor, heads: Heads | None = None) -> Tensor:
            turn = rotation_on(k.shape[-1], k.dtype, k.device) if self._rules.turned else None
            if len(runs) == 1:
                return shared_prefix_attention(q, k, v, *self._read(memories[0], layer, k, heads), turn=turn)
            seen = torch.empty_like(q)
            parts = zip(runs, q.split(counts), k.split(counts), v.split(counts), seen.split(counts), strict=True)
            for run, own_q, own_k, own_v, out in parts:
                if run[0].pages:
                    shared_prefix_attention(own_q, own_k, own_v, *self._read(run[0], layer, k, heads), out, turn)
                else:
                    out.copy_(attention(own_q, own_k, own_v))
            return seen

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if layer not in self._local:
                return over_memory(layer, q, k, v)
            heads = self._local[layer]
            local, others = (indices_on(own, q.device) for own in heads)
            seen = torch.empty_like(q)
            seen[:, :, local] = attention(q[:, :, local], k[:, :, local], v[:, :, local])
            if len(others):
                seen[:, :, others] = over_memory(layer, q[:, :, others], k[:, :, others], v[:, :, others], heads[1])
            return seen

        return attend

    def _read(self, memory: Branch, layer: int, k: Tensor, heads: Heads | None) -> tuple[Tensor, Tensor]:
        reading = Reading(k.dtype, k.device, self._rules.turned, heads)
        keys, values = read(memory, layer, reading, self._copies)
        moved = self._moved(memory, keys)
        return (keys if moved is None else moved.apply(keys)), values

    def _moved(self, memory: Branch, keys: Tensor) -> Rotary | None:
        """What turns the keys of a memory to the slots they stand in; None where they stand where they were written."""
        if self._rules.positions == "absolute":
            return None
        each = self._rules.chunk
        shifts = tuple(slot * each - page.position for slot, page in enumerate(memory.pages))
        if not any(shifts):
            return None
        key = (shifts, keys.device)
        if key not in self._shifts:
            if len(self._shifts) >= SHIFTS:
                self._shifts.clear()
            tokens = torch.tensor(shifts, device=keys.device).repeat_interleave(keys.shape[1] // len(shifts))
            self._shifts[key] = Rotary.of(shift_angles(tokens, keys.shape[-1]))
        return self._shifts[key]


def _local_heads(sizes: WanConfig, rules: MemoryConfig) -> dict[int, tuple[Heads, Heads]]:
    """Of the layers that have some: heads that read nothing of the past, and the others."""
    for layer, head in rules.local_heads:
        if layer >= sizes.num_layers or head >= sizes.num_heads:
            raise ConfigError(
                f"memory.local_heads names head {head} of layer {layer}: this model has {sizes.num_layers} layers of"
                f" {sizes.num_heads} heads, both counted from 0"
            )
    found: dict[int, tuple[Heads, Heads]] = {}
    for layer in {layer for layer, _ in rules.local_heads}:
        local = tuple(head for head in range(sizes.num_heads) if (layer, head) in rules.local_heads)
        found[layer] = local, tuple(head for head in range(sizes.num_heads) if head not in local)
    return found
