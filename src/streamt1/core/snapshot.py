"""A branch of a backbone's memory apart from any process: named tensors, and what is told of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from streamt1.core.errors import SHOWN, CheckpointError, OutputError
from streamt1.core.four_bits import GROUP, FourBits, Lost, group_of, to_four_bits
from streamt1.core.identity import byte_view
from streamt1.core.json_text import parse_json
from streamt1.core.safetensors_header import Words, read_header
from streamt1.core.tensor_files import NAMES, read_all_tensors, write_tensors
from streamt1.core.weight_files import check_weight_file
from streamt1.core.weights import FORMS, all_finite

ENDING = ".safetensors"
PAGES = "pages."
"""How the names of keys and values begin, which may be kept in four bits."""
FORM, VERSION, TOLD, DIGEST = "streamt1.snapshot", "1", "told", "digest"
"""The texts of a file's header: that it is a snapshot, and of which version; what is told; the digest of all."""
MOST = 12
"""Differences that a message names."""
SNAPSHOT = Words("snapshot", "was not copied to its end", "copy it again from where it was made")
PACKET = Words(
    "packet",
    "was not copied to its end",
    "copy it again from where it was written (`streamt1 pack`, or --pack), or pack the run again",
)
"""How messages call a file of one branch, and a file with all of a run."""


