"""Simulated devices: what they find and what travels. No time is asserted."""

import json
import time
from pathlib import Path

import pytest
import torch

from streamt1.bench import devices, reward_devices
from streamt1.bench.sleepers import LocalSleeper
from streamt1.bench.sleeping import Clock, sleeping_models
from streamt1.bench.tally import KINDS
from streamt1.search.config import SearchConfig
from streamt1.search.engine import Engine

SMALL = {"shape": (3, 2, 4, 6), "size": (32, 48)}
DOCS = Path(__file__).parents[2] / "docs"


def found(count: int, search: tuple[int, int] = (2, 2)) -> dict:
    return devices.scaling([LocalSleeper() for _ in range(count)], 1e-6, 4, [search], **SMALL)


def test_the_survivors_do_not_depend_on_the_devices() -> None:
    config = SearchConfig(beam_size=2, top_k=2)
    seen = []
    for count in (1, 3):
        links = [LocalSleeper() for _ in range(count)]
        _, _, lineages = devices.searched(links, 0.0, config, 4, SMALL)
        seen.append(lineages)
    alone = Engine(sleeping_models(Clock(0), **SMALL), config).run("the same", 5)
    assert seen[0] == seen[1]
    assert len(seen[0]) == 2
    assert len(alone.beam.lineage) == 5


def test_only_so_many_devices_are_asked_for_as_there_are_candidates() -> None:
    rows = found(8)
    assert [row["devices"] for row in rows["rows"]] == [1, 2, 4]
    assert rows["same_survivors"]
    assert rows["rows"][0]["speed_up"] == rows["rows"][0]["efficiency"] == 1


def test_what_travels_is_told_by_kind() -> None:
    one, two, four = found(4)["rows"]
    latents = 4 * torch.Size(SMALL["shape"]).numel() / 1e6
    for row in (one, two, four):
        assert list(row["megabytes"]) == list(KINDS)
        assert row["megabytes"]["noise"] == pytest.approx(4 * latents), "devices draw the rest"
    assert one["megabytes"]["latents"] == pytest.approx(4 * latents), "clean chunks come back"
    assert four["megabytes"]["latents"] > two["megabytes"]["latents"] > one["megabytes"]["latents"]


def test_the_formula() -> None:
    candidate = 4 * 28.3 + 3 * 13.6 + 12 * 12.6 + 12
    assert devices.computed(16, 4, 1) == pytest.approx(16 * candidate + 4 * 28.3)
    assert devices.computed(16, 4, 2) == pytest.approx(8 * candidate + 4 * 28.3 + 2 * 40.8)
    assert devices.computed(16, 4, 16) == pytest.approx(candidate + 4 * (28.3 + 40.8))
    assert devices.computed(16, 4, 1) / devices.computed(16, 4, 16) > 8


def test_a_call_ends_so_long_after_the_one_before() -> None:
    clock, begin = Clock(0.001), time.monotonic()
    clock.request()
    clock.work(10)
    clock.work(10)
    assert time.monotonic() - begin >= 0.02


def test_scores_run_in_families() -> None:
    models = sleeping_models(Clock(0), **SMALL)
    latents = torch.randn(2, *models.backbone.chunk_shape)
    frames, states = models.decoder.decode([models.decoder.start()] * 2, latents)
    assert frames.shape == (2, 9, 3, 32, 48)
    assert models.decoder.decode(states, latents)[0].shape == (2, 12, 3, 32, 48)
    scores = models.frame_reward.score(frames, "").score
    assert scores[0] != scores[1]
    again = models.clip_reward.score(torch.cat([frames, frames[:1].expand_as(frames)], dim=1), 16, "").score
    assert (again[0] - again[1]).sign() == (models.clip_reward.score(frames, 16, "").score.diff() * -1).sign()


def test_the_chart_and_its_numbers_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    told = {"tflops_assumed": 400, "slow": 2, **found(2)}
    devices.write([told], tmp_path)
    assert (tmp_path / "devices_scaling.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "devices_scaling.json").read_text()) == told


def test_the_page_has_the_table_of_the_numbers_beside_it() -> None:
    rows = json.loads((DOCS / "devices_scaling.json").read_text())["rows"]
    assert "\n".join(devices.table(rows)) in (DOCS / "devices.md").read_text()


def test_rewards_on_devices_of_their_own_find_the_same_survivors() -> None:
    settings = [
        reward_devices.Setting((2, 2), 3),
        reward_devices.Setting((2, 2), 2, 1),
        reward_devices.Setting((2, 2), 2, 1, overlaps=False),
    ]
    rows = reward_devices.compared([LocalSleeper() for _ in range(3)], 1e-6, 4, settings, **SMALL)
    assert rows["same_survivors"]
    alike, apart, after = rows["rows"]
    assert apart["megabytes"]["frames"] > alike["megabytes"]["frames"], "candidates' frames travel"
    assert apart["megabytes"]["frames"] == pytest.approx(after["megabytes"]["frames"], rel=0.05)


def test_the_pipeline_as_computed() -> None:
    short, made = 12 * 12.6, 4 * 28.3 + 3 * 13.6
    rest = 4 * 28.3 + 4 * 40.8
    alone = reward_devices.Setting((4, 4), 16, 1, overlaps=False).computed()
    assert alone == pytest.approx(made + 16 * (short + 12) + rest)
    assert reward_devices.Setting((4, 4), 5).computed() == pytest.approx(devices.computed(16, 4, 5))
    assert reward_devices.Setting((4, 4), 4, 4).computed() < reward_devices.Setting((4, 4), 4, 4, False).computed()


def test_the_page_has_the_table_of_rewards_too() -> None:
    rows = json.loads((DOCS / "devices_rewards.json").read_text())["rows"]
    assert "\n".join(reward_devices.table(rows)) in (DOCS / "devices.md").read_text()
