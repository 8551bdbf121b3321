from pathlib import Path

from typer.testing import CliRunner

import streamt1
from streamt1.cli.main import app


def test_presets_are_listed() -> None:
    result = CliRunner().invoke(app, ["presets"])
    assert result.exit_code == 0
    names = ["longlive", "official", "paper", "pocket", "pocket-base", "reward-forcing", "self-forcing"]
    assert [line.split()[0] for line in result.output.splitlines()] == names


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
