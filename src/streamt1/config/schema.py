"""A run's configuration: every key, what it may be, and what it means."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from streamt1.config.limits import RunLimits
from streamt1.hub.origins import Origin
from streamt1.memory import MemoryConfig
from streamt1.search.config import SearchConfig, apply_policy

MOST_THREADS = 1024
"""More than any machine has cores; torch makes each of them, and dies of very many."""
MOST_SIDE = 16384
"""Pixels of a side: sixteen times what the models were trained on."""


class WanSettings(BaseModel):
    """What is to be generated with a Wan transformer, and how.

    Attributes:
        size: ``1.3B``, ``14B``, ``5B`` (the last is Wan2.2's), or the keys of ``WanConfig`` for another.
        vae: ``2.1`` (16 channels at an eighth of the size) or ``2.2`` (48 at a sixteenth).
        height, width: of the video, pixels; multiples of 16, with the VAE of 2.2 of 32.
        weights: which of a training checkpoint's two transformers is taken, ``generator`` or ``generator_ema``; which
            one is right differs by publisher. None means the one there is, or the latter.
        lora_alpha: scale of low-rank updates times their rank; None means what ``adapter_config.json`` beside the
            updates says, or equal to the rank where there is none.
        steps, shift: see ``Schedule``.
        first_steps: of the first chunk that is made, where they are others; empty where not.
        shot_prefix: what a prompt begins with where it begins a shot (``memory.shots``); put before prompts there.
        starts: how a video begins with given frames, see ``WanBackbone``.
        fps: pixel frames per second.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: str | dict[str, Any] = "1.3B"
    vae: Literal["2.1", "2.2"] = "2.1"
    height: int = Field(default=480, ge=16, le=MOST_SIDE, multiple_of=16)
    width: int = Field(default=832, ge=16, le=MOST_SIDE, multiple_of=16)
    weights: Literal["generator", "generator_ema"] | None = None
    lora_alpha: float | None = None
    steps: tuple[int, ...] = Field(default=(1000, 750, 500, 250), max_length=1000)
    first_steps: tuple[int, ...] = Field(default=(), max_length=1000)
    shift: float = 5.0
    shot_prefix: str = ""
    starts: Literal["written", "held"] = "written"
    fps: int = Field(default=16, ge=1, le=1000)


class Batches(BaseModel):
    """How much goes through a model at once. Results do not depend on it, memory does.

    Attributes:
        decoder: candidates that are decoded together.
        frame_reward: pictures that are judged together.
        clip_reward: clips that are judged together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    decoder: int = Field(default=1, ge=1)
    frame_reward: int = Field(default=4, ge=1)
    clip_reward: int = Field(default=1, ge=1)


class Placement(BaseModel):
    """What stays on the device; see ``placement.memory_plan``.

    Attributes:
        text_encoder: ``host`` streams it over, layer by layer, for a prompt.
        rewards: ``host`` streams each over, layer by layer, for a chunk.
        frame_reward_layers, clip_reward_layers: how many of a reward's language layers stay on the device all the same.
        reward_bits: of the weights of the rewards' language layers; 8 and 4 need torchao.
        decoder_states: where the features are kept that the decoder carries from chunk to chunk, one set a candidate;
            ``recompute`` keeps only those of beams, and makes them again by decoding a survivor's chunk once more.
        kv: where the memory's pages are kept.
        kv_copies: GB of pages that are kept on the device as well, where ``kv`` is ``host``.
        reward_devices: how many of a search's several devices hold the rewards and nothing else; the others hold all
            but the rewards. 0: every device holds all. One device alone, and every device of an evaluation, holds all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text_encoder: Literal["device", "host"] = "device"
    rewards: Literal["device", "host"] = "device"
    frame_reward_layers: int = Field(default=0, ge=0)
    clip_reward_layers: int = Field(default=0, ge=0)
    reward_bits: Literal[16, 8, 4] = 16
    decoder_states: Literal["device", "recompute", "host"] = "device"
    kv: Literal["device", "host"] = "device"
    kv_copies: float = Field(default=0.0, ge=0.0)
    reward_devices: int = Field(default=0, ge=0)

    def summary(self) -> str:
        """What differs from everything on the device, in one line."""
        default = Placement()
        changed = {key: value for key, value in self.model_dump().items() if value != getattr(default, key)}
        return ", ".join(f"{key}={value}" for key, value in changed.items()) or "everything on the device"


class RunConfig(BaseModel):
    """Everything that decides a run, but for its prompt, length and seed.

    Attributes:
        about: one line for people.
        backbone, frame_reward, clip_reward, decoder: names that a family builds, see ``families``.
        draft: a decoder that shows candidates to the rewards in ``decoder``'s place, which then decodes only what
            leaves; ``taehv`` for Wan, its weights in ``files.draft``. None: ``decoder`` does both.
        memory: window and sinks, in latent frames.
        policy: see ``search.config.POLICIES``.
        search: its settings, before the policy is applied.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        sampler: how denoising steps follow one another, see ``backbones.sampling.Schedule``; as the model was made for.
        dtype: what the transformer computes in.
        compile: compile the transformer's blocks (``torch.compile``); the first chunks then take a minute or so longer.
        wan: settings of Wan's models, where they are used.
        batches: how much goes through a model at once.
        placement: what stays on the device; the default asks for a plan, see ``placement.memory_plan.planned``.
        files: where weights are, by the names that the builders use: a path, or an origin to download from.
        device_memory, host_memory: amounts such as ``24GB`` that a run may take; None means what is free.
        models: folder of downloads; None means the hub's cache.
        threads: CPU threads of torch, for the whole process; None leaves them as they are.
        limits: the longest and the widest run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str = ""
    backbone: str = "pocket"
    frame_reward: str = "pocket"
    clip_reward: str = "pocket"
    decoder: str = "pocket"
    draft: str | None = None
    memory: MemoryConfig = MemoryConfig()
    policy: str = "stream_t1"
    search: SearchConfig = SearchConfig()
    device: str = "auto"
    sampler: Literal["renoise", "euler", "unipc"] = "renoise"
    dtype: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    wan: WanSettings = WanSettings()
    batches: Batches = Batches()
    placement: Placement = Placement()
    device_memory: str | None = None
    host_memory: str | None = None
    files: dict[str, str | Origin] = {}
    models: str | None = None
    threads: int | None = Field(default=None, ge=1, le=MOST_THREADS)
    limits: RunLimits = RunLimits()

    @property
    def effective_search(self) -> SearchConfig:
        """The search settings with the policy applied."""
        return apply_policy(self.policy, self.search)

    def with_policy(self, policy: str) -> RunConfig:
        """The same run under another policy."""
        return self.model_copy(update={"policy": policy})
