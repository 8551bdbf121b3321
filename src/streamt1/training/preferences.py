"""Preference groups for the rewards: clips that are compared with one another, and how good each is on each head.

Labels are the oracle's, for prompts of training only. In spoilt groups they are lowered by what was done to a clip; in
branched groups the members are candidates of one search step of the model itself, together with a true clip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from streamt1.backbones.pocket.text import pad_tokens
from streamt1.decoders.pocket_vae import PocketDecoder
from streamt1.pocket.oracle import Reading, locate, measure
from streamt1.pocket.paths import CHUNK as PIXELS
from streamt1.pocket.paths import SIZE, Floats, sample_take
from streamt1.pocket.scenes import Scene, sample_scene
from streamt1.pocket.stories import first_frame, sample_story
from streamt1.pocket.world import render
from streamt1.rewards.pocket import SNIPPET_FRAMES, SNIPPETS, snippet_frames
from streamt1.training.degrade import MOTION, PICTURE, mismatch
from streamt1.training.dit import Pocket
from streamt1.training.latents import first_starts
from streamt1.training.loop import Log
from streamt1.training.rollout import Rollout, decode, generators

MEMBERS = 8
SEEN = SNIPPETS * SNIPPET_FRAMES
"""Frames of a clip that the rewards look at."""
READINGS = ("presence", "shape", "colour", "background", "memory")
"""What the frame reward learns to read of a frame, besides the order of pairs and the oracle's SIGHTS."""
LENGTHS = (9, 21, 33, 45, 57, 69, 81)
"""Clip lengths, pixel frames: what the window of a search over seven chunks can hold. Only in the longest must an
object that leaves have left, and a background have changed."""
PROMPTS = 4
"""Stories that are branched side by side."""


