"""Fragments that follow one another without a gap."""

from __future__ import annotations

import io

import av
import pytest
import torch
from torch import Tensor

from streamt1.core.errors import OutputError
from streamt1.media.fragments import FragmentWriter


def noise(frames: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (frames, 32, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_chunks_of_any_length_join_into_one_video() -> None:
    writer, lengths = FragmentWriter(16), (9, 12, 1, 12)
    fragments = [writer.write(noise(length, seed)) for seed, length in enumerate(lengths)]
    assert writer.frames == sum(lengths)
    assert all(fragment[4:8] == b"moof" for fragment in fragments)
    assert [fragment.count(b"moof") for fragment in fragments] == [1, 1, 1, 1]
    with av.open(io.BytesIO(writer.header + b"".join(fragments))) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (48, 32)
        times = [frame.time for frame in container.decode(stream)]
    assert times == [index / 16 for index in range(sum(lengths))]


def test_what_has_come_so_far_can_be_shown() -> None:
    writer = FragmentWriter(16)
    first, _ = writer.write(noise(9)), writer.write(noise(12))
    with av.open(io.BytesIO(writer.header + first)) as container:
        assert len(list(container.decode(video=0))) == 9
    assert writer.kind.startswith('video/mp4; codecs="avc1.')


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(OutputError):
        FragmentWriter(16).write(torch.zeros(2, 33, 47, 3, dtype=torch.uint8))
