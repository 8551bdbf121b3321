"""The pocket rewards take any clip length, do not mix candidates, and order pairs when trained."""

import pytest
import torch

from streamt1.core.errors import ConfigError, PromptError
from streamt1.core.protocols import SamplingClipReward
from streamt1.rewards.pocket import (
    HEADS,
    SNIPPET_FRAMES,
    ClipNet,
    FrameNet,
    PocketClipReward,
    PocketFrameReward,
    RewardConfig,
    distinct,
    snippet_frames,
    windows,
)
from streamt1.training.rewards import agreement_rate, preference_loss

TEXT = "a red star sliding on a black plain background"


@pytest.fixture(scope="module")
def frame_reward() -> PocketFrameReward:
    torch.manual_seed(0)
    return PocketFrameReward(FrameNet(RewardConfig(width=16, text=16)).eval(), torch.zeros(1), torch.ones(1))


@pytest.fixture(scope="module")
def clip_reward() -> PocketClipReward:
    torch.manual_seed(0)
    net = ClipNet(RewardConfig(frames=SNIPPET_FRAMES, heads=len(HEADS), width=16, text=16)).eval()
    return PocketClipReward(net, torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("frames", [1, 9, 12, 81, 480])
def test_any_length(frame_reward: PocketFrameReward, clip_reward: PocketClipReward, frames: int):
    clips = torch.rand(2, frames, 3, 64, 64, generator=torch.Generator().manual_seed(frames))
    assert clip_reward.score(clips, 16, TEXT).score.shape == (2,)
    if frames < 20:
        assert frame_reward.score(clips, TEXT).score.shape == (2,)


def test_overall_is_the_sum_of_the_heads(clip_reward: PocketClipReward):
    result = clip_reward.score(torch.rand(3, 9, 3, 64, 64), 16, TEXT)
    assert set(result.components) == set(HEADS)
    assert torch.allclose(result.score, torch.stack([result.components[name] for name in HEADS]).sum(0))


def test_scores_do_not_depend_on_the_other_candidates(frame_reward: PocketFrameReward, clip_reward: PocketClipReward):
    clips = torch.rand(3, 12, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(frame_reward.score(clips, TEXT).score[1:2], frame_reward.score(clips[1:2], TEXT).score)
    assert torch.allclose(clip_reward.score(clips, 16, TEXT).score[1:2], clip_reward.score(clips[1:2], 16, TEXT).score)


def test_snippets_cover_the_clip_and_scale_with_the_rate():
    seen = snippet_frames(81, 16)
    assert seen[0].tolist() == [0, 3, 6, 9]
    assert seen[-1].tolist() == [71, 74, 77, 80]
    assert snippet_frames(81, 32)[0].tolist() == [0, 6, 12, 18]


def test_long_clips_are_read_in_windows(clip_reward: PocketClipReward):
    assert windows(84) == [range(84)]
    assert windows(168, 32) == [range(168)]
    assert windows(100) == [range(84), range(16, 100)]
    clip = torch.rand(1, 100, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    parts = [clip_reward.score(clip[:, part.start : part.stop], 16, TEXT).score for part in windows(100)]
    assert torch.allclose(clip_reward.score(clip, 16, TEXT).score, torch.stack(parts).mean(0), atol=1e-5)


def test_shared_frames_are_looked_at_once_and_score_as_before(clip_reward: PocketClipReward):
    past, own = torch.rand(21, 3, 64, 64), torch.rand(3, 12, 3, 64, 64)
    clips = torch.cat([past.expand(3, -1, -1, -1, -1), own], dim=1)
    looked: list[int] = []
    hook = clip_reward.net.eye.trunk.register_forward_hook(lambda net, given, seen: looked.append(len(seen)))
    together = clip_reward.score(clips, 16, TEXT).score
    looked_together = sum(looked)
    alone = torch.cat([clip_reward.score(clip[None], 16, TEXT).score for clip in clips])
    hook.remove()
    assert torch.allclose(together, alone, atol=1e-5)
    assert looked_together < sum(looked) - looked_together
    assert distinct(torch.tensor([[1.0], [2.0], [1.0], [3.0]])) == ([0, 1, 3], [0, 1, 0, 2])


def test_unknown_words_are_refused(frame_reward: PocketFrameReward):
    with pytest.raises(PromptError):
        frame_reward.score(torch.rand(1, 1, 3, 64, 64), "a pink star")


def test_preference_loss_pulls_scores_into_the_order_of_the_labels():
    labels = torch.tensor([[[1.0], [0.5], [0.48], [0.0]]])
    scores = torch.zeros(1, 4, 1, requires_grad=True)
    preference_loss(scores, labels).backward()
    assert scores.grad is not None
    push = -scores.grad[0, :, 0]
    assert push[0] > 0 > push[3]
    assert agreement_rate(labels, labels) == 1
    assert agreement_rate(-labels, labels) == 0


@pytest.mark.parametrize("size", [(64, 48), (60, 60)])
def test_pictures_of_another_form_are_refused_in_one_sentence(size: tuple[int, int]) -> None:
    frames, text = torch.rand(1, 9, 3, *size), "a red circle resting on a navy plain background"
    for reward, more in ((PocketFrameReward.bundled(), ()), (PocketClipReward.bundled(), (16,))):
        with pytest.raises(ConfigError, match=f"not at {size[0]}x{size[1]}"):
            reward.score(frames, *more, text)


def test_bytes_and_samples_score_as_the_floats_of_whole_clips(
    frame_reward: PocketFrameReward, clip_reward: PocketClipReward
):
    clips = (torch.rand(2, 100, 3, 64, 64) * 255).to(torch.uint8)
    wide = clips.float() / 255
    assert torch.equal(frame_reward.score(clips[:, :9], TEXT).score, frame_reward.score(wide[:, :9], TEXT).score)
    expected = clip_reward.score(wide, 16, TEXT).score
    assert torch.equal(clip_reward.score(clips, 16, TEXT).score, expected)
    index = clip_reward.looks_at(100, 16)
    assert len(index) == 2 * 24, "two windows of six snippets of four"
    assert torch.equal(clip_reward.score_seen(clips[:, index], 100, 16, TEXT).score, expected)
    assert isinstance(clip_reward, SamplingClipReward)
