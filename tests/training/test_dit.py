"""Teacher forcing shows the model exactly what a rollout's memory would."""

import pytest
import torch

from streamt1.backbones.pocket.text import TextEncoder, pad_tokens
from streamt1.backbones.wan.backbone import WanBackbone
from streamt1.backbones.wan.config import WanConfig
from streamt1.backbones.wan.model import WanModel
from streamt1.backbones.wan.rope import shift_angles, shift_time
from streamt1.core.types import Route
from streamt1.memory import MemoryConfig
from streamt1.training.dit import Pocket, flow_loss
from streamt1.training.forcing import forcing_pass, read_memory
from streamt1.training.latents import LatentSet
from streamt1.training.rollout import generators, rollout

PROMPT = "a red star sliding on a black plain background"
TINY = WanConfig(
    dim=32, ffn_dim=48, num_layers=2, num_heads=2, in_channels=8, out_channels=8, text_dim=16, text_len=16, freq_dim=32
)


@pytest.fixture(scope="module")
def pocket() -> Pocket:
    torch.manual_seed(0)
    made = Pocket(TINY)
    torch.nn.init.normal_(made.dit.head.head.weight, std=0.2)
    for block in made.dit.blocks:
        torch.nn.init.normal_(block.modulation, std=0.5)
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("appended", [(0, 0), (2, 0), (1, 3)])
def test_teacher_forcing_equals_the_memory_of_a_rollout(pocket: Pocket, appended: tuple[int, int]):
    chunks, draw = 7, torch.Generator().manual_seed(1)
    clean, noisy = (torch.randn(1, chunks * 3, 8, 8, 8, generator=draw) for _ in range(2))
    levels = torch.rand(1, chunks, generator=draw).repeat_interleave(3, dim=1)
    tokens = pad_tokens([PROMPT])
    forced = pocket.flow(tokens, clean, noisy, 1000 * levels, torch.tensor([0]), torch.tensor([appended]))
    backbone = WanBackbone(pocket.dit, pocket.text.encode, (8, 8), MemoryConfig())
    branch = backbone.start(PROMPT)
    for chunk in range(chunks):
        frames = slice(3 * chunk, 3 * chunk + 3)
        flow = backbone.flow([branch], noisy[:, frames], 1000 * levels[0, 3 * chunk])
        assert torch.allclose(flow, forced[:, frames], atol=1e-5)
        branch = backbone.commit(
            branch, clean[0, frames], Route.APPEND if chunk in appended and chunk else Route.DISCARD
        )


OTHER = "a blue circle resting on a white dotted background"


def test_every_chunk_reads_the_text_of_its_scene_and_pages_keep_theirs(pocket: Pocket):
    """Against the memory of a rollout whose prompt changes twice."""
    prompts, draw = [PROMPT, PROMPT, OTHER, OTHER, OTHER, PROMPT], torch.Generator().manual_seed(4)
    clean, noisy = (torch.randn(2, 18, 8, 8, 8, generator=draw) for _ in range(2))
    tokens = torch.stack([pad_tokens(prompts), pad_tokens(prompts[::-1])])
    none = torch.zeros(2, 2, dtype=torch.long)
    forced = pocket.flow(tokens, clean, noisy, torch.full((2, 18), 400.0), none[:, 0], none)
    backbone = WanBackbone(pocket.dit, pocket.text.encode, (8, 8), MemoryConfig())
    for clip, told in enumerate((prompts, prompts[::-1])):
        branch = backbone.start(told[0])
        for chunk, prompt in enumerate(told):
            if chunk and prompt != told[chunk - 1]:
                branch = backbone.switch(branch, prompt, "keep").branch
            frames = slice(3 * chunk, 3 * chunk + 3)
            flow = backbone.flow([branch], noisy[clip : clip + 1, frames], torch.tensor(400.0))
            assert torch.allclose(flow[0], forced[clip, frames], atol=1e-5)
            branch = backbone.commit(branch, clean[clip, frames], None)


