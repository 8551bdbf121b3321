from streamt1.config.load import load_config
from streamt1.evaluation.card import measure_card
from streamt1.evaluation.pool import open_pool
from streamt1.pocket.scenes import parse

SCENES = [parse("a red circle resting on a navy plain background")]


def test_the_card_holds_every_number_with_its_interval() -> None:
    config = load_config("pocket", {"search.beam_size": 2, "search.top_k": 1})
    lines: list[str] = []
    with open_pool(config) as pool:
        card = measure_card(pool, SCENES, lengths=(5,), log=lines.append)
    assert card["oracle_true"]["mean"] > 0.97
    assert card["oracle_vae"]["mean"] > 0.9
    measures = {"presence", "shape", "colour", "motion", "background", "memory"}
    assert set(card["sample_5s"]) == {"mean", "low", "high", "n"} | measures
    assert set(card["two_objects_5s"]) == set(card["sample_5s"])
    assert set(card["search_gain_5s"]) == {"over_one_sample", "over_best_of_4"}
    assert set(card["reward_spearman"]) == {"frame", "clip", "vq", "mq", "ta"}
    assert card["passes_5s"]["greedy"] == 7 * 4 + 6, "four steps a chunk, and a context pass for all but the last"
    assert card["seconds_5s_4_candidates"] > 0
    assert 10 < card["weights_mb"] < 60
    assert len(lines) == 5
