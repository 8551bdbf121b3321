"""What the documentation says runs, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from streamt1 import Pipeline, load_config
from streamt1.families import build

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/streamt1"
STRUCTURE = (ROOT / "docs/structure.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def ran(page: str) -> dict[str, Any]:
    """What is defined once all Python blocks of a page have run, in order and in one namespace."""
    namespace: dict[str, Any] = {}
    code = blocks(page, "python")
    assert code
    for number, block in enumerate(code, 1):
        exec(compile(block, f"{page}, block {number}", "exec", dont_inherit=True), namespace)
    return namespace


def test_the_code_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran("README.md")


def test_the_code_of_the_api_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    after = ran("docs/api.md")
    assert tuple(after["run"].frames.shape) == (21, 3, 64, 64)
    assert after["state"].chunk == 6
    assert (tmp_path / "outputs/circle/video.mp4").is_file()
    shown = capsys.readouterr().out
    assert "torch.Size([21, 3, 64, 64])\n34\n0 (9, 3, 64, 64)\n1 (12, 3, 64, 64)\n50 9\n" in shown
    assert "three chunks are enough\n" in shown
    assert "beam 4 False\n" in shown


def test_the_models_of_the_extending_page_can_be_searched_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = ran("docs/extending.md")
    assert max(page["found"].final) > page["plain"].final[0]
    assert "[(2, 6, 10), (0, 5, 9)]\n54\n" in capsys.readouterr().out

    def best(width: int, seed: int) -> float:
        config = page["SearchConfig"](beam_size=width, top_k=width)
        return max(page["Engine"](page["dots"], config).run("a dot", chunks=4, seed=seed).final)

    gains = [best(4, seed) - best(1, seed) for seed in range(6)]
    assert min(gains) > 0
    assert sum(gains) / len(gains) > 0.3


def test_the_family_of_the_extending_page_makes_its_preset_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "FAMILIES", (*build.FAMILIES, ran("docs/extending.md")["DOT"]))
    (preset,) = blocks("docs/extending.md", "yaml")
    Path("mine.yaml").write_text(preset)
    run = Pipeline(load_config("mine.yaml")).run("a dot", chunks=2)
    assert tuple(run.frames.shape) == (7, 3, 16, 16)
    assert (run.save("dot") / "video.mp4").is_file()


Room = tuple[int, str, list[list[str]]]
"""A room of the structure's picture: its layer, its name, and the words of each line of files below it."""


def drawn() -> list[Room]:
    (picture,) = re.findall(r"^```\nlayer .*?\n\n(.*?)^```", STRUCTURE, re.DOTALL | re.MULTILINE)
    rooms: list[Room] = []
    for line in picture.splitlines():
        words = line.split()
        if not line[:20].strip():
            rooms[-1][2].append(words)
        elif words[0].isdigit():
            rooms.append((int(words[0]), words[1].rstrip("/"), []))
        else:
            rooms.append((rooms[-1][0], words[0].rstrip("/"), []))
    return rooms


def test_the_picture_of_the_structure_has_the_layers_of_the_contract() -> None:
    contract = re.search(r"^layers = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert contract is not None
    layers = enumerate(re.findall(r'"(.+?)"', contract[1]), 1)
    expected = {(number, room) for number, layer in layers for room in layer.split(" | ")}
    assert {(number, room) for number, room, _ in drawn()} == expected
    described = re.findall(r"^\*\*(\w+)\*\* ", STRUCTURE, re.MULTILINE)
    assert sorted([*described, "__main__"]) == sorted(room for _, room in expected)


def test_the_picture_of_the_structure_names_every_file() -> None:
    named = set[str]()
    for _, room, lines in drawn():
        named.update([] if lines else [room])
        for words in lines:
            inner = words[0] if (SOURCE / room / words[0] / "__init__.py").is_file() else ""
            named.update(f"{room}/{inner}{word}" for word in words if word != inner)
    files = {path.relative_to(SOURCE) for path in SOURCE.rglob("*.py") if path.name != "__init__.py"}
    assert {name for name in named if not name.endswith("/")} == {path.with_suffix("").as_posix() for path in files}
    assert all((SOURCE / name).is_dir() for name in named if name.endswith("/"))


def test_what_the_structure_says_can_be_found_is_there() -> None:
    rows = re.findall(r"^\| (?:is|are|does) .+? \| \[.+?\]\((.+?)\).*? \| (.*?) \|$", STRUCTURE, re.MULTILINE)
    assert len(rows) > 30
    for target, names in rows:
        path = ROOT / "docs" / target
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"\b{name}\b", path.read_text()), f"{target} has no {name}"


PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.md")])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), f"{path.name} -> {target}"


def test_the_table_of_plans_is_what_the_command_prints() -> None:
    from streamt1.config.load import load_config
    from streamt1.placement.plan_table import plan_table

    table = "\n".join(plan_table(load_config("longlive")))
    assert table in (ROOT / "docs" / "large_models.md").read_text()
