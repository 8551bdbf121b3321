"""The house rules that no linter knows."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import streamt1
from streamt1.search import engine
from streamt1.search.engine import Engine

SOURCE = Path(streamt1.__file__).parent
ROOT = Path(__file__).parent.parent
FILES = sorted(SOURCE.rglob("*.py"))


def test_public_names_are_listed_sorted_and_there() -> None:
    assert streamt1.__all__ == sorted(streamt1.__all__)
    assert all(hasattr(streamt1, name) for name in streamt1.__all__)
    assert set(streamt1.__all__) <= set(dir(streamt1))
    assert set(streamt1.__all__) == {
        "Cancelled", "CheckpointError", "ConfigError", "Cost", "Engine", "FinalChunk", "MemoryIntegrityError", "Models",
        "OutputError", "Pipeline", "PromptError", "Result", "RewardError", "RewardOutput", "Route", "Run", "RunConfig",
        "SearchConfig", "SearchState", "Stream", "StreamT1Error", "UnknownNameError", "Watcher", "generate",
        "load_config", "stream",
    }  # fmt: skip
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        streamt1.nonsense  # noqa: B018


def test_the_loop_fits_on_a_screen() -> None:
    assert len(Path(inspect.getfile(Engine)).read_text().splitlines()) <= 80
    assert len(inspect.getsource(engine.step).splitlines()) <= 10
    verbs = inspect.getsource(engine.step).replace("(", " ").split()
    places = [verbs.index(verb) for verb in ("expand", "score", "prune", "commit")]
    assert places == sorted(places)


def test_the_files_of_the_method_are_short() -> None:
    for path in (SOURCE / "search").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 200, path


def test_rooms_are_small() -> None:
    for path in FILES:
        text = path.read_text()
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert (node.end_lineno or 0) - node.lineno < 80, f"{path}: {node.name}"


def test_no_empty_packages() -> None:
    for package in {path.parent for path in FILES}:
        code = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
        assert code, f"{package} has no code"


def test_only_the_command_line_prints_and_reads_the_environment() -> None:
    for path in FILES:
        if "cli" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", path
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("environ", "getenv"), path


def test_nothing_is_unpickled() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("pickle.load", "pickle.loads", "np.load", "numpy.load"), path
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords), path


def test_json_and_yaml_have_one_reader_each() -> None:
    readers = {"json.load", "json.loads", "yaml.load", "yaml.safe_load", "yaml.SafeLoader"}
    for path in FILES:
        used = {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert path.name in ("json_text.py", "yaml_text.py") or not used & readers, path


def loaded(command: str) -> set[str]:
    """Modules that are loaded after a line of Python, their first names."""
    code = f"import sys\n{command}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(out.splitlines()[-1].split())


HEAVY = {"torch", "numpy", "transformers", "diffusers", "fastapi", "uvicorn", "matplotlib", "av", "ray"}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded("import streamt1") & {*HEAVY, "typer", "rich", "pydantic"}


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["evaluate", "--help"], ["serve", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    run = f"from streamt1.cli.main import app\napp({arguments}, standalone_mode=False)"
    assert not loaded(run) & HEAVY


def test_what_only_some_models_need_is_not_loaded_with_the_others() -> None:
    run = "import streamt1; streamt1.Pipeline(streamt1.load_config('pocket'))"
    assert not loaded(run) & {"transformers", "diffusers", "fastapi", "uvicorn", "matplotlib", "ray", "typer", "rich"}


def test_the_code_refers_to_sections_that_the_specification_has() -> None:
    sections = set(re.findall(r"^#+ ([0-9]+(?:\.[0-9]+)?)", (ROOT / "docs/spec.md").read_text(), re.MULTILINE))
    referred = {
        number
        for path in [*FILES, *(ROOT / "tests").rglob("*.py")]
        for match in re.findall(r"SPEC sections? ([0-9., and]+)", path.read_text())
        for number in re.findall(r"[0-9]+(?:\.[0-9]+)?", match)
    }
    assert referred
    assert referred <= sections


def test_no_file_of_the_package_points_out_of_the_repository() -> None:
    for path in FILES:
        assert "shared/" not in path.read_text(), path
