"""The instruments of pages in fewer bits, of heads without a past and of reuse: what they change, what they leave."""

from __future__ import annotations

import pytest
import torch

from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.bench import heads, pages, reuse
from streamt1.bench.sampling import beside, readings, sampled
from streamt1.bench.subjects import PROMPT, pocket
from streamt1.core.types import Route
from streamt1.pocket.scenes import evaluation_scenes
from tests.backbones.test_wan import tiny_backbone
from tests.compiler import needs_compiler


def clip(backbone: WanBackbone, chunks: int = 3) -> list[torch.Tensor]:
    return [latents for _, latents, _ in sampled(backbone, PROMPT, chunks)]


def test_pockets_pages_lose_what_the_bound_allows() -> None:
    rows = {row["codec"]: row for row in pages.distortion(pocket().models, 4)}
    for width in (2, 4, 8):
        assert max(rows[f"rotated {width} bits"]["of_bound"]) < 1.1, "2.4 was asked"
    assert rows["rotated 4 bits"]["keys"] < rows["rotated 2 bits"]["keys"]
    assert rows["linear 16 bits by rotated vector"]["values"] < 1e-8


def test_more_beams_fit_in_fewer_bits() -> None:
    for row in pages.beams():
        assert 1 <= row["bits_16"] < row["bits_8"] < row["bits_4"]


@pytest.mark.slow
@needs_compiler
def test_the_peak_of_pages() -> None:
    """At full size; what becomes 16 bits once it was blended into keeps two routes above the .35 that was asked."""
    most = {Route.DISCARD: 0.35, Route.EMA: 0.42, Route.APPEND: 0.38}
    for route, ratio in most.items():
        found = pages.peak(route)
        assert found["ratio"][4] < ratio
        assert found["ratio"][16] == 1.0


def test_heads_without_a_past() -> None:
    """The more are cut off, the further the flow is off; none changes nothing."""
    backbone = tiny_backbone()
    branch, _, noise = list(sampled(backbone, PROMPT, 3))[-1]
    every = [(layer, head) for layer in range(2) for head in range(2)]
    whole, none, one, all_of_them = (
        heads.without(backbone, own).flow([branch], noise, torch.tensor(500.0))
        for own in ([], every[:0], every[:1], every)
    )
    assert torch.equal(none, whole)
    assert 0 < (one - whole).norm() < (all_of_them - whole).norm()


def test_residuals_that_are_used_again() -> None:
    """None: the same latents, compared from the second chunk on; all: only the first chunk is the same."""
    backbone = tiny_backbone()
    plain = clip(backbone)
    with reuse.reusing(backbone) as found:
        assert all(map(torch.equal, clip(backbone), plain))
    assert sorted(found) == list(range(backbone.steps))
    assert all(len(one) == 2 * len(backbone.model.blocks) for one in found.values())
    assert all(one["nearest_tenth"] <= one["changed"] for values in found.values() for one in values)
    for rule in reuse.RULES:
        with reuse.reusing(backbone, rule, 1.0):
            again = clip(backbone)
        assert torch.equal(again[0], plain[0])
        assert not torch.allclose(again[1], plain[1])
    assert all(map(torch.equal, clip(backbone), plain)), "the block leaves no trace"


def test_readings_beside_others() -> None:
    scenes = evaluation_scenes(2)
    found = readings(pocket().models, scenes, 2)
    assert len(found) == 2
    assert all(0 < one <= 1 for one in found)
    row = beside([0.5, 0.7, 0.6], [0.6, 0.7, 0.8])
    assert row["oracle"] == pytest.approx(0.6)
    assert row["kept"] == pytest.approx(0.6 / 0.7)
    assert row["difference"] == pytest.approx(-0.1)
    assert row["half_interval"] == pytest.approx(1.96 * 0.1 / 3**0.5)
