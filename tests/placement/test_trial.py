"""What ``streamt1 doctor --try`` finds: models that work, that answer with NaN, and that find no memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from streamt1.cli.main import app
from streamt1.config.load import load_config
from streamt1.core.protocols import Models
from streamt1.core.types import RewardOutput
from streamt1.families.build import build
from streamt1.placement import trial
from streamt1.placement.trial import Step, Trial, chunk_seconds
from tests.e2e.test_official_layouts import tiny_preset, write_longlive, write_wan

NAMES = ["load", "encode", "fill memory", "denoise", "commit", "decode", "frame reward", "clip reward"]


def test_pocket_works_and_gives_its_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("pocket", {"device": "cpu"})
    models = build(config)
    monkeypatch.setattr(trial, "build", lambda *_: models)
    steps = list(Trial(config).steps())
    assert [step.name for step in steps] == NAMES
    assert all(not step.problem and step.peak > 1e6 and step.planned is None for step in steps)
    told = {step.name: step.finite for step in steps if step.finite is not None}
    assert told == dict.fromkeys(("denoise", "decode", "frame reward", "clip reward"), True)
    assert {step.name: step.per_chunk for step in steps}["denoise"] == models.backbone.steps
    assert chunk_seconds(steps) == pytest.approx(sum(step.per_chunk * step.seconds for step in steps))
    assert models.backbone.memory.pool.live == 0  # type: ignore[attr-defined]


def test_wans_own_files_are_measured_against_the_plan(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    write_wan(tmp_path)
    write_longlive(tmp_path)
    preset = str(tiny_preset(tmp_path / "tiny.yaml", "longlive", {}))
    config = load_config(preset, {"models": str(tmp_path), "device": "cpu", "host_memory": "80GB"})
    steps = list(Trial(config).steps())
    assert [step.problem for step in steps] == [""] * len(steps)
    assert [step.name for step in steps] == ["plan", *NAMES]
    assert all(step.planned for step in steps if step.name in ("encode", "denoise", "decode", "clip reward"))
    (refused,) = Trial(config.model_copy(update={"host_memory": "1GB"})).steps()
    assert refused.problem.startswith("1.0 GB of the host do not hold this preset")
    assert "\n" not in refused.problem


class Spoiled:
    """A model of which one method answers otherwise."""

    def __init__(self, model: Any, method: str, answer: Callable[[Any], Any]) -> None:
        self._model, self._method, self._answer = model, method, answer

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._model, name)
        return (lambda *given: self._answer(own(*given))) if name == self._method else own


def broken(found: Any) -> Any:
    """The same answer, with a NaN in the last tensor of it."""
    if isinstance(found, RewardOutput):
        return dataclasses.replace(found, score=broken(found.score))
    if isinstance(found, Tensor):
        return found.index_fill(0, torch.tensor([0]), torch.nan)
    return tuple(broken(part) if isinstance(part, Tensor) else part for part in found)


def black(found: Any) -> Any:
    """What NaN becomes where pixels are made bytes."""
    return torch.zeros_like(found[0], dtype=torch.uint8), found[1]


def raising(error: Exception) -> Callable[[Any], Any]:
    def answer(found: object) -> None:
        raise error

    return answer


FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
NO_HOST = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
STRANGE = RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")
SPOILT = {
    "denoise is NaN": ("backbone", "denoise", broken, "denoise", "the transformer answers with NaN, infinity or"),
    "pixels are NaN": ("decoder", "decode", broken, "decode", "the decoder answers with NaN"),
    "pixels are black": ("decoder", "decode", black, "decode", "the decoder answers with NaN, infinity or a single"),
    "frames score NaN": ("frame_reward", "score", broken, "frame reward", "the frame reward answers with NaN"),
    "clips score NaN": ("clip_reward", "score", broken, "clip reward", "the clip reward answers with NaN"),
    "the device is full": ("decoder", "decode", raising(FULL), "decode", "ran out of memory while candidates were dec"),
    "the host is full": ("backbone", "commit", raising(NO_HOST), "fill memory", "the host ran out of memory while mem"),
    "a driver fails": ("backbone", "start", raising(STRANGE), "encode", "RuntimeError while a prompt was encoded: CU"),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILT)
def test_what_fails_ends_the_trial_in_one_sentence(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    part, method, answer, step, told = SPOILT[case]

    def spoiled(*_) -> Models:
        models = build(load_config("pocket", {"device": "cpu"}))
        return dataclasses.replace(models, **{part: Spoiled(getattr(models, part), method, answer)})

    monkeypatch.setattr(trial, "build", spoiled)
    result = CliRunner().invoke(app, ["doctor", "--try", "--device", "cpu"])
    assert result.exit_code == 1
    *_, row, sentence = result.output.splitlines()
    assert row.startswith(f"--  {step}")
    assert told in sentence
    assert "Traceback" not in result.output


def test_the_command_prints_a_table_and_what_a_chunk_takes() -> None:
    result = CliRunner().invoke(app, ["doctor", "--try", "--device", "cpu", "--set", "search.top_k=1"])
    assert result.exit_code == 0, result.output
    header, *rows, last = result.output.splitlines()
    assert header.split() == ["pocket", "seconds", "first", "peak", "GB", "plan", "GB", "finite", "of"]
    assert [row[4:18].strip() for row in rows] == NAMES
    assert all(row.startswith("ok ") for row in rows)
    assert last.startswith("a chunk of a search takes about")
    assert CliRunner().invoke(app, ["doctor", "--preset", "pocket"]).exit_code == 2
    assert CliRunner().invoke(app, ["doctor", "--try", "--set", "nonsense=1"]).exit_code == 2
    missing = CliRunner().invoke(app, ["doctor", "--try", "--device", "cuda:99"])
    assert missing.exit_code == 1
    assert "is not there" in missing.output


def test_a_draft_decoder_and_the_last_one_are_both_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    models = build(load_config("pocket", {"device": "cpu"}))
    monkeypatch.setattr(trial, "build", lambda *_: dataclasses.replace(models, draft=models.decoder))
    steps: list[Step] = list(Trial(load_config("pocket", {"device": "cpu"})).steps())
    assert [step.name for step in steps] == [*NAMES[:6], "last decode", *NAMES[6:]]
    assert not steps[-1].problem
