"""Clips in the layout that VBench and VBench-Long read in custom mode.

::

    DIR/5s/stream_t1-2x2/a red circle resting on a navy plain background-0.mp4
    DIR/5s/stream_t1-2x2.json     {"a red ... background-0.mp4": "a red ... background", ...}
    DIR/README.md                 the commands, one folder each

VBench (``--mode=custom_input``) takes a folder of videos and, as ``--prompt_file``, a JSON object from file names to
prompts. VBench-Long (``--mode long_custom_input``) takes the folder alone and refuses a prompt file; it writes pieces
of the videos into the folder. Read in github.com/Vchitect/VBench: ``vbench2_beta_long/__init__.py``, ``README.md``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from streamt1.core.files import write_whole
from streamt1.evaluation.tasks import ClipTask

LONG = 10.0
"""Seconds from which on a clip is for VBench-Long."""
DIMENSIONS = (
    "subject_consistency", "background_consistency", "motion_smoothness", "dynamic_degree", "aesthetic_quality",
    "imaging_quality",
)  # fmt: skip
"""What both score for prompts that are not their own."""
LONGEST_NAME = 200


def video_path(folder: Path, task: ClipTask) -> Path:
    """``<length>s/<method>-<budget>/<prompt>-<index>.mp4``, as VBench reads prompts from file names."""
    return _group(folder, task) / f"{safe_name(task.prompt)}-{task.index}.mp4"


def safe_name(prompt: str) -> str:
    """The prompt itself where a file can be called so; else what is left of it, and a mark that tells it apart."""
    name = re.sub(r'[/\\\x00-\x1f:*?"<>|]', "_", prompt)
    name = name.encode()[:LONGEST_NAME].decode(errors="ignore")
    if name == prompt:
        return name
    return f"{name} {hashlib.sha256(prompt.encode()).hexdigest()[:8]}"


def write_prompts(folder: Path, tasks: Sequence[ClipTask]) -> None:
    """The prompt files of all groups, and the commands. Raises ``OutputError``."""
    groups: dict[Path, dict[str, str]] = {}
    for task in tasks:
        groups.setdefault(_group(folder, task), {})[video_path(folder, task).name] = task.prompt
    for group, prompts in groups.items():
        write_whole(_prompt_file(group), (json.dumps(prompts, indent=2, ensure_ascii=False) + "\n").encode())
    lines = ["# Scoring these clips with VBench", "", *_COMMENTS, "", "```", *_commands(folder, tasks), "```", ""]
    write_whole(folder / "README.md", "\n".join(lines).encode())


_COMMENTS = (
    "Folders are `<length>/<method>-<beam_size>x<top_k>`, videos `<prompt>-<run>.mp4`; each JSON file beside a folder",
    "names the prompts of its videos. Run this here, in a checkout of https://github.com/Vchitect/VBench that is",
    "installed as its README says (set `VBENCH` to it); it needs a GPU.",
)


def _group(folder: Path, task: ClipTask) -> Path:
    beam_size, top_k = task.budget
    scenes = "" if task.pattern == "A" else f"-{task.pattern}"
    return folder / f"{task.length:g}s{scenes}" / f"{task.name}-{beam_size}x{top_k}"


def _prompt_file(group: Path) -> Path:
    return group.with_name(group.name + ".json")


def _commands(folder: Path, tasks: Sequence[ClipTask]) -> list[str]:
    dimensions, lines = " ".join(DIMENSIONS), []
    for group, seconds in sorted({_group(folder, task): task.length for task in tasks}.items()):
        name = group.relative_to(folder)
        paths = f"--videos_path '{name}' --output_path 'results/{name}'"
        if seconds < LONG:
            prompts = f"--mode=custom_input --prompt_file '{_prompt_file(name)}'"
            lines.append(f'python "$VBENCH/evaluate.py" {paths} --dimension {dimensions} {prompts}')
        else:
            script = '"$VBENCH/vbench2_beta_long/eval_long.py"'
            lines.append(f"python {script} {paths} --dimension {dimensions} --mode long_custom_input --dev_flag")
    return lines
