"""Sizes of a causal Wan transformer."""

from __future__ import annotations

from dataclasses import dataclass

from streamt1.core.errors import ConfigError
from streamt1.core.validation import check_numbers

MOST, MOST_LAYERS = 1_000_000, 1000
"""Of any size, and of layers; many times the largest model's."""


@dataclass(frozen=True)
class WanConfig:
    """Everything that fixes the shapes of the weights. The defaults are Wan2.1-T2V-1.3B (SPEC section 1).

    Attributes:
        dim: model width; ``num_heads`` heads of ``dim / num_heads`` channels each.
        patch_size: (time, height, width) of a patch, in latent pixels; time must be 1.
        text_dim, text_len: channels and rows of the text embedding.
        freq_dim: size of the sinusoidal time embedding.
    """

    dim: int = 1536
    ffn_dim: int = 8960
    num_layers: int = 30
    num_heads: int = 12
    in_channels: int = 16
    out_channels: int = 16
    patch_size: tuple[int, int, int] = (1, 2, 2)
    text_dim: int = 4096
    text_len: int = 512
    freq_dim: int = 256
    eps: float = 1e-6

    def __post_init__(self) -> None:
        check_numbers(self)
        for name, value in (*vars(self).items(), *zip(("patch height", "patch width"), self.patch_size[1:])):
            most = MOST_LAYERS if name == "num_layers" else MOST
            if isinstance(value, int) and not 1 <= value <= most:
                raise ConfigError(f"{name}={str(value)[:40]} must lie in 1..{most}")
        if not 0 < self.eps < 1:
            raise ConfigError(f"eps={self.eps} must lie between 0 and 1")
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ConfigError(
                f"dim={self.dim} must be num_heads={self.num_heads} times an even head size: rotary turns channel pairs"
            )
        if self.patch_size[0] != 1:
            raise ConfigError(
                f"patch_size={self.patch_size}: a streaming model's patches span one latent frame in time"
            )

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Patch rows and columns of a latent frame of ``height x width`` latent pixels."""
        _, ph, pw = self.patch_size
        if height % ph or width % pw:
            raise ConfigError(f"latent frame {height}x{width} is not a multiple of the patch {ph}x{pw}")
        return height // ph, width // pw


SIZES = {
    "1.3B": WanConfig(),
    "14B": WanConfig(dim=5120, ffn_dim=13824, num_layers=40, num_heads=40),
    "5B": WanConfig(dim=3072, ffn_dim=14336, num_heads=24, in_channels=48, out_channels=48),
}
"""Wan2.1-T2V's two and Wan2.2-TI2V's, by their names."""
