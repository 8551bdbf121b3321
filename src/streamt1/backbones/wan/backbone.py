"""A causal Wan transformer as a ``Backbone``: denoise over branches, commit with a clean context pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from streamt1.backbones.sampling import Schedule, few_step
from streamt1.backbones.wan.attention import attention, shared_prefix_attention
from streamt1.backbones.wan.model import Attend, TextContext, WanModel
from streamt1.backbones.wan.rope import Rotary, shift_time
from streamt1.core.devices import Halving
from streamt1.core.identity import content_id
from streamt1.core.types import Remembered, Route
from streamt1.memory.branch import Branch, BranchingMemory, MemoryConfig
from streamt1.memory.device_pages import DevicePages
from streamt1.memory.transfer import locked, upload
from streamt1.memory.view import PageWriter, read


@dataclass(frozen=True, eq=False)
class WanPrompt:
    """A prompt as the transformer reads it.

    Attributes:
        id: of the text's content.
        text: its cross-attention keys and values.
    """

    id: str
    text: TextContext


@dataclass(frozen=True, eq=False)
class WanBranch:
    """A prompt and what has been written under it. Immutable; see ``memory.Branch``."""

    prompt: WanPrompt
    memory: Branch


class WanBackbone:
    """Satisfies ``core.protocols.Backbone``.

    Args:
        model: in evaluation mode, on its device, in the dtype to run in.
        encode_text: prompt -> text rows ``[1, text_len, text_dim]`` on the model's device.
        latent_size: ``(height, width)`` of a latent frame.
        memory: window and sink sizes.
        schedule: denoising steps.
        kv_device: where pages are kept; None means with the model. Each layer's are brought to it as they are read.
        device_pages: bytes beside the model for copies of pages that are kept elsewhere.

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
    ) -> None:
        model.config.grid(*latent_size)
        self.model, self.encode_text, self.schedule = model, encode_text, schedule
        self.memory = BranchingMemory(memory, shift_time)
        self.chunk_shape = (memory.chunk, model.config.in_channels, *latent_size)
        self._weight = model.patch_embedding.weight
        self.batch = Halving()
        self._turned: tuple[tuple[int, int, torch.device], Rotary] | None = None
        self._home = None if kv_device is None else torch.device(kv_device)
        elsewhere = self._home is not None and self._home != self._weight.device
        self.copies = DevicePages(self._weight.device, device_pages) if elsewhere else None

    @property
    def steps(self) -> int:
        return len(self.schedule.steps)

    @property
    def draws(self) -> int:
        return self.schedule.draws

    @torch.no_grad()
    def start(self, prompt: str) -> WanBranch:
        text = self.encode_text(prompt).to(self._weight.dtype)
        return WanBranch(WanPrompt(content_id(prompt), self.model.embed_text(text)), self.memory.start())

    @torch.no_grad()
    def denoise(self, parents: Sequence[WanBranch], x: Tensor, noise: Tensor, steps: range) -> tuple[Tensor, Tensor]:
        """See ``Backbone.denoise``. All candidates run in one batch over their parents' memories, which none copies.

        Where the device runs out of memory, the batch is halved and tried again.
        """
        if len({(parent.prompt.id, parent.memory.chunks) for parent in parents}) > 1:
            raise ValueError("candidates that are denoised together need one prompt and one length")
        device = self._weight.device
        x, noise = (upload(locked(t, device), device, torch.float32) for t in (x, noise))

        def part(begin: int, end: int) -> tuple[Tensor, Tensor]:
            own = parents[begin:end]
            return few_step(lambda x, t: self.flow(own, x, t), x[begin:end], noise[begin:end], self.schedule, steps)

        noisy, clean = zip(*self.batch.run(part, len(x)))
        return torch.cat(noisy), torch.cat(clean)

    @torch.no_grad()
    def flow(self, parents: Sequence[WanBranch], x: Tensor, timestep: Tensor) -> Tensor:
        """What the transformer predicts for noisy chunks ``[N, F, C, H, W]`` at one timestep (0..1000), float32.

        Each is the next chunk after its parent, whose memory it reads. The building block of ``denoise``.
        """
        return self._flow(parents[0], x, timestep, self._reader([parent.memory for parent in parents]))

    @torch.no_grad()
    def commit(self, branch: WanBranch, latents: Tensor, route: Route | None) -> WanBranch:
        """See ``Backbone.commit``. One pass at t = 0 over the clean chunk writes its keys and values."""
        writer = PageWriter(self._start_frame(branch), len(self.model.blocks), self._home, self.copies)
        look_back = self._reader([branch.memory])

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            writer.write(layer, k[0], v[0])
            return look_back(layer, q, k, v)

        self._flow(
            branch, upload(latents[None], self._weight.device), torch.zeros((), device=self._weight.device), attend
        )
        id = content_id(branch.prompt.id, branch.memory.id, writer.start, latents, route and route.value)
        return WanBranch(branch.prompt, self.memory.commit(branch.memory, writer.page(id, route)))

    def inspect(self, branch: WanBranch) -> Remembered:
        return branch.memory.remembered(self.chunk_shape[0])

    def release(self, branch: WanBranch) -> None:
        self.memory.release(branch.memory)

    def _start_frame(self, branch: WanBranch) -> int:
        return branch.memory.chunks * self.chunk_shape[0]

    def _reader(self, memories: Sequence[Branch]) -> Attend:
        """Attention over the memory of each row of the batch; neighbours with the same memory read it together."""
        if not memories[0].pages:
            return lambda layer, q, k, v: attention(q, k, v)
        runs = [list(run) for _, run in groupby(memories, key=lambda memory: memory.id)]
        counts = [len(run) for run in runs]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if len(runs) == 1:
                return shared_prefix_attention(q, k, v, *self._read(memories[0], layer, k))
            seen = torch.empty_like(q)
            parts = zip(runs, q.split(counts), k.split(counts), v.split(counts), seen.split(counts), strict=True)
            for run, own_q, own_k, own_v, out in parts:
                shared_prefix_attention(own_q, own_k, own_v, *self._read(run[0], layer, k), out)
            return seen

        return attend

    def _read(self, memory: Branch, layer: int, k: Tensor) -> tuple[Tensor, Tensor]:
        return read(memory, layer, k.dtype, k.device, self.copies)

    def _flow(self, branch: WanBranch, x: Tensor, timestep: Tensor, attend: Attend) -> Tensor:
        timesteps = timestep.to(x.device).expand(x.shape[0], x.shape[1])
        rotary = self._rotary(self._start_frame(branch), x)
        return self.model(x.to(self._weight.dtype), timesteps, branch.prompt.text, rotary, attend).float()

    def _rotary(self, start: int, x: Tensor) -> Rotary:
        """Of a chunk like ``x`` that starts at a frame; the last answer is kept, for the steps after the first."""
        key = (start, x.shape[1], x.device)
        if self._turned is None or self._turned[0] != key:
            positions = torch.arange(start, start + x.shape[1], device=x.device)
            self._turned = (key, self.model.rotary(positions, self.model.config.grid(*x.shape[-2:])))
        return self._turned[1]
