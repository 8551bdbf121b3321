"""The instrument of memory that travels: plain goes on the same, and what is computed stands in the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamt1.bench import packets
from streamt1.config.load import load_config
from streamt1.pipeline.pipeline import Pipeline
from streamt1.search.config import SearchConfig
from tests.distributed.test_models import Shifted
from tests.search.toy import toy

DOCS = Path(__file__).parents[2] / "docs"


def test_plain_memory_goes_on_the_same() -> None:
    """The toy has nothing that is packed, so that four bits do, too."""
    rows = packets.survivors(toy(decoder=Shifted()), SearchConfig(beam_size=3, top_k=2), 3, 3, 2)
    assert len(rows) == 6
    for form in packets.summed(rows).values():
        assert form["runs"] == form["same_survivors"] == form["same_video"] == 3
        assert (form["same_boundaries"], form["mean_gain"], form["latents_off"]) == (1.0, 0.0, 0.0)


@pytest.mark.slow
def test_going_on_is_timed() -> None:
    found = packets.going_on(Pipeline(load_config("pocket")), 3)
    assert found["four bits"]["megabytes"] < found["plain"]["megabytes"]
    for form in packets.FORMS:
        assert 0 < found[form]["read_seconds"] < found[form]["packet_seconds"]
        assert found[form]["replay_seconds"] > 0


def test_the_table_of_devices_is_what_is_computed() -> None:
    rows = packets.pays()
    [ten] = [row["plain"] for row in rows if row["gigabits"] == 10]
    assert ten["seconds"] == pytest.approx(8 * 3.45 / 10)
    assert ten["passes"] * 28.3 == pytest.approx(ten["seconds"] * 400)
    assert ten["chunks"] * (28.3 + 3 * 13.6) == pytest.approx(8 * (3.45 + 1.8) / 10 * 400)
    assert "\n".join(packets.table(rows)) in (DOCS / "devices.md").read_text()
