"""``streamt1 extend``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamt1.cli.devices import DEVICES, RAY, REBUILD, in_four_bits, loaded
from streamt1.cli.errors import reported
from streamt1.cli.generate import folders, run_all
from streamt1.cli.resume import MODELS, RUN
from streamt1.cli.run_one import Options
from streamt1.cli.signals import stopping
from streamt1.core.errors import ConfigError


@reported
def extend(
    run: RUN,
    seconds: Annotated[float | None, typer.Option(help="Of what is made; 5 where there is no --chunks either.")] = None,
    chunks: Annotated[int | None, typer.Option(help="The same in chunks, instead of --seconds.")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Of a new scene; without it, the run's last prompt goes on.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the new run; by default that of the run.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; by default outputs, or outputs-2 where that is taken.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete what an earlier run has left there.")] = False,
    models: MODELS = None,
    devices: DEVICES = None,
    ray: RAY = None,
    rebuild: REBUILD = None,
    page: Annotated[bool, typer.Option("--report/--no-report", help="Also report.html.")] = True,
) -> None:
    """Make a finished run's video longer, as a new run: it begins with all of that video, and goes on from its end.

    Where the run keeps no latents of this VAE, it begins with the last frames of that video.
    """
    from streamt1.pipeline.extending import anywhere, extended
    from streamt1.pipeline.replay import finished_run

    if out is not None and out.resolve() == run.resolve():
        raise ConfigError(f"--out {out} is the run that is made longer: give another folder")
    before, summary = finished_run(run, given=False)
    options = Options(page=page, fresh=fresh, four_bits=in_four_bits(rebuild))
    config = anywhere(before.config).model_copy(update={"models": str(models)} if models else {})
    with stopping() as stop, loaded(config, devices, ray, rebuild) as pipeline:
        asked = extended(pipeline, run, before, summary, pipeline.length(chunks, seconds, 1), prompt, seed)
        assert asked.given is not None
        typer.echo("\n".join(asked.given.told), err=True)
        jobs = list(zip([asked], folders([asked], [""], out, options)))
        stop.running = True
        run_all(pipeline, jobs, options, stop)
