import pytest

from streamt1.backbones.wan.config import SIZES
from streamt1.config.load import load_config
from streamt1.config.schema import Placement
from streamt1.core.errors import ConfigError
from streamt1.families.wan_memory import kv_bytes_per_frame, parameters, reward_model, text_model, wan_model
from streamt1.placement.memory_plan import GB, MemoryPlan, parse_size, plan_memory

pytest.importorskip("transformers")
LONGLIVE = load_config("longlive")


def test_models_have_their_published_sizes() -> None:
    assert parameters(wan_model(SIZES["1.3B"])) == pytest.approx(1.42e9, rel=0.01)
    assert parameters(wan_model(SIZES["14B"])) == pytest.approx(14.3e9, rel=0.01)
    assert parameters(text_model()) == pytest.approx(5.68e9, rel=0.01)
    assert parameters(reward_model("2B")) == pytest.approx(2.21e9, rel=0.01)
    assert parameters(reward_model("7B")) == pytest.approx(7.75e9, rel=0.01)


def test_keys_and_values_of_a_latent_frame() -> None:
    assert kv_bytes_per_frame(LONGLIVE) == pytest.approx(287.5e6, rel=1e-3)


def test_parts_stay_on_a_large_device_and_leave_a_small_one() -> None:
    large, small = plan_memory(LONGLIVE, 80 * GB), plan_memory(LONGLIVE, 24 * GB)
    assert large.placement == Placement()
    assert small.placement.rewards == small.placement.text_encoder == "host"
    assert small.peak <= 24 * GB < large.peak <= 80 * GB
    assert small.placement.reward_bits == 16, "24 GB hold the rewards as they are, one at a time"
    tiny = plan_memory(LONGLIVE, 16 * GB)
    assert tiny.placement.reward_bits < 16
    assert tiny.candidate_batch == 1


@pytest.mark.parametrize("size", [16, 20, 24, 32, 40, 48, 60, 80, 140])
def test_more_room_is_never_used_worse(size: int) -> None:
    def given_up(plan: MemoryPlan) -> int:
        default = Placement().model_dump()
        return sum(value != default[key] for key, value in plan.placement.model_dump().items())

    plan, larger = plan_memory(LONGLIVE, size * GB), plan_memory(LONGLIVE, (size + 10) * GB)
    assert plan.fits
    assert given_up(larger) <= given_up(plan)


def test_a_draft_decoder_leaves_one_state_of_the_large_one() -> None:
    drafted = plan_memory(LONGLIVE.model_copy(update={"draft": "taehv"}), 80 * GB)
    plain = plan_memory(LONGLIVE, 80 * GB)
    states = [next(part for part in plan.parts if part.name == "decoder states") for plan in (drafted, plain)]
    assert states[1].bytes == 6 * states[0].bytes
    light = [part for part in drafted.parts if part.name.startswith("draft")]
    assert sum(part.bytes for part in light) < 0.2 * states[0].bytes * 5
    assert drafted.peak < plain.peak


def test_what_cannot_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(ConfigError, match=r"(?s)8\.0 GB do not hold.*text encoder.*needed"):
        plan_memory(LONGLIVE, 8 * GB)
    with pytest.raises(ConfigError, match="needs no memory plan"):
        plan_memory(load_config("pocket"), 8 * GB)


def test_a_plan_is_put_into_effect_and_printed() -> None:
    plan = plan_memory(LONGLIVE, 24 * GB)
    config = plan.applied(LONGLIVE)
    assert config.placement == plan.placement
    assert config.search.candidate_batch == plan.candidate_batch
    table = "\n".join(plan.lines())
    assert "13.80 GB on the host" in table
    assert "of 24.0 GB" in table


@pytest.mark.parametrize(("text", "size"), [("24GB", 24e9), ("80 GiB", 80 * 2**30), ("1000", 1000), (".5gb", 5e8)])
def test_amounts_of_memory(text: str, size: float) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "24 XB", "-3GB", "24", "80.5"])
def test_other_words_are_no_amounts(text: str) -> None:
    with pytest.raises(ConfigError, match="24GB"):
        parse_size(text)
