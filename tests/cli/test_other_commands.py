import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

import streamt1
from streamt1.cli.main import app
from streamt1.training import STAGES, TrainOptions
from streamt1.training.loop import run_loop


def test_presets_are_listed() -> None:
    result = CliRunner().invoke(app, ["presets"])
    assert result.exit_code == 0
    names = [
        *("causal-forcing", "causal-forcing-1step", "causal-forcing-2step", "causal-forcing-framewise", "krea"),
        *("longlive", "longlive-infinite", "longlive2", "official", "paper", "pocket", "pocket-base"),
        *("pocket-euler", "reward-forcing", "self-forcing"),
    ]
    assert [line.split()[0] for line in result.output.splitlines()] == names


def test_a_plan_that_fits_nowhere_is_one_sentence_and_its_table() -> None:
    result = CliRunner().invoke(app, ["plan", "krea", "--memory", "24GB"])
    assert result.exit_code == 2
    first, second, *table = result.stderr.splitlines()
    assert first.startswith("error: 24.0 GB of the device do not hold this preset")
    assert second == "the least it needs:"
    assert [line.split()[0] for line in table[-3:]] == ["reserve", "needed", "needed"]


def test_version() -> None:
    told = CliRunner().invoke(app, ["--version"]).output.strip()
    assert told == streamt1.__version__
    assert f'version = "{told}"' in (Path(__file__).parents[2] / "pyproject.toml").read_text()


def test_an_unknown_training_stage_is_answered_with_the_nearest(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "vea", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "did you mean 'vae'" in result.stderr


def test_a_stage_trains_from_the_command_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "vae", "--steps", "2", "--batch", "1", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "vae" / "vae.pt").is_file()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("within", [True, False])
def test_a_signal_ends_training_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int, within: bool
) -> None:
    def step(*given: object) -> dict[str, float]:
        signal.raise_signal(number)
        return {}

    def stage(options: TrainOptions) -> None:
        run_loop(options, "dit", {}, step) if within else step()

    monkeypatch.setitem(STAGES, "dit", stage)
    before = signal.getsignal(number)
    result = CliRunner().invoke(app, ["train", "dit", "--steps", "9", "--out", str(tmp_path)])
    assert result.exit_code == code
    assert result.stderr.startswith(f"stopped by {number.name}")
    assert result.stderr.count("\n") == 1
    assert ("'dit' is saved after 1 steps" in result.stderr) == within == (tmp_path / "dit" / "dit.pt").is_file()
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--device", "tpu"], "tpu"),
        (["--device", "cuda:77"], "cuda:77"),
        (["--steps", "-1"], "--steps"),
        (["--minutes", "-1"], "--minutes"),
        (["--minutes", "nan"], "--minutes"),
        (["--batch", "0"], "--batch"),
        (["--seed", "-1"], "--seed"),
        (["--seed", "9" * 23], "--seed"),
        (["--reward-weight", "nan"], "--reward-weight"),
    ],
)
def test_training_that_cannot_be_is_refused_before_it_begins(tmp_path: Path, arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["train", "dit", *arguments, "--out", str(tmp_path / "runs")])
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert not (tmp_path / "runs").exists()


def test_training_with_other_settings_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, "dit", lambda options: run_loop(options, "dit", {}, lambda progress: {}) and None)
    arguments = ["train", "dit", "--steps", "2", "--out", str(tmp_path)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    result = CliRunner().invoke(app, [*arguments, "--seed", "7"])
    assert result.exit_code == 2
    assert "seed is 7 now" in result.stderr
    assert CliRunner().invoke(app, [*arguments, "--seed", "7", "--no-resume"]).exit_code == 0
