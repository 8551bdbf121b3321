"""A real run at full width and few layers, from files in the official layouts: what the plan says of the host's memory.

Slow: it writes 6 GB of random weights, and needs about 14 GB of memory.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from streamt1.config.load import load_config
from tests.parity.goldens import golden_sets

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
from tests.e2e.full_width import Writer
from tests.e2e.test_official_layouts import PROMPT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

LAYERS = 2


class Resident:
    """The most memory of its own that this process holds while it works, read every few milliseconds.

    Pages of files that are mapped are left out: the system takes them back when it needs room.
    """

    def __init__(self) -> None:
        self.most, self._ends = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Resident:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ends.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ends.is_set():
            self.most = max(self.most, now())
            time.sleep(0.005)


def now() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def test_the_host_needs_what_the_plan_says(tmp_path: Path) -> None:
    from streamt1.pipeline.pipeline import Pipeline

    if not (golden_sets("rewards/hpsv3") and golden_sets("rewards/videoreward")):
        pytest.skip("the golden sets of the rewards are not here")
    keys = {
        "device": "cpu", "dtype": "float32",
        "wan": {"size": {"num_layers": LAYERS}, "height": 64, "width": 96, "lora_alpha": None, "steps": [1000]},
        "search": {"top_k": 1},
    }  # fmt: skip
    config = load_config(str(Writer(tmp_path, LAYERS).preset(**keys)))
    with Resident() as resident:
        pipeline = Pipeline(config)
        assert pipeline.plan is not None
        run = pipeline.run(PROMPT, chunks=2)
    assert len(run.frames) == 9 + 12
    planned = pipeline.plan.host_peak
    assert resident.most == pytest.approx(planned, rel=0.1), "\n".join(pipeline.plan.lines())
