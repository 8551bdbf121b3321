"""The plan against a search at full size on a device that is not there."""

from __future__ import annotations

import pytest
import torch

from streamt1.bench import phases
from streamt1.bench.fake_cuda import fake_cuda
from streamt1.bench.full_models import fake_models
from streamt1.config.load import load_config
from streamt1.families import wan_work
from streamt1.families.wan import encoder_over
from streamt1.families.wan_sizes import VAES
from streamt1.placement.plan_table import DEVICES
from tests.compiler import needs_compiler

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytestmark = needs_compiler
WITHIN = 0.03
IN_CI = 24
"""GB: here everything streams, pages live on the host, and states are made again."""


@pytest.mark.parametrize(
    "device", [pytest.param(size, marks=[] if size == IN_CI else pytest.mark.slow) for size in DEVICES]
)
def test_peaks_are_what_the_plan_says(device: int) -> None:
    found = phases.measure(device=device)
    assert found["ratio"] == pytest.approx(dict.fromkeys(found["ratio"], 1.0), abs=WITHIN), found["planned_gb"]
    if device == IN_CI:
        assert found["to_device_gb"] + found["to_host_gb"] < MOST_CROSSING


@pytest.mark.slow
@pytest.mark.parametrize("device", [16, 24, 80])
def test_peaks_with_pages_in_four_bits(device: int) -> None:
    found = phases.measure(device=device, bits=4)
    assert found["ratio"] == pytest.approx(dict.fromkeys(found["ratio"], 1.0), abs=WITHIN), found["planned_gb"]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["longlive2", "krea"])
def test_peaks_of_other_families(preset: str) -> None:
    found = phases.measure(preset, device=80, host=256, chunks=6, sinks=False)
    assert found["ratio"] == pytest.approx(dict.fromkeys(found["ratio"], 1.0), abs=WITHIN), found["planned_gb"]


@pytest.mark.slow
def test_little_crosses_the_bus_where_memory_is_as_usual() -> None:
    found = phases.measure(device=24, chunks=7, sinks=False)
    assert found["to_device_gb"] < 15
    assert found["to_host_gb"] < 2


MOST_CROSSING = 45.0
"""GB in a chunk with memory as full as it gets: pages without a copy come over in every pass."""


@pytest.mark.parametrize("preset", ["longlive", "longlive2"])
def test_what_a_video_begins_with_is_encoded_in_less_than_a_chunk_is_decoded_in(preset: str) -> None:
    """So a plan needs no part for it: there is no memory yet, and decoding needs the same weights."""
    config = load_config(preset)
    pixels, vae = config.wan.height * config.wan.width, VAES[config.wan.vae]
    with fake_cuda() as counter:
        encoder = encoder_over(config, fake_models(config).decoder)
        clip = torch.zeros(13, 3, *encoder.size)
        counter.begin()
        before = counter.peak["cuda"]
        assert len(encoder.encode(clip)) == 4
        needed = counter.peak["cuda"] - before
    assert 0 < needed < 0.9 * (wan_work.decode(vae, pixels, 2) + pixels * vae.state * 2)
