from pathlib import Path

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


def test_plan_prints_the_table_and_refuses_what_cannot_be() -> None:
    result = CliRunner().invoke(app, ["plan", "longlive", "--memory", "24GB"])
    assert result.exit_code == 0, result.output
    assert "placement.rewards = host" in result.stdout
    small = CliRunner().invoke(app, ["plan", "longlive", "--memory", "8GB"])
    assert small.exit_code == 2
    assert "do not hold" in small.output
