"""Models of random weights, at sizes for a CPU."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from streamt1.bench import full_models
from streamt1.bench.full_models import SPREAD, random_models, randomised
from streamt1.bench.gpu import _parts
from streamt1.bench.subjects import PROMPT
from streamt1.config.load import load_config
from streamt1.config.schema import Placement
from streamt1.core.devices import HOST
from streamt1.families.wan_sizes import REWARDS, TextSizes
from streamt1.search.engine import Engine

TINY = {
    "dim": 32, "ffn_dim": 48, "num_layers": 2, "num_heads": 2, "in_channels": 16, "out_channels": 16,
    "text_dim": 16, "text_len": 24,
}  # fmt: skip


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch):
    text = TextSizes(words=40, dim=16, inner=16, feed=24, layers=1, heads=4)
    monkeypatch.setattr(full_models, "TextSizes", lambda: text)
    small = {"hidden": 16, "feed": 24, "heads": 2, "groups": 1, "words": 1000, "layers": 2, "depth": 1, "width": 64}
    sizes = {name: dataclasses.replace(whole, **small) for name, whole in REWARDS.items()}
    monkeypatch.setattr(full_models, "REWARDS", sizes)
    monkeypatch.setattr(full_models, "WAN21", {"base_dim": 4, "num_res_blocks": 1})
    wan = {"size": TINY, "height": 64, "width": 64, "steps": [1000]}
    return load_config("longlive", {"dtype": "float32", "device": "cpu", "wan": wan, "search.window": 2})


def test_norms_pass_on_what_they_get_and_the_rest_is_random() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(200, 300), nn.LayerNorm(300))
    linear, norm = randomised(model, torch.float32, HOST)
    assert linear.weight.std().item() == pytest.approx(SPREAD, rel=0.05)
    assert not linear.bias.any()
    assert (norm.weight == 1).all()


@pytest.mark.parametrize("home", ["device", "host"])
def test_a_search_over_random_models_ends_with_a_video(config, home: str) -> None:
    placed = config.model_copy(update={"placement": Placement(text_encoder=home, rewards=home)})
    models = random_models(placed, HOST)
    video = Engine(models, placed.search).run(PROMPT, 2)
    assert video.frames.shape == (9 + 12, 3, 64, 64)


def test_parts_of_a_chunk_are_those_that_its_search_needs(config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    models = random_models(config, HOST)
    beam, greedy = (dict(_parts(models, config.with_policy(policy))) for policy in ("beam", "greedy"))
    assert {name: times for name, (_, times) in beam.items()} == {
        "denoise": 1, "commit": 2, "decode": 1, "frame reward": 4, "clip reward": 4,
    }  # fmt: skip
    assert set(greedy) == {"denoise", "commit", "decode"}
    assert all(seconds > 0 for seconds, _ in beam.values())
