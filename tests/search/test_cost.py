import pytest

from streamt1.search import cost


def test_time_within_a_part_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(cost.time, "perf_counter", lambda: now[0])
    meter = cost.CostMeter()
    with meter.spend("model", model_passes=1):
        now[0] += 1
        with meter.spend("preview", latents_decoded=3):
            now[0] += 2
            with meter.spend("reward", reward_calls=2):
                now[0] += 4
        now[0] += 8
    with meter.spend("model"):
        now[0] += 16
    total = meter.total
    assert total.seconds == {"model": 25, "preview": 2, "reward": 4, "total": 31}
    assert (total.latents_decoded, total.reward_calls, total.model_passes) == (3, 2, 1)
    now[0] = 100
    later = cost.CostMeter(total)
    with later.spend("model", model_passes=4):
        now[0] += 3
    assert later.total.seconds == {"model": 28, "preview": 2, "reward": 4, "total": 34}, "pauses cost nothing"
    assert later.total.model_passes == 5


def test_a_cost_is_read_as_before_and_written_as_json() -> None:
    spent = cost.Cost(model_passes=7, seconds={"model": 0.123456, "total": 1.0})
    assert (spent["model_passes"], spent["seconds"]["total"]) == (7, 1.0)
    with pytest.raises(KeyError):
        spent["nonsense"]
    assert spent.record() == {
        "model_passes": 7,
        "switch_passes": 0,
        "latents_decoded": 0,
        "latents_drafted": 0,
        "reward_calls": 0,
        "seconds": {"model": 0.1235, "total": 1.0},
    }
