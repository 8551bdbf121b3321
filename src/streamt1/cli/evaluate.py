"""``streamt1 evaluate`` and ``streamt1 score``: does it help, and what does it cost?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamt1.cli.devices import RAY
from streamt1.cli.errors import reported
from streamt1.cli.prompts import read_prompts
from streamt1.cli.settings import read_settings
from streamt1.core.errors import ConfigError
from streamt1.core.files import check_writable, packaged_names

if TYPE_CHECKING:
    from streamt1.config.schema import RunConfig
    from streamt1.evaluation.rows import Row
    from streamt1.evaluation.runner import OpenPool
    from streamt1.evaluation.suites import Suite

LINES = 100
"""Progress lines of a run, about."""


@reported
def evaluate(
    suite: Annotated[
        str,
        typer.Argument(help=f"A suite ({', '.join(packaged_names('streamt1.evaluation', 'suites'))}) or a file."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results; one that holds part of them is gone on with.")],
    prompts: Annotated[Path | None, typer.Option(help="A file with one prompt per line, instead.")] = None,
    preset: Annotated[str | None, typer.Option(help="Measure this preset, instead of the suite's.")] = None,
    judge: Annotated[
        str | None, typer.Option(help="The column that gains are counted in, instead of the suite's.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes that share the work, each with its own models; 1 by default.")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="The same on so many devices (Ray), each with its own models.")
    ] = None,
    ray: RAY = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    export_vbench: Annotated[Path | None, typer.Option(help="Keep all videos here, as VBench reads them.")] = None,
    report_only: Annotated[bool, typer.Option("--report-only", help="Report what is there; make no clip.")] = False,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any config key, as search.window=8.")
    ] = None,
) -> None:
    """Measure methods at several budgets on many prompts, judged by what the search does not see.

    Writes rows.jsonl (a line per clip, as it is done), rows.csv, summary.json, report.md, report.html and figures/ into
    --out. The same command goes on where it was stopped.
    """
    from streamt1.config.load import load_config
    from streamt1.evaluation.figures import check_plotting
    from streamt1.evaluation.manifest import begun_suite
    from streamt1.evaluation.rows import read_rows
    from streamt1.evaluation.runner import ROWS, in_order, run_suite
    from streamt1.evaluation.suites import load_suite
    from streamt1.evaluation.tasks import plan

    check_plotting()
    if jobs is not None and (devices is not None or ray is not None):
        raise ConfigError(
            "give --jobs (processes of this machine), or --devices and --ray (processes of Ray), not both"
        )
    if report_only:
        held = begun_suite(out, Path(suite).stem, preset, judge)
        _report(held, in_order(plan(held), read_rows(out / ROWS)), out)
        return
    changes = {"prompts": read_prompts(prompts) if prompts else None, "preset": preset, "judge": judge}
    wanted = load_suite(suite, {key: value for key, value in changes.items() if value is not None})
    named = {} if device is None else {"device": device}
    config = load_config(wanted.preset, {**read_settings(setting or []), **named})
    with _workers(config, jobs, devices, ray) as (config, processes, opener):
        rows = run_suite(wanted, config, out, processes, export_vbench, _Progress(), opener)
    _report(begun_suite(out, wanted.name, wanted.preset, judge), rows, out)


@reported
def score(
    folder: Annotated[Path, typer.Argument(help="Folder of .mp4 files, searched with all folders in it.")],
    preset: Annotated[str | None, typer.Option(help="Also the rewards of this preset, as longlive or pocket.")] = None,
    prompts: Annotated[Path | None, typer.Option(help='JSON: {"file name": "prompt"}, as VBench takes it.')] = None,
    out: Annotated[Path | None, typer.Option(help="The CSV file; scores.csv in the folder by default.")] = None,
    models: Annotated[Path | None, typer.Option(help="Folder of downloads; the hub's cache by default.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
) -> None:
    """Score clips, whoever made them: metrics that need no download, and a preset's rewards."""
    from streamt1.config.load import load_config
    from streamt1.evaluation.rows import write_csv
    from streamt1.evaluation.score import find_clips, load_rewards, read_prompt_file, score_clips

    clips, target = find_clips(folder), out or folder / "scores.csv"
    check_writable(target.parent)
    named = {"device": device, "models": str(models) if models else None}
    overrides = {key: value for key, value in named.items() if value is not None}
    rewards = load_rewards(load_config(preset, overrides)) if preset else None
    rows: list[Row] = []
    for row in score_clips(clips, folder, read_prompt_file(prompts) if prompts else None, rewards):
        rows.append(row)
        typer.echo(row["clip"])
        for name, value in list(row.items())[2:]:
            typer.echo(f"  {name:28} {value:.4g}")
    write_csv(target, rows)
    typer.echo(f"{len(rows)} clips scored: {target}")


@contextmanager
def _workers(
    config: RunConfig, jobs: int | None, devices: int | None, ray: str | None
) -> Iterator[tuple[RunConfig, int, OpenPool]]:
    """The configuration as they have it, how many processes there are, and what opens them."""
    if devices is None and ray is None:
        from streamt1.evaluation.pool import open_pool

        yield config, jobs or 1, open_pool
        return
    from streamt1.evaluation.spread import spread

    with spread(config, devices, ray) as workers:
        yield workers


def _report(suite: Suite, rows: list[Row], out: Path) -> None:
    from streamt1.evaluation.manifest import read_manifest
    from streamt1.evaluation.report import write_report
    from streamt1.evaluation.rows import write_csv
    from streamt1.evaluation.runner import TABLE
    from streamt1.evaluation.summary import summarise

    if not rows:
        typer.echo("no clip has been made yet", err=True)
        return
    write_csv(out / TABLE, rows)
    write_report(summarise(suite, rows), read_manifest(out), out)
    failed = sum(bool(row["error"]) for row in rows)
    typer.echo(f"{len(rows)} clips" + (f", {failed} of them failed" if failed else ""))
    for name in (TABLE, "summary.json", "report.md", "report.html", "figures"):
        typer.echo(f"  {out / name}")


class _Progress:
    """A line on stderr now and then: how many clips are done, and how long the rest will take."""

    def __init__(self) -> None:
        self._begin, self._made = time.perf_counter(), 0

    def __call__(self, done: int, total: int, row: Row) -> None:
        self._made += 1
        if self._made > 1 and done % max(1, total // LINES) and done < total:
            return
        spent = time.perf_counter() - self._begin
        left = (total - done) * spent / self._made
        typer.echo(f"{done}/{total} clips, {spent / 60:.1f} min, about {left / 60:.0f} min left", err=True)
