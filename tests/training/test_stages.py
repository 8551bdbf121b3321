"""The stages that the command line runs, and how weights are written."""

from pathlib import Path

import pytest
import torch

from streamt1.core.errors import CheckpointError
from streamt1.core.weights import load_weights
from streamt1.training import STAGES, TrainOptions
from streamt1.training.export import export_weights


def test_stages():
    assert list(STAGES) == ["world", "vae", "dit", "distill", "rewards"]


def test_the_world_stage_draws_a_sheet_and_reports_the_oracle(tmp_path: Path):
    lines: list[str] = []
    STAGES["world"](TrainOptions(tmp_path, steps=4, log=lines.append))
    assert (tmp_path / "world.png").read_bytes().startswith(b"\x89PNG")
    assert "mean 1.000" in lines[-2] or "mean 0.99" in lines[-2]


def test_weights_survive_writing_and_reading(tmp_path: Path):
    weights = {"a": torch.tensor([1.0, 2.5]), "b": torch.eye(2)}
    path = export_weights("tiny", weights, {"model": {"dim": 2}}, tmp_path)
    again, config = load_weights(path)
    assert config == {"model": {"dim": 2}}
    assert all(torch.equal(again[key], weights[key]) and again[key].dtype == torch.float32 for key in weights)
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.safetensors"]


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_a_bad_weights_file_is_one_clear_error(tmp_path: Path, damage: str):
    path = export_weights("tiny", {"a": torch.ones(100)}, {}, tmp_path)
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_text("hello")
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors"):
        load_weights(path)
