"""Downloads that break off, fall silent, fill the disk, or are not allowed to ask."""

from __future__ import annotations

import hashlib
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from streamt1.core.errors import CheckpointError, OutputError
from streamt1.hub import download
from streamt1.hub.download import Item, fetch, plan_download
from streamt1.hub.origins import Origin, locate
from tests.e2e.hub import Hub, serving

constants = pytest.importorskip("huggingface_hub.constants")
SIZE = 3_000_000
MODEL = Origin(repo="owner/name", path="model.pt")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one model of 3 MB; its cache is empty, and it may be silent for half a second."""
    folder = tmp_path / "hub" / "owner" / "name"
    folder.mkdir(parents=True)
    (folder / "model.pt").write_bytes(bytes(range(250)) * (SIZE // 250))
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving(tmp_path / "hub") as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield served


def planned(folder: Path) -> Item:
    (item,) = plan_download({"model": MODEL}, folder)
    assert (item.size, item.present) == (SIZE, False)
    return item


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_what_breaks_off_for_good_goes_on_the_next_time(hub: Hub, tmp_path: Path) -> None:
    hub.cut.add("model.pt")
    ticks: list[int] = []

    def tick(size: int) -> None:
        ticks.append(size)
        hub.refusal = (500, "") if sum(ticks) else None

    with pytest.raises(CheckpointError, match="the hub does not answer for owner/name/model"):
        fetch(planned(tmp_path / "models"), tick)
    hub.refusal = None
    (part,) = left(tmp_path / "models")
    assert part.endswith(".incomplete")
    ticks.clear()
    fetch(planned(tmp_path / "models"), ticks.append)
    assert [start for _, start in hub.sent] == [0, SIZE // 2]
    assert sum(ticks) == SIZE
    assert left(tmp_path / "models") == ["model.pt"]
    (again,) = plan_download({"model": MODEL}, tmp_path / "models")
    assert again.present


def test_what_breaks_off_once_goes_on_at_once(hub: Hub, tmp_path: Path) -> None:
    hub.cut.add("model.pt")
    fetch(planned(tmp_path / "models"))
    assert [start for _, start in hub.sent] == [0, SIZE // 2]
    assert left(tmp_path / "models") == ["model.pt"]


def test_a_hub_that_falls_silent_midway_is_not_waited_for(hub: Hub, tmp_path: Path) -> None:
    hub.cut.add("model.pt")
    item, begin = planned(tmp_path / "models"), time.monotonic()

    def tick(size: int) -> None:
        hub.silent = size > 0

    with pytest.raises(CheckpointError, match="the hub does not answer for owner/name/model"):
        fetch(item, tick)
    assert time.monotonic() - begin < 20


def test_an_unfinished_file_of_other_bytes_is_found_out_and_deleted(hub: Hub, tmp_path: Path) -> None:
    item = planned(tmp_path / "models")
    assert item.target is not None
    item.target.parent.mkdir(parents=True)
    item.target.with_name(f"model.pt.{item.sha256[:8]}.incomplete").write_bytes(b"x" * 1000)
    with pytest.raises(CheckpointError, match="arrived damaged and was deleted"):
        fetch(item)
    assert left(tmp_path / "models") == []
    fetch(item)
    assert left(tmp_path / "models") == ["model.pt"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    hub: Hub, tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    item = planned(tmp_path / "models")
    with full_disk(), pytest.raises(OutputError, match=r"cannot write .*model\.pt: File too large"):
        fetch(item)
    assert left(tmp_path / "models") == []


def test_the_hubs_own_cache_is_filled_in_its_own_form(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub import try_to_load_from_cache

    (item,) = plan_download({"model": MODEL})
    assert item.target is None
    hub.cut.add("model.pt")
    fetch(item)
    assert [start for name, start in hub.sent if name == "model.pt"] == [0, SIZE // 2]
    found = try_to_load_from_cache("owner/name", "model.pt", cache_dir=tmp_path / "cache")
    assert isinstance(found, str)
    assert Path(found).resolve().name == item.sha256
    assert Path(found).stat().st_size == SIZE


def test_offline_it_says_what_is_missing_and_asks_nobody(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(planned(tmp_path / "models"))
    hub.sent.clear()
    hub.refusal = (500, "")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (here,) = plan_download({"model": MODEL}, tmp_path / "models")
    assert here.present
    files = {"model": MODEL, "vae": Origin(repo="owner/other"), "words": Origin(url=f"{hub.url}/words.py")}
    told = r"HF_HUB_OFFLINE is set, and this disk lacks files\.vae \(owner/other/\), files\.words \(http.*words\.py\): "
    with pytest.raises(CheckpointError, match=told):
        plan_download(files, tmp_path / "models")
    assert hub.sent == []


def wheel(hub: Hub, name: str) -> Origin:
    """A wheel that the server has, and what a preset would say of it."""
    path = hub.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("words/template.py", "A = 'text'" + " " * 2000)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Origin(url=f"{hub.url}/{name}", path="words/template.py", sha256=digest)


def test_a_file_out_of_a_wheel_is_fetched_and_checked(hub: Hub, tmp_path: Path) -> None:
    origin = wheel(hub, "words-1.0-py3-none-any.whl")
    (item,) = plan_download({"words": origin}, tmp_path / "models")
    assert item.size > 0
    fetch(item)
    assert locate("words", origin, tmp_path / "models").read_text().startswith("A = 'text'")
    assert left(tmp_path / "models") == ["template.py"]
    (again,) = plan_download({"words": origin}, tmp_path / "models")
    assert again.present
    other = origin.model_copy(update={"sha256": "0" * 64})
    (item,) = plan_download({"words": other}, tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="its SHA-256 differs"):
        fetch(item)
    assert left(tmp_path / "elsewhere") == []


def test_files_of_one_name_from_two_addresses_are_two_files(hub: Hub, tmp_path: Path) -> None:
    """And what follows an address, as ``?download=true``, is no part of its name."""
    origins = dict[str, str | Origin]()
    for place in ("a", "b"):
        (hub.root / place).mkdir()
        (hub.root / place / "w.pt").write_text(place)
        origins[place] = Origin(url=f"{hub.url}/{place}/w.pt?download=true")
    members = wheel(hub, "words-1.0-py3-none-any.whl"), "words/template.py"
    with zipfile.ZipFile(hub.root / "words-1.0-py3-none-any.whl", "a") as opened:
        opened.writestr("other/template.py", "B")
    origins |= {name: Origin(url=members[0].url, path=f"{name}/template.py") for name in ("words", "other")}
    for item in plan_download(origins, tmp_path / "models"):
        fetch(item)
    found = {name: locate(name, origin, tmp_path / "models") for name, origin in origins.items()}
    assert {name: path.read_text()[:1] for name, path in found.items()} == {
        "a": "a",
        "b": "b",
        "words": "A",
        "other": "B",
    }
    assert {path.name for path in found.values()} == {"w.pt", "template.py"}
    assert all(item.present for item in plan_download(origins, tmp_path / "models"))


def test_what_an_earlier_version_fetched_is_kept_if_it_is_the_one_that_is_meant(hub: Hub, tmp_path: Path) -> None:
    (hub.root / "w.pt").write_text("two")
    old = tmp_path / "models" / "files" / "w.pt"
    old.parent.mkdir(parents=True)
    plain = Origin(url=f"{hub.url}/w.pt")
    meant = plain.model_copy(update={"sha256": hashlib.sha256(b"two").hexdigest()})
    for content, kept in (("two", True), ("one", False)):
        old.write_text(content)
        (item,) = plan_download({"w": meant}, tmp_path / "models")
        assert item.present is kept
    both = plan_download({"meant": meant, "plain": plain, "again": meant}, tmp_path / "models")
    assert [one.sha256 for one in both] == [meant.sha256], "one file, whose hash is known"
    fetch(item)
    assert locate("plain", plain, tmp_path / "models") == locate("meant", meant, tmp_path / "models")
    assert (old.read_text(), locate("w", meant, tmp_path / "models").read_text()) == ("one", "two")
    locate("w", meant, tmp_path / "models").write_text("damaged")
    (item,) = plan_download({"w": meant}, tmp_path / "models")
    assert not item.present
    fetch(item)
    assert locate("w", meant, tmp_path / "models").read_text() == "two"


def test_a_hub_that_tells_no_size_is_refused(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file would be empty, and count as whole."""
    import huggingface_hub

    told = huggingface_hub.HfApi.model_info

    def without(self: object, *args: object, **kwargs: object) -> object:
        info = told(self, *args, **kwargs)  # type: ignore[arg-type]
        for sibling in info.siblings or []:
            sibling.size = None
        return info

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", without)
    with pytest.raises(CheckpointError, match=r"owner/name/model\.pt"):
        plan_download({"model": MODEL}, tmp_path / "models")


