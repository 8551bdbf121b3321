"""What Wan's models and their rewards need of memory, on the device and on the host, before anything is loaded.

Weights, KV pages and decoder states are exact. Working memory follows from which tensors are alive at the widest moment
of a phase; tests hold it against a count of the very calls (``bench.fake_cuda``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from streamt1.backbones.wan.backbone import PROMPTS
from streamt1.backbones.wan.config import WanConfig
from streamt1.config.schema import Placement, RunConfig
from streamt1.decoders.taehv import BLOCKS, TAEHVConfig
from streamt1.families import wan_work
from streamt1.families.family import PHASES, Part
from streamt1.families.wan_sizes import (
    VAES,
    RewardSizes,
    TextSizes,
    latent_size,
    wan_parameters,
    wan_schedule,
    wan_sizes,
)
from streamt1.families.wan_told import reward_sizes, text_sizes
from streamt1.families.wan_work import BYTES, LONGEST, TIME_STRIDE
from streamt1.memory.codecs import Codec
from streamt1.memory.storage import BLEND, SINK
from streamt1.search.width import widest

GB = 10**9
CHUNKED = PHASES[1:]
"""The phases of a chunk."""
PROCESS = 1.2 * GB
"""Python, torch and the libraries, without a CUDA context."""


def needs(config: RunConfig) -> Callable[[Placement, int], Iterator[Part]]:
    """All that a run of Wan's models needs, part by part; see ``family.Needs``."""
    wan_schedule(config)
    return partial(_parts, config, text_sizes(config), reward_sizes(config))


def _parts(
    config: RunConfig, text: TextSizes, rewards: Mapping[str, RewardSizes], placement: Placement, batch: int
) -> Iterator[Part]:
    yield Part("process", PROCESS, place="host")
    yield from (replace(part, of="generator") for part in _generator_parts(config, text, placement, batch))
    yield from (replace(part, of="rewards") for part in _reward_parts(config, rewards, placement, batch))
    yield Part("frames", _frames_kept(config), CHUNKED, f"{LONGEST} s of video and all candidates", "host")


def _generator_parts(config: RunConfig, text: TextSizes, placement: Placement, batch: int) -> Iterator[Part]:
    sizes, width = wan_sizes(config.wan), BYTES[config.dtype]
    yield Part("transformer", wan_parameters(sizes) * width)
    yield from _text_parts(text, placement, sizes, width)
    yield from _memory_parts(config, placement, batch, sizes)
    vae = VAES[config.wan.vae].parameters * width
    yield Part("decoder", vae)
    if config.memory.rebuild != "off":
        yield Part("decoder of what is encoded again", vae)
    yield from _decoder_parts(config, placement, width)


def _text_parts(text: TextSizes, placement: Placement, sizes: WanConfig, width: int) -> Iterator[Part]:
    if placement.text_encoder == "device":
        yield Part("text encoder", text.parameters * width)
    else:
        yield Part("text encoder", text.parameters * width, place="host")
        yield Part("text encoder's layers", 2 * text.layer * width, ("encode",), "two at a time, from the host")
    yield Part("text encoder at work", wan_work.encode(text, sizes.text_len, width), ("encode",))
    each = 2 * sizes.num_layers * sizes.text_len * sizes.dim * width
    yield Part("text", PROMPTS * each, CHUNKED, f"keys and values of {PROMPTS} prompts")


def _memory_parts(config: RunConfig, placement: Placement, batch: int, sizes: WanConfig) -> Iterator[Part]:
    width, beams, memory = BYTES[config.dtype], config.effective_search.top_k, config.memory
    home, held = "device" if placement.kv == "device" else "host", memory.max_frames - memory.chunk
    pages = _pages(config, sizes)
    stored = _pages(config, sizes, locked=home == "host")
    note = f"{beams} beams x {held} frames at most" + (f", {memory.bits} bits" if memory.bits < 16 else "")
    yield Part("KV pages", beams * stored.held, CHUNKED, note, home)
    if memory.recall:
        aside = beams * memory.recall * max(stored.sink, stored.written)
        yield Part("KV pages, put aside", aside, CHUNKED, f"{beams} x {memory.recall} scenes at most", "host")
    if placement.kv == "host" and placement.kv_copies:
        copied = placement.kv_copies * GB // pages.written
        told = f"{copied:.0f}; the rest is read layer by layer"
        yield Part("KV pages, copied", copied * pages.written, CHUNKED, told)
    tokens, past = frame_tokens(config, sizes) * memory.chunk, frame_tokens(config, sizes) * held
    reads = memory, home == "host", width
    work = wan_work.denoise(sizes, tokens, batch, past, *reads)
    yield Part("transformer at work", work, ("denoise",), f"{batch} candidates at a time")
    committed = beams * (stored.written + stored.blend)
    also = "and blended sinks, " if _blends(config) else ""
    ways = [(committed, wan_work.denoise(sizes, tokens, 1, past, *reads), also, "one chunk")]
    if memory.switch == "recache":  # a beam at a time, and all of its window in one pass over its sinks
        joint, sinks = memory.window // memory.chunk, frame_tokens(config, sizes) * memory.sink
        again = wan_work.denoise(sizes, tokens * joint, 1, sinks, *reads)
        anew = joint * max(stored.sink, stored.written)
        ways.append((anew, again, "again, under a new prompt, ", f"{joint} chunks together"))
    written, work, what, told = max(ways, key=lambda way: way[1] + (way[0] if home == "device" else 0.0))
    if home == "host":
        written = max(way[0] for way in ways)
    yield Part("KV pages, written", written, ("commit",), f"{what}before old ones go", home)
    yield Part("transformer at work", work, ("commit",), told)


