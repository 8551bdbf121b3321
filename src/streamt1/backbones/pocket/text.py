"""The pocket model's text encoder: words and their places, two small transformer layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from streamt1.pocket.vocabulary import TEXT_LENGTH, VOCABULARY_SIZE, padded


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the text encoder."""

    dim: int = 128
    heads: int = 4
    layers: int = 2
    words: int = VOCABULARY_SIZE
    length: int = TEXT_LENGTH


class TextLayer(nn.Module):
    """Self-attention over the prompt's words, then a feed-forward, both around a skip."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm1, self.norm2 = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.out = nn.Linear(config.dim, config.dim)
        self.ffn = nn.Sequential(
            nn.Linear(config.dim, 2 * config.dim), nn.GELU("tanh"), nn.Linear(2 * config.dim, config.dim)
        )

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """x [B, L, dim]; real [B, L] is True where there is a word."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        hidden = torch.where(real, 0.0, -1e4)[:, None, None, :].to(q.dtype)
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + hidden).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(2))
        return x + self.ffn(self.norm2(x))


class TextEncoder(nn.Module):
    """Token ids -> one row of features a word; rows past the prompt are zero, as Wan's text encoder leaves them."""

    def __init__(self, config: TextConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TextConfig()
        self.words = nn.Embedding(config.words, config.dim)
        self.places = nn.Embedding(config.length, config.dim)
        self.layers = nn.ModuleList(TextLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        for table in (self.words, self.places):
            nn.init.normal_(table.weight, std=0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [B, L] int64, 0 is padding -> [B, L, dim]."""
        real = tokens > 0
        x = self.words(tokens) + self.places.weight
        for layer in self.layers:
            x = layer(x, real)
        return self.norm(x) * real[..., None]

    @torch.no_grad()
    def encode(self, prompt: str) -> Tensor:
        """One prompt -> [1, L, dim]. Raises PromptError for a word outside the vocabulary, or new to these weights."""
        return self(torch.tensor([padded(prompt, self.config.words)], device=self.places.weight.device))


def pad_tokens(prompts: list[str]) -> Tensor:
    """Token ids of some prompts, [B, TEXT_LENGTH] int64, padded with 0. Raises PromptError."""
    return torch.tensor([padded(prompt) for prompt in prompts])
