"""A decoder that makes survivors' states again."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from streamt1.decoders.pocket_vae import PocketDecoder, PocketVAE, PocketVAEConfig
from streamt1.decoders.recompute import RecomputingDecoder


class Counting(PocketDecoder):
    """Remembers what it decoded, and which states are alive."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(PocketVAE(PocketVAEConfig(fine=16, coarse=24)))
        self.calls, self._alive = 0, list[Any]()

    def decode(self, states: Any, latents: Tensor) -> Any:
        self.calls += len(latents)
        frames, after = super().decode(states, latents)
        self._alive += [weakref.ref(state[0]) for state in after]
        return frames, after

    @property
    def alive(self) -> int:
        gc.collect()
        return sum(state() is not None for state in self._alive)


@pytest.fixture
def inner() -> Counting:
    return Counting()


def chunk(seed: int, count: int = 1) -> Tensor:
    return torch.randn(count, 3, 8, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_frames_are_those_of_the_decoder_itself(inner: Counting) -> None:
    decoder, plain = RecomputingDecoder(inner), Counting()
    states, kept = [decoder.start()] * 4, [plain.start()] * 4
    for turn, survivors in enumerate([(1, 3), (0, 2), (3, 3)]):
        latents = chunk(turn, 4)
        frames, after = decoder.decode(states, latents)
        expected = torch.cat([plain.decode([state], own)[0] for state, own in zip(kept, latents.split(1))])
        assert torch.equal(frames, expected)
        kept = [plain.decode([kept[row]], latents[row : row + 1])[1][0] for row in survivors for _ in range(2)]
        states = [after[row] for row in survivors for _ in range(2)]


def test_only_survivors_are_decoded_again_and_once(inner: Counting) -> None:
    decoder = RecomputingDecoder(inner)
    _, first = decoder.decode([decoder.start()] * 4, chunk(0, 4))
    assert inner.calls == 4
    _, second = decoder.decode([first[0], first[0], first[2], first[2]], chunk(1, 4))
    assert inner.calls == 4 + 2 + 4
    decoder.decode([first[0]], chunk(2))
    assert inner.calls == 4 + 2 + 4 + 1
    assert len(second) == 4


def test_states_of_losers_and_of_the_past_are_let_go(inner: Counting) -> None:
    decoder = RecomputingDecoder(inner)
    states = [decoder.start()]
    for turn in range(4):
        _, after = decoder.decode([states[0]] * 4, chunk(turn, 4))
        states = [after[1]]
        del after
        assert inner.alive <= 1, "a beam's state, and none of its candidates'"