@dataclass(frozen=True)
class Pages:
    """Bytes of one beam's pages.

    Attributes:
        held: of all that it may hold between chunks.
        written: of a page of the window.
        sink: of a sink that nothing was blended into.
        blend: of one that others were blended into; 0 where none is.
    """

    held: float
    written: float
    sink: float
    blend: float


def _pages(config: RunConfig, sizes: WanConfig, locked: bool = False) -> Pages:
    """See ``memory.storage``: which pages have how many bits. ``locked``: on the host, each part of them by itself."""
    memory = config.memory
    shape = memory.chunk * frame_tokens(config, sizes), sizes.num_heads, sizes.head_dim

    def of(codec: Codec | None, plain: int) -> float:
        parts = [math.prod(part) * dtype.itemsize for part, dtype in codec.layout(*shape)] if codec else []
        each = [sizes.num_layers * size for size in parts or [math.prod(shape) * plain]]
        return 2.0 * sum(map(_locked, each) if locked else each)  # keys and values

    coded, wide = memory.coded is not None, BYTES[config.dtype]
    written, sink = of(memory.coded, wide), of(SINK if coded else None, wide)
    blend = of(BLEND if coded else None, 4) if _blends(config) else 0.0
    count, first = memory.max_sink // memory.chunk, memory.sink // memory.chunk
    last = max(blend, sink if count <= first else written)
    sinks = [*[sink] * first, *[written] * (count - first)][: count - 1] + [last] * (count > 0)
    others = (memory.max_frames - memory.chunk) // memory.chunk - count
    recalled = max(sink - written, 0) if memory.recall else 0  # it may have been a sink when it was written
    return Pages(sum(sinks) + others * written + recalled, written, sink, blend)


def _locked(size: float) -> int:
    """Bytes that torch locks on the host for so many: a power of two."""
    return 2 ** math.ceil(math.log2(size))


def _blends(config: RunConfig) -> bool:
    """Whether a sink is ever blended into, which is done in float32."""
    return bool(config.memory.max_sink) and config.memory.eviction != "discard"


def _decoder_parts(config: RunConfig, placement: Placement, width: int) -> Iterator[Part]:
    """Between chunks each beam has a state; each candidate has one from its decoding until it is dropped."""
    pixels, search = config.wan.height * config.wan.width, config.effective_search
    vae, beams, tried = VAES[config.wan.vae], search.top_k, widest(search)
    state = pixels * vae.state * width
    size = f"of {state / GB:.2f} GB"
    if config.draft is not None:
        yield Part("decoder state", state, CHUNKED, f"1 {size}")
        yield Part("decoder state, new", state, ("decode",))
        yield from _draft_parts(config, pixels * width)
    elif placement.decoder_states == "recompute":
        yield Part("decoder states", state * beams, CHUNKED, f"{beams} {size}; survivors' are made again")
        yield Part("decoder state, new", state, ("decode",))
    elif placement.decoder_states == "host":
        yield Part("decoder states", state * (beams + tried), CHUNKED, f"{beams + tried} {size}", "host")
        yield Part("decoder state at work", state, ("decode",), "the old one's features make room for the new one's")
    else:
        yield Part("decoder states", state * beams, CHUNKED, f"{beams} {size}")
        yield Part("decoder states, new", state * tried, ("decode", "score"), f"{tried} {size}")
        yield Part("decoder states, kept", state * beams, ("commit",), f"{beams} {size}")
    yield Part("decoder at work", wan_work.decode(vae, pixels, width), ("decode",))
    if config.memory.rebuild == "encoded":
        yield Part("decoder states of memory", state * beams, CHUNKED, f"{beams} {size}")
        work = wan_work.decode(vae, pixels, width) + state
        yield Part(
            "decoder of memory, at work", work, ("commit",), "shows a survivor's chunk, to encode a picture of it"
        )


