"""A decoder that forgets candidates' states and makes a survivor's again: work in place of memory.

Of the candidates of a chunk most are dropped, and their states with them. Where a state is large (1.9 GB of Wan's at
480x832, in bfloat16), keeping one a candidate fills a device, and moving them to the host and back takes as long as
decoding one chunk more for each survivor, which is all that this costs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from streamt1.core.protocols import Decoder, DecoderState


class Promise:
    """A state that is made when somebody goes on from it: its parent's, and the latents that came after.

    Args:
        made: the inner decoder's state, where it is known.
        parent: else the one before it; let go once the state is made.
        latents: and its chunk, ``[1, F, C, h, w]``.
    """

    def __init__(self, made: DecoderState = None, parent: Promise | None = None, latents: Tensor | None = None) -> None:
        self._made, self._parent, self._latents = made, parent, latents

    def kept(self, decoder: Decoder) -> DecoderState:
        """The inner decoder's state; decodes its chunk the first time. The answer never changes."""
        if self._parent is not None and self._latents is not None:
            _, [self._made] = decoder.decode([self._parent.kept(decoder)], self._latents)
            self._parent = self._latents = None
        return self._made


class RecomputingDecoder:
    """Satisfies ``Decoder`` and ``PortableStates`` over another decoder, one candidate at a time.

    Frames are the inner decoder's, bit for bit.

    Attributes:
        inner: what decodes.
    """

    def __init__(self, inner: Decoder) -> None:
        self.inner = inner
        self.fps, self.time_stride = inner.fps, inner.time_stride

    def start(self) -> Promise:
        """See ``Decoder.start``."""
        return Promise(self.inner.start())

    def decode(self, states: Sequence[Promise], latents: Tensor) -> tuple[Tensor, list[Promise]]:
        """See ``Decoder.decode``. What comes after a chunk is let go; states are promises of it."""
        frames = [self.inner.decode([state.kept(self.inner)], own)[0] for state, own in zip(states, latents.split(1))]
        return torch.cat(frames), [Promise(None, *pair) for pair in zip(states, latents.split(1))]

    def plain(self, state: Promise) -> DecoderState:
        """See ``PortableStates``: the inner decoder's state, made now."""
        return state.kept(self.inner)

    def taken(self, plain: DecoderState) -> Promise:
        """See ``PortableStates``."""
        return Promise(plain)
