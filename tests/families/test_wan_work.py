"""What a pass needs beside weights and memory, counted at full size on a device that is not there."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from streamt1.bench.fake_cuda import fake_cuda
from streamt1.bench.passes import denoise, full_size, grown
from streamt1.config.load import load_config
from streamt1.core.types import Route
from streamt1.families import wan_memory, wan_work
from tests.compiler import needs_compiler

pytestmark = needs_compiler
LONGLIVE = load_config("longlive")


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"bits": 4},
        {"positions": "relative"},
        {"positions": "relative", "bits": 8},
        {"codec": "grouped", "bits": 4},
        {"local_heads": ((0, 0), (0, 5)), "bits": 4},
    ],
)
def test_a_plan_holds_the_widest_moment_of_a_pass(rules: dict[str, Any]) -> None:
    """Over full memory; not by much too little, and not by a tenth too much."""
    memory = dataclasses.replace(LONGLIVE.memory, **rules)
    sizes = wan_memory.wan_sizes(LONGLIVE.wan)
    frame = wan_memory.frame_tokens(LONGLIVE, sizes)
    with fake_cuda() as device:
        backbone = full_size("longlive", 1).with_memory(memory)
        end = grown(backbone, backbone.start(""), memory.max_frames // memory.chunk, Route.APPEND)
        for candidates in (1, 2):
            before = device.live["cuda"]
            device.begin()
            denoise(backbone, [end] * candidates, 1)
            past = frame * (memory.max_frames - memory.chunk)
            planned = wan_work.denoise(sizes, frame * memory.chunk, candidates, past, memory, False, 2)
            assert device.peak["cuda"] - before <= planned <= 1.1 * (device.peak["cuda"] - before)
