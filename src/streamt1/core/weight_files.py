"""What a file of weights is, told by its first bytes and its size: before anything is loaded, and without torch."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from streamt1.core.errors import CheckpointError
from streamt1.core.json_files import read_json
from streamt1.core.safetensors_header import WEIGHTS, Words, read_header, safetensors_header

NAMES = ("*.safetensors.index.json", "*.safetensors", "*.pt", "*.pth", "*.bin.index.json", "*.bin")
"""What a folder of weights may hold, best first."""
LONGEST = 255
"""Bytes of a file's name."""
_STRANGERS = (
    (b"version https://git-lfs", "a pointer of git-lfs, not the file itself", "run `git lfs pull`, or download it"),
    (b"GGUF", "a GGUF file, which holds weights in blocks of few bits", "get the safetensors or .pt file"),
    (b"<!doctype", "an HTML page, not a {}", "the download was answered by a web page; download again"),
    (b"<html", "an HTML page, not a {}", "the download was answered by a web page; download again"),
    (b"<?xml", "an answer of a server, not a {}", "download again"),
    (b"<error", "an answer of a server, not a {}", "download again"),
    (b"\x1f\x8b\x08", "compressed with gzip", "unpack it"),
)
"""How other files begin, what they are, and what to do about one in place of weights."""
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
"""How files of torch.save begin: now, and before torch 1.6."""


def weight_files(path: Path) -> list[Path]:
    """The files behind a path: itself, those that an index names, or those of a folder.

    Raises:
        CheckpointError: the path or one of the files is not there, a folder holds several and no index of them, or the
            files do not hold what their index says.
    """
    if path.is_dir():
        return weight_files(_inside(path))
    if not path.exists():
        raise CheckpointError(f"the weights file {path} does not exist; download it, or give the right path")
    if not path.is_file():
        raise CheckpointError(f"{path} is no file; give the path of a weights file, or of the folder that holds it")
    if not path.name.endswith(".index.json"):
        return [path]
    places = _places(path)
    shards = sorted(set(places.values()))
    missing = [name for name in shards if not path.with_name(name).is_file()]
    if missing:
        raise CheckpointError(f"{path.parent} lacks {len(missing)} of the files in its index: {', '.join(missing[:5])}")
    files = [path.with_name(name) for name in shards]
    for file in files:
        _check_shard(file, {name for name, shard in places.items() if shard == file.name}, path)
    return files


def check_weight_file(path: Path, words: Words = WEIGHTS) -> None:
    """Raises ``CheckpointError`` that says what a file is, where it is no weights file, or not the whole of one.

    Args:
        words: of a file of tensors that is something else than weights.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    if not size:
        raise CheckpointError(f"{path} is empty; {words.again}")
    if path.name.endswith((".incomplete", ".part", ".crdownload", ".aria2")):
        raise CheckpointError(f"{path} is a download that was not finished; download again")
    told = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()
    for mark, what, remedy in _STRANGERS:
        if told.startswith(mark.lower()):
            remedy = remedy if words is WEIGHTS else words.again
            raise CheckpointError(f"{path} is {what.format(words.noun)}: {remedy}")
    if told.startswith(b'{"') and b"\0" not in told:
        remedy = "download again" if words is WEIGHTS else words.again
        raise CheckpointError(f"{path} is JSON, perhaps an answer of a server, not a {words.noun}: {remedy}")
    if path.suffix == ".safetensors":
        _check_safetensors(path, size, start, words)
    else:
        _check_torch(path, size, start)


def _check_torch(path: Path, size: int, start: bytes) -> None:
    if start[8:10] == b'{"' and start[:4] != _ZIP:
        raise CheckpointError(f"{path} is a safetensors file by its content; give it that ending")
    if start[:4] != _ZIP and start[:1] != _PICKLE:
        begins = "zeros: it was not downloaded" if not any(start) else repr(start[:16].decode("ascii", "replace"))
        raise CheckpointError(f"{path} is no weights file of torch: it begins with {begins}; {WEIGHTS.again}")
    if start[:4] != _ZIP:
        return
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} {WEIGHTS.cut}: it has {size} bytes and no directory; {WEIGHTS.again}")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, ValueError, LookupError, NotImplementedError, struct.error, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is damaged: its directory cannot be read; {WEIGHTS.again}") from error
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size for entry in entries):
        raise CheckpointError(f"{path} is a zip archive, but not of torch, which compresses nothing: unpack it")
    if not any(entry.filename.endswith("/data.pkl") for entry in entries):
        raise CheckpointError(f"{path} is a zip archive, but not of torch: unpack it, and give the file inside")


def _check_safetensors(path: Path, size: int, start: bytes, words: Words) -> None:
    if size < 9:
        raise CheckpointError(f"{path} is no whole safetensors file: it has {size} bytes; {words.again}")
    if start[:4] == _ZIP:
        remedy = "end its name in .pt" if words is WEIGHTS else words.again
        raise CheckpointError(f"{path} is a file of torch.save or a zip by its content; {remedy}")
    if not any(start):
        raise CheckpointError(f"{path} is no whole safetensors file: it begins with zeros; {words.again}")
    read_header(path, words)


def _places(index: Path) -> dict[str, str]:
    """Names of weights -> the file beside the index that holds each."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index} is no index of weights files: it has no readable weight_map; {WEIGHTS.again}")
    if not places or not all(map(_is_name, places.values())):
        raise CheckpointError(f"{index} is no index of weights files: it must name files beside it; {WEIGHTS.again}")
    return places


def _is_name(name: str) -> bool:
    """Whether a text can only be the name of a file beside another."""
    plain = name not in ("", ".", "..") and not set(name) & set("/\\\0")
    return plain and len(name.encode()) <= LONGEST and Path(name).name == name


def _check_shard(file: Path, named: set[str], index: Path) -> None:
    """A shard holds what the index says of it, no more and no less."""
    check_weight_file(file)
    if file.suffix != ".safetensors":
        return
    found = set(safetensors_header(file))
    if found != named:
        wrong = sorted(found ^ named)
        raise CheckpointError(
            f"{file} does not hold what {index.name} says of it, as for {wrong[0]} ({len(wrong)} in all); the files are"
            " of different downloads: download them again"
        )


def _inside(folder: Path) -> Path:
    """The one weights file, or index of several, of a folder."""
    for pattern in NAMES:
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            raise CheckpointError(f"{folder} holds several weights files and no index of them; name one")
        if found:
            return found[0]
    unfinished = sorted(folder.glob("*.incomplete"))
    if unfinished:
        raise CheckpointError(f"{folder} holds a download that was not finished ({unfinished[0].name}); download again")
    raise CheckpointError(f"{folder} holds no weights file; download it, or give the right path")
