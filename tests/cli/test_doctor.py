from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from streamt1.cli.main import app


def test_doctor_says_what_runs_and_what_mends_the_rest(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--models", str(tmp_path)])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert any(line.startswith("ok ") and "preset pocket " in line and "ready" in line for line in lines)
    longlive = next(index for index, line in enumerate(lines) if "preset longlive" in line)
    assert lines[longlive].startswith("-- ")
    assert "streamt1 download longlive" in lines[longlive + 1]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", "longlive", *arguments])


def test_plan_prints_the_table_and_refuses_what_cannot_be() -> None:
    result = run("--memory", "24GB")
    assert result.exit_code == 0, result.output
    assert "placement.rewards = host" in result.stdout
    small = run("--memory", "4GB")
    assert small.exit_code == 2
    assert "of the device do not hold" in small.output
    short = run("--memory", "24GB", "--host-memory", "16GB")
    assert short.exit_code == 2
    assert "of the host do not hold" in short.output


def test_plan_takes_settings_and_makes_a_table() -> None:
    small = run("--memory", "16GB", "--set", "wan.height=240", "--set", "wan.width=416")
    assert "placement.kv = device" in small.stdout, "pages of a small picture fit"
    table = run("--table").stdout.splitlines()
    assert len(table) == 2 + 6
    assert run("--set", "wan.heigth=240").exit_code == 2


def test_plan_tells_both_kinds_of_devices_apart() -> None:
    told = run("--memory", "24GB", "--set", "placement.reward_devices=1").stdout
    generates, rewards = told.removeprefix("a device that generates:").split("a device of the rewards:")
    assert "transformer" in generates
    assert "reward hpsv3" not in generates
    assert "reward hpsv3" in rewards
    assert "transformer" not in rewards
