"""``streamt1 generate --image`` and ``--video``."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from streamt1.cli.main import app
from streamt1.distributed.devices import one_by_one
from streamt1.pipeline.extending import anywhere
from streamt1.pipeline.replay import finished_run
from tests.cli.test_generate import FAST, PROMPT, invoke, streamt1, video
from tests.pipeline.test_given import clip_of


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (128, 64), (200, 40, 30)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_picture_begins_the_video(photo: Path, tmp_path: Path) -> None:
    result = streamt1(PROMPT, *FAST, "--image", str(photo), "--compare", "--out", str(tmp_path / "run"))
    assert result.exit_code == 0, result.output
    assert f"{photo} has 128x64 pixels and is brought to 64x64, its edges cut off\n" in result.stderr
    assert video(tmp_path / "run" / "video.mp4")[0] == 9 + 2 * 12
    for folder in (tmp_path / "run", tmp_path / "run" / "baseline"):
        assert json.loads((folder / "run.json").read_text())["given"]["latents"] == 3
    again = streamt1(PROMPT, *FAST, "--image", str(photo), "--compare", "--out", str(tmp_path / "run"))
    assert "is finished" in again.stdout
    assert invoke("replay", str(tmp_path / "run")).exit_code == 0
    result = CliRunner().invoke(app, ["generate", PROMPT, *FAST, "--out", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert "it begins with a picture or a video" in result.stderr


def test_a_clip_is_gone_on_from(tmp_path: Path) -> None:
    frames = np.full((48, 64, 64, 3), 90, dtype=np.uint8)
    clip = clip_of(tmp_path / "clip.mkv", frames, Fraction(24))
    result = streamt1(PROMPT, *FAST, "--video", str(clip), "--out", str(tmp_path / "run"))
    assert result.exit_code == 0, result.output
    assert f"the last 1.31 s of {clip} begin the video" in result.stderr
    assert video(tmp_path / "run" / "video.mp4")[0] == 21 + 2 * 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "nowhere.png"], "cannot read nowhere.png: No such file or directory"),
        (["--video", "PHOTO.txt"], "PHOTO.txt is not a video that can be read"),
        (["--image", "PHOTO", "--video", "PHOTO"], "give image or video, not both"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[str], message: str, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "PHOTO.txt").write_text("no video")
    told = [str(photo) if word == "PHOTO" else word.replace("PHOTO", str(tmp_path / "PHOTO")) for word in arguments]
    result = CliRunner().invoke(app, ["generate", PROMPT, *FAST, *told, "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert message.replace("PHOTO", str(tmp_path / "PHOTO")) in result.stderr
    assert result.stderr.count("error:") == 1
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_made_longer(tmp_path: Path) -> None:
    run, more = tmp_path / "run", tmp_path / "more"
    assert streamt1(PROMPT, *FAST, "--out", str(run)).exit_code == 0
    extend = ["extend", str(run), "--seconds", "0.75", "--out", str(more)]
    result = invoke(*extend, "--prompt", "a green star sliding on a teal plain background")
    assert result.exit_code == 0, result.output
    assert f"the 1.31 s of {run} begin the video" in result.stderr
    assert video(more / "video.mp4")[0] == 21 + 12
    assert (more / "report.html").exists()
    assert invoke("replay", str(more)).exit_code == 0
    for arguments, code, message in (
        (["extend", str(run), "--out", str(run)], 2, "is the run that is made longer"),
        (["extend", str(tmp_path / "nowhere")], 1, "holds no run"),
        ([*extend[:2], "--seconds", "1", "--chunks", "1"], 2, "not both"),
    ):
        refused = CliRunner().invoke(app, arguments)
        assert refused.exit_code == code, refused.output
        assert message in refused.stderr


def test_a_run_of_another_machine_is_made_longer(tmp_path: Path) -> None:
    """What was found for that machine, and stands in its run.json, is found anew; several devices refuse a batch."""
    run, more = tmp_path / "run", tmp_path / "more"
    assert streamt1(PROMPT, *FAST, "--out", str(run), "--set", "search.candidate_batch=2").exit_code == 0
    told = json.loads((run / "run.json").read_text("utf-8"))
    told["config"] |= {"device": "cuda:3"}
    told["config"]["placement"] |= {"kv": "host", "reward_devices": 1}
    (run / "run.json").write_text(json.dumps(told), "utf-8")
    result = invoke("extend", str(run), "--chunks", "1", "--out", str(more))
    assert result.exit_code == 0, result.output
    config = json.loads((more / "run.json").read_text("utf-8"))["config"]
    assert config["device"] == "auto"
    assert config["search"]["candidate_batch"] is None
    assert (config["placement"]["kv"], config["placement"]["reward_devices"]) == ("device", 1)
    assert one_by_one(anywhere(finished_run(run)[0].config)).search.candidate_batch == 1


def test_seconds_are_those_that_are_made(photo: Path, tmp_path: Path) -> None:
    """No chunk after a start is shorter than the others, so 1 second is nearer to one of .75 than to two."""
    arguments = [PROMPT, "--set", "search.top_k=1", "--set", "search.beam_size=1", "--image", str(photo)]
    for seconds, chunks in (("1", 1), ("1.2", 2), ("1.5", 2)):
        out = tmp_path / seconds
        assert streamt1(*arguments, "--seconds", seconds, "--out", str(out)).exit_code == 0
        assert json.loads((out / "run.json").read_text("utf-8"))["chunks"] == 1 + chunks


def test_what_a_run_began_with_is_not_needed_to_go_on(photo: Path, tmp_path: Path) -> None:
    run, more = tmp_path / "run", tmp_path / "more"
    assert streamt1(PROMPT, *FAST, "--image", str(photo), "--out", str(run)).exit_code == 0
    (run / "given.safetensors").unlink()
    assert invoke("extend", str(run), "--chunks", "1", "--out", str(more)).exit_code == 0
