"""The house rules that no linter knows."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import streamt1
from streamt1.search.engine import Engine

SOURCE = Path(streamt1.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))


def test_public_names_are_listed_sorted_and_there() -> None:
    assert streamt1.__all__ == sorted(streamt1.__all__)
    assert all(hasattr(streamt1, name) for name in streamt1.__all__)
    assert set(streamt1.__all__) == {
        "CheckpointError", "ConfigError", "Engine", "MemoryIntegrityError", "OutputError", "Pipeline", "PromptError",
        "Result", "RewardError", "Run", "RunConfig", "SearchConfig", "StreamT1Error", "UnknownNameError", "generate",
        "load_config",
    }  # fmt: skip


def test_the_loop_fits_on_a_screen() -> None:
    assert len(inspect.getsource(Engine.run).splitlines()) <= 25


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


def test_importing_the_package_stays_light() -> None:
    heavy = ("transformers", "diffusers", "typer", "rich", "fastapi", "uvicorn")
    code = f"import sys, streamt1; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