@dataclass(frozen=True)
class Packed:
    """How a tensor is kept in four bits.

    Attributes:
        dtype: its own, by safetensors' names.
        group: numbers that share a step.
        lost: what that cost, measured when it was packed.
    """

    dtype: str
    group: int
    lost: Lost

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Packed:
        """Of what ``asdict`` gives. Raises ``KeyError``, ``TypeError``, ``ValueError`` or ``OverflowError``."""
        return cls(str(told["dtype"]), int(told["group"]), Lost(**told["lost"]))


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a backbone remembers in one branch; ``Portable.dump`` makes it and ``Portable.load`` takes it.

    Tensors are brought to the host, where they are there already they are shared with the branch. None may hold NaN.

    Attributes:
        kind: of backbone, such as ``wan``.
        tensors: by name; of one that is packed, its parts.
        metadata: what JSON can hold, by names.
        packed: of tensors in four bits.
        words: how messages call it, where it is a part of something else.

    Raises:
        CheckpointError: a tensor holds NaN or infinite values.
        TypeError, ValueError: the metadata are no JSON, or a tensor's type is none of ``TYPES`` in ``tensor_files``.
    """

    kind: str
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]
    packed: Mapping[str, Packed] = field(default_factory=dict)
    words: Words = SNAPSHOT

    def __post_init__(self) -> None:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        for name, tensor in tensors.items():
            if tensor.dtype not in NAMES:
                raise ValueError(f"a {self.words.noun} cannot hold {name!r}, which is of {tensor.dtype}")
            if not all_finite(tensor):
                raise CheckpointError(
                    f"the {self.words.noun} holds NaN or infinite values in {name!r}, which would spread to every later"
                    " frame: go on from an earlier branch"
                )
        object.__setattr__(self, "tensors", tensors)
        object.__setattr__(self, "metadata", parse_json(json.dumps(dict(self.metadata), allow_nan=False)))

    @property
    def nbytes(self) -> int:
        """Of all tensors; a file has a few thousand more."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def tensor(self, name: str) -> Tensor:
        """A tensor as it was dumped, or, where it is packed, as near as four bits come. Raises ``KeyError``."""
        told = self.packed.get(name)
        if told is None:
            return self.tensors[name]
        parts = (self.tensors[f"{name}.{part}"] for part in ("codes", "steps", "lows"))
        return FourBits(*parts).values(FORMS[told.dtype])

    def in_four_bits(self, group: int = GROUP) -> Snapshot:
        """The same with keys and values in four bits, a third of 16 bits; what it cost is in ``packed``.

        Args:
            group: numbers of a token's head that share a step; all of them where it does not divide their number.
        """
        tensors, packed = dict(self.tensors), dict(self.packed)
        for name, tensor in self.tensors.items():
            if name.startswith(PAGES) and tensor.is_floating_point() and name.rpartition(".")[0] not in packed:
                size = group_of(tensor.shape[-1], group)
                small, lost = to_four_bits(tensors.pop(name), size)
                packed[name] = Packed(NAMES[tensor.dtype], size, lost)
                tensors |= {f"{name}.{part}": value for part, value in vars(small).items()}
        return replace(self, tensors=tensors, packed=packed)

    def check_same(self, part: str, here: Mapping[str, Any], how: str, remedy: str) -> None:
        """Raises ``CheckpointError`` where a part of the metadata is not what it is here; it names what differs.

        Args:
            part: the metadata's name, of an object.
            how: it was made if they differ, such as ``by another model``.
            remedy: what to do.
        """
        there, here = self.metadata.get(part), parse_json(json.dumps(dict(here)))
        if not isinstance(there, dict):
            raise CheckpointError(f"the {self.words.noun} does not tell its {part}; {self.words.again}")
        names = [name for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
        if names:
            pairs = ((name, there.get(name, "missing"), here.get(name, "missing")) for name in names[:MOST])
            differences = [
                f"{_short(name)} is {_short(made)} there and {_short(own)} here" for name, made, own in pairs
            ]
            more = ", ..." if len(names) > MOST else ""
            told = f"{how} ({', '.join(differences)}{more})"
            raise CheckpointError(f"the {self.words.noun} was made {told}: {remedy}")

    def write(self, path: str | Path) -> Path:
        """Writes one safetensors file, whole or not at all; returns its path.

        Raises:
            OutputError: the name does not end in ``.safetensors``, or it cannot be written.
        """
        path = Path(path)
        check_name(path, self.words)
        packed = {name: asdict(one) for name, one in self.packed.items()}
        told = json.dumps({"kind": self.kind, "metadata": self.metadata, "packed": packed}, sort_keys=True)
        texts = {FORM: VERSION, TOLD: told, DIGEST: _digest(told, self.tensors)}
        write_tensors(path, self.tensors, texts)
        return path

    @classmethod
    def read(cls, path: str | Path, words: Words = SNAPSHOT) -> Snapshot:
        """What ``write`` has written.

        Raises:
            CheckpointError: the file is missing, damaged, or something else.
        """
        path = Path(path)
        if path.suffix != ENDING and path.exists():
            raise CheckpointError(f"{path} is no {words.noun}: its name does not end in {ENDING}")
        check_weight_file(path, words)
        header = read_header(path, words)
        form, told, digest = (header.texts.get(name) for name in (FORM, TOLD, DIGEST))
        if form is None or told is None or digest is None:
            raise CheckpointError(f"{path} holds tensors, but no {words.noun} of a memory; {words.again}")
        if form != VERSION:
            raise CheckpointError(f"{path} is a {words.noun} of version {form[:20]!r}, and {VERSION} is read here")
        tensors = read_all_tensors(path, header)
        if _digest(told, tensors) != digest:
            raise CheckpointError(f"{path} is damaged: it does not hold what was written; {words.again}")
        try:
            record = parse_json(told)
            packed = {str(name): Packed.read(one) for name, one in record["packed"].items()}
            return cls(str(record["kind"]), tensors, dict(record["metadata"]), packed, words)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise CheckpointError(
                f"{path} was not written as a {words.noun} is ({type(error).__name__}); {words.again}"
            ) from error


def check_name(path: Path, words: Words = SNAPSHOT) -> None:
    """Raises ``OutputError`` for a file's name that no snapshot can have."""
    if path.suffix != ENDING:
        raise OutputError(f"a {words.noun}'s name must end in {ENDING}, and {path.name!r} does not: give another")


def _short(value: Any) -> str:
    """A value in one line."""
    return " ".join(str(value).split())[:SHOWN]


def _digest(told: str, tensors: Mapping[str, Tensor]) -> str:
    """Of what is told, and of every tensor's name, type, shape and bytes; it finds damage, and no forger."""
    digest = hashlib.blake2b(told.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, NAMES[tensor.dtype], list(tensor.shape)]).encode())
        if tensor.numel():
            digest.update(byte_view(tensor))
    return digest.hexdigest()