@dataclass(frozen=True)
class Groups:
    """G groups of MEMBERS.

    Attributes:
        clips: the frames of all snippets, [G, M, SEEN, 3, 64, 64] uint8.
        tokens: [G, M, TEXT_LENGTH].
        labels: vq, mq, ta of each clip, [G, M, 3] in [0, 1].
        readings: what the oracle reads in each of the frames, [G, M, SEEN, READINGS] in [0, 1].
        sights: where the object is in each of them, [G, M, SEEN, SIGHTS]; see `locate`.
        lengths: pixel frames of the clips that the frames come from, [G].
    """

    clips: Tensor
    tokens: Tensor
    labels: Tensor
    readings: Tensor
    sights: Tensor
    lengths: Tensor

    def state(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return dict(self.__dict__)

    @staticmethod
    def join(parts: list[Groups]) -> Groups:
        """All groups of several sets."""
        return Groups(**{key: torch.cat([part.state()[key] for part in parts]) for key in parts[0].state()})


@dataclass(frozen=True)
class Member:
    """One clip of a group with its labels; `readings` are those of every pixel frame, [T, READINGS]."""

    clip: Tensor
    scene: Scene
    labels: tuple[float, float, float]
    readings: Floats


def frame_readings(reading: Reading) -> Floats:
    """What the oracle says of single frames, [T, READINGS]: all but motion."""
    return np.stack([getattr(reading, name) for name in READINGS], axis=1).astype(np.float32)


def oracle_labels(reading: Reading) -> tuple[float, float, float]:
    """The oracle's order of clips on each head.

    vq: presence, shape and memory; mq: motion, memory, and presence in the worst eighth of frames; ta: all but memory.
    """
    worst = float(np.quantile(reading.presence, 0.125))
    vq = float((reading.presence + reading.shape + reading.memory).mean() / 3)
    mq = float(0.6 * reading.motion.mean() + 0.2 * worst + 0.2 * reading.memory.mean())
    ta = float(np.mean([reading.presence, reading.shape, reading.colour, reading.motion, reading.background]))
    return vq, mq, ta


def pack(members: list[Member]) -> Groups:
    """One group of MEMBERS: takes the frames of their snippets, stores bytes."""
    rows = snippet_frames(len(members[0].clip)).flatten()
    clips = torch.stack([member.clip[rows] for member in members])
    return Groups(
        (clips * 255).byte()[None],
        pad_tokens([member.scene.prompt for member in members])[None],
        torch.tensor([member.labels for member in members], dtype=torch.float32)[None],
        torch.stack([torch.from_numpy(member.readings)[rows] for member in members])[None],
        torch.stack([torch.from_numpy(locate(m.clip[rows].numpy(), m.scene)) for m in members])[None],
        torch.tensor([len(members[0].clip)]),
    )


def _crop(clip: Tensor, rng: np.random.Generator) -> tuple[Tensor, int]:
    length = int(rng.choice(LENGTHS))
    start = int(rng.integers(0, len(clip) - length + 1))
    return clip[start : start + length], start


def spoilt_group(
    scene: Scene, clip: Tensor, other: tuple[Scene, Tensor], broken: Tensor, rng: np.random.Generator
) -> Groups:
    """A clean clip, four spoilt ones, two with another text, and another scene's clip.

    Clips are decoded, [81, 3, 64, 64]; `broken` is decoded from the clip's latents with noise on them. Labels are what
    the oracle reads, lowered by how much was spoilt, since it does not see blur, grain, shaking or flicker.
    """
    clean, start = _crop(clip, rng)
    shown = slice(start, start + len(clean))

    def member(frames: Tensor, named: Scene, picture: float = 0.0, motion: float = 0.0) -> Member:
        reading = measure(frames.numpy(), named)
        vq, mq, ta = oracle_labels(reading)
        labels = (vq * (1 - picture), mq * (1 - motion), ta * (1 - 0.3 * max(picture, motion)))
        return Member(frames, named, labels, frame_readings(reading) * np.float32(1 - picture))

    members = [member(clean, scene), member(broken[shown], scene, 0.2)]
    for spoils, weights in ((PICTURE, (0.6, 0.0)), (PICTURE, (0.6, 0.0)), (MOTION, (0.0, 0.6))):
        strength = float(rng.random())
        spoil = spoils[int(rng.integers(len(spoils)))]
        worse = spoil(clean, strength, rng)
        loss = (0.2 + 0.8 * strength) * float((worse - clean).abs().mean() > 1e-3)  # what rests cannot be jerky
        members.append(member(worse, scene, *(loss * weight for weight in weights)))
    members += [member(clean, mismatch(scene, words, rng)[0]) for words in (1, int(rng.integers(2, 4)))]
    members.append(member(other[1][shown], scene))
    return pack(members)


def spoilt_groups(decoder: PocketDecoder, count: int, seed: int) -> Groups:
    """Groups of spoilt clips of random training scenes, all seen through the VAE."""
    parts: list[Groups] = []
    for shard in range(max(1, count // 16)):
        rng = np.random.default_rng((seed, 41, shard))
        scenes = [sample_scene(rng) for _ in range(16)]
        pixels = torch.from_numpy(np.stack([render(s, sample_take(rng, s), 81) for s in scenes]))
        latents = torch.cat([decoder.encode(part) for part in pixels.split(8)])
        noise = torch.from_numpy(rng.standard_normal(latents.shape).astype(np.float32))
        clean, broken = decode(decoder, latents), decode(decoder, latents + noise * float(rng.uniform(0.3, 1.0)))
        for index, scene in enumerate(scenes):
            other = (index + 1) % len(scenes)
            parts.append(spoilt_group(scene, clean[index], (scenes[other], clean[other]), broken[index], rng))
    return Groups.join(parts)


def turning_groups(decoder: PocketDecoder, count: int, seed: int) -> Groups:
    """Groups of clips of scenes with two backgrounds, which take turns on time, late or never; seen through the VAE.

    Models that put a change off for long tend never to make it, which their own rollouts show too rarely to learn from.
    """
    return Groups.join([_turning_group(decoder, np.random.default_rng((seed, 47, index))) for index in range(count)])


def _turning_group(decoder: PocketDecoder, rng: np.random.Generator) -> Groups:
    """Two true clips and six of one path: never changing, on either background, or changing once, late or early."""
    scene = sample_scene(rng, two=0.0)
    while len(scene.grounds) < 2:
        scene = sample_scene(rng, two=0.0)
    length = int(rng.choice(LENGTHS[-3:], p=(0.2, 0.2, 0.6)))
    takes = [sample_take(rng, scene) for _ in range(3)]
    late = [length - chunks * PIXELS for chunks in (1, 2)]
    cuts = ((), (0,), (late[0],), (0, late[0]), (late[1],), (int(rng.integers(1, 3)) * PIXELS,))
    takes = [*takes[:2], *(replace(takes[2], cuts=one) for one in cuts)]
    pixels = torch.from_numpy(np.stack([render(scene, take, length) for take in takes]))
    return _read_group(scene, decode(decoder, decoder.encode(pixels)))


def branch_groups(
    pockets: list[Pocket], decoder: PocketDecoder, count: int, seed: int, chunks: int = 8, log: Log = lambda line: None
) -> Groups:
    """Groups as a search meets them: candidates for one chunk after the same past, and a true clip as the last member.

    `count` random training stories; the models take turns. Each chunk of a rollout gives one group, and a random
    candidate of it goes on. A group's clips begin with their scene, as windows of a search do, and end with the
    candidate's chunk. Every second turn keeps the first chunks of scenes as sinks.
    """
    parts: list[Groups] = []
    rng = np.random.default_rng((seed, 43))
    for turn in range(count // PROMPTS):
        stories = [sample_story(rng, chunks) for _ in range(PROMPTS)]
        tokens = torch.stack([pad_tokens(story.prompts) for story in stories])
        kept = first_starts(stories) * (turn % 2)
        rollout = Rollout(pockets[turn % len(pockets)], tokens, appended=kept)
        each = MEMBERS - 1
        draws = generators(seed * 1000 + turn, PROMPTS * each)
        past, state = torch.zeros(PROMPTS, 0, 3, SIZE, SIZE), None
        for chunk in range(chunks):
            latents = rollout.sample(draws, each)
            carried = None if state is None else tuple(part.repeat_interleave(each, dim=0) for part in state)
            with torch.no_grad():
                frames, after = decoder.vae.decode(latents, carried)
            clips = torch.cat([past.repeat_interleave(each, dim=0), frames.cpu()], dim=1)
            for index, story in enumerate(stories):
                shot = next(shot for shot in reversed(story.shots) if shot.begin <= chunk)
                own = clips[index * each : (index + 1) * each, first_frame(shot.begin) :][:, -LENGTHS[-1] :]
                true = _true_clip(shot.scene, own.shape[1], decoder, rng)
                parts.append(_read_group(shot.scene, torch.cat([own, true])))
            picked = torch.arange(PROMPTS) * each + torch.from_numpy(rng.integers(0, each, PROMPTS))
            rollout.commit(latents[picked])
            past, state = clips[picked], tuple(part[picked] for part in after)
        log(f"branched {(turn + 1) * PROMPTS} of {count} stories")
    return Groups.join(parts)


def _true_clip(scene: Scene, length: int, decoder: PocketDecoder, rng: np.random.Generator) -> Tensor:
    """A take of a scene, from its beginning on, as the VAE shows it: [1, length, 3, 64, 64]."""
    whole = 4 * -(-(length - 1) // 4) + 1
    pixels = torch.from_numpy(render(scene, sample_take(rng, scene), whole))[None]
    return decode(decoder, decoder.encode(pixels))[:, :length]


def _read_group(scene: Scene, clips: Tensor) -> Groups:
    """A group that the oracle labels."""
    members = []
    for clip in clips:
        reading = measure(clip.numpy(), scene)
        members.append(Member(clip, scene, oracle_labels(reading), frame_readings(reading)))
    return pack(members)
