import pytest

from streamt1.core.errors import ConfigError, UnknownNameError
from streamt1.search.config import SearchConfig, apply_policy


def test_policies_switch_the_units() -> None:
    config = SearchConfig(beam_size=3, top_k=2)
    assert apply_policy("stream_t1", config) == config
    beam = apply_policy("beam", config)
    assert (beam.propagation, beam.pruning, beam.sinking) == (False, "reward", False)
    greedy = apply_policy("greedy", config)
    assert (greedy.beam_size, greedy.top_k, greedy.propagation, greedy.sinking) == (1, 1, False, False)
    best = apply_policy("best_of_n", config)
    assert (best.beam_size, best.top_k, best.pruning) == (1, 6, "final")
    assert not greedy.scores_chunks
    assert not best.scores_chunks


def test_unknown_policy() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'greedy'"):
        apply_policy("gredy", SearchConfig())


@pytest.mark.parametrize(
    "wrong",
    [
        {"beam_size": 0},
        {"top_k": 0},
        {"window": 0},
        {"noise_strength": 1.5},
        {"fusion_cap": -1},
        {"candidate_batch": 0},
        {"frames_scored": 0},
        {"pruning": "best"},
        {"seeds": "lucky"},
        {"decode": "twice"},
        {"short_baseline": "none"},
    ],
)
def test_values_out_of_range_are_named(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SearchConfig(**wrong)
