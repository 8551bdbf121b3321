"""Which attention kernel is taken, and what shared-prefix attention makes of its answers in 16 bits."""

from __future__ import annotations

import time
from collections import Counter

import pytest
import torch
from torch import Tensor

from streamt1.backbones.wan import kernels
from streamt1.backbones.wan.attention import naive_prefix_attention, shared_prefix_attention
from streamt1.backbones.wan.kernels import by_products, fastest, on_cpu

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"HEADS": 2, "QUERIES": 32, "KEYS": 64, "CALLS": 1}.items():
        monkeypatch.setattr(kernels, name, size)
    fastest.cache_clear()


def slow(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    time.sleep(0.02)
    return by_products(q, k, v)


def refusing(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    raise RuntimeError("no kernel for this device")


def without_scale(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    out, lse = by_products(q, k, v)
    return out, lse / torch.log(torch.tensor(2.0))


def test_the_fastest_of_those_that_answer_right_is_taken() -> None:
    assert fastest(CPU, torch.bfloat16, 16, (slow, by_products)) is by_products
    assert fastest(CPU, torch.bfloat16, 16, (refusing, without_scale, slow)) is slow
    assert fastest(CPU, torch.bfloat16, 16, (refusing, without_scale)) is by_products


def test_a_tie_is_the_firsts(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {slow: 1.1, by_products: 1.0}
    monkeypatch.setattr(kernels, "_seconds", lambda kernel, *rest: seconds[kernel])
    assert fastest(CPU, torch.bfloat16, 16, (slow, by_products)) is slow
    seconds[by_products] = 0.9
    assert fastest(CPU, torch.bfloat16, 24, (slow, by_products)) is by_products


def test_it_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()

    def counted(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        calls["kernel"] += 1
        return by_products(q, k, v)

    several = (counted, slow)
    assert fastest(CPU, torch.bfloat16, 16, several) is counted
    before = calls["kernel"]
    assert fastest(CPU, torch.bfloat16, 16, several) is counted
    assert calls["kernel"] == before > 0


def test_running_out_of_memory_leaves_no_kernel_out() -> None:
    def full(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        fastest(CPU, torch.bfloat16, 16, (full, by_products))


def test_the_cpu_kernel_and_plain_products_agree() -> None:
    q, k, v = torch.randn(3, 2, 4, 17, 16)
    for ours, theirs in zip(on_cpu(q, k, v), by_products(q, k, v)):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_shared_prefix_attention_in_16_bits(n: int) -> None:
    """As near to exact arithmetic as plain attention, but for two more roundings: of the parts, and of their weight."""
    q, k, v = torch.randn(3, n, 70, 2, 16).bfloat16()
    prefix_k, prefix_v = torch.randn(2, 1, 110, 2, 16).bfloat16()
    given = (q, k, v, prefix_k, prefix_v)
    exact, plain = naive_prefix_attention(*(t.double() for t in given)), naive_prefix_attention(*given)
    with torch.no_grad():
        lean = shared_prefix_attention(*given)
        written = torch.empty_like(q)
        shared_prefix_attention(*given, written)
    assert lean.dtype is plain.dtype is torch.bfloat16
    assert torch.equal(lean, written)
    assert (lean - exact).abs().max() < 2 * torch.finfo(torch.bfloat16).eps
    assert (lean - exact).square().mean().sqrt() < 2 * (plain - exact).square().mean().sqrt()


@pytest.mark.parametrize("n", [1, 3])
def test_float32_can_be_written_where_it_is_wanted(n: int) -> None:
    q, k, v = torch.randn(3, n, 7, 2, 8)
    prefix_k, prefix_v = torch.randn(2, 1, 11, 2, 8)
    out = torch.zeros_like(q)
    assert torch.equal(shared_prefix_attention(q, k, v, prefix_k, prefix_v, out), out)
    assert torch.equal(out, shared_prefix_attention(q, k, v, prefix_k, prefix_v))
