from pathlib import Path

import pytest

from streamt1.backbones.wan.config import WanConfig
from streamt1.config.load import load_config, preset_names
from streamt1.core.devices import resolve_device
from streamt1.core.errors import ConfigError, UnknownNameError
from streamt1.families.wan_sizes import wan_sizes
from streamt1.memory import MemoryConfig
from streamt1.search.config import SearchConfig


def test_every_preset_loads() -> None:
    for name in preset_names():
        assert load_config(name).about


def test_the_papers_and_the_official_settings() -> None:
    paper, official = load_config("paper").search, load_config("official").search
    assert (paper.beam_size, paper.top_k, paper.noise_strength, paper.window) == (2, 2, -0.1, 10)
    assert (paper.fusion_cap, paper.short_threshold, paper.long_threshold) == (0.4, 0.0, 0.2)
    assert (paper.seeds, paper.decode, paper.short_baseline) == ("fresh", "streaming", "window")
    assert (official.seeds, official.decode, official.short_baseline) == ("official", "official", "all")
    assert official.long_threshold == paper.long_threshold


def test_overrides_are_dotted_and_typed() -> None:
    config = load_config("pocket", {"search.top_k": "5", "memory.max_sink": 9, "policy": "beam"})
    assert config.search.top_k == 5
    assert config.memory.max_sink == 9
    assert not config.effective_search.propagation


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("poket", {}, "did you mean 'pocket'"),
        ("pocket", {"polcy": "beam"}, "did you mean 'policy'"),
        ("pocket", {"search.topk": 2}, "did you mean 'top_k'"),
        ("pocket", {"memory.windw": 2}, "did you mean 'window'"),
        ("pocket", {"policy": "gredy"}, "did you mean 'greedy'"),
        ("pocket", {"search.top_k": 0}, "top_k=0"),
        ("pocket", {"search.top_k": "many"}, "search.top_k"),
        ("pocket", {"search.seeds": "new"}, "search.seeds"),
        ("pocket", {"dtype": "float8"}, "dtype"),
        ("pocket", {"policy.name": "beam"}, "'policy' has no keys"),
        ("pocket", {"memory.window": 10}, "window=10"),
        ("pocket", {"search": 3}, "'search' must hold keys"),
        ("nowhere.yaml", {}, "nowhere.yaml"),
    ],
)
def test_bad_input_is_named(preset: str, overrides: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(preset, overrides)


def test_a_file_of_a_preset_can_be_taken_away() -> None:
    files = load_config("longlive").files
    without = load_config("longlive", {"files.lora": None}).files
    assert list(without) == [key for key in files if key != "lora"]
    with pytest.raises(UnknownNameError, match=r"files key 'lor'; did you mean 'lora'"):
        load_config("longlive", {"files.lor": None})


def test_a_preset_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: paper\nsearch: {top_k: 3}\n")
    config = load_config(str(path))
    assert (config.search.top_k, config.search.seeds) == (3, "fresh")
    path.write_text("- not\n- keys\n")
    with pytest.raises(ConfigError, match="keys and values"):
        load_config(str(path))
    path.write_text("a: [1\n")
    with pytest.raises(ConfigError, match="valid YAML"):
        load_config(str(path))


def test_devices() -> None:
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type in ("cpu", "cuda")
    for name in ("gpu", "mps", "cuda:99"):
        with pytest.raises(ConfigError, match=name):
            resolve_device(name)
    assert issubclass(UnknownNameError, ConfigError)


@pytest.mark.parametrize(
    "key",
    [
        *("search.top_k", "search.lag", "search.taper", "search.budget_seconds", "memory.window", "memory.shot_offset"),
        *("placement.reward_devices", "placement.kv_copies", "threads", "batches.decoder", "limits.candidates"),
        *("limits.seconds", "wan.fps", "wan.height", "wan.shift", "wan.lora_alpha"),
    ],
)
@pytest.mark.parametrize("value", [True, False])
def test_true_is_no_number(key: str, value: bool) -> None:
    with pytest.raises(ConfigError, match=key.rpartition(".")[2]):
        load_config("pocket", {key: value})


def test_true_is_no_number_in_lists_and_in_python() -> None:
    with pytest.raises(ConfigError, match=r"'wan\.steps' = True must be a number"):
        load_config("longlive", {"wan.steps": [1000, True]})
    with pytest.raises(ConfigError, match=r"wan\.size key 'num_layers' = True must be a number"):
        wan_sizes(load_config("longlive", {"wan.size": {"num_layers": True}}).wan)
    for made in (lambda: SearchConfig(top_k=True), lambda: MemoryConfig(recall=True), lambda: WanConfig(eps=True)):
        with pytest.raises(ConfigError, match="=True must be a number"):
            made()
    assert load_config("pocket", {"compile": True, "search.propagation": False}).compile


@pytest.mark.parametrize(("offset", "fine"), [(10_000, True), (10_001, False), (10**30, False), (-1, False)])
def test_a_shot_jumps_so_far_and_no_further(offset: int, fine: bool) -> None:
    if fine:
        assert load_config("pocket", {"memory.shot_offset": offset}).memory.shot_offset == offset
        return
    with pytest.raises(ConfigError, match=r"shot_offset=.* must lie in 0\.\.10000 latent frames"):
        load_config("pocket", {"memory.shot_offset": offset})


@pytest.mark.parametrize("key", ["device_memory", "host_memory"])
@pytest.mark.parametrize("amount", ["", "much", "24"])
def test_an_amount_of_memory_is_one(key: str, amount: str) -> None:
    with pytest.raises(ConfigError, match=f"config key '{key}': '{amount}' .*write it like 24GB"):
        load_config("pocket", {key: amount})
