"""Working memory of Wan's models: what is alive beside weights and memory at the widest moment of each phase, in bytes.

``width`` is bytes of a number in the dtype to run in.
"""

from __future__ import annotations

from streamt1.backbones.wan.config import WanConfig
from streamt1.config.schema import RunConfig
from streamt1.families.wan_sizes import RewardSizes, TextSizes, VaeSizes
from streamt1.memory.branch import MemoryConfig
from streamt1.rewards.sizes import Call, work_bytes
from streamt1.rewards.vision import IN_TIME, MERGE, PATCH, fitted_size, sampled_frames

BYTES = {"float32": 4, "bfloat16": 2}
TIME_STRIDE = 4
"""Pixel frames per latent frame."""
LONGEST = 60
"""Seconds of video that are planned for: they are kept, and judged as a whole in the end."""
LATENT_PATCH = 4
"""Latent pixels of a token."""
PICTURE = 448 * 448
"""Pixels of what the rewards look at."""
QUESTION = 900
"""Tokens of a question besides what is seen: the template, and a prompt of about a hundred words."""
GROUPED = 2.4
"""Bytes of a number while all pages of a layer are decoded in groups: a baseline, in float32."""
DRAFT_PARAMETERS = 9_843_651


def encode(text: TextSizes, length: int, width: int) -> float:
    """One prompt in the text encoder: scores of all heads, several times, and the feed-forward's inner layer."""
    return 7 * text.heads * length**2 * width + 3 * length * text.feed * width


def denoise(sizes: WanConfig, tokens: int, batch: int, past: int, rules: MemoryConfig, host: bool, width: int) -> float:
    """A pass over candidates of one chunk of ``tokens``.

    Three places can be the widest: the inner layer of the feed-forward; attention, where the keys and values of a
    layer's ``past`` tokens are gathered for one parent, and have just come over from the ``host``, or were decoded,
    besides; and the turning of these keys to the places they stand in, in float32 with its tables.
    """
    each = batch * tokens * sizes.dim * width
    crossing = host or rules.coded is not None
    own = batch * tokens * (sizes.ffn_dim + 9 * sizes.dim) * width
    reading = past * sizes.dim * width * (3 if crossing else 2) + each * (4.4 if crossing else 6.4)
    reading += past * sizes.dim * GROUPED * (rules.codec == "grouped")
    reading += each * 1.4 * bool(rules.local_heads)  # what each kind of heads takes is picked out first
    turning = past * (sizes.dim * (4 * width + 4) + 8 * sizes.head_dim) + each * 4.7
    latents = batch * tokens * 4 * LATENT_PATCH * sizes.in_channels * 8
    return max(own, reading, turning if rules.positions == "relative" else 0.0) + latents


def decode(vae: VaeSizes, pixels: int, width: int) -> float:
    """One latent frame in Wan's decoder, beside the states.

    A video that begins with a picture or a clip is encoded in less than this and one state (.39 to .76 of it, counted),
    before there is any memory: so no part of a plan is needed for that.
    """
    return pixels * vae.work * width


def score(name: str, sizes: RewardSizes, config: RunConfig, visiting: bool, layer: float, batch: int) -> float:
    """One call of a reward for ``batch`` candidates, with the weights that come over for it.

    Args:
        visiting: whether its vision tower comes over.
        layer: bytes of one of its language layers where they do, else 0.
        batch: candidates that are judged in one call.
    """
    width = BYTES[config.dtype]
    patches, questions, together = _asked(name, config, batch)
    tokens = patches // MERGE**2 + QUESTION
    call = Call(questions if layer else together, together, tokens, patches)
    return work_bytes(call, sizes.hidden, sizes.feed, width, sizes.vision * width * visiting, layer)


def _asked(name: str, config: RunConfig, batch: int) -> tuple[int, int, int]:
    """Patches of one question, questions of a call, and how many go through a layer together."""
    wan, frames = config.wan, TIME_STRIDE * config.memory.chunk
    if name == "hpsv3":
        rows, columns = fitted_size(wan.height, wan.width, PICTURE, PICTURE)
        questions = batch * min(config.search.frames_scored or frames, frames)
        return rows * columns // PATCH**2, questions, min(questions, config.batches.frame_reward)
    rows, columns = fitted_size(wan.height, wan.width, PICTURE // 2, PICTURE)
    seen = len(sampled_frames(max(LONGEST * wan.fps, frames * config.search.window), wan.fps))
    return seen // IN_TIME * rows * columns // PATCH**2, batch, min(batch, config.batches.clip_reward)
