"""Pages in fewer bits: what they lose, how the loss goes on, what a search makes of it, and the memory and time they take.

On pocket, beside the same in 16 bits; the peak at full size is counted on a device that is not there.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.backbones.wan.branch import WanBranch
from streamt1.bench.fake_cuda import fake_cuda
from streamt1.bench.passes import commit, full_size, grown
from streamt1.bench.subjects import PROMPT, pocket
from streamt1.core.protocols import Models
from streamt1.core.types import Route
from streamt1.families.build import build
from streamt1.config.load import load_config
from streamt1.memory.codecs import Codec, Rotated
from streamt1.memory.storage import BLEND, CODECS
from streamt1.search.config import SearchConfig
from streamt1.search.engine import step
from streamt1.search.start import start
from streamt1.search.watcher import Watcher

FORMS: tuple[tuple[str, int], ...] = tuple((codec, bits) for codec, widths in CODECS.items() for bits in widths)
SEED = 0
TIME = 500.0
"""Of denoising, at which flows are compared."""
GB = 1e9
DEVICES = (24, 48, 80)
"""Gigabytes of devices."""
