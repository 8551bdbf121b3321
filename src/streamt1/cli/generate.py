"""``streamt1 generate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from streamt1.cli.errors import FAILED, reported
from streamt1.cli.folder_names import folder_names
from streamt1.cli.progress import ProgressView
from streamt1.cli.prompts import read_prompts
from streamt1.cli.settings import read_settings
from streamt1.core.errors import ConfigError, PromptError, StreamT1Error
from streamt1.core.files import check_writable

if TYPE_CHECKING:
    from streamt1.pipeline.pipeline import Pipeline
    from streamt1.pipeline.run import Run

PARTIAL = "partial.mp4"
"""The video of a run that was stopped, as far as it was final."""


@reported
def generate(
    prompt: Annotated[str | None, typer.Argument(help="What the video should show.", show_default=False)] = None,
    prompts: Annotated[Path | None, typer.Option(help="A file with one prompt per line.")] = None,
    preset: Annotated[str, typer.Option(help="A preset's name (see `streamt1 presets`) or a YAML file.")] = "pocket",
    seconds: Annotated[float | None, typer.Option(help="Length; 5 where --chunks is not given either.")] = None,
    chunks: Annotated[int | None, typer.Option(help="Length in chunks, instead of --seconds.")] = None,
    policy: Annotated[str | None, typer.Option(help="greedy, best_of_n, beam or stream_t1.")] = None,
    beam_size: Annotated[int | None, typer.Option(help="Candidates per beam and chunk.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Beams that survive a chunk.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same video.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("outputs"),
    compare: Annotated[bool, typer.Option("--compare", help="Also one plain sample, side by side.")] = False,
    page: Annotated[bool, typer.Option("--report/--no-report", help="Also report.html, a page about the run.")] = True,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16.")] = None,
    image: Annotated[Path | None, typer.Option(help="Not supported yet: videos start from text alone.")] = None,
    models: Annotated[Path | None, typer.Option(help="Folder of downloads; the hub's cache by default.")] = None,
    budget: Annotated[str | None, typer.Option(help="Most model passes (200) or seconds (60s) of a video.")] = None,
    memory: Annotated[str | None, typer.Option(help="Plan for so much of the device, as 24GB; what is free.")] = None,
    host_memory: Annotated[
        str | None, typer.Option(help="Plan for so much of the host, as 64GB; what is free.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any config key, as search.window=8.")
    ] = None,
) -> None:
    """Generate videos with a search at every chunk boundary.

    Writes report.html, video.mp4, sheet.png, trace.jsonl, thumbnails.jsonl and run.json into --out (one folder per
    prompt with --prompts). The video is written while the search goes on; of a run that is stopped, partial.mp4 stays.
    """
    from streamt1.config.load import load_config
    from streamt1.pipeline.pipeline import Pipeline

    if image is not None:
        raise ConfigError("--image is not supported yet: these models start from text alone")
    wanted = _wanted_prompts(prompt, prompts)
    named: dict[str, Any] = {
        "policy": policy,
        "search.beam_size": beam_size,
        "search.top_k": top_k,
        "device": device,
        "dtype": dtype,
        "device_memory": memory,
        "host_memory": host_memory,
    }
    named |= _budget(budget)
    named["models"] = str(models) if models else None
    config = load_config(preset, {**read_settings(setting or []), **{k: v for k, v in named.items() if v is not None}})
    if seconds is not None and chunks is not None:
        raise ConfigError("give --seconds or --chunks, not both")
    check_writable(out)
    pipeline = Pipeline(config)
    if pipeline.plan is not None:
        typer.echo("\n".join(pipeline.plan.lines()), err=True)
    length = pipeline.length(chunks, seconds)
    for text in wanted:
        pipeline.check_prompt(text)
    folders = [out] if prompts is None else [out / name for name in folder_names(wanted)]
    _run_all(pipeline, list(zip(wanted, folders)), length, seed, compare, page)


def _run_all(
    pipeline: Pipeline, jobs: list[tuple[str, Path]], chunks: int, seed: int, compare: bool, page: bool
) -> None:
    """Runs every prompt; one that fails is reported and does not stop the others."""
    console, failed = Console(markup=False, emoji=False), 0
    for prompt, folder in jobs:
        try:
            _run_one(pipeline, console, prompt, folder, chunks, seed, compare, page)
        except StreamT1Error as error:
            if len(jobs) == 1:
                raise
            typer.echo(f"error: {prompt!r}: {error}", err=True)
            failed += 1
    if failed:
        typer.echo(f"{failed} of {len(jobs)} prompts failed", err=True)
        raise typer.Exit(FAILED)


def _run_one(
    pipeline: Pipeline, console: Console, prompt: str, folder: Path, chunks: int, seed: int, compare: bool, page: bool
) -> None:
    from streamt1.pipeline.recording import recording
    from streamt1.pipeline.run import save_comparison
    from streamt1.search.watcher import Watchers

    def recorded(title: str, policy: str | None, into: Path) -> Run:
        def rescued(frames: int) -> None:
            typer.echo(f"stopped; the {frames} frames that were final are in {into / PARTIAL}", err=True)

        fps = pipeline.models.decoder.fps
        with recording(into / "video.mp4", fps, into / PARTIAL, rescued) as video, ProgressView(console, title) as view:
            return pipeline.run(prompt, chunks, seed, policy, Watchers((view, video)))

    console.print(f"{prompt}", style="bold", highlight=False)
    if compare:
        baseline = recorded("one sample", "greedy", folder / "baseline")
        run = recorded(pipeline.config.policy, None, folder)
        save_comparison(run, baseline, folder, videos=False)
    else:
        run = recorded(pipeline.config.policy, None, folder)
        run.save(folder, video=False)
    if page:
        from streamt1.report import write_report

        write_report(folder)
    _sum_up(console, run, folder, compare, page)


def _sum_up(console: Console, run: Run, folder: Path, compare: bool, page: bool) -> None:
    cost = run.result.cost
    console.print(
        f"{len(run.pixels)} frames in {cost.seconds['total']:.1f} s: {cost.model_passes} model passes,"
        f" {cost.latents_decoded} latent frames decoded, {cost.reward_calls} reward calls",
        highlight=False,
        soft_wrap=True,
    )
    files = (
        ["report.html"] * page + ["video.mp4"] + ["compare.mp4"] * compare + ["sheet.png", "trace.jsonl", "run.json"]
    )
    for name in files:
        console.print(f"  {folder / name}", highlight=False, soft_wrap=True)


def _budget(text: str | None) -> dict[str, Any]:
    """``200`` -> model passes, ``60s`` -> seconds."""
    from streamt1.config.load import parse_budget

    return {f"search.{key}": value for key, value in parse_budget(text).items()} if text is not None else {}


def _wanted_prompts(prompt: str | None, file: Path | None) -> list[str]:
    if (prompt is None) == (file is None):
        raise PromptError("give one prompt, or --prompts FILE" + ("" if prompt is None else ", not both"))
    if file is None:
        return [prompt or ""]
    return read_prompts(file)
