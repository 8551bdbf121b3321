"""Qwen2-VL's vision tower and language model: what is computed; its weights' modules come from transformers.

Only modules that the checkpoints name are used, so that no detail of a release of transformers matters. All that
depends on the questions is known on the host: nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamt1.core.devices import Halving, at_work, sent
from streamt1.core.errors import CheckpointError, needs_extra
from streamt1.core.streaming import visits
from streamt1.core.weights import load_strictly, one_line
from streamt1.rewards.rotary import Tables, base_of, frame_tables, frequencies, text_tables, turned
from streamt1.rewards.vision import MERGE, MOST_PATCHES, Grid


@dataclass(frozen=True)
class Asked:
    """Questions as the model reads them; ``B`` of them, ``L`` tokens each.

    Attributes:
        rows: token ids, padded on the right; positions are 0..L-1 on all three axes, as in the rewards' training.
        vision_id: the token in the place of what is seen.
        grids: of what is seen, one a question.
        patches: makes the patches ``[P, 1176]`` of questions ``begin..end``, where the work is done, in its dtype.
        places: tokens of each question whose states are wanted, equally many.
    """

    rows: Sequence[Sequence[int]]
    vision_id: int
    grids: Sequence[Grid]
    patches: Callable[[int, int], Tensor]
    places: Sequence[Sequence[int]]


class Qwen2VL(nn.Module):
    """The vision tower and the language model, without its vocabulary head.

    Attributes:
        streamed: language layers that live on the host and come to the device one by one, by their index.
        spread, spread_seen: frequencies of the rotary embeddings, of words and of patches.
    """

    def __init__(self, base: Path, words: int) -> None:
        super().__init__()
        with needs_extra("wan", "the reward models"):
            from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLConfig
            from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel
        try:
            config = Qwen2VLConfig.from_pretrained(str(base), local_files_only=True)
        except Exception as error:  # whatever transformers raises for files of the wrong kind
            told = f"there is no configuration of Qwen2-VL in {base}: {one_line(error)}; download it again"
            raise CheckpointError(told) from error
        text: Any = config.text_config
        text.vocab_size = words
        with torch.device("meta"):
            self.qwen = Qwen2VLModel(config)
        del self.qwen.language_model.rotary_emb, self.qwen.visual.rotary_pos_emb  # tables that a cast would spoil
        self.hidden: int = text.hidden_size
        self.heads = (text.num_attention_heads, text.num_key_value_heads)
        seen: Any = config.vision_config
        self.heads_seen: int = seen.num_heads
        self.spread = frequencies(self.hidden // self.heads[0], base_of(text, ("default", "mrope")))
        self.spread_seen = frequencies(seen.embed_dim // seen.num_heads // 2, base_of(seen, ("axial", "default")))
        self.streamed: frozenset[int] = frozenset()

    def load(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Puts official weights in (``visual.*`` and ``model.*``); the vocabulary head is dropped. Strict."""
        load_strictly(self.qwen, modern_names(weights), source)

    def forward(self, asked: Asked, device: torch.device, parts: Halving) -> Tensor:
        """Last hidden states at the places, ``[B, K, hidden]``.

        Weights that are elsewhere come over for as long as they are needed. ``parts`` says how many questions go
        through a layer at a time; all go through one before the next, so that each layer comes but once.

        Raises ``ValueError`` when there are not as many places for what is seen as it has tokens.
        """
        qwen, count = self.qwen, len(asked.rows)
        _check_places(asked)
        x = self._words(asked.rows, device)
        with at_work(device, qwen.visual):
            parts.run(partial(self._look, x, asked), count)
        cos, sin = text_tables(x.shape[1], self.spread, device)
        tables = (cos.to(x.dtype), sin.to(x.dtype))
        with visits(qwen.language_model.layers, self.streamed, device) as layers:
            for layer in layers:
                parts.run(partial(_pass, layer, x, tables, self.heads), count)
        index = sent(torch.tensor(asked.places), device)[..., None].expand(-1, -1, self.hidden)
        with at_work(device, qwen.language_model.norm):
            return qwen.language_model.norm(x.gather(1, index))

    def _words(self, rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
        """Word embeddings ``[B, L, hidden]``; of a table on the host only the rows that occur come over."""
        table = self.qwen.language_model.embed_tokens.weight
        known = sorted({token for row in rows for token in row})
        found = sent(table[sent(torch.tensor(known), table.device)], device)
        place = {token: index for index, token in enumerate(known)}
        return found[sent(torch.tensor([[place[token] for token in row] for row in rows]), device)]

    def _look(self, x: Tensor, asked: Asked, begin: int, end: int) -> None:
        """Puts what is seen into its places among the words of questions ``begin..end``. Mutates ``x``."""
        seen = self.seen(asked.patches(begin, end), asked.grids[begin:end])
        tokens = (token for row in asked.rows[begin:end] for token in row)
        places = [place for place, token in enumerate(tokens) if token == asked.vision_id]
        x[begin:end].view(-1, self.hidden).index_copy_(0, sent(torch.tensor(places), x.device), seen.to(x.dtype))

    def seen(self, patches: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Patches ``[P, 1176]`` -> vision tokens ``[P/4, hidden]``. Frames of one size go through together.

        A long clip goes through in parts, so that it takes no more room than a short one.
        """
        runs = [(size, sum(t for t, *_ in run)) for size, run in groupby(grids, lambda grid: grid[1:])]
        shares = patches.split([count * h * w for (h, w), count in runs])
        parts = (
            (part, size) for share, (size, _) in zip(shares, runs) for part in share.split(_patches_at_once(*size))
        )
        return torch.cat([self._tower(part, *size) for part, size in parts])

    def _tower(self, patches: Tensor, rows: int, columns: int) -> Tensor:
        visual: Any = self.qwen.visual
        x = visual.patch_embed(patches)
        tables = frame_tables(rows, columns, self.spread_seen, x.device)
        for block in visual.blocks:
            x = x + _attention_seen(block.attn, block.norm1(x), tables, self.heads_seen)
            x = x + block.mlp(block.norm2(x))
        return visual.merger(x)


def modern_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official weights under the names that the model has today, without the vocabulary head."""
    return {
        key.replace("model.", "language_model.", 1) if key.startswith("model.") else key: value
        for key, value in weights.items()
        if key != "lm_head.weight"
    }


def _patches_at_once(rows: int, columns: int) -> int:
    """Of whole frames, at least one."""
    return int(max(1, MOST_PATCHES // (rows * columns)) * rows * columns)


def _check_places(asked: Asked) -> None:
    places = sum(list(row).count(asked.vision_id) for row in asked.rows)
    tokens = sum(t * h * w // MERGE**2 for t, h, w in asked.grids)
    if places != tokens:
        raise ValueError(f"{places} places for {tokens} vision tokens")


def _attention_seen(attn: Any, x: Tensor, tables: Tables, heads: int) -> Tensor:
    """Within each frame; ``[P, width]``. Turned in float32, as in training."""
    qkv = attn.qkv(x).view(-1, len(tables[0]), 3, heads, x.shape[1] // heads).permute(2, 0, 3, 1, 4)
    q, k = (turned(part.float(), tables).to(x.dtype) for part in qkv[:2])
    y = F.scaled_dot_product_attention(q, k, qkv[2], scale=q.shape[-1] ** -0.5)
    return attn.proj(y.transpose(1, 2).reshape(x.shape))


def _pass(layer: Any, x: Tensor, tables: Tables, heads: tuple[int, int], begin: int, end: int) -> None:
    """Questions ``begin..end`` of ``x`` go through one language layer. Mutates ``x``, at the end alone."""
    old = x[begin:end]
    mid = old + _attention(layer.self_attn, layer.input_layernorm(old), tables, heads)
    x[begin:end] = mid + _gated(layer.mlp, layer.post_attention_layernorm(mid))


def _gated(mlp: Any, x: Tensor) -> Tensor:
    """The widest tensors of a pass are made here, so that one of the three is written over."""
    return mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)).mul_(mlp.up_proj(x)))


def _attention(attn: Any, x: Tensor, tables: Tables, heads: tuple[int, int]) -> Tensor:
    """Causal, ``[B, L, hidden]``. It needs no mask: padding is on the right, where no real token looks."""
    q, k, v = (
        project(x).view(*x.shape[:2], count, -1).transpose(1, 2)
        for project, count in ((attn.q_proj, heads[0]), (attn.k_proj, heads[1]), (attn.v_proj, heads[1]))
    )
    q, k = turned(q, tables), turned(k, tables)
    y = F.scaled_dot_product_attention(
        q, k, v, is_causal=True, scale=q.shape[-1] ** -0.5, enable_gqa=heads[0] != heads[1]
    )
    return attn.o_proj(y.transpose(1, 2).reshape(x.shape))
