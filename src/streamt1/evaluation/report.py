"""The report of an evaluation: the same words, tables and figures as Markdown and as one HTML file."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from streamt1.core.files import write_whole
from streamt1.evaluation.figures import CHARTS, write_figures
from streamt1.evaluation.labels import short
from streamt1.evaluation.tables import TABLES, Table, asked_table, markdown, pooled_table

FIGURES = "figures"
NOTES = (
    "Intervals are 95% bootstrap intervals over prompts; gains are paired by prompt and seed. Best of n has as many"
    " candidates per chunk as the search beside it, makes a few more model passes, and asks its rewards less often; the"
    " cost tables say how much. Ties count as half a win.",
    "What was asked before stands in the suite's file: comparisons that were named before any clip was made. Widened"
    " intervals are for all tries of a question together.",
    "Regret is what a perfect judge would have gained over the search's rewards on the same candidates: for a search at"
    " chunk boundaries, for best of n among whole clips.",
    "Measures with a star are proxies that need no download; they are not VBench numbers. Seconds leave out the"
    " measuring, and depend on what else the machine does.",
)


def write_report(summary: Mapping[str, Any], manifest: Mapping[str, Any], folder: Path) -> None:
    """Writes ``summary.json``, ``report.md``, ``report.html`` and ``figures/``.

    Raises:
        MissingExtraError: without matplotlib.
        OutputError: the folder cannot be written.
    """
    told = {**summary, "made": _made(manifest)}
    write_whole(folder / "summary.json", (json.dumps(told, indent=2) + "\n").encode())
    figures = write_figures(dict(summary), folder / FIGURES)
    write_whole(folder / "report.md", _markdown(summary, manifest, figures).encode())
    write_whole(folder / "report.html", _html(summary, manifest, figures).encode())


def _made(manifest: Mapping[str, Any]) -> dict[str, Any]:
    parts = {name: manifest[name] for name in ("commit", "machine", "versions", "later") if name in manifest}
    return {**parts, "preset": manifest["suite"]["preset"], "matters": manifest["matters"]}


def _intro(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {number}" for name, number in manifest["versions"].items())
    failed = f", {summary['failed']} of them failed" if summary["failed"] else ""
    made = f"{summary['clips']} clips{failed}; preset `{manifest['suite']['preset']}`, judged by `{summary['judge']}`."
    where = f"Commit {manifest['commit'] or 'unknown'}, {manifest['machine']}, {versions}."
    later = [f"commit {one['commit'] or 'unknown'}, {one['machine']}" for one in manifest.get("later", [])]
    if later:
        where += f" Gone on with by {'; '.join(later)}."
    return [line for line in (manifest["suite"]["about"], made, where) if line]


def _tables(summary: Mapping[str, Any]) -> Iterator[tuple[str, Table]]:
    """(title, table), those that are not empty."""
    asked = asked_table(summary["asked"], summary["judge"])
    if asked:
        yield "What was asked before", asked
    for length, budgets in summary["lengths"].items():
        for title, build in TABLES.items():
            table = build(budgets, summary["judge"])
            if table:
                yield f"{short(length)}: {title}", table
        pooled = pooled_table(summary["over_budgets"].get(length, {}), summary["judge"])
        if pooled:
            yield f"{short(length)}: Over all budgets", pooled


def _markdown(summary: Mapping[str, Any], manifest: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    parts = [f"# Evaluation: {summary['suite']}", *_intro(summary, manifest)]
    parts += [f"![{CHARTS[name][1]}]({FIGURES}/{name}.png)" for name in figures]
    parts += [f"## {title}\n\n{markdown(table)}" for title, table in _tables(summary)]
    return "\n\n".join([*parts, "## How to read this", *NOTES]) + "\n"


def _html(summary: Mapping[str, Any], manifest: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    title = f"Evaluation: {summary['suite']}"
    parts = [f"<h1>{html.escape(title)}</h1>", *(_paragraph(line) for line in _intro(summary, manifest))]
    for name, svg in figures.items():
        caption = html.escape(CHARTS[name][1])
        parts.append(f"<figure>{_inline(svg, name)}<figcaption>{caption}</figcaption></figure>")
    for heading, table in _tables(summary):
        parts.append(f"<h2>{html.escape(heading)}</h2>{_table(table)}")
    parts += ["<h2>How to read this</h2>", *(_paragraph(note) for note in NOTES)]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _inline(svg: str, name: str) -> str:
    """An SVG inside a page: without its XML head, its ids its own, as wide as there is room."""
    body = svg[svg.index("<svg") :]
    for mark in ('id="', 'href="#', "url(#"):
        body = body.replace(mark, f"{mark}{name}-")
    return body.replace("<svg ", f'<svg role="img" aria-label="{html.escape(CHARTS[name][1])}" ', 1)


def _table(table: Table) -> str:
    header, *rows = table
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _paragraph(line: str) -> str:
    """Text with `code` in backticks."""
    pieces = html.escape(line).split("`")
    return "<p>" + "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(pieces)) + "</p>"


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222}"
    "figure{margin:2em 0}figure svg{width:100%;height:auto}figcaption{color:#555;font-size:13px}"
    "div{overflow-x:auto}table{border-collapse:collapse;font-size:13px;white-space:nowrap}"
    "th,td{padding:.25em .7em;text-align:right;border-bottom:1px solid #ddd}"
    "th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:#fff}"
)
