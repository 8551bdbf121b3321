"""Wan's text encoder: UMT5 through transformers, with the official cleaning of prompts (SPEC section 6)."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from streamt1.core.devices import HOST, at_work
from streamt1.core.errors import CheckpointError, PromptError, needs_extra

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, UMT5EncoderModel


class WanText:
    """Prompt -> text rows.

    Args:
        encoder: UMT5's encoder, on its device, in the dtype to run in.
        tokenizer: its tokenizer.
        length: rows that come out; longer prompts are cut, as the model was trained.
        device: where it works; if it is elsewhere, it comes over for each new prompt.
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
        """From two folders in the layout of Wan's repositories for diffusers; ``stays`` on the device or visits it.

        Raises ``CheckpointError`` for files that are missing or damaged, ``MissingExtraError`` without transformers.
        """
        with needs_extra("wan", "encoding prompts for Wan"):
            import ftfy  # noqa: F401  # needed later, missed now
            from transformers import AutoTokenizer, UMT5EncoderModel
            from transformers.utils import logging
        logging.disable_progress_bar()
        try:
            words = AutoTokenizer.from_pretrained(str(tokenizer), local_files_only=True)
            model = UMT5EncoderModel.from_pretrained(str(encoder), dtype=dtype, local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"the text encoder at {encoder} cannot be loaded: {error}") from error
        placed: Any = model.to(device if stays else HOST)  # pyright: ignore[reportArgumentType]
        return cls(placed.eval().requires_grad_(False), words, length, device)

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
        ids, mask = (tokens[name].to(self.device) for name in ("input_ids", "attention_mask"))
        with at_work(self.device, self.encoder):
            rows = self.encoder(ids, mask).last_hidden_state
        return rows * mask[..., None].to(rows.dtype)


def clean(text: str) -> str:
    """Broken encodings mended, HTML entities resolved (twice: some data was escaped twice), white space folded."""
    import ftfy

    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(text)))).strip()
