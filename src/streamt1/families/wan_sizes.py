"""How many numbers Wan's models and their rewards hold, by arithmetic: nothing is built and nothing imported.

Each formula stands beside the official sizes; tests compare them with the models themselves.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from streamt1.backbones.sampling import Schedule
from streamt1.backbones.wan.config import SIZES, WanConfig
from streamt1.config.schema import RunConfig, WanSettings
from streamt1.core.errors import SHOWN, ConfigError, UnknownNameError
from streamt1.core.validation import check_no_switch


def wan_sizes(wan: WanSettings) -> WanConfig:
    """The transformer's sizes that settings name. Raises ``ConfigError``."""
    if isinstance(wan.size, str):
        if wan.size not in SIZES:
            raise UnknownNameError("size", wan.size, SIZES)
        return SIZES[wan.size]
    known = {field.name for field in dataclasses.fields(WanConfig)}
    unknown = next((key for key in wan.size if key not in known), None)
    if unknown is not None:
        raise UnknownNameError("wan.size key", unknown, known)
    try:
        made = TypeAdapter(WanConfig).validate_python(wan.size)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"wan.size key {where!r} = {repr(first['input'])[:SHOWN]}: {first['msg']}") from error
    check_no_switch("wan.size key", wan.size, vars(made))
    return made


def wan_schedule(config: RunConfig) -> Schedule:
    """How chunks are denoised. Raises ``ConfigError`` for steps or a shift that cannot be."""
    corrected = config.memory.corrected
    return Schedule(config.wan.steps, config.wan.shift, config.sampler, config.wan.first_steps, corrected)


def wan_parameters(sizes: WanConfig) -> int:
    """Of a Wan transformer."""
    dim, ffn, patch = sizes.dim, sizes.ffn_dim, sizes.patch_size[1] * sizes.patch_size[2]
    attention = 4 * (dim + 1) * dim + 2 * dim
    feed = 2 * dim * ffn + ffn + dim
    block = 2 * attention + feed + 6 * dim + 2 * dim
    text = (sizes.text_dim + 1 + dim + 1) * dim
    time = (sizes.freq_dim + 1 + dim + 1) * dim + (dim + 1) * 6 * dim
    ends = (sizes.in_channels * patch + 1) * dim + (dim + 1) * patch * sizes.out_channels + 2 * dim
    return sizes.num_layers * block + text + time + ends


@dataclass(frozen=True)
class TextSizes:
    """UMT5's encoder; the defaults are UMT5-XXL's, as Wan uses it."""

    words: int = 256384
    dim: int = 4096
    inner: int = 4096
    feed: int = 10240
    layers: int = 24
    heads: int = 64
    buckets: int = 32

    @property
    def layer(self) -> int:
        """Parameters of one layer."""
        return 4 * self.dim * self.inner + 3 * self.dim * self.feed + 2 * self.dim + self.buckets * self.heads

    @property
    def table(self) -> int:
        """Parameters of the word table."""
        return self.words * self.dim

    @property
    def parameters(self) -> int:
        return self.table + self.layers * self.layer + self.dim


@dataclass(frozen=True)
class RewardSizes:
    """Qwen2-VL without its vocabulary head.

    Attributes:
        hidden, feed, heads, groups, layers, words: of the language model.
        rank: of the low-rank updates beside every linear layer; 0 where there are none.
        width, depth: of the vision tower.
    """

    hidden: int
    feed: int
    heads: int
    groups: int
    words: int
    layers: int = 28
    rank: int = 0
    width: int = 1280
    depth: int = 32

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of the linear layers of one language layer."""
        shared = self.hidden // self.heads * self.groups
        attention = [(self.hidden, self.hidden), (self.hidden, shared), (self.hidden, shared), (self.hidden,) * 2]
        return [*attention, *[(self.hidden, self.feed)] * 2, (self.feed, self.hidden)]

    @property
    def linear(self) -> int:
        """Parameters of one language layer that are quantised: its matrices."""
        return sum(inner * outer for inner, outer in self.matrices)

    @property
    def rest(self) -> int:
        """Of one language layer: biases, norms and low-rank updates."""
        shared = self.hidden // self.heads * self.groups
        updates = sum(self.rank * (inner + outer) for inner, outer in self.matrices)
        return self.hidden + 2 * shared + 2 * self.hidden + updates

    @property
    def table(self) -> int:
        """Parameters of the word table."""
        return self.words * self.hidden

    @property
    def vision(self) -> int:
        """Parameters of the vision tower."""
        width, merged = self.width, 4 * self.width
        block = 3 * width * (width + 1) + width * (width + 1) + 2 * 4 * width * width + 5 * width + 4 * width
        merger = 2 * width + merged * (merged + 1) + (merged + 1) * self.hidden
        return 1176 * width + self.depth * block + merger

    @property
    def parameters(self) -> int:
        return self.table + self.layers * (self.linear + self.rest) + self.hidden + self.vision


REWARDS = {
    "hpsv3": RewardSizes(hidden=3584, feed=18944, heads=28, groups=4, words=152064),
    "videoreward": RewardSizes(hidden=1536, feed=8960, heads=12, groups=2, words=151936, rank=64),
}


@dataclass(frozen=True)
class VaeSizes:
    """A VAE of Wan, encoder and decoder.

    Attributes:
        parameters: how many.
        scale: pixels of a side that one latent pixel stands for.
        state: values of the decoder's carried features, per pixel of a frame; 1.89 GB in bfloat16 at 480x832 with 2.1,
            3.2 GB at 704x1280 with 2.2.
        work: values alive beside the new state at the decoder's widest place, per pixel; with 2.1 four frames of 96
            channels, about seven times.
    """

    parameters: int
    scale: int
    state: float
    work: float


VAES = {
    "2.1": VaeSizes(126_892_531, 8, 2364.5, 2721.5),
    "2.2": VaeSizes(704_688_668, 16, 1784.375, 3716.3),
}


def latent_size(wan: WanSettings) -> tuple[int, int]:
    """Height and width of a latent frame. Raises ``ConfigError`` where the picture is not made of whole patches."""
    scale, patch = VAES[wan.vae].scale, wan_sizes(wan).patch_size
    for name, side, own in (("height", wan.height, patch[1]), ("width", wan.width, patch[2])):
        if side % (scale * own):
            near = max(1, round(side / (scale * own))) * scale * own
            raise ConfigError(f"wan.{name}={side} is no multiple of {scale * own} pixels; take {near}")
    return wan.height // scale, wan.width // scale
