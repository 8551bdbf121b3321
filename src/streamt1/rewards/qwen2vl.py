"""Qwen2-VL as a reward: text and vision in, a head's values at the reward tokens out (SPEC section 8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from streamt1.core.devices import HOST, Halving, at_work, move, pin, sent
from streamt1.core.errors import ConfigError, needs_extra
from streamt1.rewards.network import Asked, Qwen2VL
from streamt1.rewards.vision import patches_of
from streamt1.rewards.words import Question, Words

T = TypeVar("T", bound="Qwen2VLReward")


class Qwen2VLReward:
    """What the two official rewards share: a model, a head over its reward tokens, and where they work.

    Args:
        model, head: the model and its head; the head in float32.
        words: its tokenizer.
        template: the question, with the reward tokens.
        batch: questions that go through a layer together; halved where memory runs out.
        device: where it works; None means where it is. If it lives on the host, its weights come over for every call,
            the language layers one by one, and then all questions of the call go through a layer before the next one.
    """

    def __init__(
        self,
        model: Qwen2VL,
        head: nn.Module,
        words: Words,
        template: str,
        batch: int = 1,
        device: torch.device | None = None,
    ) -> None:
        self.model, self.head, self.words, self.template = model, head, words, template
        self.batch = Halving(batch)
        self.device = device or next(head.parameters()).device

    def placed(self: T, dtype: torch.dtype, bits: int, stays: bool, resident_layers: int = 0) -> T:
        """Itself, ready for work: cast, its language layers in 8 or 4 bits (16: as they are), and at home.

        Home is the device where it works if it ``stays`` there, else the host, but for ``resident_layers`` of its
        language layers, which stay. Raises ``MissingExtraError`` without torchao, ``ConfigError`` for 4 bits on
        anything but CUDA, where torch has the kernels.
        """
        if bits == 4 and self.device.type != "cuda":
            raise ConfigError(f"rewards in 4 bits work on CUDA only, not on {self.device.type}; use reward_bits=8")
        move(self.model, HOST, dtype)
        self._quantise(bits)
        home = self.device if stays else HOST
        move(self.model, home)
        move(self.head, home)
        if home != self.device:
            self.stream(resident_layers)
        return self

    def _quantise(self, bits: int) -> None:
        if bits == 16:
            return
        with needs_extra("quant", f"rewards in {bits} bits"):
            from torchao.quantization import (  # pyright: ignore[reportMissingImports]
                Int4WeightOnlyConfig,
                Int8WeightOnlyConfig,
                quantize_,
            )

        layers = self.model.qwen.language_model.layers
        if bits == 8:
            quantize_(layers, Int8WeightOnlyConfig())
        else:  # packed on the device, in the form that torch's own kernels read
            quantize_(layers, Int4WeightOnlyConfig(int4_packing_format="tile_packed_to_4d"), device=self.device)

    def stream(self, resident_layers: int = 0) -> None:
        """From now on the language layers come to the device one by one, but for some that stay there. Mutates.

        Those that stay are spread evenly, so that each copy has as much work to run beside. Where any stays, the
        vision tower does, too, which else comes over whole.
        """
        layers, tower = self.model.qwen.language_model.layers, cast(nn.Module, self.model.qwen.visual)
        count, stay = len(layers), resident_layers
        self.model.streamed = frozenset(i for i in range(count) if (i + 1) * stay // count == i * stay // count)
        for index, layer in enumerate(layers):
            if index not in self.model.streamed:
                move(layer, self.device)
        if stay:
            move(tower, self.device)
        if self.device.type == "cuda" and torch.cuda.is_available():
            pin(tower, self.head, *(layers[index] for index in sorted(self.model.streamed)))

    def _answers(self, ask: Callable[[int, int], Sequence[Question]], count: int) -> Tensor:
        """The head's values at the reward tokens, ``[N, marks, outputs]``, of questions ``0..count``.

        They are made as they are needed. A model that is at home on the device is asked part by part; of one that
        streams, each layer comes once for all.
        """
        together = count if self.model.streamed else (self.batch.limit or count)
        begins = range(0, count, together)
        return torch.cat([self._values(ask(begin, min(count, begin + together))) for begin in begins])

    def _values(self, questions: Sequence[Question]) -> Tensor:
        rows = self.words.padded(questions)
        dtype = self.model.qwen.language_model.embed_tokens.weight.dtype

        def patches(begin: int, end: int) -> Tensor:
            frames = [sent(question.frames, self.device) for question in questions[begin:end]]
            return torch.cat([patches_of(part[None], dtype) for part in frames])

        grids, places = [question.grid for question in questions], [self.words.places(row) for row in rows]
        asked = Asked(rows, self.words.vision_id, grids, patches, places)
        states = self.model(asked, self.device, self.batch)
        with at_work(self.device, self.head):
            return self.head(states.float())
