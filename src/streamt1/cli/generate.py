"""``streamt1 generate``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from streamt1.cli.devices import DEVICES, RAY, REBUILD, check_one_device, in_four_bits, loaded
from streamt1.cli.errors import FAILED, reported
from streamt1.cli.folder_names import folder_names
from streamt1.cli.prompts import read_prompts
from streamt1.cli.run_one import DEFAULT, PACK, Options, check_suits, default_folder, run_one, standing
from streamt1.cli.settings import read_settings
from streamt1.cli.signals import Stopping, stopping
from streamt1.core.errors import ConfigError, PromptError, Stopped, StreamT1Error
from streamt1.core.files import check_writable

if TYPE_CHECKING:
    from streamt1.config.timelines import ToldScene
    from streamt1.pipeline.asked import Asked
    from streamt1.pipeline.pipeline import Pipeline


@reported
def generate(
    prompt: Annotated[str | None, typer.Argument(help="What the video should show.", show_default=False)] = None,
    prompts: Annotated[Path | None, typer.Option(help="A file with one prompt per line.")] = None,
    timeline: Annotated[Path | None, typer.Option(help="A file of scenes: YAML, LongLive JSONL or Scope JSON.")] = None,
    scene: Annotated[
        list[str] | None, typer.Option(metavar="PROMPT@SECONDS", help="A scene; repeat it, in order.")
    ] = None,
    preset: Annotated[str, typer.Option(help="A preset's name (see `streamt1 presets`) or a YAML file.")] = "pocket",
    seconds: Annotated[float | None, typer.Option(help="Length; 5 where --chunks is not given either.")] = None,
    chunks: Annotated[int | None, typer.Option(help="Length in chunks, instead of --seconds.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="greedy, best_of_n, best_of_n_per_scene, beam or stream_t1.")
    ] = None,
    beam_size: Annotated[int | None, typer.Option(help="Candidates per beam and chunk.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Beams that survive a chunk.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same video.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; by default outputs, or outputs-2 where that is taken.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete what an earlier run has left there.")] = False,
    endless: Annotated[bool, typer.Option("--endless", help="No length: go on until Ctrl-C or SIGTERM.")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Also one plain sample, side by side.")] = False,
    page: Annotated[bool, typer.Option("--report/--no-report", help="Also report.html, a page about the run.")] = True,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    devices: DEVICES = None,
    ray: RAY = None,
    rebuild: REBUILD = None,
    pack: PACK = False,
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture that the video begins with.")] = None,
    video: Annotated[Path | None, typer.Option(help="A video to go on from: it begins with that one's end.")] = None,
    models: Annotated[Path | None, typer.Option(help="Folder of downloads; the hub's cache by default.")] = None,
    budget: Annotated[str | None, typer.Option(help="Most model passes (200) or seconds (60s) of a video.")] = None,
    memory: Annotated[str | None, typer.Option(help="Plan for so much of the device, as 24GB; what is free.")] = None,
    host_memory: Annotated[str | None, typer.Option(help="The same of the host, as 64GB.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any config key, as search.window=8.")
    ] = None,
) -> None:
    """Generate videos with a search at every chunk boundary.

    Writes report.html, video.mp4, sheet.png, trace.jsonl, thumbnails.jsonl and run.json into --out (one folder per
    prompt with --prompts). The run is written as it happens: one that was stopped or killed goes on from its last
    chunk with the same command, or with `streamt1 resume`; until then its video is partial.mp4, which plays.
    """
    from streamt1.config.load import load_config
    from streamt1.pipeline.given import check_beginning

    check_one_device(pack, devices, ray)
    check_beginning(image, video)
    wanted = wanted_videos(prompt, prompts, timeline, scene or [])
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
    _check_together(seconds is not None and chunks is not None, endless and (prompts is not None or compare))
    options = Options(compare, page, fresh, pack=pack, four_bits=in_four_bits(rebuild))
    with stopping() as stop, ExitStack() as stack:
        check_writable(out or (DEFAULT if DEFAULT.is_dir() else DEFAULT.parent))
        pipeline = stack.enter_context(loaded(config, devices, ray, rebuild))
        if pipeline.plan is not None:
            typer.echo("\n".join(pipeline.plan.lines()), err=True)
        given = pipeline.given(image, video)
        typer.echo("".join(f"{told}\n" for told in (given.told if given else ())), err=True, nl=False)
        length = {"seconds": seconds, "endless": endless}
        asked = [pipeline.asked(text, chunks, seed, **length, given=given) for text in wanted]
        names = [""] if prompts is None else folder_names([one for one in wanted if isinstance(one, str)])
        _say_scenes(asked[0], pipeline)
        jobs = list(zip(asked, folders(asked, names, out, options)))
        stop.running = True
        run_all(pipeline, jobs, options, stop)


def _check_together(both_lengths: bool, endless_several: bool) -> None:
    """Raises ``ConfigError`` where options exclude one another."""
    if both_lengths:
        raise ConfigError("give --seconds or --chunks, not both")
    if endless_several:
        raise ConfigError(
            "--endless makes one video and goes on until it is stopped: leave out --prompts and --compare"
        )


def folders(asked: list[Asked], names: list[str], out: Path | None, options: Options) -> list[Path]:
    """Where the runs go, one each. Raises ``OutputError`` where a folder that was asked for holds another run."""
    several = names != [""]

    def suits(base: Path) -> bool:
        if (base.exists() and not base.is_dir()) or (
            several and standing(base, asked[0], options.compare)[0] != "free"
        ):
            return False
        found = {standing(base / name, one, options.compare)[0] for name, one in zip(names, asked)}
        return "other" not in found and (several or options.fresh or "finished" not in found)

    if out is None:
        base = default_folder(suits)
        return [base / name for name in names]
    folders = [out / name for name in names]
    for one, path in zip(asked, folders):
        check_suits(path, one, options)
    return folders


def run_all(pipeline: Pipeline, jobs: list[tuple[Asked, Path]], options: Options, stop: Stopping) -> None:
    """Makes every video; one that fails is reported and does not stop the others. Raises ``typer.Exit``."""
    console, failed = Console(markup=False, emoji=False), 0
    for asked, path in jobs:
        try:
            run_one(pipeline, console, asked, path, options, stop)
        except Stopped:
            raise
        except StreamT1Error as error:
            if len(jobs) == 1:
                raise
            typer.echo(f"error: {asked.prompt!r}: {error}", err=True)
            failed += 1
    if failed:
        typer.echo(f"{failed} of {len(jobs)} prompts failed", err=True)
        raise typer.Exit(FAILED)


def _budget(text: str | None) -> dict[str, Any]:
    """``200`` -> model passes, ``60s`` -> seconds."""
    from streamt1.config.load import parse_budget

    return {f"search.{key}": value for key, value in parse_budget(text).items()} if text is not None else {}


def wanted_videos(
    prompt: str | None, prompts: Path | None, timeline: Path | None, scenes: list[str]
) -> list[str] | list[list[ToldScene]]:
    """The prompts, or the scenes of one video. Raises ``PromptError`` and ``ConfigError``."""
    from streamt1.config.timelines import read_timeline, scene_of

    given = [prompt is not None, prompts is not None, timeline is not None, bool(scenes)]
    if sum(given) != 1:
        which = "a prompt, --prompts FILE, --timeline FILE or --scene PROMPT@SECONDS"
        raise PromptError(f"give one of {which}, not several" if any(given) else f"nothing to show: give {which}")
    if timeline is not None:
        return [read_timeline(timeline)]
    if scenes:
        return [[scene_of(text) for text in scenes]]
    return [prompt or ""] if prompts is None else read_prompts(prompts)


def _say_scenes(asked: Asked, pipeline: Pipeline) -> None:
    """Where the scenes of a timeline begin and end: at chunk boundaries, whatever was asked for."""
    if asked.timeline is None:
        return
    starts, clock = [*asked.timeline.starts, asked.timeline.chunks], pipeline.clock
    for number, (one, begin, end) in enumerate(zip(asked.timeline.scenes, starts, starts[1:]), 1):
        until = "its end" if end is None else f"{clock.seconds(end):.2f} s"
        typer.echo(f"scene {number}: {clock.seconds(begin or 0):.2f} s to {until}: {one.prompt}", err=True)
