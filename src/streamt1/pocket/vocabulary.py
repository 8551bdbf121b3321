"""The closed vocabulary of the pocket model, and its tokenisation (shared by the backbone and the rewards)."""

from __future__ import annotations

import difflib

from streamt1.core.errors import SHOWN, PromptError

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
SHAPES = ("circle", "square", "triangle", "star")
MOTIONS = ("sliding", "bobbing", "circling", "bouncing", "resting", "crossing", "hiding")
BACKGROUND_COLOURS = ("black", "gray", "white", "brown", "navy", "teal")
BACKGROUND_KINDS = ("plain", "striped", "checkered", "dotted")
DETAILS = ("dot", "bar", "patch", "cap")
"""A dot or a bar is black or white; a patch covers the left or the right half, a cap the upper or the lower."""
_FIRST = ("a", "and", "on", "background", *COLOURS, *SHAPES, *MOTIONS[:5], *BACKGROUND_COLOURS, *BACKGROUND_KINDS)
WORDS = (*_FIRST, *MOTIONS[5:], "with", *DETAILS[:2], "then", *DETAILS[2:])
"""Word i has token i + 1; token 0 is padding. New words come last, so that older weights keep their tokens."""

VOCABULARY_SIZE = len(WORDS) + 1
TEXT_LENGTH = 16
"""Longest prompt in words; the longest sentence of the grammar has 15."""

GRAMMAR = (
    "a {colour} {shape} [with a {dot, bar, patch or cap}] {motion} [and a {colour} {shape} {motion}] "
    "on a {background colour} {background kind} [then {background colour} {background kind}] background"
)
_ALIASES = {"an": "a", "grey": "gray"}
_TOKENS = {word: index + 1 for index, word in enumerate(WORDS)}


def tokenize(prompt: str) -> list[int]:
    """Token ids of a prompt, 1..len(WORDS), one a word, at most TEXT_LENGTH of them, without padding.

    Case is ignored, commas and periods are stripped, "an" reads as "a" and "grey" as "gray".
    Raises PromptError for an empty prompt, a word outside the vocabulary (names it, the nearest match and the
    vocabulary) and a prompt that is too long.
    """
    words = prompt.lower().replace(",", " ").replace(".", " ").split()
    if not words:
        raise PromptError(f"the prompt is empty; the pocket model reads: {GRAMMAR}")
    if len(words) > TEXT_LENGTH:
        raise PromptError(f"the prompt has {len(words)} words; the pocket model reads at most {TEXT_LENGTH}")
    return [_token(word) for word in words]


def _token(word: str) -> int:
    token = _TOKENS.get(_ALIASES.get(word, word))
    if token is None:
        word = word[:SHOWN]
        near = difflib.get_close_matches(word, WORDS, n=1, cutoff=0.65)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise PromptError(
            f"the pocket model does not know the word '{word}'.{hint} It knows: {', '.join(WORDS)}. "
            f"Prompts look like: {GRAMMAR}"
        )
    return token


def padded(prompt: str, words: int = VOCABULARY_SIZE) -> list[int]:
    """Token ids of a prompt, padded with 0 to TEXT_LENGTH.

    Raises PromptError as `tokenize` does, and for a word that weights of a table of `words` rows were not trained on:
    new ones come last.
    """
    tokens = tokenize(prompt)
    new = [WORDS[token - 1] for token in tokens if token >= words]
    if new:
        known = ", ".join(WORDS[: words - 1])
        raise PromptError(f"these weights of pocket do not know the word '{new[0]}' yet; they know: {known}")
    return tokens + [0] * (TEXT_LENGTH - len(tokens))
