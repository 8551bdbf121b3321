"""What is loaded where a device holds some of the models only."""

from __future__ import annotations

import dataclasses

import pytest

from streamt1.config.load import load_config
from streamt1.core.protocols import Elsewhere
from streamt1.families import build as module
from streamt1.families.build import build
from streamt1.families.pocket import POCKET

CONFIG = load_config("pocket", {"device": "cpu"})


def refuse(*_: object) -> None:
    raise AssertionError("it is loaded all the same")


@pytest.mark.parametrize(
    ("holds", "tables"),
    [("generator", ("frame_rewards", "clip_rewards")), ("rewards", ("backbones", "decoders"))],
)
def test_what_a_device_does_not_hold_is_not_loaded(
    holds: str, tables: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    without = dataclasses.replace(POCKET, **{table: dict.fromkeys(getattr(POCKET, table), refuse) for table in tables})
    monkeypatch.setattr(module, "FAMILIES", (without,))
    models = build(CONFIG, holds=holds)  # type: ignore[arg-type]
    rewards = isinstance(models.frame_reward, Elsewhere), isinstance(models.clip_reward, Elsewhere)
    others = isinstance(models.backbone, Elsewhere), isinstance(models.decoder, Elsewhere)
    assert rewards == (holds == "generator",) * 2
    assert others == (holds == "rewards",) * 2
    with pytest.raises(AssertionError, match="all the same"):
        build(CONFIG)
