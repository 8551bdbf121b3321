"""Streaming through the pocket VAE equals decoding everything at once; states fork and stay as they are."""

import pytest
import torch

from streamt1.decoders.pocket_vae import PocketDecoder, PocketVAE, PocketVAEConfig, group_frames, ungroup_frames


@pytest.fixture(scope="module")
def codec() -> PocketDecoder:
    torch.manual_seed(0)
    vae = PocketVAE(PocketVAEConfig(fine=16, coarse=24))
    for parameter in vae.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    vae.mean.normal_()
    vae.std.uniform_(0.5, 1.5)
    return PocketDecoder(vae)


def latents(count: int, frames: int) -> torch.Tensor:
    return torch.randn(count, frames, 8, 8, 8, generator=torch.Generator().manual_seed(frames))


def test_streaming_equals_whole(codec: PocketDecoder):
    clip = latents(1, 9)
    whole, _ = codec.decode([codec.start()], clip)
    state, parts = codec.start(), []
    for chunk in clip.split(3, dim=1):
        frames, (state,) = codec.decode([state], chunk)
        parts.append(frames)
    assert [part.shape[1] for part in parts] == [9, 12, 12]
    assert whole.shape == (1, 33, 3, 64, 64)
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-6)


def test_candidates_share_a_parent_and_leave_it_as_it_is(codec: PocketDecoder):
    _, (parent,) = codec.decode([codec.start()], latents(1, 3))
    before = [part.clone() for part in parent]
    both = latents(2, 3)
    together, states = codec.decode([parent] * 2, both)
    alone, (state,) = codec.decode([parent], both[1:])
    assert torch.allclose(together[1:], alone, atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(states[1], state, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, parent, strict=True))


def test_candidates_of_several_parents_are_decoded_together(codec: PocketDecoder):
    _, parents = codec.decode([codec.start()] * 2, latents(2, 3))
    each = [parents[0], parents[0], parents[1]]
    clips = latents(3, 3)
    together, states = codec.decode(each, clips)
    for index, parent in enumerate(each):
        alone, (state,) = codec.decode([parent], clips[index : index + 1])
        assert torch.allclose(together[index], alone[0], atol=1e-6)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(states[index], state, strict=True))


def test_a_bound_on_the_batch_changes_nothing(codec: PocketDecoder):
    _, parents = codec.decode([codec.start()] * 3, latents(3, 3))
    frames, states = codec.decode(parents, latents(3, 3))
    bounded, bounded_states = PocketDecoder(codec.vae, batch=2).decode(parents, latents(3, 3))
    assert torch.allclose(frames, bounded, atol=1e-6)
    for state, other in zip(states, bounded_states, strict=True):
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(state, other, strict=True))


def test_encoding_is_causal(codec: PocketDecoder):
    frames = torch.rand(1, 17, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    whole = codec.encode(frames)
    assert whole.shape == (1, 5, 8, 8, 8)
    assert torch.allclose(whole[:, :2], codec.encode(frames[:, :5]), atol=1e-5)


def test_grouping_is_lossless():
    frames = torch.rand(2, 9, 3, 64, 64)
    assert torch.allclose(ungroup_frames(group_frames(frames), opening=True), frames, atol=1e-6)
