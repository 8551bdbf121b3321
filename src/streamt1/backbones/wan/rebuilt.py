"""A Wan transformer whose memory is written anew after every chunk (Krea realtime): positions never grow.

The clean pass runs over the last latents, group by group, each reading those before it. The oldest was made over
latents that are gone; the model was trained to see a picture there, so what was shown is encoded again as one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from streamt1.backbones.sampling import Schedule
from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.backbones.wan.branch import WanBranch
from streamt1.backbones.wan.model import WanModel
from streamt1.core.errors import CheckpointError, ConfigError
from streamt1.core.frames import floats
from streamt1.core.protocols import Decoder, DecoderState, Switched
from streamt1.core.snapshot import Snapshot
from streamt1.core.timeline import Switch
from streamt1.core.transfer import upload
from streamt1.core.types import Route
from streamt1.memory.branch import Branch, MemoryConfig
from streamt1.memory.pages import Page

EncodePicture = Callable[[Tensor], Tensor]
"""A picture ``[3, H, W]`` in 0..1 -> its latent ``[1, C, h, w]``."""


@dataclass(frozen=True, eq=False)
class RebuiltBranch(WanBranch):
    """A branch, and what its memory will be made of.

    Attributes:
        first: the video's first latent, ``[1, C, H, W]``; None before there is one.
        state: of the decoder after all chunks.
        shown: a frame of each of the last chunks, ``[3, H, W]``: the last that its first latent gives.
    """

    first: Tensor | None = None
    state: DecoderState = None
    shown: tuple[Tensor, ...] = ()


class RebuiltBackbone(WanBackbone):
    """Satisfies ``core.protocols.Backbone``; see ``MemoryConfig.rebuild``.

    Args:
        decoder: shows a survivor's chunk again where a picture of it is needed, beside the search's own decoding.
        encode_picture: gives the latent of a picture.
    """

    def __init__(
        self,
        model: WanModel,
        encode_text: Callable[[str], Tensor],
        latent_size: tuple[int, int],
        memory: MemoryConfig,
        schedule: Schedule,
        decoder: Decoder,
        encode_picture: EncodePicture,
    ) -> None:
        super().__init__(model, encode_text, latent_size, memory, schedule)
        if memory.rebuild == "off":
            raise ConfigError("memory.rebuild=off: this model's memory is written anew after every chunk")
        self.decoder, self.encode_picture = decoder, encode_picture

    def with_memory(self, memory: MemoryConfig) -> RebuiltBackbone:
        if memory == self.memory.config:
            return self
        size = self.chunk_shape[-2:]
        return RebuiltBackbone(
            self.model, self.encode_text, size, memory, self.schedule, self.decoder, self.encode_picture
        )

    def start(self, prompt: str) -> RebuiltBranch:
        branch = super().start(prompt)
        return RebuiltBranch(branch.prompt, branch.memory, state=self.decoder.start())

    @torch.no_grad()
    def commit(self, branch: WanBranch, latents: Tensor, route: Route | None) -> RebuiltBranch:
        """See ``Backbone.commit``: a pass at t = 0 for each chunk that memory holds, over those before it."""
        assert isinstance(branch, RebuiltBranch)
        latents = upload(latents, self._weight.device, torch.float32)
        past = (*branch.past, (latents, route))[-self._held_chunks :]
        first = latents[:1] if branch.first is None else branch.first
        branch = self._shown(replace(branch, past=past, first=first), latents)
        oldest = past[0][0]
        chunks = [torch.cat([self._oldest(branch), oldest[1:]]), *(chunk for chunk, _ in past[1:])]
        pages: tuple[Page, ...] = ()
        begin = branch.memory.chunks + 1 - len(chunks)
        for chunk in chunks:
            over = Branch(window=pages, chunks=begin + len(pages))
            pages += tuple(self._written(branch.prompt, over, over.chunks, [(chunk, None)]))
        memory = replace(branch.memory, window=pages, chunks=branch.memory.chunks + 1)
        return replace(branch, memory=self.memory.held(memory))

    def _shown(self, branch: RebuiltBranch, latents: Tensor) -> RebuiltBranch:
        """The branch that has seen its chunk, where pictures of it may be needed."""
        if self.memory.config.rebuild == "first":
            return branch
        frames, [state] = self.decoder.decode([branch.state], latents[None])
        last = frames.shape[1] - 1 - (len(latents) - 1) * self.decoder.time_stride
        return replace(branch, state=state, shown=(*branch.shown, frames[0, last])[-len(branch.past) :])

    @property
    def _held_chunks(self) -> int:
        """That memory is written from."""
        return self.memory.config.local_chunks - 1

    def _oldest(self, branch: RebuiltBranch) -> Tensor:
        """The first latent that memory is written from, ``[1, C, H, W]``."""
        if branch.memory.chunks - min(branch.given, 1) < self._held_chunks or self.memory.config.rebuild == "first":
            assert branch.first is not None
            return branch.first
        return upload(self.encode_picture(floats(branch.shown[0])), self._weight.device, torch.float32)

    def switch(self, branch: WanBranch, prompt: str, memory: Switch | None) -> Switched:
        """See ``Backbone.switch``. The next chunk reads what was written under the old prompt; it is written anew then.

        Raises ``ConfigError`` for a memory other than ``keep`` and ``cut``.
        """
        mode = memory or self.memory.config.switch
        if mode not in ("keep", "cut"):
            raise ConfigError(
                f"memory={mode!r}: this model's memory is written anew after every chunk; take keep or cut"
            )
        assert isinstance(branch, RebuiltBranch)
        text = super().switch(branch, prompt, mode).branch
        if mode == "keep" and branch.past:
            return Switched(replace(branch, prompt=text.prompt, memory=text.memory))
        return Switched(replace(branch, prompt=text.prompt, memory=text.memory, past=(), first=None, shown=()))

    def dump(self, branch: WanBranch) -> Snapshot:
        """Raises ``CheckpointError``: this memory is made again of latents in one chunk's time."""
        raise CheckpointError("a memory that is written anew after every chunk has no snapshot: go on from its latents")
