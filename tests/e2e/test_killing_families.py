"""SIGKILL at random moments of runs of every family, from tiny files in the official layouts."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.hub import serving
from tests.e2e.test_killing import assert_same
from tests.e2e.test_official_layouts import LAYOUTS, PROMPT, streamt1, tiny_preset, write_wan

pytestmark = pytest.mark.slow
FAMILIES = (
    "longlive-infinite",
    "causal-forcing",
    "causal-forcing-framewise",
    "causal-forcing-2step",
    "longlive2",
    "krea",
)
OTHER = "a red plain circle resting on a navy background"
SCENES = ["--scene", f"{PROMPT}@3chunks", "--scene", f"{OTHER}@3chunks"]
KILLS = 5
"""Of each family."""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("told", ["a prompt", "scenes"])
def test_a_run_that_is_killed_ends_in_the_same_video(family: str, told: str, tmp_path: Path) -> None:
    write, extends, files = LAYOUTS[family]
    write_wan(tmp_path / "hub")
    write(tmp_path / "hub")
    preset = str(tiny_preset(tmp_path / "tiny.yaml", extends, files))
    with serving(tmp_path / "hub") as hub:
        assert streamt1(hub, tmp_path / "home", "download", preset).returncode == 0
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    asked = [PROMPT, "--chunks", "8"] if told == "a prompt" else SCENES

    def begun(folder: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "streamt1", "generate", *asked, "--preset", preset, "--out", str(folder)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    begin = time.monotonic()
    process = begun(tmp_path / "whole")
    errors = process.communicate()[1]
    assert process.returncode == 0, errors.decode()
    whole = time.monotonic() - begin
    chance, kills, attempt = random.Random(f"{family}{told}"), 0, 0
    while kills < KILLS:
        folder, attempt, done = tmp_path / f"parts{attempt}", attempt + 1, False
        while not done:
            process = begun(folder)
            try:
                errors = process.communicate(timeout=chance.uniform(0.4, 1.0) * whole)[1]
                assert process.returncode == 0, errors.decode()
                done = True
            except subprocess.TimeoutExpired:
                process.kill()
                errors, kills = process.communicate()[1], kills + 1
            assert b"Traceback" not in errors, errors.decode()
        assert_same(folder, tmp_path / "whole")
