"""Finds the golden sets: under ``$STREAMT1_GOLDENS``, or, where that is not set, in ``tests/golden`` and in a folder
``shared/golden`` beside the checkout. A set is a folder ``<family>/<set>`` whose manifest tells its sizes; nothing is
assumed of them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from streamt1.backbones.sampling import Schedule
from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import WanModel
from streamt1.core.protocols import Models
from streamt1.memory import MemoryConfig
from tests.parity.stubs import StubDecoder, StubReward

HERE = Path(__file__).parent.parent / "golden"
SHARED = HERE.parents[2] / "shared" / "golden"


def golden_sets(family: str = "stream_t1", everywhere: bool = False) -> list[Path]:
    """Folders of a family's sets, by their names; of two with one name, the first that is found.

    ``everywhere``: also where one looks if ``$STREAMT1_GOLDENS`` is not set.
    """
    given = os.environ.get("STREAMT1_GOLDENS")
    found: dict[str, Path] = {}
    usual = [HERE, SHARED]
    for root in [Path(given), *usual[: 2 * everywhere]] if given else usual:
        for manifest in sorted((root / family).glob("*/manifest.json")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return [found[name] for name in sorted(found)]


def sets_or_skip(family: str) -> list[Any]:
    """Folders of a family's sets, as pytest parameters; one that skips, with the reason, where there are none.

    Those that are not in this repository: ``$STREAMT1_GOLDENS``, or a folder ``shared`` beside the checkout.
    """
    missing = pytest.mark.skip(reason=f"no golden numbers of {family}: point STREAMT1_GOLDENS to them")
    return golden_sets(family) or [pytest.param(SHARED, marks=missing)]


def reward_sets(name: str) -> list[Any]:
    """Those of a reward, see ``sets_or_skip``."""
    return sets_or_skip(f"rewards/{name}")


def manifest_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def template_file(folder: Path, case: str, marks: tuple[str, ...], vision: str, target: Path) -> Path:
    """The authors' template is not part of this project: it is read back from the golden token ids."""
    from streamt1.rewards.words import Words

    manifest, cases = manifest_of(folder), np.load(folder / "cases.npz")
    tokenizer = Words(folder / "base", marks, vision)._tokenizer
    text = tokenizer.decode(cases[f"{case}.input_ids"][0].tolist())
    body = text[text.index("<|vision_end|>") + len("<|vision_end|>") : text.rindex("<|im_end|>")]
    body = body.replace(manifest["prompts"][0], "{text_prompt}")
    lengths = {name: entry["chars"] for name, entry in manifest["templates"].items() if isinstance(entry, dict)}
    lines, start = [], 0
    for name, length in lengths.items():
        lines.append(f"{name} = {body[start : start + length]!r}")
        start += length
    target.write_text("\n".join(lines), encoding="utf-8")
    return target


@dataclass(frozen=True)
class GoldenSet:
    """One folder of numbers that the official code printed, with the sizes of its own manifest."""

    path: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.path / "manifest.json").read_text())

    @property
    def sizes(self) -> dict[str, Any]:
        return self.manifest["cfg"]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        with np.load(self.path / name) as stored:
            return {key: stored[key] for key in stored.files}

    @property
    def searches(self) -> list[str]:
        return sorted(path.name for path in self.path.glob("search_*.npz"))

    @property
    def schedule(self) -> Schedule:
        told = self.path / "schedule.npz"
        steps = tuple(self.arrays(told.name)["denoising_list"].tolist()) if told.is_file() else Schedule().steps
        return Schedule(steps, self.sizes["timestep_shift"])

    @property
    def memory(self) -> MemoryConfig:
        c = self.sizes
        return MemoryConfig(
            c["local_attn_size"], c["sink_size"], c["max_sink_size"], c["num_frame_per_block"], c["ema_alpha"]
        )

    def models(self, text: Tensor) -> Models:
        """The golden model under text rows ``[text_len, text_dim]``, and the stubs that stood around it."""
        stubs = self.manifest["stubs"]
        decoder = StubDecoder(self.sizes["in_dim"], stubs["decoder"]["matrix_scale"])
        return Models(self.backbone(text), decoder, StubReward(stubs["short"]), StubReward(stubs["long"]))

    def model(self) -> WanModel:
        c = self.sizes
        names = ("dim", "ffn_dim", "num_layers", "num_heads", "text_dim", "text_len", "freq_dim")
        config = WanConfig(
            **{name: c[name] for name in names},
            in_channels=c["in_dim"],
            out_channels=c["out_dim"],
            patch_size=tuple(c["patch_size"]),
        )
        return self.loaded(config)

    def loaded(self, config: WanConfig) -> WanModel:
        """A transformer of these sizes with the set's weights."""
        model = WanModel(config).eval()
        weights = self.arrays("weights.npz")
        model.load_state_dict({name.removeprefix("model."): torch.from_numpy(w) for name, w in weights.items()})
        return model

    def backbone(self, text: Tensor) -> WanBackbone:
        """The golden model under text rows ``[text_len, text_dim]``, whatever the prompt."""
        size = self.sizes["latent_h"], self.sizes["latent_w"]
        return WanBackbone(self.model(), lambda prompt: text[None], size, self.memory, self.schedule)
