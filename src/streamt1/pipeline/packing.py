"""Packing a run that was stopped, for another machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamt1.core.errors import CheckpointError, ConfigError, OutputError, Stopped
from streamt1.core.safetensors_header import read_header
from streamt1.core.snapshot import FORM, PACKET, Snapshot, check_name
from streamt1.memory.branch import MemoryConfig
from streamt1.pipeline.asked import Asked
from streamt1.pipeline.pipeline import Pipeline
from streamt1.pipeline.run_files import is_finished
from streamt1.pipeline.run_folder import run_folder
from streamt1.search.watcher import Watcher


def check_packable(
    folder: Path, summary: Mapping[str, Any], rules: MemoryConfig, out: Path | None, bits: int | None
) -> None:
    """Tells before models are loaded what a run or a file's name rules out.

    Raises:
        ConfigError: memory is to be packed in four bits, and ``rules`` keep it in few already.
        OutputError: the run has finished, or the file is there and is no packet, or cannot be one by its name.
    """
    if is_finished(summary):
        raise OutputError(f"{folder} holds a run that is finished: there is nothing to go on with, so nothing to pack")
    if bits is not None and rules.coded is not None:
        raise ConfigError(
            f"{folder} keeps its memory in few bits as it is (memory.bits={rules.bits}): leave --bits out"
        )
    if out is None:
        return
    check_name(out, PACKET)
    if not out.exists():
        return
    try:
        replaced = FORM in read_header(out).texts
    except CheckpointError:
        replaced = False
    if not replaced:
        raise OutputError(f"{out} is there already and is no packet, so it stays: give another name")


def pack_run(
    pipeline: Pipeline, folder: Path, asked: Asked, options: Mapping[str, Any], out: Path | None, bits: int | None
) -> tuple[Path, Snapshot]:
    """Takes a run up that was stopped, makes its memory again, and writes a packet; the run can be gone on with.

    Args:
        options: of ``run_folder``.
        out: the file; by default in the run's checkpoint.

    Raises:
        ConfigError: no chunk of the run is decided.
        StreamT1Error: what ``run_folder`` and ``write_packet`` raise.
    """
    written: tuple[Path, Snapshot] | None = None
    try:
        with run_folder(folder, asked, pipeline.models.decoder.fps, options=options) as taken:
            if not taken.resumed:
                raise ConfigError(f"there is nothing to pack in {folder}: no chunk is decided yet; go on with it")
            state = taken.begin(pipeline.models, asked, Watcher())
            try:
                written = taken.pack(pipeline.models, state, out, bits)
            finally:
                state.release(pipeline.models)
            raise Stopped("its memory was packed")
    except Stopped:
        assert written is not None
        return written
