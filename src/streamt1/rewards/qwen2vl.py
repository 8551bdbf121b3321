"""Qwen2-VL as a reward: text and vision in, hidden states at the reward tokens out (SPEC section 8).

Positions are 0..L-1 on all three axes, as in the rewards' training, not M-RoPE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from streamt1.core.devices import HOST, Halving, at_work
from streamt1.core.errors import CheckpointError, ConfigError, needs_extra
from streamt1.core.weights import load_strictly
from streamt1.rewards.vision import MERGE, Grid

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM = "You are a helpful assistant."
T = TypeVar("T", bound="Qwen2VLReward")


@dataclass(frozen=True)
class Question:
    """What the model is asked about one picture or clip: patches ``[P, 1176]``, their grid, and the words."""

    patches: Tensor
    grid: Grid
    pieces: tuple[str, ...]


class Words:
    """Token ids of questions.

    Args:
        base: folder of the Qwen2-VL repository (tokenizer files).
        marks: reward tokens, in the order in which they were added to the vocabulary.
        vision: ``image`` or ``video``.
    """

    def __init__(self, base: Path, marks: tuple[str, ...], vision: str) -> None:
        with needs_extra("wan", "the reward models"):
            from transformers import AutoTokenizer
        try:
            self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(base), local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"there is no tokenizer in {base}: {error}") from error
        self._tokenizer.add_special_tokens({"additional_special_tokens": list(marks)})  # pyright: ignore
        self.marks = marks
        self.mark_ids = [self._id(mark) for mark in marks]
        self.vision_id = self._id(f"<|{vision}_pad|>")
        self.size = len(self._tokenizer)

    def _id(self, token: str) -> int:
        found: Any = self._tokenizer.convert_tokens_to_ids(token)
        if not isinstance(found, int):
            raise CheckpointError(f"the tokenizer has no token {token}: it is not Qwen2-VL's")
        return found

    def ids(self, question: Question) -> list[int]:
        """The chat: system, user (vision, then the words), and the assistant's header."""
        start, end = self._id("<|im_start|>"), self._id("<|im_end|>")
        t, h, w = question.grid
        vision = [self.vision_id] * (t * h * w // MERGE**2)
        opening = [start, *self._text(f"system\n{SYSTEM}"), end, *self._text("\n"), start, *self._text("user\n")]
        shown = [self._id("<|vision_start|>"), *vision, self._id("<|vision_end|>")]
        asked = [i for piece in question.pieces for i in self._piece(piece)]
        return [*opening, *shown, *asked, end, *self._text("\n"), start, *self._text("assistant\n")]

    def _piece(self, piece: str) -> list[int]:
        return [self._id(piece)] if piece in self.marks else self._text(piece)

    def _text(self, text: str) -> list[int]:
        """Ids of plain words; what looks like a special token in them is plain, too."""
        return self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]  # pyright: ignore

    def padded(self, rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Ids and mask ``[B, L]``, padded on the right with ``<|endoftext|>``."""
        longest, pad = max(map(len, rows)), self._id("<|endoftext|>")
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return ids, mask


class Qwen2VL(nn.Module):
    """The vision tower and the language model, without its vocabulary head."""

    def __init__(self, base: Path, words: int) -> None:
        super().__init__()
        with needs_extra("wan", "the reward models"):
            from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLConfig
            from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel
        try:
            config = Qwen2VLConfig.from_pretrained(str(base), local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"there is no configuration of Qwen2-VL in {base}: {error}") from error
        text: Any = config.text_config
        text.vocab_size = words
        config._attn_implementation = "sdpa"
        with torch.device("meta"):
            self.qwen = Qwen2VLModel(config)
        self.hidden: int = text.hidden_size

    def load(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Puts official weights in (``visual.*`` and ``model.*``); the vocabulary head is dropped. Strict."""
        renamed = {
            key.replace("model.", "language_model.", 1) if key.startswith("model.") else key: value
            for key, value in weights.items()
            if key != "lm_head.weight"
        }
        load_strictly(self.qwen, renamed, source)
        self.renew_rotary()

    def renew_rotary(self) -> None:
        """Makes the rotary tables anew, in float32, where the model is. Mutates.

        They are no weights, so loading leaves them empty; and a cast of the model casts them with it: in bfloat16 an
        angle at position 1000 is off by up to 1.15 rad.
        """
        vision, text = self.qwen.visual, self.qwen.language_model
        device = text.embed_tokens.weight.device
        vision.rotary_pos_emb = type(vision.rotary_pos_emb)(vision.config).to(device)
        text.rotary_emb = type(text.rotary_emb)(text.config).to(device)  # pyright: ignore[reportArgumentType]

    def forward(self, ids: Tensor, mask: Tensor, patches: Tensor, grids: Tensor, vision_id: int) -> Tensor:
        """Last hidden states ``[B, L, hidden]``.

        Args:
            ids, mask: ``[B, L]``, padded on the right.
            patches: of all questions, one after another, ``[P, 1176]``.
            grids: ``[B, 3]``.
        """
        qwen = self.qwen
        embeds = qwen.language_model.embed_tokens(ids)
        seen = qwen.visual(patches.to(embeds.dtype), grid_thw=grids).pooler_output
        places = ids == vision_id
        if int(places.sum()) != len(seen):
            raise ValueError(f"{int(places.sum())} places for {len(seen)} vision tokens")
        embeds = embeds.masked_scatter(places[..., None], seen.to(embeds.dtype))
        positions = torch.arange(ids.shape[1], device=ids.device).expand(3, *ids.shape)
        return qwen.language_model(
            inputs_embeds=embeds, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state


def ask(model: Qwen2VL, words: Words, questions: Sequence[Question], device: torch.device) -> Tensor:
    """Hidden states at the reward tokens, ``[B, marks, hidden]``.

    Raises ``ValueError`` when a question does not hold each reward token once.
    """
    ids, mask = (part.to(device) for part in words.padded([words.ids(question) for question in questions]))
    patches = torch.cat([question.patches for question in questions]).to(device)
    grids = torch.tensor([question.grid for question in questions], device=device)
    places = torch.stack([ids == mark for mark in words.mark_ids], dim=1)
    if not bool((places.sum(-1) == 1).all()):
        raise ValueError(f"every question must hold each of {', '.join(words.marks)} once")
    hidden = model(ids, mask, patches, grids, words.vision_id)
    return torch.gather(hidden, 1, places.int().argmax(-1)[..., None].expand(-1, -1, hidden.shape[-1]))


class Qwen2VLReward:
    """What the two official rewards share: a model, a head over its reward tokens, and where they work.

    Args:
        model, head: the model and its head; the head in float32.
        words: its tokenizer.
        template: the question, with the reward tokens.
        batch: questions in one pass; halved where memory runs out.
        device: where it works; None means where it is. If it is elsewhere, it comes over for every call.
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

    def placed(self: T, dtype: torch.dtype, bits: int, stays: bool) -> T:
        """Itself, ready for work: cast, its language layers in 8 or 4 bits (16: as they are), and at home.

        Home is the device where it works if it ``stays`` there, else the host. Raises ``MissingExtraError`` without
        torchao, ``ConfigError`` for 4 bits on anything but CUDA, where torch has the kernels.
        """
        if bits == 4 and self.device.type != "cuda":
            raise ConfigError(f"rewards in 4 bits work on CUDA only, not on {self.device.type}; use reward_bits=8")
        self.model.to(dtype).eval().requires_grad_(False)
        self.model.renew_rotary()
        if bits < 16:
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
        home = self.device if stays else HOST
        self.model.to(home)
        self.head.to(home).eval().requires_grad_(False)
        return self

    def _in_parts(self, work: Callable[[int, int], Tensor], count: int) -> Tensor:
        """``work(begin, end)`` for parts of ``0..count`` that fit, one after another in one tensor."""
        with at_work(self.device, self.model, self.head):
            return torch.cat(self.batch.run(work, count))

    def _answers(self, questions: Sequence[Question]) -> Tensor:
        """The head's values at the reward tokens, ``[B, marks, outputs]``."""
        return self.head(ask(self.model, self.words, questions, self.device).float())
