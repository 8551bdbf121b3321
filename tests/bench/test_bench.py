"""The measuring instruments count what they say; what they measure is not asserted."""

import pytest
import torch

from streamt1.bench import cheaper, growth, host, memory, naive_twin, overhead, switch, width
from streamt1.bench.naive import NaiveDecoder
from streamt1.bench.subjects import PROMPT, ShrunkClips, ShrunkFrames, pocket, wan_small
from streamt1.core.frames import floats
from streamt1.search.config import SearchConfig


def test_the_slow_twin_finds_the_same_survivors() -> None:
    ours, theirs = (naive_twin.run("pocket", 6, naive) for naive in (False, True))
    assert ours["survivors"] == theirs["survivors"]
    assert len(ours["survivors"]) == 12
    assert pocket().models.backbone.steps == 4


@pytest.mark.parametrize("window", [1, 3])
def test_the_slow_twin_decodes_its_windows_again_and_sees_the_same_frames(window: int) -> None:
    own, latents = pocket().models.decoder, torch.randn(6, 1, 3, 8, 8, 8)
    twin = NaiveDecoder(own, window)
    state, past = own.start(), twin.start()
    for chunk in latents:
        frames, [state] = own.decode([state], chunk)
        again, [past] = twin.decode([past], chunk)
        assert torch.allclose(again, frames, atol=1e-6)
        assert len(past.latents) < window


def test_the_small_wan_shows_bytes_that_its_rewards_read_as_the_twins_floats() -> None:
    models = wan_small().models
    latents = torch.randn(1, *models.backbone.chunk_shape)
    frames, _ = models.decoder.decode([models.decoder.start()], latents)
    assert (frames.dtype, frames.shape) == (torch.uint8, (1, 9, 3, 160, 256))
    assert frames.float().std() > 20, "pictures that a reward can tell apart"
    for reward, more in ((models.frame_reward, ()), (models.clip_reward, (16,))):
        assert isinstance(reward, ShrunkFrames | ShrunkClips)
        some, others = (reward.score(seen, *more, PROMPT).score for seen in (frames, floats(frames)))
        assert torch.equal(some, others)


def test_the_hosts_work_is_the_same_on_bytes_and_on_floats() -> None:
    found = host.measure(64, 96)
    assert set(found["parts"]) == set(found["floats"]) - {"seconds"}
    assert found["seconds"] == sum(found["parts"].values())
    windows = [[torch.rand(host.WINDOW - host.CHUNK, 3, 4, 4), torch.rand(host.CHUNK, 3, 4, 4)]]
    assert torch.equal(host._seen(windows, whole=True), host._seen(windows, whole=False))


def test_overhead_times_the_calls_that_a_search_makes(monkeypatch) -> None:
    monkeypatch.setattr(overhead, "REPEATS", 1)
    found = overhead.measure("pocket", width=2, chunks=2)
    assert set(found["parts"]) == {"text", "denoise", "decode", "rewards", "commit"}
    assert found["ratio"] > 0.2
    assert overhead._call_seconds(pocket(), SearchConfig(), 1)["commit"] == 0


def test_cheaper_searches_are_compared_with_the_whole_one() -> None:
    found = cheaper.measure(prompts=1)
    whole, *others = found["switches"]
    assert (whole["switch"], whole["cost_share"], whole["clips"]) == ("stream_t1", 1, 1)
    assert {one["switch"] for one in others} >= {"narrow", "tapered", "adaptive", "early_tapered"}
    assert all(0 < one["cost_share"] < 1 for one in others)
    assert found["cost_share"] <= cheaper.MOST or found["switch"] == "stream_t1"


def test_pages_are_shared() -> None:
    found = memory.measure("pocket", width=2, chunks=7)
    assert 0 < found["held_mb"] <= found["arithmetic_mb"] < found["copied_mb"]


def test_width_times_candidates_as_a_search_meets_them(monkeypatch) -> None:
    monkeypatch.setattr(width, "REPEATS", 1)
    monkeypatch.setattr(width, "WIDTHS", (1, 2))
    assert width._past(pocket()).frames.shape[1] == 6 * 12 - 3, "six chunks before; the first opens with one frame"
    found = width.measure("pocket")
    assert found["marginal"][1] == 1
    assert found["ratio"] == found["marginal"][2]
    assert all(seconds > 0 for seconds in found["seconds_per_candidate"].values())


def test_growth_compares_chunks_of_one_search() -> None:
    found = growth.measure("pocket", chunks=12, early=4, late=11)
    assert found["ratio"] == found["seconds_late"] / found["seconds_early"]
    assert 0 < found["kv_mb_early"] <= found["kv_mb_most"]


def test_switches_are_counted_and_shared() -> None:
    found = switch.measure("pocket", scenes=3, each=2, beam_size=2)
    assert (found["chunks"], found["scenes"], found["candidates"]) == (6, 3, 4)
    assert {mode: found[mode]["passes"] for mode in switch.MODES} == {"keep": 0, "cut": 0, "recache": 2 * (2 + 4)}
    assert all(found[mode]["ratio"] > 0 for mode in switch.MODES)
    assert found["for_each_candidate"] > 0