def _draft_parts(config: RunConfig, size: float) -> Iterator[Part]:
    """The light decoder and its states, one a candidate; ``size`` is bytes of one value per pixel."""
    if config.draft is None:
        return
    sizes, count = TAEHVConfig(), _states_kept(config)
    yield Part("draft decoder", wan_work.DRAFT_PARAMETERS * BYTES[config.dtype])
    values = sum(BLOCKS * width / 4 ** (3 - stage) for stage, width in enumerate(sizes.widths[:3]))
    yield Part("draft states", size * values * count, CHUNKED, f"{count} of {size * values / GB:.2f} GB")


def _reward_parts(
    config: RunConfig, rewards: Mapping[str, RewardSizes], placement: Placement, batch: int
) -> Iterator[Part]:
    width = BYTES[config.dtype]
    layers = {"hpsv3": placement.frame_reward_layers, "videoreward": placement.clip_reward_layers}
    note, here, work = f"{placement.reward_bits} bit", placement.rewards == "device", 0.0
    for name, sizes in rewards.items():
        layer = layer_bytes(sizes, placement.reward_bits, width)
        rest, tower = (sizes.parameters - sizes.layers * (sizes.linear + sizes.rest)) * width, sizes.vision * width
        yield Part(f"reward {name}", sizes.layers * layer + rest, place="device" if here else "host", note=note)
        stay = sizes.layers if here else min(layers[name], sizes.layers)
        if stay and not here:
            yield Part(f"{name}'s layers", tower + stay * layer, note=f"{stay} of {sizes.layers}, and the vision tower")
        passing = layer * min(2, sizes.layers - stay) / 2
        work = max(work, wan_work.score(name, sizes, config, not stay, passing, batch))
    if work:
        yield Part("reward at work", work, ("score",), "" if here else "with two layers that come over")


def spare(config: RunConfig, placement: Placement) -> Iterator[tuple[str, Iterable[Any]]]:
    """See ``family.Spare``. A copied page saves a crossing in every pass of a chunk, a resident layer one a chunk."""
    on_host, beams = placement.kv == "host", config.effective_search.top_k
    if on_host:
        yield "kv_copies", _copies(config, beams * config.memory.window)
    if placement.rewards == "host":
        sizes = reward_sizes(config)
        for key, name in (("clip_reward_layers", config.clip_reward), ("frame_reward_layers", config.frame_reward)):
            if name in sizes:
                yield key, range(1, sizes[name].layers + 1)
    if on_host:
        yield "kv_copies", _copies(config, beams * config.memory.max_frames)


def pages_read(config: RunConfig, placement: Placement) -> tuple[float, float]:
    """See ``family.PagesRead``. Each step reads the pages of all beams, and each commit those of its own."""
    pages, beams = _pages(config, wan_sizes(config.wan)), config.effective_search.top_k
    passes = wan_schedule(config).passes + 1
    held = beams * pages.held
    numbers = (
        beams * (config.memory.max_frames - config.memory.chunk) * kv_bytes_per_frame(config) / BYTES[config.dtype]
    )
    crossing = max(held - placement.kv_copies * GB, 0.0) if placement.kv == "host" else 0.0
    return passes * crossing, passes * numbers


def _copies(config: RunConfig, frames: int) -> list[float]:
    """GB, in hundredths, that hold 1, 2, ... pages, up to those of so many latent frames."""
    chunk, page = config.memory.chunk, _pages(config, wan_sizes(config.wan)).written
    return [math.ceil(count * page / GB * 100) / 100 for count in range(1, frames // chunk + 1)]


def layer_bytes(sizes: RewardSizes, bits: int, width: int) -> float:
    """Of one language layer of a reward; quantised matrices have a scale for every 32 numbers."""
    linear = sizes.linear * (width if bits == 16 else bits / 8 + 4 / 128)
    return linear + sizes.rest * width


def kv_bytes_per_frame(config: RunConfig) -> float:
    """Keys and values of one latent frame in all layers."""
    sizes = wan_sizes(config.wan)
    return frame_tokens(config, sizes) * sizes.dim * 2 * BYTES[config.dtype] * sizes.num_layers


def frame_tokens(config: RunConfig, sizes: WanConfig) -> int:
    """Tokens of one latent frame."""
    rows, columns = sizes.grid(*latent_size(config.wan))
    return rows * columns


def _states_kept(config: RunConfig) -> int:
    """Of the decoder that shows candidates: one for each beam and for each of its candidates."""
    search = config.effective_search
    return search.top_k + widest(search)


def _frames_kept(config: RunConfig) -> float:
    """Bytes of a long video and of the candidates of one chunk."""
    search = config.effective_search
    frame = 3 * config.wan.height * config.wan.width
    chunk = TIME_STRIDE * config.memory.chunk * widest(search)
    return frame * (LONGEST * config.wan.fps * search.top_k + chunk)
