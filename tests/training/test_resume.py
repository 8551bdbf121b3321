"""A run that is left at any moment, and gone on with, is the run that was never left."""

from __future__ import annotations

import json
import random
import signal
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from streamt1.core.errors import Cancelled, CheckpointError, ConfigError, OutputError
from streamt1.core.stopping import Stop, on_signals
from streamt1.decoders.pocket_vae import PocketDecoder
from streamt1.training.latents import build_latents
from streamt1.training.loop import Progress, TrainOptions, run_loop
from streamt1.training.optim import Average, MuonAdam, warm_cosine

STEPS = 23
Weights = dict[str, torch.Tensor]


class Killed(BaseException):
    """Stands for a process that is gone."""


def train(options: TrainOptions, before: Callable[[int], None] = lambda step: None) -> Weights:
    """A small network with everything that has a state: both optimisers, an average, dropout, three generators."""
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)
    random.seed(options.seed)
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.BatchNorm1d(8), nn.Linear(8, 6))
    average, optimiser = Average(model, 0.9), MuonAdam(model, 1e-2)

    def step(progress: Progress) -> dict[str, float]:
        before(progress.step)
        noise = np.random.standard_normal((16, 6)) + random.gauss(0, 0.1) + np.random.standard_normal()
        data = torch.randn(16, 6) + torch.from_numpy(noise).float()
        loss = (model(data) - data).square().mean()
        loss.backward()
        norm = optimiser.step(warm_cosine(progress.share))
        average.update(model, progress.step)
        return {"loss": loss.item(), "norm": norm}

    run_loop(options, "toy", {"model": model, "average": average, "optimiser": optimiser}, step, log_every=4)
    return {**model.state_dict(), **{f"mean.{k}": v for k, v in average.state_dict().items()}}


def killed_at(moment: int) -> Callable[[int], None]:
    def before(step: int) -> None:
        if step == moment:
            raise Killed

    return before