def test_what_is_appended_stands_half_as_far_away_as_the_sink():
    """Keys that the layout reads of appended chunks, against those that a memory moves in time."""
    draw = torch.Generator().manual_seed(3)
    clips, chunks, heads, tokens = 2, 5, 4, 6
    keys = torch.randn(clips, 2 * chunks - 1, heads, tokens, 16, generator=draw)
    appended, gap = torch.tensor([[1, 0], [1, 3]]), torch.tensor([0, 40])
    angles = shift_angles(-(gap // 2)[:, None], 16).float()
    read = read_memory(keys, appended, chunks, (angles.cos(), angles.sin())).unflatten(3, (-1, tokens))
    for clip, frames in enumerate((0, -20)):
        for slot, chunk in enumerate(appended[clip].tolist()):
            moved = shift_time(keys[clip, chunk].transpose(0, 1), frames).transpose(0, 1)
            assert torch.allclose(read[clip, 2, :, 1 + slot], moved, atol=1e-5)


def test_the_sinks_extra_distance_moves_all_chunks_but_the_sink(pocket: Pocket):
    draw = torch.Generator().manual_seed(2)
    clean, noisy = (torch.randn(1, 12, 8, 8, 8, generator=draw) for _ in range(2))
    text = pocket.dit.embed_text(pocket.text(pad_tokens([PROMPT])))
    none = torch.tensor([[0, 0]])
    near, far = (
        forcing_pass(pocket.dit, text, clean, noisy, torch.full((1, 12), 500.0), torch.tensor([gap]), none)
        for gap in (0, 40)
    )
    assert torch.allclose(near[:, :3], far[:, :3], atol=1e-5)
    assert not torch.allclose(near[:, 3:], far[:, 3:], atol=1e-3)


def test_batched_rollouts_equal_the_backbone(pocket: Pocket):
    latents = rollout(pocket, pad_tokens([PROMPT, PROMPT]), 5, generators(0, 2))
    backbone = WanBackbone(pocket.dit, pocket.text.encode, (8, 8), MemoryConfig())
    branch, generator = backbone.start(PROMPT), generators(0, 2)[1]
    for chunk in range(5):
        drawn = torch.randn((1, 1 + backbone.draws, *backbone.chunk_shape), generator=generator)
        made, _ = backbone.denoise([branch], drawn[:, 0], drawn[:, 1:], range(backbone.steps))
        assert torch.allclose(made[0], latents[1, 3 * chunk : 3 * chunk + 3], atol=1e-4)
        branch = backbone.commit(branch, made[0], None)


def test_batched_rollouts_of_stories_equal_the_backbone(pocket: Pocket):
    """Clips that change their prompts at different chunks, one of which appends the first chunks of two scenes."""
    told = [[PROMPT] * 2 + [OTHER] * 3 + [PROMPT] * 2, [OTHER] + [PROMPT] * 2 + [OTHER] * 4]
    appended = torch.tensor([[0, 0], [1, 3]])
    tokens = torch.stack([pad_tokens(prompts) for prompts in told])
    latents = rollout(pocket, tokens, 7, generators(0, 2), appended=appended)
    backbone = WanBackbone(pocket.dit, pocket.text.encode, (8, 8), MemoryConfig())
    for clip, prompts in enumerate(told):
        branch, generator = backbone.start(prompts[0]), generators(0, 2)[clip]
        for chunk, prompt in enumerate(prompts):
            if chunk and prompt != prompts[chunk - 1]:
                branch = backbone.switch(branch, prompt, "keep").branch
            drawn = torch.randn((1, 1 + backbone.draws, *backbone.chunk_shape), generator=generator)
            made, _ = backbone.denoise([branch], drawn[:, 0], drawn[:, 1:], range(backbone.steps))
            assert torch.allclose(made[0], latents[clip, 3 * chunk : 3 * chunk + 3], atol=1e-4)
            route = Route.APPEND if chunk and chunk in appended[clip].tolist() else Route.DISCARD
            branch = backbone.commit(branch, made[0], route)


def test_rows_past_the_prompt_are_zero_and_do_not_matter():
    torch.manual_seed(0)
    text = TextEncoder()
    rows = text(pad_tokens([PROMPT, PROMPT + " and a red star"]))
    assert not rows[0, 9:].any()
    assert torch.allclose(text.encode(PROMPT)[0], rows[0], atol=1e-6)


def test_a_gradient_reaches_every_weight():
    torch.manual_seed(0)
    made = Pocket(TINY)
    torch.nn.init.normal_(made.dit.head.head.weight, std=0.2)
    tokens = pad_tokens([PROMPT] * 10).unflatten(0, (2, 5))
    starts = torch.tensor([[1, 4], [0, 0]])
    clips = LatentSet(torch.randn(2, 15, 8, 8, 8), tokens, starts, torch.rand(2, 15, 8, 8) < 0.2)
    loss = flow_loss(made, clips, torch.Generator().manual_seed(0), "cpu")
    loss.backward()
    assert all(parameter.grad is not None for parameter in made.parameters())


def test_model_names_are_those_of_the_large_checkpoints(pocket: Pocket):
    assert set(pocket.dit.state_dict()) == set(WanModel(TINY).state_dict())
