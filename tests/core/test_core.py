import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from streamt1.core import errors
from streamt1.core.errors import OutputError, UnknownNameError
from streamt1.core.files import check_writable, write_whole
from streamt1.core.seeds import derive_seed, generator


def test_unknown_names_are_answered_with_the_nearest() -> None:
    message = str(UnknownNameError("preset", "poket", ["official", "pocket"]))
    assert "'poket'" in message
    assert "did you mean 'pocket'?" in message
    assert "official" in message


def test_seeds_do_not_collide_where_the_official_rule_does() -> None:
    """The official rule (1000 * chunk + 100 * beam + i) repeats itself at top_k 12, beam_size 102."""
    places = [(c, b, i) for c in range(12) for b in range(12) for i in range(102)]
    assert len({derive_seed(0, *place) for place in places}) == len(places)
    assert len({1000 * c + 100 * b + i for c, b, i in places}) < len(places)


def test_seeds_depend_on_every_argument_and_fit_a_generator() -> None:
    base = (1, 2, 3, 4, "noise")
    others = [
        (9, 2, 3, 4, "noise"),
        (1, 9, 3, 4, "noise"),
        (1, 2, 9, 4, "noise"),
        (1, 2, 3, 9, "noise"),
        (1, 2, 3, 4, "x"),
    ]
    assert len({derive_seed(*args) for args in [base, *others]}) == 6
    assert generator(derive_seed(*base)).initial_seed() == derive_seed(*base)


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.txt"
    write_whole(target, b"first")
    write_whole(target, b"second")
    assert target.read_bytes() == b"second"
    assert [path.name for path in target.parent.iterdir()] == ["b.txt"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    target = tmp_path / "kept.bin"
    write_whole(target, b"old")
    with full_disk(), pytest.raises(OutputError, match=r"kept\.bin"):
        write_whole(target, b"x" * 5000)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.bin"]
    assert target.read_bytes() == b"old"


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        check_writable(tmp_path / "file" / "below")
    check_writable(tmp_path / "fine")
    assert not (tmp_path / "fine").exists()


def test_errors_travel_between_processes() -> None:
    for error in (
        UnknownNameError("preset", "pockett", ["pocket", "paper"]),
        errors.BusyError("come back later", 7),
        errors.ConfigError("too large"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
    assert pickle.loads(pickle.dumps(errors.BusyError("later", 7))).retry_after == 7


def test_a_file_that_cannot_be_written_leaves_no_folder(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    with full_disk(), pytest.raises(OutputError, match=r"c\.bin"):
        write_whole(tmp_path / "a" / "b" / "c.bin", b"x" * 5000)
    assert list(tmp_path.iterdir()) == []
