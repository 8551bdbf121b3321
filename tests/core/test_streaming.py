"""Layers that come to the device one by one. On the host, home and work are the same place, but the copies are real."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from streamt1.bench.fake_cuda import CUDA, fake_cuda, placed
from streamt1.core.devices import HOST, pin
from streamt1.core.streaming import visits
from tests.compiler import needs_compiler

KB = 1024


class Rounded(Tensor):
    """Eight bits a value and a scale a row, as quantised weights are held."""

    levels: Tensor
    scale: Tensor

    @staticmethod
    def __new__(cls, levels: Tensor, scale: Tensor) -> Rounded:
        return Tensor._make_wrapper_subclass(cls, levels.shape, dtype=scale.dtype, device=levels.device)

    def __init__(self, levels: Tensor, scale: Tensor) -> None:
        self.levels, self.scale = levels, scale

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["levels", "scale"], None

    @classmethod
    def __tensor_unflatten__(cls, inner: dict[str, Tensor], context: None, size: Any, stride: Any) -> Rounded:
        return cls(inner["levels"], inner["scale"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return cls(args[0].levels, args[0].scale)
        wide = [arg.levels * arg.scale if isinstance(arg, cls) else arg for arg in args]
        return func(*wide, **(kwargs or {}))


def linears(count: int, seed: int = 0) -> nn.ModuleList:
    torch.manual_seed(seed)
    return nn.ModuleList(nn.Linear(16, 16) for _ in range(count)).requires_grad_(False)


def through(layers: nn.ModuleList, streamed: set[int]) -> Tensor:
    x = torch.ones(2, 16)
    with visits(layers, streamed, HOST) as turns:
        for layer in turns:
            x = layer(x).relu()
    return x


@pytest.mark.parametrize("streamed", [{0, 1, 2, 3, 4}, {1, 2, 4}, {3}, set()])
def test_streamed_layers_compute_the_same_twice(streamed: set[int]) -> None:
    layers = linears(5)
    expected = through(layers, set())
    assert torch.equal(through(layers, streamed), expected)
    assert torch.equal(through(layers, streamed), expected)


def test_two_rooms_take_turns_and_home_tensors_are_put_back() -> None:
    layers = linears(5)
    homes = [layer.weight for layer in layers]
    rooms = []
    with visits(layers, set(range(5)), HOST) as turns:
        for index, layer in enumerate(turns):
            assert layer.weight is not homes[index]
            assert torch.equal(layer.weight, homes[index])
            assert isinstance(layer.weight, nn.Parameter)
            rooms.append(layer.weight.data_ptr())
    assert rooms == [rooms[0], rooms[1], rooms[0], rooms[1], rooms[0]]
    assert all(layer.weight is home for layer, home in zip(layers, homes))


def test_work_that_fails_ends_at_home_too() -> None:
    layers = linears(4)
    homes = [layer.weight for layer in layers]
    expected = through(layers, set())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), visits(layers, {0, 1, 2, 3}, HOST) as turns:
        [layer(torch.ones(2, 15 + index)) for index, layer in enumerate(turns, start=1)]
    assert all(layer.weight is home for layer, home in zip(layers, homes))
    assert torch.equal(through(layers, {0, 1, 2, 3}), expected)


def test_layers_of_other_shapes_get_other_rooms() -> None:
    layers = nn.ModuleList([nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 8), nn.Linear(8, 8, bias=False)])
    assert torch.equal(through(layers, {0, 1, 2, 3}), through(layers, set()))


def test_quantised_layers_stream_as_what_they_hold() -> None:
    layers = linears(3)
    for layer in layers:
        levels = torch.randint(-128, 128, (16, 16), dtype=torch.int8)
        layer.weight = nn.Parameter(Rounded(levels, torch.rand(16, 1) / 256), requires_grad=False)
    kept = copy.copy([layer.weight for layer in layers])
    expected = through(layers, set())
    assert torch.equal(through(layers, {0, 1, 2}), expected)
    assert all(layer.weight is home for layer, home in zip(layers, kept))
    with visits(layers, {0, 1, 2}, HOST) as turns:
        weight = next(turns).weight
        assert type(weight) is Rounded
        assert weight.levels.data_ptr() != kept[0].levels.data_ptr()


def test_what_quantised_tensors_hold_is_locked() -> None:
    layer = linears(1)[0]
    levels, scale = torch.randint(-128, 128, (16, 16), dtype=torch.int8), torch.rand(16, 1)
    layer.weight = nn.Parameter(Rounded(levels.clone(), scale.clone()), requires_grad=False)
    empty = torch.empty
    with mock.patch.object(torch, "empty", lambda size, dtype, pin_memory: empty(size, dtype=dtype)):
        pin(layer)
    held = layer.weight.levels, layer.weight.scale
    assert held[0].untyped_storage().data_ptr() == held[1].untyped_storage().data_ptr()
    assert torch.equal(held[0], levels)
    assert torch.equal(held[1], scale)


@needs_compiler
def test_the_device_holds_two_layers_and_each_crosses_once() -> None:
    each = 2 * 17 * 16
    with fake_cuda() as device:
        layers = placed(linears(6), torch.bfloat16, HOST)
        placed(layers[3], torch.bfloat16, CUDA)
        work = device.begin()
        with visits(layers, {0, 1, 2, 4, 5}, CUDA) as turns:
            assert all(layer.weight.device == CUDA for layer in turns)
        assert work.to_device == 5 * each
        assert (work.to_host, work.syncs) == (0, 0)
        assert device.peak["cuda"] == 3 * each
        assert device.live["cuda"] == each


class Streams:
    """Stands for CUDA's streams; writes down who waits for whom."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stream(self, name: str) -> mock.Mock:
        made = mock.Mock()
        made.name = name
        made.wait_stream = lambda other: self.told.append(f"{name} waits for {other.name}")
        made.wait_event = lambda event: self.told.append(f"{name} waits for {event}")
        made.record_event = self._record
        return made

    def _record(self) -> str:
        event = f"copy {sum(line.startswith('copy') for line in self.told)}"
        self.told.append(event)
        return event

    @contextmanager
    def installed(self) -> Any:
        main, side = self.stream("work"), self.stream("side")
        names = {
            "is_available": lambda: True, "Stream": lambda _: side, "current_stream": lambda _: main,
            "stream": lambda _: mock.MagicMock(),
        }  # fmt: skip
        with mock.patch.multiple(torch.cuda, **names):
            yield


@needs_compiler
def test_copies_run_beside_the_work_that_does_not_read_them() -> None:
    """The copy over a room waits for the work that read it before, and the host for nothing."""
    streams = Streams()
    with fake_cuda():
        layers = placed(linears(3), torch.bfloat16, HOST)
        with streams.installed(), visits(layers, {0, 1, 2}, CUDA) as turns:
            for _ in turns:
                streams.told.append("work")
    assert streams.told == [
        "side waits for work", "copy 0", "side waits for work", "copy 1", "work waits for copy 0", "work",
        "side waits for work", "copy 2", "work waits for copy 1", "work", "work waits for copy 2", "work",
        "work waits for side",
    ]  # fmt: skip
