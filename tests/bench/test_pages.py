"""The instruments of pages in fewer bits, of heads without a past and of reuse: what they change, what they leave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.backbones.wan.branch import WanBranch
from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import WanModel
from streamt1.bench import heads, pages, reuse
from streamt1.bench.fake_cuda import CUDA, Device, fake_cuda, placed
from streamt1.bench.sampling import beside, readings, sampled
from streamt1.bench.subjects import PROMPT, pocket
from streamt1.cli.main import app
from streamt1.core.types import Route
from streamt1.memory import MemoryConfig
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
    assert rows["dithered 12 bits by rotated vector"]["values"] < 1e-6


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


SMALL = WanConfig(
    dim=256, ffn_dim=512, num_layers=3, num_heads=2, in_channels=4, out_channels=4, text_dim=8, text_len=5
)


def searched(backbone: WanBackbone, device: Device, kind: str, place: torch.device) -> tuple[float, int]:
    """The peak of a step of four candidates and two commits above what was alive, and the bytes of pages after it."""

    def written(branch: WanBranch, seed: int) -> WanBranch:
        generator = torch.Generator(place).manual_seed(seed) if place.type == "cpu" else None
        return backbone.commit(branch, torch.randn(backbone.chunk_shape, generator=generator, device=place), Route.EMA)

    beams = []
    for seed in range(2):
        branch = backbone.start("a")
        for chunk in range(5):
            parent, branch = branch, written(branch, 10 * seed + chunk)
            backbone.release(parent)
        beams.append(branch)
    noise = torch.zeros(4, 1 + backbone.draws, *backbone.chunk_shape, device=place)
    device.begin()
    before = device.live[kind]
    backbone.denoise([beams[0], beams[0], beams[1], beams[1]], noise[:, 0], noise[:, 1:], range(1))
    children = [written(beam, 100 + seed) for seed, beam in enumerate(beams)]
    assert len(children) == 2
    return device.peak[kind] - before, backbone.memory.pool.nbytes


@needs_compiler
@pytest.mark.parametrize("bits", [16, 4])
def test_what_is_counted_on_a_device_that_is_not_there_is_what_a_real_run_takes(bits: int) -> None:
    """Three layers with real numbers on the CPU, and the same calls counted for CUDA without any."""
    rules = MemoryConfig(bits=bits)
    model, text = WanModel(SMALL).eval().bfloat16(), torch.zeros(1, SMALL.text_len, SMALL.text_dim)
    with Device() as device:
        real = searched(WanBackbone(model, lambda _: text, (32, 32), rules), device, "cpu", torch.device("cpu"))
    with fake_cuda() as device:
        with torch.device("meta"):
            empty = WanModel(SMALL)
        fake_text = torch.zeros(1, SMALL.text_len, SMALL.text_dim, device=CUDA)
        backbone = WanBackbone(placed(empty, torch.bfloat16), lambda _: fake_text, (32, 32), rules)
        counted = searched(backbone, device, "cuda", CUDA)
    assert counted[1] == real[1]
    assert counted[0] == pytest.approx(real[0], rel=0.1), "kernels of a CPU need other room"


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


def test_the_negatives_are_told_and_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The whole command, over an oracle that reads nothing."""
    pytest.importorskip("matplotlib")
    for module in (reuse, heads):
        monkeypatch.setattr(module, "readings", lambda models, scenes, chunks=1: [0.5, 0.6][: len(scenes)])
    monkeypatch.setattr(heads, "LOOKED_AT", (1,))
    monkeypatch.setattr(heads, "TIMES", (500.0,))
    small = {
        "heads": ({"clips": 2, "calibration": 1},),
        "reuse": ({"clips": 2}, {"preset": "pocket-euler", "clips": 2}),
    }
    monkeypatch.setattr("streamt1.cli.bench.QUESTIONS", small)
    found = CliRunner().invoke(app, ["bench", "heads", "reuse", "--write", str(tmp_path)])
    assert found.exit_code == 0, found.output
    assert "preset pocket-euler" in found.stdout
    for name in small:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    kept = json.loads((tmp_path / "heads.json").read_text())["together"]
    assert [len(row["heads"]) for row in kept] == [1, 3, 6, 12]
    assert [row["preset"] for row in json.loads((tmp_path / "reuse.json").read_text())] == ["pocket", "pocket-euler"]
