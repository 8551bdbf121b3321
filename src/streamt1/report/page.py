"""The page: everything that the template needs, rendered into one file that opens without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, TemplateError

from streamt1.core.errors import TraceError
from streamt1.core.files import write_whole
from streamt1.core.parsing import PARSING
from streamt1.core.words import nth
from streamt1.report import curves
from streamt1.report.cost import sum_up
from streamt1.report.folder import RunFolder, read_folder
from streamt1.report.media import data_address, embedded_video
from streamt1.report.memory import by_scene, memory_rows
from streamt1.report.noise import noise_lineage
from streamt1.report.scenes import labelled, tell_scenes
from streamt1.report.story import Story
from streamt1.report.tree import lay_out
from streamt1.report.words import POLICIES, deck, facts, number, said, spelled, waited

PAGE = "report.html"
VIDEO_BYTES = 8_000_000
"""Of all videos together before base64 makes them a third larger; with the rest, a page stays under 15 MB."""
MOST_ROWS = 32
"""Chunks of a timeline whose memory is drawn with a column for each; scenes have their own columns beyond that."""
MOST_SCENES = 14
"""Numbers of scenes that have room below a video and above the memory, on a narrow screen too."""
PICTURE_BYTES = 2_000_000
"""Of all thumbnails; what goes beyond is shown as coloured tiles, the pruned first."""


def write_report(folder: str | Path, path: str | Path | None = None) -> Path:
    """Writes the page of the run in ``folder`` and returns its path, by default ``report.html`` in that folder.

    Raises:
        TraceError: there is no such run, its files are damaged, or it has not finished.
        OutputError: the page cannot be written.
    """
    folder = Path(folder)
    path = folder / PAGE if path is None else Path(path)
    run = read_folder(folder)
    try:
        page = render(run)
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, TemplateError) as error:
        told = " ".join(str(error).split())[:200]
        raise TraceError(f"{folder}: a setting or a cost in trace.jsonl or run.json makes no sense: {told}") from error
    write_whole(path, page.encode())
    return path


def render(run: RunFolder) -> str:
    """The page as text."""
    with PARSING:
        template = _template()
    return template.render(_context(run))


@cache
def _template() -> Template:
    """The page's, with all that it includes."""
    environment = Environment(
        loader=PackageLoader("streamt1.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"nth": nth, "number": number, "said": said, "spelled": spelled}
    for name in environment.list_templates():
        environment.get_template(name)
    return environment.get_template("report.html")


def _context(run: RunFolder) -> dict[str, Any]:
    story, plain = run.story, run.baseline
    starts = chunk_starts(story, run.summary)
    scenes, videos = tell_scenes(story, starts), _videos(run)
    rows, folded = memory_rows(story), len(story.chunks) > MOST_ROWS
    return {
        "story": story,
        "deck": deck(story),
        "waited": waited(story),
        "facts": facts(story, run.summary),
        "videos": videos,
        "scenes": scenes,
        "scene_of": {chunk: scene for scene in scenes for chunk in range(scene.first, scene.last + 1)},
        "labelled": labelled(story, MOST_SCENES),
        "seekable": bool(starts and any(video["source"] for video in videos)),
        "tree": lay_out(story, run.size),
        "pictures": _pictures(run),
        "tints": _tints(story),
        "charts": curves.draw_charts(story),
        "frame": curves,
        "rows": rows,
        "blocks": by_scene(rows, story.scene_numbers, folded) if scenes else [],
        "folded": folded,
        "recalling": any(told.recalled is not None for told in (*story.switches.values(), *story.memory.values())),
        "tiles": noise_lineage(story),
        "cost": sum_up(story.finished.cost, plain.story.finished.cost if plain else None),
        "starts": starts,
        "data": _data(story, starts),
        "settings": dict(story.config),
        "versions": run.summary.get("versions") or {},
    }


def chunk_starts(story: Story, summary: Mapping[str, Any]) -> list[float]:
    """When each chunk begins, in seconds, and when the video ends; empty where the trace is too old to tell.

    The video's first latent frame gives one pixel frame, every other one ``time_stride``.
    """
    started, count = story.started, len(story.chunks)
    stride: float | None = started.time_stride
    if stride is None and summary.get("frames") and count * started.frames_per_chunk > 1:
        stride = (summary["frames"] - 1) / (count * started.frames_per_chunk - 1)
    if stride is None:
        return []
    frames = [0.0] + [1 + stride * (chunk * started.frames_per_chunk - 1) for chunk in range(1, count + 1)]
    return [round(frame / started.fps, 4) for frame in frames]


def _videos(run: RunFolder) -> list[dict[str, Any]]:
    """The search's video first, then the baseline's; without a source where it is missing or too large."""
    runs = [run, run.baseline] if run.baseline else [run]
    share, name = VIDEO_BYTES // len(runs), POLICIES.get(run.policy, "The search")
    return [
        {
            "name": name if one is run else "One plain sample",
            "source": embedded_video(one.video, share) if one.video else None,
            "there": one.video is not None,
            "long": next((j.long for j in one.story.judged if j.candidate == one.story.lineage[-1].id), None),
            "size": one.size,
        }
        for one in runs
    ]


def _pictures(run: RunFolder) -> dict[int, str]:
    """Thumbnails as data addresses, the video's own first, as many as the page holds."""
    order = ("chosen", "survived", "pruned")
    left, pictures = PICTURE_BYTES, {}
    for node in sorted(run.story.nodes, key=lambda node: order.index(node.status)):
        picture = run.thumbnails.get(node.id)
        if picture is not None and len(picture) <= left:
            left -= len(picture)
            pictures[node.id] = data_address(picture, "image/webp")
    return pictures


def _tints(story: Story) -> dict[int, int]:
    """How strong the tile of a candidate without a picture is coloured, in percent: by its fused score in the run."""
    known = [node.fused for node in story.nodes if node.fused is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return {n.id: round(15 + 70 * ((n.fused or low) - low) / max(high - low, 1e-9)) for n in story.nodes}


def _data(story: Story, starts: list[float]) -> str:
    """What the script needs, as JSON that is safe inside a script element."""
    nodes = {
        node.id: [
            node.chunk, node.parent, node.status, node.rank, node.short, node.long, node.fused, node.route,
            dict(node.parts), f"{node.seed:x}",
        ]
        for node in story.nodes
    }  # fmt: skip
    told: dict[str, Any] = {"nodes": nodes, "starts": starts, "chunks": len(story.chunks)}
    if story.scenes:
        told["scenes"] = story.beginnings
    text = json.dumps(told, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
