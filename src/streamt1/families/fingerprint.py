"""Which weights a run used: a fingerprint of each file, quick enough to take at every start."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from streamt1.config.schema import RunConfig
from streamt1.core.errors import CheckpointError, StreamT1Error
from streamt1.core.weight_files import weight_files
from streamt1.families.wan_files import file_of

SAMPLES, BLOCK = 64, 16384
ENDINGS = (".safetensors", ".pt", ".pth", ".bin")


def fingerprints(config: RunConfig) -> dict[str, str]:
    """Name of a file of weights -> its fingerprint, for all that a configuration's models read.

    Raises ``CheckpointError`` for a file that cannot be read.
    """
    if not config.files:
        folder = resources.files("streamt1") / "weights"
        return {path.name: fingerprint(path) for path in _weights(Path(str(folder)))}
    found: dict[str, str] = {}
    for name in sorted(config.files):
        try:
            path = file_of(config, name)
        except StreamT1Error:  # not needed by these models, or they would have refused to load
            continue
        found |= {f"{name}/{one.name}": fingerprint(one) for one in _weights(path)}
    return found


def of_vae(prints: Mapping[str, str]) -> dict[str, str]:
    """Those of the VAE's files: without it the latents of a run mean nothing."""
    return {name: one for name, one in prints.items() if name.startswith(("vae/", "pocket_vae."))}


def fingerprint(path: Path) -> str:
    """Size, and SHA-256 of 64 blocks of 16 KiB spread evenly over the file, the first and the last among them.

    Raises ``CheckpointError``.
    """
    digest = hashlib.sha256()
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            for place in range(SAMPLES):
                file.seek(max(0, size - BLOCK) * place // (SAMPLES - 1))
                digest.update(file.read(BLOCK))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    return f"{size}-{digest.hexdigest()[:32]}"


def _weights(path: Path) -> list[Path]:
    """A file, those that an index names, or those with weights in a folder."""
    if path.name.endswith(".index.json"):
        return weight_files(path)
    if path.is_dir():
        return sorted(one for one in path.iterdir() if one.suffix in ENDINGS)
    return [path] if path.suffix in ENDINGS else []
