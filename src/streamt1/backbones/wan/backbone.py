"""A causal Wan transformer as a ``Backbone``: denoise over branches, commit with a clean context pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal
from weakref import WeakSet

import torch
from torch import Tensor

from streamt1.backbones.sampling import Schedule, few_step
from streamt1.backbones.wan.branch import WanBranch, WanPrompt
from streamt1.backbones.wan.model import Attend, WanModel
from streamt1.backbones.wan.past import PastReader
from streamt1.backbones.wan.portable import brought, dumped, loaded, told_model, weight_of, with_model
from streamt1.backbones.wan.rope import Rotary, shift_time
from streamt1.core.devices import Halving
from streamt1.core.errors import ConfigError
from streamt1.core.identity import content_id
from streamt1.core.protocols import Started, Switched
from streamt1.core.snapshot import Snapshot
from streamt1.core.timeline import Switch
from streamt1.core.transfer import locked, upload
from streamt1.core.types import Remembered, Route
from streamt1.memory.branch import Branch, BranchingMemory, MemoryConfig
from streamt1.memory.device_pages import DevicePages
from streamt1.memory.pages import Page
from streamt1.memory.recall import first_alone, recalled
from streamt1.memory.shots import check_shots, opened
from streamt1.memory.switch import emptied, recache_of, recached
from streamt1.memory.view import PageWriter

PROMPTS = 2
"""Prompts whose keys and values are kept for beams that read them next: where a shot begins, each reads two."""
Starts = Literal["written", "held"]


class WanBackbone:
    """Satisfies ``core.protocols.Backbone`` and ``Portable``.

    Args:
        model: in evaluation mode, on its device, in the dtype to run in.
        encode_text: prompt -> text rows ``[1, text_len, text_dim]`` on the model's device.
        latent_size: ``(height, width)`` of a latent frame.
        memory: window and sink sizes.
        schedule: denoising steps; which of them are corrected, memory says.
        kv_device: where pages are kept; None means with the model. Each layer's are brought to it as they are read.
        device_pages: bytes beside the model for copies of pages that are kept elsewhere.
        shot_prefix: what the prompt of a chunk that begins a shot begins with.
        starts: how a video begins with given frames that are no whole chunk: ``written`` to memory takes none, so that
            a picture stands still for a chunk; ``held`` holds them in the first chunk that is made (LongLive 2).

    Attributes:
        batch: how many candidates run at once; shrinks where memory runs out.
        copies: of pages that are kept elsewhere; None where they are with the model.
    """

    def __init__(
        self,
        model: WanModel,
        encode_text: Callable[[str], Tensor],
        latent_size: tuple[int, int],
        memory: MemoryConfig = MemoryConfig(),
        schedule: Schedule = Schedule(),
        kv_device: str | None = None,
        device_pages: float = 0.0,
        shot_prefix: str = "",
        starts: Starts = "written",
    ) -> None:
        model.config.grid(*latent_size)
        self.model, self.encode_text, self.shot_prefix = model, encode_text, shot_prefix
        if schedule.corrected not in ((), memory.corrected):
            raise ConfigError(f"memory.corrected={memory.corrected}, and the schedule's are {schedule.corrected}")
        self.schedule = replace(schedule, corrected=memory.corrected)
        self.memory = BranchingMemory(memory, shift_time)
        self.starts: Starts = starts
        self.chunk_shape = (memory.chunk, model.config.in_channels, *latent_size)
        self._weight = model.patch_embedding.weight
        self.batch = Halving()
        self._turned: tuple[tuple[int, int, torch.device], Rotary] | None = None
        self._prompts: list[WanPrompt] = []
        self._loaded: WeakSet[WanPrompt] = WeakSet()
        self._home = None if kv_device is None else torch.device(kv_device)
        elsewhere = self._home is not None and self._home != self._weight.device
        self.copies = DevicePages(self._weight.device, device_pages) if elsewhere else None
        self._past = PastReader(model.config, memory, self.copies)

    def with_memory(self, memory: MemoryConfig) -> WanBackbone:
        """The same model over a memory of other rules; itself where they are its own. The weights are shared."""
        if memory == self.memory.config:
            return self
        limit = self.copies.limit if self.copies else 0.0
        kv_device = None if self._home is None else str(self._home)
        size, prefix, starts = self.chunk_shape[-2:], self.shot_prefix, self.starts
        place, schedule = (kv_device, limit), replace(self.schedule, corrected=())
        return WanBackbone(self.model, self.encode_text, size, memory, schedule, *place, prefix, starts)

    @property
    def steps(self) -> int:
        return self.schedule.passes

    @property
    def draws(self) -> int:
        return self.schedule.draws

    @property
    def first_steps(self) -> int:
        return self.schedule.of_chunk(0).passes

    @property
    def first_draws(self) -> int:
        return self.schedule.of_chunk(0).draws

    def made(self, branch: WanBranch) -> int:
        return branch.made

    @torch.no_grad()
    def start(self, prompt: str) -> WanBranch:
        return WanBranch(self._read_prompt(prompt.removeprefix(self.shot_prefix)), self.memory.start())

    @property
    def picture_frames(self) -> int:
        return 1 if self.starts == "held" else self.memory.config.chunk

    @property
    def remembered_frames(self) -> int:
        rules = self.memory.config
        return max(rules.window - rules.chunk, rules.chunk)

    def start_from(self, prompt: str, latents: Tensor) -> Started:
        """See ``StartingBackbone.start_from``. Whole chunks are given; what is left over is held in the next one."""
        each, held = self.memory.config.chunk, None
        whole = len(latents) // each * each
        if not len(latents) or (len(latents) > whole and self.starts != "held"):
            raise ConfigError(f"{len(latents)} latent frames to begin with: this model takes {self._counts}")
        if len(latents) > whole:
            held = upload(latents[whole:], self._weight.device, torch.float32)
        return Started(replace(self.start(prompt), held=held), latents[:whole].split(each) if whole else ())

    @property
    def _counts(self) -> str:
        return "1 or more" if self.starts == "held" else f"whole chunks of {self.memory.config.chunk}"

    def give(self, branch: WanBranch, latents: Tensor, route: Route | None) -> WanBranch:
        """See ``StartingBackbone.give``."""
        return replace(self.commit(branch, latents, route), given=branch.given + 1, held=branch.held)

    def _read_prompt(self, prompt: str) -> WanPrompt:
        """Beams that switch to one prompt share its keys and values."""
        id = content_id(prompt)
        found = next((known for known in self._prompts if known.id == id), None)
        if found is None:
            text = self.encode_text(prompt).to(self._weight.dtype)
            found = WanPrompt(id, self.model.embed_text(text))
            self._prompts = [*self._prompts, found][-PROMPTS:]
        return found

    @torch.no_grad()
    def denoise(self, parents: Sequence[WanBranch], x: Tensor, noise: Tensor, steps: range) -> tuple[Tensor, Tensor]:
        """See ``Backbone.denoise``. Candidates run in one batch over their parents' memories, which none copies.

        Under relative positions a chunk stands behind all that its parent remembers: candidates whose parents remember
        more, or less, are a batch of their own. Where the device runs out of memory, a batch is halved and tried again.
        """
        if len({(parent.prompt.id, parent.memory.chunks) for parent in parents}) > 1:
            raise ValueError("candidates that are denoised together need one prompt and one length")
        device = self._weight.device
        x, noise = (upload(locked(t, device), device, torch.float32) for t in (x, noise))
        places = [self._place(parent) for parent in parents]
        if len(set(places)) == 1:
            return self._denoised(parents, x, noise, steps)
        noisy, clean = torch.empty_like(x), torch.empty_like(x)
        for place in dict.fromkeys(places):
            rows = [row for row, one in enumerate(places) if one == place]
            noisy[rows], clean[rows] = self._denoised([parents[row] for row in rows], x[rows], noise[rows], steps)
        return noisy, clean

    def _denoised(self, parents: Sequence[WanBranch], x: Tensor, noise: Tensor, steps: range) -> tuple[Tensor, Tensor]:
        """``denoise`` of candidates that all stand at one place, on the device."""
        schedule = self.schedule.of_chunk(parents[0].made)

        def part(begin: int, end: int) -> tuple[Tensor, Tensor]:
            own = parents[begin:end]

            def over_first(x: Tensor, t: Tensor) -> Tensor:
                return self.flow([replace(one, memory=first_alone(one.memory, one.scene)) for one in own], x, t)

            predict = partial(self.flow, own)
            return few_step(predict, x[begin:end], noise[begin:end], schedule, steps, over_first)

        noisy, clean = (torch.cat(parts) for parts in zip(*self.batch.run(part, len(x))))
        clean = _with_held(clean, parents[0].held)
        return clean if steps.stop == schedule.passes else noisy, clean

    @torch.no_grad()
    def flow(self, parents: Sequence[WanBranch], x: Tensor, timestep: Tensor) -> Tensor:
        """What the transformer predicts for noisy chunks ``[N, F, C, H, W]`` at one timestep (0..1000), float32.

        Each is the next chunk after its parent, whose memory it reads; all stand at one place. The building block of
        ``denoise``. Frames that are held stand in their place, and the model is told that they are clean.
        """
        if len({self._place(parent) for parent in parents}) > 1:
            raise ValueError("chunks that are predicted together need to stand at one place")
        first, timesteps = parents[0], timestep.expand(x.shape[1])
        if first.held is not None:
            x, timesteps = _with_held(x, first.held), timesteps.clone()
            timesteps[: len(first.held)] = 0
        return self._flow(
            first.prompt, self._place(first), x, timesteps, self._past.attend([parent.memory for parent in parents])
        )

    @torch.no_grad()
    def commit(self, branch: WanBranch, latents: Tensor, route: Route | None) -> WanBranch:
        """See ``Backbone.commit``. One pass at t = 0 over the clean chunk writes its keys and values."""
        [page] = self._written(branch.prompt, branch.memory, branch.memory.chunks, [(latents, route)])
        kept = (*branch.past, (latents, route))[-(self.memory.config.window // self.chunk_shape[0]) :]
        memory = self.memory.commit(branch.memory, page, branch.scene)
        return WanBranch(branch.then or branch.prompt, memory, kept, given=branch.given)

    @torch.no_grad()
    def switch(self, branch: WanBranch, prompt: str, memory: Switch | None) -> Switched:
        """See ``Backbone.switch``, and ``memory.switch`` for what becomes of the pages."""
        mode, plain = memory or self.memory.config.switch, prompt.removeprefix(self.shot_prefix)
        new = self._read_prompt(plain)
        if mode == "cut" or not branch.past:
            return self._switched(branch, new, emptied(branch.memory))
        if mode == "keep":
            return self._switched(branch, new, branch.memory)
        if mode == "shot":
            check_shots(self.memory.config)
            return self._switched(branch, new, opened(branch.memory), self._read_prompt(self.shot_prefix + plain))
        if branch.memory.shots:
            raise ConfigError(
                "memory='recache' cannot write chunks again that stand in several shots; take keep or cut"
            )
        todo = recache_of(self.memory.config, branch.memory)
        if not todo.chunks:
            return self._switched(branch, new, branch.memory)
        over = Branch(todo.kept, chunks=branch.memory.chunks)
        pages = self._written(new, over, todo.chunks[0], branch.past[-len(todo.chunks) :])
        return self._switched(branch, new, recached(self.memory, branch.memory, todo, pages), written=todo.chunks)

    def _switched(
        self,
        before: WanBranch,
        prompt: WanPrompt,
        memory: Branch,
        opens: WanPrompt | None = None,
        written: range = range(0),
    ) -> Switched:
        """Under the new prompt, the next chunk under ``opens``; a scene that returns reads its first chunk again, where
        that was put aside."""
        memory = self.memory.held(recalled(memory, prompt.id, self._home or self._weight.device))
        back = memory.recalled[0].start // self.chunk_shape[0] if memory.recalled else None
        past = () if memory.since == memory.chunks else before.past
        then = None if opens is None else prompt
        branch = WanBranch(opens or prompt, memory, past, then, before.given, before.held)
        return Switched(branch, len(written), tuple(written), back)

    def switch_passes(self, memory: Switch | None) -> int:
        mode = memory or self.memory.config.switch
        return self.memory.config.window // self.chunk_shape[0] if mode == "recache" else 0

    def _written(
        self, prompt: WanPrompt, over: Branch, first: int, chunks: Sequence[tuple[Tensor, Route | None]]
    ) -> list[Page]:
        """Pages of clean chunks that follow one another from chunk ``first`` on: one pass at t = 0, over what ``over``
        remembers, in which each reads all."""
        each, place = self.chunk_shape[0], self._position(over, first)
        layers, device = len(self.model.blocks), self._weight.device
        codecs = [self.memory.config.codec_of(len(over.sinks) + i) for i in range(len(chunks))]
        writers = [
            PageWriter((first + i) * each, layers, self._home, self.copies, place + i * each, codec)
            for i, codec in enumerate(codecs)
        ]
        look_back = self._past.attend([over])

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            for writer, own_k, own_v in zip(writers, k[0].chunk(len(writers)), v[0].chunk(len(writers))):
                writer.write(layer, own_k, own_v)
            return look_back(layer, q, k, v)

        latents = torch.cat([upload(latents, device) for latents, _ in chunks])
        self._flow(prompt, place, latents[None], torch.zeros((), device=device), attend)
        told = [
            first,
            *[place] * (over.shots > 0),
            *(codec.name for codec in codecs if codec),
            *(part for latents, route in chunks for part in (latents, route and route.value)),
        ]
        id = content_id(prompt.id, over.id, *told)
        ids = [id] if len(chunks) == 1 else [content_id(id, place) for place in range(len(chunks))]
        return [writer.page(own, route) for writer, own, (_, route) in zip(writers, ids, chunks)]

    def inspect(self, branch: WanBranch) -> Remembered:
        return branch.memory.remembered(self.chunk_shape[0])

    def release(self, branch: WanBranch) -> None:
        self.memory.release(branch.memory)

    def weigh(self, branch: WanBranch) -> int:
        """See ``Portable.weigh``."""
        return weight_of(branch)

    @torch.no_grad()
    def dump(self, branch: WanBranch) -> Snapshot:
        """See ``Portable.dump``, and ``wan.portable`` for what it holds."""
        return dumped(branch, told_model(self.model, self.chunk_shape), self.memory.config)

    @torch.no_grad()
    def load(self, snapshot: Snapshot) -> WanBranch:
        """See ``Portable.load``. Pages and prompts that are here already are shared."""
        device = self._weight.device
        branch = with_model(loaded(snapshot, self.model, self.chunk_shape, self.memory.config), device)
        memory = self.memory.taken_in(branch.memory, lambda page: brought(page, self._home or device, device))
        then = None if branch.then is None else self._known(branch.then)
        return replace(branch, prompt=self._known(branch.prompt), memory=memory, then=then)

    def _known(self, loaded: WanPrompt) -> WanPrompt:
        """A prompt that is here already, if one is the same as what was loaded."""
        prompt = next((one for one in (*self._loaded, *self._prompts) if one.same(loaded)), loaded)
        self._loaded.add(prompt)
        return prompt

    def _place(self, parent: WanBranch) -> int:
        """Where in time the next chunk after a parent begins, in frames."""
        return self._position(parent.memory, parent.memory.chunks)

    def _position(self, over: Branch, chunk: int) -> int:
        """Where in time the first frame of a chunk stands that reads such a memory."""
        rules = self.memory.config
        return (
            rules.chunk * (chunk if rules.positions == "absolute" else len(over.pages)) + over.shots * rules.shot_offset
        )

    def _flow(self, prompt: WanPrompt, place: int, x: Tensor, timesteps: Tensor, attend: Attend) -> Tensor:
        timesteps = timesteps.to(x.device).expand(x.shape[0], x.shape[1])
        rotary = self._rotary(place, x)
        return self.model(x.to(self._weight.dtype), timesteps, prompt.text, rotary, attend).float()

    def _rotary(self, start: int, x: Tensor) -> Rotary:
        """Of a chunk like ``x`` that starts at a frame; the last answer is kept, for the steps after the first."""
        key = (start, x.shape[1], x.device)
        if self._turned is None or self._turned[0] != key:
            positions = torch.arange(start, start + x.shape[1], device=x.device)
            self._turned = (key, self.model.rotary(positions, self.model.config.grid(*x.shape[-2:])))
        return self._turned[1]


def _with_held(x: Tensor, held: Tensor | None) -> Tensor:
    """Chunks ``[N, F, C, H, W]`` whose first frames are those that are held, if any are."""
    if held is None:
        return x
    return torch.cat([held.to(x.device, x.dtype).expand(len(x), *held.shape), x[:, len(held) :]], dim=1)
