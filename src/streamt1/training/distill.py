"""Distribution matching distillation (Yin et al., 2024) of the pocket transformer to its four-step sampler.

All chunks are generated in parallel in the teacher-forcing layout over a history of stored student rollouts. A random
exit step decides which of the sampler's steps is trained; the steps before it run without gradient. The gradient is the
difference between what a frozen copy of the base (real) and a copy that follows the student (fake) would denoise to.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from streamt1.backbones.pocket.text import pad_tokens
from streamt1.backbones.sampling import Schedule
from streamt1.decoders.pocket_vae import PocketDecoder
from streamt1.pocket.stories import CHUNKS, first_frame, sample_story
from streamt1.pocket.vocabulary import WORDS
from streamt1.pocket.world import FPS
from streamt1.rewards.pocket import HEADS, PocketClipReward, PocketFrameReward
from streamt1.training.dit import ADAM_NAMES, Pocket, draw_memory, warp
from streamt1.training.export import export_weights
from streamt1.training.forcing import CHUNK
from streamt1.training.latents import first_starts
from streamt1.training.loop import Progress, TrainOptions, run_loop
from streamt1.training.optim import Average, MuonAdam
from streamt1.training.precision import mixed
from streamt1.training.rollout import bundled_pocket, decode, generators, rollout

LR = 3e-4
FAKE_LR = 5e-4
FAKE_STEPS = 2
GUIDANCE = 3.0
"""Classifier-free guidance of the teacher; 1 is none. It makes what a prompt leaves open clear right after a switch."""
SHIFT = 2.5
"""Timestep shift of the levels that real and fake are compared at: lower than in training, to reach shapes."""
STORED = 64
"""Rollouts kept as history; the oldest are replaced as training goes."""
JUDGED_EVERY = 6
"""Pixel frames from one that the frame reward sees to the next."""
REFRESH_EVERY = 8
REFRESH = 16


@dataclass
class History:
    """Student rollouts of stories, with what was asked in each chunk; replaced a few at a time.

    Attributes:
        latents: [S, F, C, h, w].
        tokens: of each chunk's prompt, [S, K, L].
        starts: the chunks with which later scenes begin, [S, APPENDED]; 0 for none.
        next: the row that is replaced next.
    """

    latents: Tensor
    tokens: Tensor
    starts: Tensor
    next: int = 0

    @staticmethod
    def asked(seed: int, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Tokens and starts of random training stories."""
        rng = np.random.default_rng((seed, 31, step))
        stories = [sample_story(rng, CHUNKS) for _ in range(count)]
        return torch.stack([pad_tokens(story.prompts) for story in stories]), first_starts(stories)

    def refresh(self, pocket: Pocket, tokens: Tensor, starts: Tensor, seed: int) -> None:
        """Puts new rollouts over the oldest; every second one keeps the first chunks of its scenes as sinks."""
        kept = starts * (torch.arange(len(starts)) % 2)[:, None]
        latents = rollout(pocket, tokens, CHUNKS, generators(seed, len(tokens)), appended=kept)
        rows = (torch.arange(len(latents)) + self.next) % len(self.latents)
        self.latents[rows], self.tokens[rows], self.starts[rows] = latents.cpu(), tokens, starts
        self.next = int(rows[-1] + 1)

    def state_dict(self) -> dict[str, object]:
        """Everything."""
        return {"latents": self.latents, "tokens": self.tokens, "starts": self.starts, "next": self.next}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restores what `state_dict` gave."""
        self.__dict__.update(state)


@dataclass(frozen=True)
class RewardWeights:
    """Weights of rollouts by their rewards (Stream-R1, arXiv 2605.03849): good ones teach more.

    The reward is the frame reward's mean over some frames plus the mean of the clip reward's three heads; both have
    deviation 1 over rollouts.
    """

    strength: float
    decoder: PocketDecoder
    frame_reward: PocketFrameReward
    clip_reward: PocketClipReward

    @classmethod
    def bundled(cls, strength: float, device: str) -> RewardWeights:
        """With the rewards that ship with the package."""
        decoder = PocketDecoder.bundled(device)
        return cls(strength, decoder, PocketFrameReward.bundled(device), PocketClipReward.bundled(device))

    def weights(self, latents: Tensor, tokens: Tensor) -> Tensor:
        """exp(strength * reward) of each clip, [B], scaled to mean 1. latents [B, F, C, h, w], tokens [B, K, L].

        A scene is judged under its own prompt; the reward of a clip is the mean over its chunks.
        """
        rewards = []
        for clip, rows in zip(decode(self.decoder, latents), tokens.tolist(), strict=True):
            total = 0.0
            for row, begin, end in shots_of(rows):
                prompt, scene = " ".join(WORDS[token - 1] for token in row if token), clip[None, begin:end]
                short = self.frame_reward.score(scene[:, ::JUDGED_EVERY], prompt).score
                long = self.clip_reward.score(scene, FPS, prompt).score / len(HEADS)
                total = total + (short + long) * (end - begin) / clip.shape[0]
            rewards.append(total)
        weights = (self.strength * torch.cat(rewards)).exp()
        return (weights / weights.mean()).to(latents.device)


def shots_of(rows: list[list[int]]) -> list[tuple[list[int], int, int]]:
    """Runs of chunks with the same tokens: the tokens, and the pixel frames from the first to the last, exclusive."""
    runs, begin = [], 0
    for row, run in itertools.groupby(rows):
        end = begin + len(list(run))
        runs.append((row, first_frame(begin), first_frame(end)))
        begin = end
    return runs


@dataclass(frozen=True)
class Conditions:
    """One batch's conditions: tokens [B, K, L], history [B, F, C, h, w], extra sink distance [B], appended chunks."""

    tokens: Tensor
    history: Tensor
    gap: Tensor
    appended: Tensor

    def x0(self, pocket: Pocket, noisy: Tensor, sigma: Tensor, device: str) -> Tensor:
        """Clean latents that a model predicts for noisy ones [B, F, C, h, w] at noise levels [B, F]."""
        with mixed(device):
            flow = pocket.flow(self.tokens, self.history, noisy, 1000 * sigma, self.gap, self.appended)
        return noisy - sigma[..., None, None, None] * flow.float()


