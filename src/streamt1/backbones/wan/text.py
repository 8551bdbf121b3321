"""Wan's text encoder: UMT5 through transformers, with the official cleaning of prompts (SPEC section 6)."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamt1.core.devices import HOST, at_work, move, pin, sent
from streamt1.core.errors import CheckpointError, PromptError, needs_extra, warn
from streamt1.core.json_files import read_sizes
from streamt1.core.streaming import visits
from streamt1.core.weights import load_strictly, one_line, read_weights

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, UMT5EncoderModel


SPARE_ROWS = 512
"""Rows of the word table that may stand for no word: UMT5 has 84, to a round number."""


class WanText:
    """Prompt -> text rows.

    Args:
        encoder: UMT5's encoder, on its device, in the dtype to run in.
        tokenizer: its tokenizer.
        length: rows that come out; longer prompts are cut, as the model was trained.
        device: where it works; if it is elsewhere, its layers come over, one by one, for each new prompt.
    """

    def __init__(
        self,
        encoder: UMT5EncoderModel,
        tokenizer: PreTrainedTokenizerBase,
        length: int = 512,
        device: torch.device | None = None,
    ) -> None:
        self.encoder, self.tokenizer, self.length = encoder, tokenizer, length
        self.device = device or encoder.device
        self._last: tuple[str, Tensor] | None = None

    @classmethod
    def load(
        cls,
        encoder: Path,
        tokenizer: Path,
        device: torch.device,
        dtype: torch.dtype,
        length: int = 512,
        stays: bool = True,
    ) -> WanText:
        """From two folders of Wan's repositories for diffusers, strictly; ``stays`` on the device or streams to it.

        Raises ``CheckpointError`` for files that are missing, damaged or do not fit, ``MissingExtraError``.
        """
        with needs_extra("wan", "encoding prompts for Wan"):
            import ftfy  # noqa: F401  # needed later, missed now
        words = read_tokenizer(tokenizer)
        model: Any = empty_encoder(encoder)
        load_strictly(model, encoder_weights(encoder), str(encoder))
        model.set_input_embeddings(model.shared)  # one table under two names, whatever the file and the library say
        move(model, device if stays else HOST, dtype)
        if not stays and device.type == "cuda":
            pin(model.encoder.block)
        return cls(model, words, length, device)

    @torch.no_grad()
    def __call__(self, prompt: str) -> Tensor:
        """Rows ``[1, length, text_dim]`` on the device; rows after the prompt's tokens are zero. Keeps the last answer.

        Raises ``PromptError`` for a prompt with no words in it.
        """
        cleaned = clean(prompt)
        if not cleaned:
            raise PromptError("the prompt is empty: say what the video should show")
        if self._last is None or self._last[0] != cleaned:
            self._last = (cleaned, self._encode(cleaned))
        return self._last[1]

    def _encode(self, cleaned: str) -> Tensor:
        tokens: Any = self.tokenizer(
            [cleaned], padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
        if len(cleaned) >= self.length and bool(tokens["attention_mask"].all()):
            whole: Any = self.tokenizer([cleaned])
            count = len(whole["input_ids"][0])
            if count > self.length:
                warn(f"the prompt has {count} tokens and is cut to its first {self.length}, which the model reads")
        return self.rows(tokens["input_ids"], tokens["attention_mask"])

    @torch.no_grad()
    def rows(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids and their mask ``[1, length]``, on the host -> rows ``[1, length, text_dim]`` on the device."""
        stack, table = self.encoder.encoder, self.encoder.shared.weight
        words = sent(F.embedding(ids.to(table.device), table), self.device)
        mask = sent(mask, self.device)
        streamed = range(len(stack.block)) if table.device != self.device else ()
        with at_work(self.device, stack.final_layer_norm), visits(stack.block, set(streamed), self.device) as turns:
            hooks = [block.register_forward_pre_hook(lambda *_: _arrived(turns)) for block in stack.block]
            try:
                states = stack(inputs_embeds=words, attention_mask=mask).last_hidden_state
            finally:
                for hook in hooks:
                    hook.remove()
        return states * mask[..., None].to(states.dtype)


def _arrived(turns: Iterator[nn.Module]) -> None:
    """The next layer is where the work is done."""
    next(turns)


def empty_encoder(folder: Path) -> UMT5EncoderModel:
    """UMT5's encoder in the sizes of a folder's ``config.json``, on the meta device. Raises ``CheckpointError``."""
    with needs_extra("wan", "encoding prompts for Wan"):
        from transformers import UMT5Config, UMT5EncoderModel
    file = folder / "config.json"
    sizes = read_sizes(file)
    kind = sizes.get("model_type", "umt5")
    if kind != "umt5":
        raise CheckpointError(f"{file} is of a model of type {kind}, not of UMT5; give the text encoder of Wan2.1")
    try:
        with torch.device("meta"):
            return UMT5EncoderModel(UMT5Config.from_dict(sizes))
    except Exception as error:  # whatever transformers raises for sizes that cannot be
        raise CheckpointError(f"{file} is no configuration of UMT5: {one_line(error)}; download it again") from error


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder. Raises ``CheckpointError``."""
    with needs_extra("wan", "encoding prompts for Wan"):
        from transformers import AutoTokenizer
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever transformers and tokenizers raise for files of the wrong kind
        raise CheckpointError(f"there is no tokenizer in {folder}: {one_line(error)}; download it again") from error


def check_tokenizer(words: PreTrainedTokenizerBase, encoder: UMT5EncoderModel, folder: Path) -> None:
    """Whether a tokenizer is the encoder's own: by its special tokens, and as many words as the encoder has rows.

    Raises ``CheckpointError``.
    """
    sizes = encoder.config
    special = (words.pad_token_id, words.eos_token_id) == (sizes.pad_token_id, sizes.eos_token_id)
    if not special or not sizes.vocab_size - SPARE_ROWS <= len(words) <= sizes.vocab_size:
        raise CheckpointError(
            f"{folder} holds the tokenizer of another model: it has {len(words)} words, the text encoder"
            f" {sizes.vocab_size} rows; give the tokenizer of Wan2.1"
        )


def encoder_weights(folder: Path, read: Callable[[Path], Mapping[str, Any]] = read_weights) -> dict[str, Tensor]:
    """The weights of a folder; the word table, which has two names and is one, under both."""
    weights = dict(read(folder))
    table = weights.get("shared.weight", weights.get("encoder.embed_tokens.weight"))
    return weights if table is None else {**weights, "shared.weight": table, "encoder.embed_tokens.weight": table}


def clean(text: str) -> str:
    """Broken encodings mended, HTML entities resolved (twice: some data was escaped twice), white space folded."""
    import ftfy

    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(text)))).strip()
