"""Plans: what is where, and what is said where nothing fits."""

from __future__ import annotations

import dataclasses
import math
import pickle

import pytest
from typer.testing import CliRunner

from streamt1.cli.main import app
from streamt1.config.load import load_config
from streamt1.config.schema import Placement
from streamt1.core.errors import CheckpointError, ConfigError, DoesNotFitError
from streamt1.families.family import PHASES
from streamt1.placement import memory_plan
from streamt1.placement.memory_plan import GB, MemoryPlan, Room, advice, parse_size, plan_memory, planned, room_for
from streamt1.placement.plan_table import DEVICES, plan_table

LONGLIVE = load_config("longlive")


def plan_for(device: float | None, host: float = 128, **changes: object) -> MemoryPlan:
    room = Room(None if device is None else device * GB, host * GB)
    return plan_memory(LONGLIVE.model_copy(update=changes), room)


def part(plan: MemoryPlan, name: str) -> float:
    return next(one.bytes for one in plan.parts if one.name == name)


def test_parts_stay_on_a_large_device_and_leave_a_small_one() -> None:
    large, small = plan_for(80), plan_for(24)
    assert large.placement == Placement()
    assert small.placement.rewards == small.placement.text_encoder == "host"
    assert small.peak <= 24 * GB < large.peak <= 80 * GB
    assert large.host_peak < small.host_peak
    assert small.placement.reward_bits == 16, "24 GB hold the rewards as they are, layer by layer"


@pytest.mark.parametrize("size", DEVICES)
def test_every_usual_device_is_planned_for(size: int) -> None:
    plan = plan_for(size)
    assert plan.fits
    assert plan.placement.reward_bits == 16
    assert max(plan.in_phase(phase) for phase in PHASES) <= size * GB


@pytest.mark.parametrize("size", [12, 16, 20, 24, 32, 40, 48, 60, 80, 140])
def test_more_room_is_never_used_worse(size: int) -> None:
    def given_up(plan: MemoryPlan) -> int:
        kept = plan.placement.model_dump(include={"text_encoder", "rewards", "decoder_states", "kv", "reward_bits"})
        default = Placement().model_dump()
        return sum(value != default[key] for key, value in kept.items())

    plan, larger = plan_for(size), plan_for(size + 10)
    assert given_up(larger) <= given_up(plan)
    assert larger.host_peak <= plan.host_peak


def test_pages_in_fewer_bits_take_less_and_stay_longer() -> None:
    """At full size: a page of 3 frames has 431 million numbers; a beam that never blends has one sink in 8 bits."""
    numbers = 3 * 1560 * 1536 * 2 * 30
    for bits, each in ((8, 8.125), (4, 4.125), (2, 2.125)):
        memory = dataclasses.replace(LONGLIVE.memory, bits=bits, eviction="discard", max_sink=3)
        held = part(plan_for(80, memory=memory), "KV pages")
        assert held == pytest.approx(2 * numbers * (8.125 + 2 * each) / 8)
    four = dataclasses.replace(LONGLIVE.memory, bits=4)
    assert plan_for(24).placement.kv == "host"
    assert plan_for(24, memory=four).placement.kv == "device"


def test_what_would_be_faster_is_said_where_it_is() -> None:
    """24 GB: pages on the host, which 4 bits would hold; 16 GB: they hold neither; 80 GB: nothing comes over."""
    said = advice(LONGLIVE, plan_for(24))
    assert said is not None
    assert "--set memory.bits=4" in said
    assert "it changes the video" in said
    narrow = LONGLIVE.model_copy(update={"memory": dataclasses.replace(LONGLIVE.memory, bits=8)})
    for config, plan in (
        (LONGLIVE, plan_for(16)),
        (LONGLIVE, plan_for(80)),
        (narrow, plan_for(24, memory=narrow.memory)),
    ):
        assert advice(config, plan) is None


def test_advice_to_a_codec_that_has_no_four_bits_names_one_that_has() -> None:
    config = LONGLIVE.model_copy(update={"memory": dataclasses.replace(LONGLIVE.memory, codec="channels")})
    said = advice(config, plan_for(24, memory=config.memory))
    assert said is not None
    assert "--set memory.bits=4 --set memory.codec=rotated" in said


