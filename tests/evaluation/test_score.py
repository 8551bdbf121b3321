import json
from pathlib import Path

import pytest
import torch

from streamt1.config.load import load_config
from streamt1.core.errors import ConfigError, PromptError, StreamT1Error
from streamt1.evaluation.score import find_clips, load_rewards, prompt_of, read_prompt_file, scenes_of, score_clips
from streamt1.media.mp4 import write_video
from streamt1.media.reading import read_video
from streamt1.pipeline.pipeline import Pipeline

PROMPT = "a red circle resting on a navy plain background"


def make_clip(path: Path, frames: int = 9, side: int = 128) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    level = torch.arange(frames, dtype=torch.uint8)[:, None, None, None] * 10
    write_video(path, level.expand(frames, side, side, 3).contiguous(), 16)
    return path


def test_a_video_comes_back(tmp_path: Path) -> None:
    frames, fps = read_video(make_clip(tmp_path / "x.mp4"))
    assert frames.shape == (9, 128, 128, 3)
    assert fps == 16
    assert abs(int(frames[8, 5, 5, 1]) - 80) <= 2
    (tmp_path / "y.mp4").write_bytes(b"not a video")
    with pytest.raises(ConfigError, match=r"y\.mp4"):
        read_video(tmp_path / "y.mp4")


def test_where_prompts_come_from(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / f"{PROMPT}-0.mp4")
    assert prompt_of(clip) == PROMPT
    assert prompt_of(clip, {clip.name: "other"}) == "other"
    (tmp_path / "run.json").write_text(json.dumps({"prompt": "from the run"}))
    assert prompt_of(clip) == "from the run"
    with pytest.raises(PromptError, match="does not name"):
        prompt_of(clip, {})
    (tmp_path / "prompts.json").write_text("[]")
    with pytest.raises(PromptError, match="must read"):
        read_prompt_file(tmp_path / "prompts.json")
    with pytest.raises(PromptError, match="cannot read"):
        read_prompt_file(tmp_path / "nowhere.json")


def test_a_folder_is_scored_with_rewards(tmp_path: Path) -> None:
    make_clip(tmp_path / "a" / f"{PROMPT}-0.mp4")
    make_clip(tmp_path / f"{PROMPT}-1.mp4", side=64)
    clips = find_clips(tmp_path)
    rows = list(score_clips(clips, tmp_path, rewards=load_rewards(load_config("pocket", {"device": "cpu"}))))
    assert [row["clip"] for row in rows] == [f"a/{PROMPT}-0.mp4", f"{PROMPT}-1.mp4"]
    assert {"temporal_flickering", "drift", "frame/pocket", "clip/pocket", "clip/pocket/ta"} <= set(rows[0])
    assert rows[0]["frame/pocket"] == pytest.approx(rows[1]["frame/pocket"], abs=0.2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no \.mp4"):
        find_clips(tmp_path / "empty")
    with pytest.raises(ConfigError, match="there is no folder"):
        find_clips(tmp_path / "a" / "b")


def test_what_a_run_shows_beside_its_video_is_no_clip(tmp_path: Path) -> None:
    """Two videos side by side would be scored as one; a file of that name that belongs to no run is a clip."""
    for folder in ("run", "run/baseline", "mine"):
        (tmp_path / folder).mkdir()
    for name in ("run/video.mp4", "run/compare.mp4", "run/partial.mp4", "run/baseline/video.mp4", "mine/compare.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "run" / "run.json").write_text("{}")
    found = [str(path.relative_to(tmp_path)) for path in find_clips(tmp_path)]
    assert found == ["mine/compare.mp4", "run/baseline/video.mp4", "run/video.mp4"]


def test_rewards_whose_weights_are_missing_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(StreamT1Error, match="streamt1 download"):
        load_rewards(load_config("longlive", {"models": str(tmp_path), "device": "cpu", "dtype": "float32"}))


def test_scenes_are_scored_under_their_own_prompts(tmp_path: Path) -> None:
    scenes = [(PROMPT, 1.5), ("a green star sliding on a teal plain background", 1.5)]
    run = Pipeline(load_config("pocket", {"policy": "greedy", "device": "cpu"})).run(scenes, folder=tmp_path / "run")
    run.save(tmp_path / "run")
    rewards, asked = load_rewards(load_config("pocket", {"device": "cpu"})), []

    def noted(frames: torch.Tensor, fps: float, prompt: str) -> dict[str, float]:
        asked.append((prompt, len(frames)))
        return rewards(frames, fps, prompt)

    [row] = score_clips(find_clips(tmp_path), tmp_path, rewards=noted)
    assert asked == [(scenes[0][0], 21), (scenes[1][0], 24)]
    assert row["prompt"] == f"{scenes[0][0]} / {scenes[1][0]}"
    frames, fps = read_video(tmp_path / "run" / "video.mp4")
    each = [rewards(frames[:21], fps, scenes[0][0]), rewards(frames[21:], fps, scenes[1][0])]
    assert row["clip/pocket"] == pytest.approx((each[0]["clip/pocket"] + each[1]["clip/pocket"]) / 2)
    assert sum(len(frames) for _, frames in scenes_of(tmp_path / "run" / "video.mp4", frames)) == len(frames) == 45
    (tmp_path / "run" / "run.json").write_text('{"timeline": 3, "prompt": "from the run"}')
    [(prompt, whole)] = scenes_of(tmp_path / "run" / "video.mp4", frames)
    assert (prompt, len(whole)) == ("from the run", 45)
