"""A causal Wan transformer as a ``Backbone``: propose over branches, commit with a clean context pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from streamt1.backbones.sampling import Schedule, few_step
from streamt1.backbones.wan.attention import attention, shared_prefix_attention
from streamt1.backbones.wan.model import Attend, TextContext, WanModel
from streamt1.backbones.wan.rope import shift_time
from streamt1.core.oom import Halving
from streamt1.core.protocols import Thin
from streamt1.core.types import Route
from streamt1.memory.branch import Branch, BranchingMemory, MemoryConfig
from streamt1.memory.view import PageWriter, read


@dataclass(frozen=True, eq=False)
class WanBranch:
    """A prompt and what has been written under it. Immutable; see ``memory.Branch``."""

    text: TextContext
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
    """

    def __init__(
        self,
        model: WanModel,
        encode_text: Callable[[str], Tensor],
        latent_size: tuple[int, int],
        memory: MemoryConfig = MemoryConfig(),
        schedule: Schedule = Schedule(),
        kv_device: str | None = None,
    ) -> None:
        model.config.grid(*latent_size)
        self.model, self.encode_text, self.schedule = model, encode_text, schedule
        self.memory = BranchingMemory(memory, shift_time)
        self.chunk_shape = (memory.chunk, model.config.in_channels, *latent_size)
        self._weight = model.patch_embedding.weight
        self._batch = Halving()
        self._kv_device = self._weight.device if kv_device is None else torch.device(kv_device)

    @property
    def passes_per_proposal(self) -> int:
        return len(self.schedule.steps)

    @torch.no_grad()
    def start(self, prompt: str) -> WanBranch:
        text = self.encode_text(prompt).to(self._weight.dtype)
        return WanBranch(self.model.embed_text(text), self.memory.start())

    @torch.no_grad()
    def propose(
        self,
        parents: Sequence[WanBranch],
        noise: Tensor,
        generators: Sequence[torch.Generator],
        thin: Thin | None = None,
    ) -> Tensor:
        """See ``Backbone.propose``. All candidates run in one batch over their parents' memories, which none copies.

        Where the device runs out of memory, the batch is halved and tried again, with the same draws; ``thin`` then
        sees each part alone.
        """
        if len({(id(parent.text), parent.memory.chunks) for parent in parents}) > 1:
            raise ValueError("candidates that are denoised together need one prompt and one length")
        noise = noise.to(self._weight.device, torch.float32)
        states = [generator.get_state() for generator in generators]

        def flow(x: Tensor, timestep: Tensor, rows: Sequence[int]) -> Tensor:
            return self._flow(parents[0], x, timestep, self._reader([parents[row].memory for row in rows]))

        def part(begin: int, end: int) -> Tensor:
            for generator, state in zip(generators[begin:end], states[begin:end], strict=True):
                generator.set_state(state)
            return few_step(flow, noise[begin:end], generators[begin:end], self.schedule, thin, range(begin, end))

        return torch.cat(self._batch.run(part, len(noise)))

    @torch.no_grad()
    def commit(self, branch: WanBranch, latents: Tensor, route: Route | None) -> WanBranch:
        """See ``Backbone.commit``. One pass at t = 0 over the clean chunk writes its keys and values."""
        writer = PageWriter(self._start_frame(branch), len(self.model.blocks))
        look_back = self._reader([branch.memory])

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            writer.write(layer, k[0].to(self._kv_device), v[0].to(self._kv_device))
            return look_back(layer, q, k, v)

        self._flow(branch, latents[None].to(self._weight.device), torch.zeros(()), attend)
        return WanBranch(branch.text, self.memory.commit(branch.memory, writer.page(route)))

    def release(self, branch: WanBranch) -> None:
        self.memory.release(branch.memory)

    def _start_frame(self, branch: WanBranch) -> int:
        return branch.memory.chunks * self.chunk_shape[0]

    def _reader(self, memories: Sequence[Branch]) -> Attend:
        """Attention over the memory of each row of the batch; neighbours with the same memory read it together."""
        if not memories[0].pages:
            return lambda layer, q, k, v: attention(q, k, v)
        runs = [list(run) for _, run in groupby(memories, key=id)]
        counts = [len(run) for run in runs]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            parts = zip(runs, q.split(counts), k.split(counts), v.split(counts), strict=True)
            seen = [
                shared_prefix_attention(own_q, own_k, own_v, *read(run[0], layer, k.dtype, k.device))
                for run, own_q, own_k, own_v in parts
            ]
            return torch.cat(seen)

        return attend

    def _flow(self, branch: WanBranch, x: Tensor, timestep: Tensor, attend: Attend) -> Tensor:
        start, frames = self._start_frame(branch), x.shape[1]
        positions = torch.arange(start, start + frames, device=x.device)
        timesteps = timestep.to(x.device).expand(x.shape[0], frames)
        return self.model(x.to(self._weight.dtype), timesteps, branch.text, positions, attend).float()