def student_sample(student: Pocket, given: Conditions, exit_step: int, draw: torch.Generator, device: str) -> Tensor:
    """What the student makes of every chunk at the exit step; only that step carries a gradient."""
    sigmas = Schedule().sigmas
    frames = given.history.shape[:2]
    x = torch.randn(given.history.shape, generator=draw).to(device)
    with torch.no_grad():
        for index in range(exit_step):
            clean = given.x0(student, x, sigmas[index].expand(frames).to(device), device)
            level = sigmas[index + 1]
            x = (1 - level) * clean + level * torch.randn(clean.shape, generator=draw).to(device)
    return given.x0(student, x, sigmas[exit_step].expand(frames).to(device), device)


def renoise(clean: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Noise at an independent level for each chunk: (noisy, noise, levels [B, F])."""
    level = 0.02 + 0.96 * warp(torch.rand(clean.shape[0], clean.shape[1] // CHUNK, generator=draw), SHIFT)
    sigma = level.repeat_interleave(CHUNK, dim=1).to(clean.device)
    noise = torch.randn(clean.shape, generator=draw).to(clean.device)
    spread = sigma[..., None, None, None]
    return (1 - spread) * clean + spread * noise, noise, sigma


def matching_loss(made: Tensor, gap: Tensor, weight: Tensor) -> Tensor:
    """A loss whose gradient on what the student made, [B, F, C, h, w], is the gap, scaled by each clip's weight [B]."""
    target = made.detach() - gap
    return 0.5 * ((made - target).square().mean((1, 2, 3, 4)) * weight).mean()


def run(options: TrainOptions) -> None:
    """Distils `pocket_dit_base` within the budget and exports `pocket_dit`."""
    torch.manual_seed(options.seed)
    device = options.device
    real = bundled_pocket("pocket_dit_base", device)
    student, fake = copy.deepcopy(real).requires_grad_(True), copy.deepcopy(real).requires_grad_(True)
    student.text.requires_grad_(False)
    average = Average(student, 0.95)
    for model in (real, student, fake):
        model.compile_blocks()
    optimisers = {"student": MuonAdam(student, LR, ADAM_NAMES), "fake": MuonAdam(fake, FAKE_LR, ADAM_NAMES)}
    rewards = RewardWeights.bundled(options.reward_weight, device) if options.reward_weight else None
    batch = options.batch or 8
    tokens, starts = History.asked(options.seed, 10**6, STORED)
    shape = (STORED, CHUNKS * CHUNK, real.dit.config.in_channels, 8, 8)
    history = History(torch.zeros(shape), tokens.clone(), starts.clone())
    resumed = options.resume and (options.out / "distill.pt").is_file()
    if not resumed:
        for begin in range(0, STORED, REFRESH):
            part = slice(begin, begin + REFRESH)
            history.refresh(average.model, tokens[part], starts[part], options.seed + begin)

    def step(progress: Progress) -> dict[str, float]:
        draw = torch.Generator().manual_seed(options.seed * 10**7 + progress.step + 8 * 10**6)
        if progress.step % REFRESH_EVERY == REFRESH_EVERY - 1:
            asked = History.asked(options.seed, progress.step, REFRESH)
            history.refresh(average.model, *asked, 10**5 + progress.step)
        given = _draw_scene(history, batch, draw, device)
        exit_step = int(torch.randint(0, 4, (), generator=draw))
        made = student_sample(student, given, exit_step, draw, device)
        clean = made.detach()
        gap = matching_gradient(clean, given, real, fake, draw, device)
        weight = rewards.weights(clean, given.tokens) if rewards else torch.ones(len(clean), device=device)
        matching_loss(made, gap, weight).backward()
        norm = optimisers["student"].step(min(1.0, (progress.step + 1) / 5))
        average.update(student, progress.step + 100)
        losses = [_train_fake(fake, optimisers["fake"], clean, given, draw, device) for _ in range(FAKE_STEPS)]
        return {
            "fake": float(np.mean(losses)),
            "gap": float(gap.abs().mean()),
            "norm": norm,
            "weight": float(weight.max()),
        }

    parts = {"student": student, "fake": fake, "average": average, "history": history}
    parts |= {f"{key}_optimiser": part for key, part in optimisers.items()}
    run_loop(replace(options, batch=batch), "distill", parts, step, log_every=5)
    if options.export:
        options.log(f"wrote {export_weights('pocket_dit', average.state_dict(), student.config())}")


def _draw_scene(history: History, batch: int, draw: torch.Generator, device: str) -> Conditions:
    rows = torch.randint(len(history.latents), (batch,), generator=draw)
    gap, appended = draw_memory(history.starts[rows], CHUNKS, draw)
    return Conditions(*(x.to(device) for x in (history.tokens[rows], history.latents[rows], gap, appended)))


@torch.no_grad()
def matching_gradient(
    made: Tensor, given: Conditions, real: Pocket, fake: Pocket, draw: torch.Generator, device: str
) -> Tensor:
    """DMD's gradient on clean latents, normalised for each chunk by how far the real model would move it."""
    noisy, _, sigma = renoise(made, draw)
    to_real, to_fake = given.x0(real, noisy, sigma, device), given.x0(fake, noisy, sigma, device)
    without = replace(given, tokens=torch.zeros_like(given.tokens)).x0(real, noisy, sigma, device)
    to_real = without + GUIDANCE * (to_real - without)
    size = (made - to_real).abs().unflatten(1, (-1, CHUNK)).mean((2, 3, 4, 5))
    size = size.repeat_interleave(CHUNK, dim=1)[..., None, None, None]
    return (to_fake - to_real) / size.clamp(min=1e-3)


def _train_fake(
    fake: Pocket, optimiser: MuonAdam, made: Tensor, given: Conditions, draw: torch.Generator, device: str
) -> float:
    noisy, noise, sigma = renoise(made, draw)
    spread = sigma[..., None, None, None]
    flow = (noisy - given.x0(fake, noisy, sigma, device)) / spread
    loss = (flow - (noise - made)).square().mean()
    loss.backward()
    optimiser.step()
    return loss.item()