def lines(folder: Path) -> list[dict[str, object]]:
    """The log without its seconds."""
    records = [json.loads(line) for line in (folder / "toy.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


def same(one: Weights, other: Weights) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Weights, list[dict[str, object]]]:
    folder = tmp_path_factory.mktemp("whole")
    return train(TrainOptions(folder, steps=STEPS)), lines(folder)


@pytest.mark.parametrize("save_every", [0.0, 60.0])
def test_killed_at_every_step(
    whole: tuple[Weights, list[dict[str, object]]], tmp_path: Path, save_every: float
) -> None:
    for moment in range(STEPS):
        options = TrainOptions(tmp_path / str(moment), steps=STEPS, save_every=save_every)
        with pytest.raises(Killed):
            train(options, killed_at(moment))
        assert same(train(options), whole[0]), moment
        assert lines(options.out) == whole[1], moment


def test_killed_again_and_again(whole: tuple[Weights, list[dict[str, object]]], tmp_path: Path) -> None:
    options = TrainOptions(tmp_path, steps=STEPS, save_every=0)
    for moment in (3, 4, 4, 9, 10, 22):
        with pytest.raises(Killed):
            train(options, killed_at(moment))
    assert same(train(options), whole[0])
    assert lines(tmp_path) == whole[1]
    assert same(train(options), whole[0]), "a run that is done stays as it is"


def test_steps_that_are_made_again_are_logged_once(
    whole: tuple[Weights, list[dict[str, object]]], tmp_path: Path
) -> None:
    options, stop = TrainOptions(tmp_path, steps=STEPS), Stop()
    with pytest.raises(Cancelled), on_signals(stop):
        train(replace(options, stop=stop), lambda step: signal.raise_signal(signal.SIGTERM) if step == 6 else None)
    with (tmp_path / "toy.jsonl").open("a") as log:
        log.write('{"stage": "toy", "step": 8, "loss": 1.0}\n{"stage": "toy", "st')
    assert same(train(options), whole[0])
    assert lines(tmp_path) == whole[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_first(
    whole: tuple[Weights, list[dict[str, object]]], tmp_path: Path, number: signal.Signals
) -> None:
    stop = Stop()
    options = TrainOptions(tmp_path, steps=STEPS, stop=stop)
    with pytest.raises(Cancelled, match=rf"{number.name}: 'toy' is saved after 8 steps in .*toy\.pt"), on_signals(stop):
        train(options, lambda step: signal.raise_signal(number) if step == 7 else None)
    assert stop.signal == number
    assert torch.load(tmp_path / "toy.pt", weights_only=True)["done"] == 8
    assert same(train(TrainOptions(tmp_path, steps=STEPS)), whole[0])
    assert lines(tmp_path) == whole[1]


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    stop = Stop()

    def before(step: int) -> None:
        if step == 5:
            stop.ask(signal.SIGINT)
            stop.ask(signal.SIGINT)

    with pytest.raises(Cancelled, match="within a step"):
        train(TrainOptions(tmp_path, steps=STEPS, save_every=0, stop=stop), before)
    assert torch.load(tmp_path / "toy.pt", weights_only=True)["done"] == 5


def test_outside_of_the_loop_a_signal_ends_at_once() -> None:
    stop, before = Stop(), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Cancelled, match="stopped by SIGTERM"), on_signals(stop):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_save_that_is_killed_leaves_the_checkpoint_before(
    whole: tuple[Weights, list[dict[str, object]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = TrainOptions(tmp_path, steps=STEPS, save_every=0)
    written, saved = torch.save, []

    def save(state: object, file: object) -> None:
        written(state, file)
        saved.append(file)
        if len(saved) == 6:
            raise Killed

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(Killed):
        train(options)
    monkeypatch.undo()
    assert torch.load(tmp_path / "toy.pt", weights_only=True)["done"] == 5
    (tmp_path / ".toy.pt.part").write_bytes(b"half")  # what a real kill leaves
    assert same(train(options), whole[0])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["toy.jsonl", "toy.pt"]


@pytest.mark.parametrize(("key", "value"), [("seed", 1), ("batch", 3), ("warm", True), ("reward_weight", 0.5)])
def test_other_settings_are_refused(tmp_path: Path, key: str, value: object) -> None:
    train(TrainOptions(tmp_path, steps=2))
    changed = replace(TrainOptions(tmp_path, steps=4), **{key: value})
    with pytest.raises(ConfigError, match=rf"{key} is {value} now") as refused:
        train(changed)
    assert "\n" not in str(refused.value)
    train(replace(changed, resume=False))
    assert torch.load(tmp_path / "toy.pt", weights_only=True)["done"] == 4


def test_a_phase_is_not_gone_on_with_over_a_longer_one_before_it(tmp_path: Path) -> None:
    """Its checkpoint holds what came of the shorter one."""
    layer = nn.Linear(2, 2)

    def phase(steps: int, before: int) -> int:
        options = TrainOptions(tmp_path, steps=steps)
        return run_loop(options, "second", {"model": layer}, lambda progress: {}, after={"first": before}).step

    assert phase(2, 5) == 2
    assert phase(4, 5) == 4
    with pytest.raises(ConfigError, match="steps of first before 5, and steps of first before is 9 now"):
        phase(6, 9)


def test_a_checkpoint_of_0_1_is_gone_on_with(tmp_path: Path) -> None:
    train(TrainOptions(tmp_path, steps=4))
    saved = torch.load(tmp_path / "toy.pt", weights_only=True)
    torch.save({key: saved[key] for key in ("done", "seconds", "parts")}, tmp_path / "toy.pt")
    train(TrainOptions(tmp_path, steps=6, seed=5))
    assert torch.load(tmp_path / "toy.pt", weights_only=True)["done"] == 6


def damages(good: bytes) -> dict[str, bytes]:
    """A checkpoint's bytes as disks and downloads spoil them."""
    return {
        "empty": b"",
        "text": b"not a checkpoint",
        "half": good[: len(good) // 2],
        "zeros": bytes(len(good)),
        "pickle": b"\x80\x02]q\x00.",
        "index": b"\x80\x02h\x05.",
        "struct": b"\x80\x02M\x00",
        "stack": b"\x80\x020.",
        "flipped": good[:300] + bytes(byte ^ 255 for byte in good[300:360]) + good[360:],
    }


@pytest.mark.parametrize("damage", list(damages(b"")))
def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path, damage: str) -> None:
    train(TrainOptions(tmp_path, steps=2))
    file = tmp_path / "toy.pt"
    file.write_bytes(damages(file.read_bytes())[damage])
    with pytest.raises(CheckpointError, match=r"cannot (read|resume from) .*toy\.pt") as refused:
        train(TrainOptions(tmp_path, steps=4))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("error", [IndexError("pop"), struct.error("short"), AttributeError("no"), RecursionError()])
def test_whatever_reading_raises_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load(*given: object, **named: object) -> object:
        raise error

    train(TrainOptions(tmp_path, steps=2))
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(CheckpointError, match=rf"{type(error).__name__}.*delete it"):
        train(TrainOptions(tmp_path, steps=4))


def test_the_checkpoint_of_another_model_is_one_sentence(tmp_path: Path) -> None:
    train(TrainOptions(tmp_path, steps=2))
    file = tmp_path / "toy.pt"
    saved = torch.load(file, weights_only=True)
    for change in ({"parts": {}}, {"parts": {**saved["parts"], "model": {}}}, {"parts": 3}, {"random": {}}):
        torch.save({**saved, **change}, file)
        with pytest.raises(CheckpointError, match=r"cannot resume from .*toy\.pt") as refused:
            train(TrainOptions(tmp_path, steps=4))
        assert "\n" not in str(refused.value)
    torch.save([1], file)
    with pytest.raises(CheckpointError, match="no dictionary"):
        train(TrainOptions(tmp_path, steps=4))


def test_a_full_disk_is_one_sentence_and_leaves_the_checkpoint_before(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    train(TrainOptions(tmp_path, steps=2))
    before = (tmp_path / "toy.pt").read_bytes()
    with full_disk(), pytest.raises(OutputError, match=r"toy\.pt"):
        train(TrainOptions(tmp_path, steps=3))
    assert (tmp_path / "toy.pt").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["toy.pt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        train(TrainOptions(tmp_path / "file" / "out", steps=3))


def test_a_damaged_training_set_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "latents.pt"
    decoder = PocketDecoder.bundled()
    for content, message in ((b"\x80\x02h\x05.", "delete it"), (None, "latents")):
        file.write_bytes(content) if content else torch.save({"tokens": torch.zeros(1)}, file)
        with pytest.raises(CheckpointError, match=message):
            build_latents(file, 1, 0, decoder, print)
    parts = {name: torch.zeros(1) for name in ("latents", "tokens", "starts", "objects")}
    torch.save(parts, file)
    assert len(build_latents(file, 1, 0, decoder, print).latents) == 1
    torch.save({**parts, "seed": 4}, file)
    with pytest.raises(ConfigError, match="seed is 0 now"):
        build_latents(file, 1, 0, decoder, print)
    file.unlink()
    build_latents(file, 32, 0, decoder, print)
    with pytest.raises(ConfigError, match="count 32, and count is 64 now"):
        build_latents(file, 64, 0, decoder, print)
    decoder.vae.mean.add_(1)
    with pytest.raises(ConfigError, match="was made with vae"):
        build_latents(file, 32, 0, decoder, print)
