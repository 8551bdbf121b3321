"""Working memory of Wan's models: what is alive beside weights and memory at the widest moment of each phase, in bytes.

``width`` is bytes of a number in the dtype to run in.
"""

from __future__ import annotations

from streamt1.backbones.wan.config import WanConfig
from streamt1.config.schema import Placement, RunConfig
from streamt1.families.wan_sizes import TextSizes

GB = 10**9
STATE_VALUES_PER_PIXEL = 1.76 * 2**30 / 2 / (480 * 832)
"""Of the decoder's carried features: 1.76 GiB in bfloat16 at 480x832."""
DECODER_WORK_PER_PIXEL = 4 * 96 * 5
"""Values alive at the widest place: four frames of 96 channels, about five tensors of them."""
DRAFT_PARAMETERS = 9_843_651
REWARD_WORK = 1.5 * GB


def encode(text: TextSizes, length: int, width: int) -> float:
    """One prompt in the text encoder."""
    return length * (3 * text.feed + 4 * text.dim) * width + 2 * text.heads * length**2 * 4


def denoise(sizes: WanConfig, tokens: int, batch: int, width: int) -> float:
    """Candidates of one chunk of ``tokens`` in the transformer, beside what they read of the past."""
    return batch * tokens * (sizes.ffn_dim * width + sizes.dim * (6 * 4 + 6 * width))


def decode(pixels: int, width: int) -> float:
    """One latent frame in Wan's decoder."""
    return pixels * DECODER_WORK_PER_PIXEL * width


def score(name: str, config: RunConfig, placement: Placement) -> float:
    """One call of a reward."""
    return REWARD_WORK
