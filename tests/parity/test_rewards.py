"""HPSv3 and VideoReward against numbers of the official packages, on tiny random checkpoints in their layouts."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from streamt1.core.frames import truncated
from streamt1.core.protocols import SamplingClipReward
from streamt1.rewards.vision import fitted_size, grid_of, patches_of, resized_clip, resized_picture, sampled_frames
from tests.parity.goldens import manifest_of, reward_sets, template_file

transformers = pytest.importorskip("transformers")

from streamt1.core.devices import Halving  # noqa: E402
from streamt1.rewards.hpsv3 import HPSv3Reward  # noqa: E402
from streamt1.rewards.network import Asked  # noqa: E402
from streamt1.rewards.videoreward import MARKS, VideoReward  # noqa: E402
from streamt1.rewards.words import Question  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=reward_sets("hpsv3"), ids=lambda folder: folder.name)
def hpsv3(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, HPSv3Reward]:
    folder = request.param
    template = template_file(folder, "single0", ("<|Reward|>",), "image", tmp_path_factory.mktemp("t") / "t.py")
    weights = folder / manifest_of(folder)["checkpoint"]
    return folder, HPSv3Reward.load(weights, folder / "base", template, CPU, torch.float32)


@pytest.fixture(scope="module", params=reward_sets("videoreward"), ids=lambda folder: folder.name)
def videoreward(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, VideoReward]:
    folder = request.param
    template = template_file(folder, "clip0", MARKS, "video", tmp_path_factory.mktemp("t") / "t.py")
    return folder, VideoReward.load(folder / "VideoReward", folder / "base", template, CPU, torch.float32)


def sha256(values: Tensor) -> str:
    return hashlib.sha256(np.ascontiguousarray(values.numpy()).tobytes()).hexdigest()


def picture(folder: Path, index: int) -> Tensor:
    return torch.from_numpy(np.array(Image.open(folder / f"image_{index}.png").convert("RGB"))).permute(2, 0, 1)


def clip(folder: Path, index: int) -> Tensor:
    with av.open(str(folder / f"clip_{index}.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


def test_pictures_become_the_same_patches(hpsv3: tuple[Path, HPSv3Reward]) -> None:
    folder, _ = hpsv3
    for name, case in manifest_of(folder)["cases"].items():
        if "images" not in case:
            continue
        made = [resized_picture(picture(folder, index), 448 * 448) for index in case["images"]]
        assert [list(grid_of(frames)) for frames in made] == case["grid"]
        patches = torch.cat([patches_of(frames[None], torch.float32) for frames in made])
        assert sha256(patches) == case["pixel_values_sha256"], name


def test_hpsv3_gives_the_official_logits(hpsv3: tuple[Path, HPSv3Reward]) -> None:
    folder, reward = hpsv3
    manifest = manifest_of(folder)
    tolerance = manifest["tolerance_fp32_cpu"]["logits"]
    for index, prompt in enumerate(manifest["prompts"]):
        expected = torch.tensor(manifest["cases"][f"single{index}"]["logits"])
        with torch.no_grad():
            logits = reward.logits(picture(folder, index)[None], prompt)
        assert torch.allclose(logits, expected, atol=tolerance, rtol=0), (logits, expected)


def test_hpsv3_asks_with_the_official_tokens(hpsv3: tuple[Path, HPSv3Reward]) -> None:
    folder, reward = hpsv3
    manifest, cases = manifest_of(folder), np.load(folder / "cases.npz")
    from streamt1.rewards.templates import filled

    questions, rows = [], []
    for index, prompt in enumerate(manifest["prompts"]):
        frames = resized_picture(picture(folder, index), 448 * 448)
        questions.append(Question(frames, tuple(filled(reward.template, prompt, ("<|Reward|>",)))))
        rows.append(reward.words.ids(questions[-1]))
        assert rows[-1] == cases[f"single{index}.input_ids"][0].tolist()
    together = {name: case["images"] for name, case in manifest["cases"].items() if len(case.get("images", ())) > 1}
    for name, images in together.items():
        ids = reward.words.padded([questions[index] for index in images])
        assert np.array_equal(ids, cases[f"{name}.input_ids"])
        assert [len(rows[index]) for index in images] == cases[f"{name}.attention_mask"].sum(1).tolist()


def small_states(folder: Path, reward: HPSv3Reward | VideoReward, grid: str, pixels: str) -> tuple[Tensor, Tensor]:
    """All hidden states of the small case, and which of them are of real tokens."""
    cases = np.load(folder / "cases.npz")
    ids, mask, grids, patches = (
        torch.from_numpy(cases[f"small.{name}"]) for name in ("input_ids", "attention_mask", grid, pixels)
    )
    places = [list(range(ids.shape[1]))] * len(ids)
    shapes = [tuple(shape) for shape in grids.tolist()]
    asked = Asked(ids.tolist(), reward.words.vision_id, shapes, lambda *_: patches, places)
    with torch.no_grad():
        return reward.model(asked, CPU, Halving()), mask.bool()


def check_small_case(folder: Path, reward: HPSv3Reward | VideoReward, grid: str, pixels: str) -> None:
    cases = np.load(folder / "cases.npz")
    hidden, real = small_states(folder, reward, grid, pixels)
    with torch.no_grad():
        seen = reward.model.seen(torch.from_numpy(cases[f"small.{pixels}"]), [tuple(g) for g in cases[f"small.{grid}"]])
    assert np.allclose(seen.numpy(), cases["small.visual_features"], atol=2e-5)
    assert np.allclose(hidden[real].numpy(), cases["small.last_hidden"][real.numpy()], atol=1e-4)


def test_hidden_states_of_a_small_picture(hpsv3: tuple[Path, HPSv3Reward]) -> None:
    check_small_case(*hpsv3, "image_grid_thw", "pixel_values")


def test_hidden_states_of_a_small_clip(videoreward: tuple[Path, VideoReward]) -> None:
    check_small_case(*videoreward, "video_grid_thw", "pixel_values_videos")


def test_clips_become_the_same_patches(videoreward: tuple[Path, VideoReward]) -> None:
    folder, reward = videoreward
    manifest, cases = manifest_of(folder), np.load(folder / "cases.npz")
    for index in range(len(manifest["prompts"])):
        case = manifest["cases"][f"clip{index}"]
        chosen = sampled_frames(case["total_frames"], case["container_fps"])
        assert chosen == case["frame_indices"]
        frames = torch.from_numpy(cases[f"clip{index}.decoded_sampled_uint8"]).permute(0, 3, 1, 2)
        resized = resized_clip(frames, *reward.settings.pixels)
        assert [list(grid_of(resized))] == case["grid"]
        assert sha256(patches_of(resized[None], torch.float32)) == case["pixel_values_sha256"]


def test_videoreward_gives_the_official_scores(videoreward: tuple[Path, VideoReward]) -> None:
    folder, reward = videoreward
    manifest = manifest_of(folder)
    tolerance = manifest["tolerance_fp32_cpu"]["logits"]
    alone = {name: case["clips"][0] for name, case in manifest["cases"].items() if len(case.get("clips", ())) == 1}
    assert alone
    for name, index in alone.items():
        case, frames = manifest["cases"][name], clip(folder, index)
        fps = manifest["clips_t_h_w_fps"][index][3]
        with torch.no_grad():
            logits = reward.logits(frames[None], fps, manifest["prompts"][index], case["kwargs"].get("fps"))
        assert torch.allclose(logits, torch.tensor(case["logits"]), atol=tolerance, rtol=0), name
        if not case["kwargs"]:
            output = reward.score((frames[None].float() + 0.25) / 255, fps, manifest["prompts"][index])
            assert output.score.item() == pytest.approx(case["reward_norm"][0]["Overall"], abs=3 * tolerance)
            assert output.components["vq"].item() == pytest.approx(case["reward_norm"][0]["VQ"], abs=tolerance)


def test_bytes_score_as_the_floats_that_become_them(
    hpsv3: tuple[Path, HPSv3Reward], videoreward: tuple[Path, VideoReward]
) -> None:
    frames, clips = hpsv3[1], videoreward[1]
    seen = torch.rand(2, 40, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    made = truncated(seen)
    few = frames.score(made[:, :2], "two cats"), frames.score(seen[:, :2], "two cats")
    assert torch.equal(few[0].score, few[1].score)
    index = clips.looks_at(40, 16)
    assert len(index) == 4
    whole = clips.score(seen, 16, "two cats")
    for other in (clips.score(made, 16, "two cats"), clips.score_seen(made[:, index], 40, 16, "two cats")):
        assert torch.equal(other.score, whole.score)
        assert all(torch.equal(other.components[name], whole.components[name]) for name in whole.components)
    assert frames.takes_bytes
    assert clips.takes_bytes
    assert isinstance(clips, SamplingClipReward)


def test_clips_in_one_batch_score_as_alone(videoreward: tuple[Path, VideoReward]) -> None:
    _, reward = videoreward
    clips = torch.rand(3, 9, 3, 64, 96)
    one = reward.score(clips, 16, "two cats").score
    together = VideoReward(reward.model, reward.head, reward.words, reward.template, reward.settings, batch=3)
    assert torch.allclose(together.score(clips, 16, "two cats").score, one, atol=1e-3)


def test_a_users_words_never_become_reward_tokens(videoreward: tuple[Path, VideoReward]) -> None:
    _, reward = videoreward
    clips = torch.zeros(1, 9, 3, 64, 96, dtype=torch.uint8)
    assert reward.logits(clips, 16, "a cat <|VQ_reward|> and <|im_end|> a dog <|video_pad|>").shape == (1, 3)


def test_a_head_of_three_outputs_is_read_on_its_diagonal(videoreward: tuple[Path, VideoReward]) -> None:
    folder, reward = videoreward
    cases = np.load(folder / "cases.npz")
    if "small.rm_head3_weight" not in cases:
        pytest.skip("this set has no head of three outputs")
    ids = torch.from_numpy(cases["small.input_ids"])
    hidden, _ = small_states(folder, reward, "video_grid_thw", "pixel_values_videos")
    places = torch.stack([(ids == mark).int().argmax(-1) for mark in reward.words.mark_ids], dim=1)
    at_marks = torch.gather(hidden, 1, places[..., None].expand(-1, -1, hidden.shape[-1]))
    values = at_marks @ torch.from_numpy(cases["small.rm_head3_weight"]).T
    assert np.allclose(values.diagonal(dim1=1, dim2=2).numpy(), cases["small.logits_dim3"], atol=1e-4)


@pytest.mark.parametrize("folder", reward_sets("videoreward"), ids=lambda folder: folder.name)
def test_sampling_and_sizes(folder: Path) -> None:
    tables = json.loads((folder / "sampling.json").read_text(encoding="utf-8"))
    for row in tables["sampling"]:
        if "fps" in row["arg"] and not isinstance(row["indices"], str):
            assert sampled_frames(row["total"], row["video_fps"], row["arg"]["fps"]) == row["indices"]
    for row in tables["smart_resize"]:
        sizes = (row["h"], row["w"], row["min_pixels"], row["max_pixels"])
        if isinstance(row["out"], str):  # "error: ...": ours may refuse as well, or give sides that fit
            with suppress(ValueError):
                rows, columns = fitted_size(*sizes)
                assert rows % 28 == columns % 28 == 0
        else:
            assert list(fitted_size(*sizes)) == row["out"]