def test_what_is_locked_on_the_host_is_counted_part_by_part() -> None:
    """Codes and scales, keys and values: each is a power of two by itself."""
    memory = dataclasses.replace(LONGLIVE.memory, bits=4)
    config = LONGLIVE.model_copy(update={"memory": memory})
    held, layers, tokens = plan_for(16, memory=memory), 30, 3 * 1560
    assert held.placement.kv == "host"
    blend = 2 * sum(2 ** math.ceil(math.log2(layers * tokens * each)) for each in (1536 * 3 // 2, 12 * 2))
    written = 2 * sum(2 ** math.ceil(math.log2(layers * tokens * each)) for each in (1536 // 2, 12 * 2))
    assert part(held, "KV pages, written") == 2 * (blend + written)
    assert config.effective_search.top_k == 2


def test_spare_room_holds_what_would_have_to_come_over() -> None:
    small, larger = plan_for(24), plan_for(32, placement=Placement())
    usual = 2 * LONGLIVE.memory.window * 287e6
    assert small.placement.kv == "host"
    assert small.placement.kv_copies * GB >= usual, "first the pages of two usual beams"
    assert small.placement.clip_reward_layers > 0, "then layers"
    assert larger.placement.kv == "device"
    assert larger.placement.clip_reward_layers >= small.placement.clip_reward_layers


def test_a_host_that_is_short_is_helped_by_fewer_bits() -> None:
    plenty, short = plan_for(24, 128), plan_for(24, 0.9 * plan_for(24, 128).host_peak / GB)
    assert plenty.placement.reward_bits == 16
    assert short.placement.reward_bits == 8
    assert short.fits


def test_a_draft_decoder_leaves_one_state_of_the_large_one() -> None:
    drafted, plain = plan_for(80, draft="taehv"), plan_for(80)
    state = part(drafted, "decoder state")
    assert (part(plain, "decoder states"), part(plain, "decoder states, new")) == (2 * state, 4 * state)
    assert sum(one.bytes for one in drafted.parts if one.name.startswith("draft")) < state
    assert drafted.peak < plain.peak


def test_what_cannot_fit_says_which_of_both_is_short() -> None:
    with pytest.raises(DoesNotFitError, match=r"^6\.0 GB of the device do not hold.*smaller height[^\n]*$") as one:
        plan_for(6)
    assert any(line.startswith("  text encoder") for line in one.value.table)
    assert "of the host do not" not in str(one.value)
    with pytest.raises(ConfigError, match=r"(?s)^16\.0 GB of the host do not hold what this device cannot") as other:
        plan_for(24, 16)
    assert "of the device do not" not in str(other.value)
    with pytest.raises(ConfigError, match=r"of the device do not.*; 6.0 GB of the host do not"):
        plan_for(6, 6)
    with pytest.raises(ConfigError, match="needs no memory plan"):
        plan_memory(load_config("pocket"), Room(8 * GB, 8 * GB))


def test_the_plan_that_comes_nearest_is_shown() -> None:
    with pytest.raises(ConfigError, match=r"it needs [234]\d\.\d GB; use a larger device") as one:
        plan_for(24, 16)
    assert "4 bit" in "".join(one.value.table), "the least of the host"
    again = pickle.loads(pickle.dumps(one.value))
    assert (str(again), again.table) == (str(one.value), one.value.table)


def test_without_a_device_everything_is_the_hosts() -> None:
    plan = plan_for(None)
    assert plan.placement == Placement()
    assert plan.peak == 0
    assert plan.host_peak > 50 * GB
    with pytest.raises(ConfigError, match=r"^24\.0 GB of the host do not hold this preset"):
        plan_for(None, 24)


def test_a_placement_of_ones_own_is_kept() -> None:
    own = Placement(text_encoder="host", kv="host")
    plan = plan_for(80, placement=own)
    assert plan.placement == own
    with pytest.raises(ConfigError, match=r"do not hold this preset as placement\.\* places it: .*leave placement"):
        plan_for(24, placement=own)


def test_the_widest_chunk_is_planned_for() -> None:
    """Tapered, the first chunks have nearly twice the candidates; adaptive, any may have twice as many."""
    states = []
    for settings in ({}, {"search.taper": 1.0}, {"search.taper": 1.0, "search.adaptive": 1.0}):
        plan = plan_memory(load_config("longlive", settings), Room(200 * GB, 200 * GB))
        states.append(part(plan, "decoder states, new"))
        assert plan.candidate_batch == 4 * 2 ** len(settings)
    assert states == [states[0], 2 * states[0], 4 * states[0]]
    many = load_config("longlive", {"policy": "best_of_n", "search.taper": 1.0})
    assert plan_memory(many, Room(200 * GB, 200 * GB)).candidate_batch == 4


def test_a_plan_is_put_into_effect_and_printed() -> None:
    plan = plan_for(24)
    config = plan.applied(LONGLIVE)
    assert config.placement == plan.placement
    assert config.search.candidate_batch == plan.candidate_batch
    table = "\n".join(plan.lines())
    assert "KV pages, copied" in table
    assert "of 24.0 GB" in table
    assert "of 128.0 GB" in table


def test_the_room_is_what_is_named_or_free() -> None:
    named = room_for(LONGLIVE.model_copy(update={"device_memory": "24GB", "host_memory": "64GB"}))
    assert named == Room(24 * GB, 64 * GB)
    free = room_for(LONGLIVE.model_copy(update={"device": "cpu"}))
    assert free.device is None
    assert 0 < free.host < 1e15


def test_small_models_are_not_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    pocket = load_config("pocket")
    assert planned(pocket) == (pocket, None)
    monkeypatch.setattr(memory_plan, "room_for", lambda config: Room(48 * GB, 64 * GB))
    monkeypatch.setattr(memory_plan, "check_files", lambda config: None)
    config, plan = planned(LONGLIVE)
    assert plan is not None
    assert config == plan.applied(LONGLIVE)


def test_a_pipeline_is_planned_whoever_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamt1.pipeline.pipeline import Pipeline

    config = LONGLIVE.model_copy(update={"device": "cpu", "host_memory": "24GB", "models": "/nowhere"})
    with pytest.raises(CheckpointError, match="is not on this disk"):
        Pipeline(config)
    monkeypatch.setattr(memory_plan, "check_files", lambda config: None)
    with pytest.raises(ConfigError, match=r"^24\.0 GB of the host"):
        Pipeline(config)


def test_the_table_has_a_line_for_every_size() -> None:
    lines = list(plan_table(LONGLIVE))
    assert [line.split()[1] for line in lines[2:]] == [str(size) for size in DEVICES]
    assert "everything on the device" in lines[2]
    krea = list(plan_table(load_config("krea")))
    assert [line.split()[1] for line in krea[2:]] == [str(size) for size in DEVICES]
    assert krea[-1] == "| 12 GB | does not fit | | | |"
    done = CliRunner().invoke(app, ["plan", "longlive", "--table", "--memory", "20GB"])
    assert done.exit_code == 2
    assert "leave out --memory" in done.stderr


def test_a_plan_is_a_value() -> None:
    plan = plan_for(48)
    assert dataclasses.replace(plan) == plan_for(48)


@pytest.mark.parametrize(("text", "size"), [("24GB", 24e9), ("80 GiB", 80 * 2**30), ("1000", 1000), (".5gb", 5e8)])
def test_amounts_of_memory(text: str, size: float) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "24 XB", "-3GB", "24", "80.5"])
def test_other_words_are_no_amounts(text: str) -> None:
    with pytest.raises(ConfigError, match="24GB"):
        parse_size(text)


def test_devices_of_one_kind_need_only_what_they_hold() -> None:
    apart = LONGLIVE.model_copy(update={"placement": Placement(reward_devices=1)})
    room = Room(80 * GB, 128 * GB)
    whole, maker, scorer = (plan_memory(apart, room, holds) for holds in ("all", "generator", "rewards"))
    names = {plan: {one.name for one in made.parts} for plan, made in (("maker", maker), ("scorer", scorer))}
    assert not any("reward" in name for name in names["maker"])
    assert names["scorer"] == {"process", "reward hpsv3", "reward videoreward", "reward at work", "frames"}
    assert maker.peak < whole.peak
    assert scorer.peak < 24 * GB, "16.1 GB of HPSv3 and 4.6 of VideoReward"
    assert whole.placement == maker.placement == scorer.placement == apart.placement


def test_what_is_not_there_is_not_placed() -> None:
    apart = LONGLIVE.model_copy(update={"placement": Placement(reward_devices=1)})
    maker, scorer = (plan_memory(apart, Room(16 * GB, 128 * GB), holds) for holds in ("generator", "rewards"))
    assert maker.placement.rewards == "device"
    assert maker.placement.clip_reward_layers == 0
    assert scorer.placement.rewards == "host"
    assert scorer.placement.text_encoder == scorer.placement.kv == "device", "neither is loaded there"


@pytest.mark.parametrize("setting", [{"wan.first_steps": [1, 2, 3]}, {"wan.steps": []}, {"wan.shift": 0.0}])
def test_steps_that_cannot_be_are_told_before_a_plan(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"must (fall strictly|lie above 0)"):
        plan_memory(load_config("longlive2", setting), Room(80 * GB, 200 * GB))
