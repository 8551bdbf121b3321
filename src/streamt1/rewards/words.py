"""Questions to Qwen2-VL, and their token ids (SPEC section 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from streamt1.core.errors import CheckpointError, needs_extra
from streamt1.core.weights import one_line
from streamt1.rewards.vision import MERGE, Grid, grid_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM = "You are a helpful assistant."


@dataclass(frozen=True)
class Question:
    """What the model is asked about one picture or clip: its resized frames ``[T, 3, H, W]`` uint8, and the words."""

    frames: Tensor
    pieces: tuple[str, ...]

    @property
    def grid(self) -> Grid:
        return grid_of(self.frames)


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
            self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                str(base), local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # whatever transformers and tokenizers raise for files of the wrong kind
            raise CheckpointError(f"there is no tokenizer in {base}: {one_line(error)}; download it again") from error
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

    def padded(self, questions: Sequence[Question]) -> list[list[int]]:
        """Ids of questions, padded on the right with ``<|endoftext|>`` to one length; like ones are read once."""
        alike = {(question.grid, question.pieces): question for question in questions}
        known = {key: self.ids(question) for key, question in alike.items()}
        longest, pad = max(map(len, known.values())), self._id("<|endoftext|>")
        rows = (known[question.grid, question.pieces] for question in questions)
        return [row + [pad] * (longest - len(row)) for row in rows]

    def places(self, row: list[int]) -> list[int]:
        """Where each reward token is. Raises ``ValueError`` when one isn't there, or is there twice."""
        if any(row.count(mark) != 1 for mark in self.mark_ids):
            raise ValueError(f"every question must hold each of {', '.join(self.marks)} once")
        return [row.index(mark) for mark in self.mark_ids]
