"""The command line, end to end on the bundled model."""

from __future__ import annotations

import errno
import json
import shutil
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import av
import pytest
from click.testing import Result
from typer.testing import CliRunner

from streamt1.cli.main import app
from streamt1.cli.progress import ProgressView
from streamt1.core.types import RewardOutput
from streamt1.trace.events import ChunkCommitted, ChunkStarted, Event, RunFinished, RunStarted
from streamt1.trace.store import read_trace

PROMPT = "a red circle bouncing on a navy striped background"
FAST = ["--chunks", "2", "--beam-size", "2", "--top-k", "1"]


def invoke(*args: str) -> Result:
    return CliRunner().invoke(app, args, catch_exceptions=False)


def streamt1(*args: str) -> Result:
    return invoke("generate", *args)


def video(path: Path) -> tuple[int, int, int]:
    """(frames, height, width) of a file that decodes."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return len(frames), frames[0].height, frames[0].width


def test_a_run_leaves_a_video_a_trace_and_its_cost(tmp_path: Path) -> None:
    result = streamt1(PROMPT, *FAST, "--seed", "3", "--out", str(tmp_path / "new" / "run"))
    assert result.exit_code == 0, result.output
    folder = tmp_path / "new" / "run"
    names = ["latents.safetensors", "report.html", "run.json", "sheet.png", "thumbnails.jsonl", "trace.jsonl"]
    names += ["video.mp4"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert video(folder / "video.mp4") == (21, 256, 256)
    summary = json.loads((folder / "run.json").read_text())
    assert (summary["prompt"], summary["seed"], summary["chunks"], summary["frames"]) == (PROMPT, 3, 2, 21)
    assert summary["config"]["effective_search"]["top_k"] == 1
    assert summary["cost"]["model_passes"] == 2 * 2 * 4 + 1
    assert summary["cost"]["latents_decoded"] == 2 * 2 * 3
    assert summary["cost"]["reward_calls"] == 2 * 2 * 2 + 1
    assert set(summary["cost"]["seconds"]) >= {"model", "decode", "reward", "total"}
    assert set(summary["versions"]) == {"streamt1", "commit", "torch", "python", "machine"}
    events = [stamped.event for stamped in read_trace(folder / "trace.jsonl")]
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].lineage == summary["outcome"]["lineage"]
    assert sum(isinstance(event, ChunkCommitted) for event in events) == 2


def test_progress_away_from_a_terminal_is_a_line_per_chunk(tmp_path: Path) -> None:
    lines = streamt1(PROMPT, *FAST, "--out", str(tmp_path)).output.splitlines()
    progress = [line for line in lines if "chunk " in line]
    assert len(progress) == 2
    assert "chunk 1/2  2 candidates  best short" in progress[0]
    assert "routes " in progress[1]
    assert "s left" in progress[1]
    assert "\x1b" not in "".join(lines)


def test_compare_puts_one_sample_beside_it(tmp_path: Path) -> None:
    assert streamt1(PROMPT, *FAST, "--compare", "--out", str(tmp_path)).exit_code == 0
    assert video(tmp_path / "compare.mp4") == (21, 256 + 28, 2 * 256 + 8)
    baseline = json.loads((tmp_path / "baseline" / "run.json").read_text())
    assert baseline["config"]["policy"] == "greedy"
    assert baseline["cost"]["model_passes"] == 2 * 4 + 1


def test_a_file_of_prompts_gives_a_folder_each(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(f"{PROMPT}\n\n  a green star resting on a white plain background  \n")
    result = streamt1("--prompts", str(tmp_path / "prompts.txt"), *FAST, "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "000-a-red-circle-bouncing-on-a-navy-striped-background",
        "001-a-green-star-resting-on-a-white-plain-background",
    ]
    assert video(next((tmp_path / "out").glob("001*")) / "video.mp4")[0] == 21


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["a red dragon resting on a white plain background"], ["'dragon'", "circle"]),
        ([""], ["empty"]),
        (["   "], ["empty"]),
        ([], ["nothing to show", "--prompts FILE"]),
        ([PROMPT, "--prompts", "x.txt"], ["give one of", "not several"]),
        (["--prompts", "nowhere.txt"], ["nowhere.txt", "No such file"]),
        ([PROMPT, "--preset", "poket"], ["'poket'", "'pocket'"]),
        ([PROMPT, "--set", "search.topk=2"], ["'topk'", "'top_k'"]),
        ([PROMPT, "--set", "search.top_k"], ["KEY=VALUE"]),
        ([PROMPT, "--policy", "gredy"], ["'gredy'", "'greedy'"]),
        ([PROMPT, "--seconds", "0.4"], ["0.5625", "one chunk"]),
        ([PROMPT, "--seconds", "nan"], ["one chunk"]),
        ([PROMPT, "--chunks", "0"], ["chunks=0"]),
        ([PROMPT, "--seconds", "5", "--chunks", "2"], ["not both"]),
        ([PROMPT, "--top-k", "0"], ["top_k=0"]),
        ([PROMPT, "--beam-size", "-1"], ["beam_size=-1"]),
        ([PROMPT, "--device", "cuda:99"], ["cuda:99"]),
        ([PROMPT, "--dtype", "float8"], ["dtype"]),
        ([PROMPT, "--seed", "many"], ["Invalid value"]),
    ],
)
def test_wrong_usage_is_named_ends_in_2_and_writes_nothing(args: list[str], says: list[str], tmp_path: Path) -> None:
    result = streamt1(*args, "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert all(text in result.stderr for text in says), result.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_empty_or_unreadable_prompts_file(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("empty.txt", "bytes.txt"):
        result = streamt1("--prompts", str(tmp_path / name), "--out", str(tmp_path / "out"))
        assert result.exit_code == 2
        assert name in result.stderr


def test_a_bad_prompt_in_a_file_is_found_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(f"{PROMPT}\na red dragon\n")
    result = streamt1("--prompts", str(tmp_path / "prompts.txt"), *FAST, "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "'dragon'" in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_ends_in_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = streamt1(PROMPT, *FAST, "--out", str(tmp_path / "file"))
    assert result.exit_code == 1
    assert result.stderr == f"error: {tmp_path / 'file'} is a file, not a folder: give another folder\n"


def test_a_full_disk_ends_in_1_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    for room in (1000, 8000, 20_000):
        with full_disk(room):
            result = streamt1(PROMPT, *FAST, "--out", str(tmp_path / "out"))
        assert result.exit_code == 1
        assert f"cannot write {tmp_path / 'out'}" in result.stderr
        assert result.stderr.count("\n") == 1 + result.stderr.count("going on")
    assert streamt1(PROMPT, *FAST, "--out", str(tmp_path / "out")).exit_code == 0
    assert streamt1(PROMPT, *FAST, "--out", str(tmp_path / "whole")).exit_code == 0
    for name in ("video.mp4", "sheet.png", "thumbnails.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_is_gone_on_with(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened = ProgressView.happened

    def stopped(self: ProgressView, event: Event) -> None:
        if isinstance(event, ChunkStarted) and event.chunk == 3:
            signal.raise_signal(number)
        happened(self, event)

    ours = "--chunks", "5", "--policy", "greedy", "--no-report"
    with monkeypatch.context() as patch:
        patch.setattr(ProgressView, "happened", stopped)
        result = streamt1(PROMPT, *ours, "--out", str(tmp_path / "parts"))
    assert result.exit_code == 128 + number
    told = f"ended by {number.name} after 33 final frames; go on with: streamt1 resume {tmp_path / 'parts'}"
    assert told in result.stderr
    assert video(tmp_path / "parts" / "partial.mp4") == (33, 256, 256)
    result = invoke("resume", str(tmp_path / "parts"), "--no-report")
    assert result.exit_code == 0, result.output
    assert "after 3 chunks" in result.stderr
    streamt1(PROMPT, *ours, "--out", str(tmp_path / "whole"))
    for name in ("video.mp4", "sheet.png", "thumbnails.jsonl"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    result = invoke("replay", str(tmp_path / "parts"))
    assert result.exit_code == 0
    assert "bit for bit" in result.output


def test_a_replay_says_what_differs(tmp_path: Path) -> None:
    streamt1(PROMPT, *FAST, "--out", str(tmp_path))
    summary = json.loads((tmp_path / "run.json").read_text())
    summary["digests"]["latents"], summary["versions"]["torch"] = "0", "1.0"
    (tmp_path / "run.json").write_text(json.dumps(summary))
    trace = (tmp_path / "trace.jsonl").read_text()
    (tmp_path / "trace.jsonl").write_text(trace.replace('"beam": 0', '"beam": 7', 1))
    result = invoke("replay", str(tmp_path))
    assert result.exit_code == 1
    assert "event 3 of the trace was" in result.output
    assert "the latents differ" in result.output
    assert "the frames differ" not in result.output
    assert "torch was 1.0" in result.output


def test_the_same_command_again_says_that_it_is_done(tmp_path: Path) -> None:
    assert streamt1(PROMPT, *FAST, "--out", str(tmp_path)).exit_code == 0
    before = (tmp_path / "run.json").read_bytes()
    result = streamt1(PROMPT, *FAST, "--out", str(tmp_path))
    assert result.exit_code == 0
    assert "is finished" in result.output
    assert (tmp_path / "run.json").read_bytes() == before
    result = streamt1(PROMPT, *FAST, "--seed", "4", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "holds another run (seed 0, not 4); give another --out" in result.stderr
    assert streamt1(PROMPT, *FAST, "--seed", "4", "--out", str(tmp_path), "--fresh").exit_code == 0


def test_an_occupied_default_folder_gets_a_new_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, folder in ((0, "outputs"), (1, "outputs-2"), (1, "outputs-3")):
        result = streamt1(PROMPT, *FAST, "--no-report", "--seed", str(seed))
        assert result.exit_code == 0
        assert (folder in result.stderr) == (folder != "outputs")
        assert (tmp_path / folder / "run.json").is_file()


def test_a_default_folder_that_cannot_be_used_gets_a_new_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("outputs").write_text("mine")
    Path("outputs-2").mkdir()
    Path("outputs-2", "report.html").write_text("mine")
    Path("outputs-3").mkdir()
    Path("outputs-3", "run.json").write_text("{")
    result = streamt1(PROMPT, *FAST, "--no-report")
    assert result.exit_code == 0
    assert "goes to outputs-4" in result.stderr
    assert Path("outputs-2", "report.html").read_text() == "mine"


@pytest.mark.parametrize("name", ["report.html", "checkpoint/000007.safetensors", "video.mp4"])
def test_what_is_of_no_run_is_neither_written_over_nor_deleted(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    for more in ([], ["--fresh"]):
        result = streamt1(PROMPT, *FAST, "--out", str(tmp_path), *more)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"error: {tmp_path / name} is of no run")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [name]


def no_room(writer: object) -> None:
    raise OSError(errno.ENOSPC, "full")


def test_a_comparison_is_gone_on_with_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    ours = PROMPT, "--chunks", "2", "--top-k", "1", "--compare", "--no-report", "--out"
    assert streamt1(*ours, str(tmp_path / "whole")).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr("streamt1.pipeline.run.VideoWriter.close", no_room)
        result = streamt1(*ours, str(run))
    assert result.exit_code == 1
    assert result.stderr.strip().endswith(f"compare.mp4: full; make room, then: streamt1 resume {run}")
    assert json.loads((run / "baseline" / "run.json").read_text())["state"] == "finished"
    result = invoke("resume", str(run / "baseline"))
    assert result.exit_code == 1
    assert f"go on with that one: streamt1 resume {run}" in result.stderr
    shutil.rmtree(run / "baseline" / "checkpoint")  # as an older version left it
    assert invoke("resume", str(run), "--no-report").exit_code == 0
    for name in ("video.mp4", "compare.mp4", "sheet.png", "baseline/video.mp4"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_another_run_in_the_place_of_a_plain_sample_stays(tmp_path: Path) -> None:
    short = "--chunks", "1", "--policy", "greedy", "--no-report", "--out"
    assert streamt1(PROMPT, *short, str(tmp_path / "baseline"), "--seed", "5").exit_code == 0
    before = (tmp_path / "baseline" / "run.json").read_bytes()
    for more in ([], ["--fresh"]):
        result = streamt1(PROMPT, *FAST, "--compare", "--no-report", "--out", str(tmp_path), *more)
        assert result.exit_code == 1
        assert "baseline holds another run" in result.stderr
    assert streamt1(PROMPT, *short, str(tmp_path)).exit_code == 0
    assert streamt1(PROMPT, *short, str(tmp_path), "--fresh").exit_code == 0
    assert (tmp_path / "baseline" / "run.json").read_bytes() == before


def test_fresh_without_out_begins_the_same_run_anew_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    short = "--chunks", "1", "--policy", "greedy", "--no-report", "--seed"
    for seed in ("0", "1"):
        assert streamt1(PROMPT, *short, seed).exit_code == 0
    before = Path("outputs", "run.json").read_bytes()
    Path("outputs-2", "sheet.png").write_bytes(b"")
    result = streamt1(PROMPT, *short, "1", "--fresh")
    assert result.exit_code == 0
    assert Path("outputs-2", "sheet.png").stat().st_size
    assert Path("outputs", "run.json").read_bytes() == before
    assert not Path("outputs-3").exists()


def test_a_run_json_of_another_tool_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"project": "other"}')
    (tmp_path / "video.mp4").write_text("mine")
    for more in ([], ["--fresh"]):
        result = streamt1(PROMPT, *FAST, "--out", str(tmp_path), *more)
        assert result.exit_code == 1
        assert "run.json is of no run" in result.stderr
    assert (tmp_path / "video.mp4").read_text() == "mine"


@pytest.mark.parametrize(("key", "value"), [("chunks", 10**9), ("seed", 10**30), ("before", 5)])
def test_resume_checks_what_generate_checks(key: str, value: int, tmp_path: Path) -> None:
    assert streamt1(PROMPT, *FAST, "--no-report", "--out", str(tmp_path)).exit_code == 0
    summary = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**summary, "state": "running", key: value}))
    result = invoke("resume", str(tmp_path), "--no-report")
    assert result.exit_code == (0 if key == "before" else 2)
    assert result.stderr.count("error") == (key != "before")


def test_resume_says_what_a_folder_holds_instead(tmp_path: Path) -> None:
    for name in ("000-one", "001-two", "002-three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    assert "holds 3 runs, not one: none of them waits" in invoke("resume", str(tmp_path)).stderr
    for number, state in (("000-one", "finished"), ("001-two", "stopped")):
        summary = {"prompt": PROMPT, "seed": 0, "config": {}, "state": state}
        (tmp_path / number / "run.json").write_text(json.dumps(summary))
    assert f"as streamt1 resume {tmp_path / '001-two'}" in invoke("resume", str(tmp_path)).stderr
    (tmp_path / "picture.png").write_bytes(b"")
    assert "is a file, not the folder of a run" in invoke("resume", str(tmp_path / "picture.png")).stderr
    assert "there is no folder" in invoke("resume", str(tmp_path / "gone")).stderr
    (tmp_path / "empty").mkdir()
    assert "there is no run.json" in invoke("resume", str(tmp_path / "empty")).stderr


def test_rewards_that_are_not_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamt1.rewards.pocket import PocketFrameReward

    score = PocketFrameReward.score

    def first_fails(self, frames, text) -> RewardOutput:
        output = score(self, frames, text)
        output.score[0] = float("nan")
        return output

    monkeypatch.setattr(PocketFrameReward, "score", first_fails)
    result = streamt1(PROMPT, *FAST, "--out", str(tmp_path / "one"))
    assert result.exit_code == 0
    assert "warning: chunk 1: candidate 0 loses" in result.output

    monkeypatch.setattr(
        PocketFrameReward, "score", lambda self, frames, text: RewardOutput(frames.mean((1, 2, 3, 4)) * float("nan"))
    )
    result = streamt1(PROMPT, *FAST, "--out", str(tmp_path / "all"))
    assert result.exit_code == 1
    assert "all 2 candidates" in result.stderr
    summary = json.loads((tmp_path / "all" / "run.json").read_text())
    assert summary["state"] == "failed"
    assert "all 2 candidates" in summary["reason"]
    assert "candidate_scored" in (tmp_path / "all" / "trace.jsonl").read_text()


def test_what_a_kill_in_the_last_moment_left_is_tidied(tmp_path: Path) -> None:
    ours = PROMPT, "--chunks", "1", "--compare", "--no-report", "--out", str(tmp_path)
    assert streamt1(*ours).exit_code == 0
    before = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    for folder in (tmp_path, tmp_path / "baseline"):
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint" / "asked.json").write_bytes(b"{}")
        (folder / "checkpoint" / "000001.safetensors").write_bytes(b"left")
        (folder / "partial.mp4").write_bytes(b"left")
    result = streamt1(*ours)
    assert result.exit_code == 0
    assert "is finished" in result.output
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*")} == before
