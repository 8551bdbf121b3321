"""Counting on a device that is not there."""

from __future__ import annotations

import torch
from torch import nn

from streamt1.bench.fake_cuda import CUDA, fake_cuda, placed
from streamt1.core.devices import at_work
from tests.compiler import needs_compiler

pytestmark = needs_compiler
KB = 1024


def test_kernels_bytes_and_copies_are_counted() -> None:
    with fake_cuda() as device:
        x = torch.zeros(KB, dtype=torch.float32)
        work = device.begin()
        y = x.to(CUDA)
        assert (work.kernels, work.to_device, work.syncs) == (1, 4 * KB, 0)
        z = y.view(32, 32) + 1
        assert (work.kernels, work.elementwise_bytes) == (2, 8 * KB)
        z @ z
        assert work.matrix_bytes == 12 * KB
        z.cpu()
        assert (work.to_host, work.syncs) == (4 * KB, 1)


def test_what_is_repeated_is_read_once() -> None:
    with fake_cuda() as device:
        row, out = torch.zeros(1, 8, device=CUDA), torch.zeros(KB, 8, device=CUDA)
        work = device.begin()
        torch.add(row.expand(KB, 8), 1, out=out)
        assert work.elementwise_bytes == 4 * (8 + 8 * KB)


def test_memory_is_alive_until_it_is_freed() -> None:
    with fake_cuda() as device:
        kept = torch.zeros(KB, device=CUDA)
        device.begin()
        passing = torch.zeros(2 * KB, device=CUDA)
        assert device.live["cuda"] == 12 * KB
        del passing
        again = torch.zeros(KB, device=CUDA)
        assert (device.live["cuda"], device.peak["cuda"]) == (8 * KB, 12 * KB)
        assert kept.device == again.device == CUDA


def test_a_model_visits_the_device_and_leaves_nothing_there() -> None:
    with fake_cuda() as device:
        model = placed(nn.Linear(16, 16), torch.bfloat16, torch.device("cpu"))
        home, work = model.weight, device.begin()
        with at_work(CUDA, model):
            assert model.weight.device == CUDA
        assert (device.live["cuda"], device.peak["cuda"]) == (0, 2 * 17 * 16)
        assert (work.to_device, work.to_host) == (2 * 17 * 16, 0)
        assert model.weight is home
