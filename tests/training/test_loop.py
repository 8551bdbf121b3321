"""The training loop: budgets, and resuming as if nothing had happened."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from streamt1.core.errors import CheckpointError, ConfigError
from streamt1.training.loop import Progress, TrainOptions, run_loop
from streamt1.training.optim import Average, MuonAdam, warm_cosine


def train(options: TrainOptions, steps_of_schedule: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6))
    average = Average(model, 0.9)
    optimiser = MuonAdam(model, 1e-2)

    def step(progress: Progress) -> dict[str, float]:
        data = torch.randn(16, 6, generator=torch.Generator().manual_seed(progress.step))
        loss = (model(data) - data).square().mean()
        loss.backward()
        optimiser.step(warm_cosine(progress.step / steps_of_schedule))
        average.update(model, progress.step)
        return {"loss": loss.item()}

    run_loop(options, "toy", {"model": model, "average": average, "optimiser": optimiser}, step, log_every=4)
    return {**model.state_dict(), **{f"mean.{k}": v for k, v in average.state_dict().items()}}


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path):
    whole = train(TrainOptions(tmp_path / "whole", steps=12), 12)
    halves = TrainOptions(tmp_path / "halves", steps=5)
    train(halves, 12)
    resumed = train(replace(halves, steps=12), 12)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_lines_are_logged_and_learning_happens(tmp_path: Path):
    lines: list[str] = []
    train(TrainOptions(tmp_path, steps=80, log=lines.append), 80)
    losses = [float(line.split("loss ")[1]) for line in lines]
    assert len(losses) == 20
    assert losses[-1] < 0.7 * losses[0]
    assert len((tmp_path / "toy.jsonl").read_text().splitlines()) == 20


def test_a_run_needs_a_budget(tmp_path: Path):
    with pytest.raises(ConfigError, match="budget"):
        train(TrainOptions(tmp_path), 1)


def test_no_time_left_means_no_step(tmp_path: Path):
    before = train(TrainOptions(tmp_path / "a", steps=0), 1)
    after = train(TrainOptions(tmp_path / "b", minutes=0.0), 1)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_damaged_checkpoint_is_named(tmp_path: Path):
    (tmp_path / "toy.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"toy\.pt"):
        train(TrainOptions(tmp_path, steps=3), 3)