def test_an_index_in_pypis_place_is_asked_for_wheels(hub: Hub, tmp_path: Path) -> None:
    origin = wheel(hub, "packages/my_words-1.0-py3-none-any.whl")
    away = origin.model_copy(update={"url": "http://127.0.0.1:9/my_words-1.0-py3-none-any.whl"})
    page = hub.root / "simple" / "my-words" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text('<a href="../../packages/my_words-1.0-py3-none-any.whl#sha256=1">my_words</a>')
    (item,) = plan_download({"words": away}, tmp_path / "models", f"{hub.url}/simple/")
    fetch(item)
    assert left(tmp_path / "models") == ["template.py"]
    with pytest.raises(CheckpointError, match=r"give it with --set files\.words=PATH"):
        plan_download({"words": away}, tmp_path / "elsewhere")
    unknown = away.model_copy(update={"url": "http://127.0.0.1:9/my_words-2.0-py3-none-any.whl"})
    with pytest.raises(CheckpointError, match=r"lists no my_words-2\.0"):
        plan_download({"words": unknown}, tmp_path / "elsewhere", f"{hub.url}/simple")


def test_an_address_that_breaks_off_or_stays_silent_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    (hub.root / "words.py").write_text("A = 'text'" + " " * 2000)
    origin = Origin(url=f"{hub.url}/words.py")
    (item,) = plan_download({"words": origin}, tmp_path / "models")
    hub.cut.add("words.py")
    with pytest.raises(CheckpointError, match="cannot be fetched"):
        fetch(item)
    assert left(tmp_path / "models") == []
    hub.silent = True
    begin = time.monotonic()
    with pytest.raises(CheckpointError, match=r"cannot be fetched: .*timed out"):
        fetch(item)
    with pytest.raises(CheckpointError, match=r"does not answer: .*timed out"):
        plan_download({"words": origin}, tmp_path / "models")
    assert time.monotonic() - begin < 20
