"""Which of float32 and bfloat16 a stage trains in: bfloat16 only where the processor multiplies it fast."""

from __future__ import annotations

from functools import cache

import torch


@cache
def fast_bfloat16(device: str) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32; CPUs without AMX or AVX512-BF16 emulate them."""
    if torch.device(device).type != "cpu":
        return True
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def mixed(device: str) -> torch.autocast:
    """Autocast to bfloat16 where that is fast; elsewhere everything stays in float32."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=fast_bfloat16(device))
