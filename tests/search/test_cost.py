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
    summary = meter.summary()
    assert summary["seconds"] == {"model": 25, "preview": 2, "reward": 4, "total": 31}
    assert (summary["latents_decoded"], summary["reward_calls"], summary["model_passes"]) == (3, 2, 1)
