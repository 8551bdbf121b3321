"""Training of the two pocket rewards on preference groups (Bradley-Terry).

First the frame reward, which also learns to read what the oracle reads in single frames, and where the object is. Then
the clip reward: it holds a copy of the frame reward, which stays as it is, so that what it reads is computed once, and
the heads, which join those few numbers of each frame in time, train on them in a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from streamt1.core.errors import CheckpointError
from streamt1.core.files import whole_file
from streamt1.core.weights import load_bundled, load_strictly
from streamt1.decoders.pocket_vae import PocketDecoder
from streamt1.pocket.oracle import SIGHTS
from streamt1.pocket.vocabulary import TEXT_LENGTH, WORDS
from streamt1.rewards.pocket import HEADS, PLACE, SNIPPET_FRAMES, SNIPPETS, ClipNet, FrameNet, RewardConfig, snippet_gap
from streamt1.training.checkpoint import read_tensors_of
from streamt1.training.export import export_weights
from streamt1.training.loop import Progress, TrainOptions, run_loop
from streamt1.training.optim import Average, MuonAdam, warm_cosine
from streamt1.training.precision import mixed
from streamt1.training.preferences import READINGS, SEEN, Groups, branch_groups, spoilt_groups, turning_groups
from streamt1.training.rollout import bundled_pocket

SHARDS = 2
"""Parts in which the groups are made and stored."""
SPOILT = 96
TURNING = 96
BRANCHED = 128
"""Spoilt groups of a shard, groups about changing backgrounds, and prompts whose rollouts are branched at each of their
chunks."""
PLAYERS = ("pocket_dit", "pocket_dit_base", "pocket_dit", "pocket_dit")
"""The transformers whose rollouts are branched, in turns: mostly the one that the rewards will judge."""
LR = 1.5e-3
CLIP_LR = 1e-3
MARGIN = 0.02
"""Clips whose labels differ by less are not compared."""
CLIP_STEPS = 2000
"""Of the clip reward's heads."""
HELD_SHARE = 12
ACROSS = 0.5
"""Weight of pairs from different groups: they make scores of different prompts comparable."""
READ_WEIGHT = 6.0
"""Of the squared error of the readings."""
X, Y = PLACE.start - 1, PLACE.stop - 2
"""Columns of the object's place among the readings, which the score does not precede."""
assert (*READINGS, *SIGHTS)[X : Y + 1] == ("x", "y")
OF_OBJECT = ("x", "y", "size", "tone")
"""The readings from X on that mean nothing where no object is seen."""
FORM = X + OF_OBJECT.index("tone")
"""Column of the form that a detail has: of a patch it is another in a mirror."""
JITTER = 0.02
"""Noise on what the heads are told of a frame."""
DRAWN = 2
"""Frames of a clip that the frame reward sees in one step."""


def preference_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Bradley-Terry over pairs, within each group and across groups: scores and labels [G, M, H].

    Pairs count by the gap of their labels, those with a small gap not at all.
    """
    across = _pairs_loss(scores.flatten(0, 1)[None], labels.flatten(0, 1)[None])
    return (_pairs_loss(scores, labels) + ACROSS * across) / (1 + ACROSS)


def _pairs_loss(scores: Tensor, labels: Tensor) -> Tensor:
    gap = labels[:, :, None] - labels[:, None]
    lead = scores[:, :, None] - scores[:, None]
    weight = torch.where(gap > MARGIN, (4 * gap).clamp(max=1), 0.0)
    return (weight * F.softplus(-lead)).sum() / weight.sum().clamp(min=1)


def agreement_rate(scores: Tensor, labels: Tensor) -> float:
    """Share of compared pairs that the scores order as the labels do."""
    gap = labels[:, :, None] - labels[:, None]
    lead = scores[:, :, None] - scores[:, None]
    pairs = gap > MARGIN
    return float((lead[pairs] > 0).float().mean()) if bool(pairs.any()) else 1.0


def build_groups(options: TrainOptions) -> tuple[Groups, Groups, Groups]:
    """Groups of changing backgrounds, of spoilt clips and of branched rollouts; read from `out`, or made there."""
    options.out.mkdir(parents=True, exist_ok=True)
    device, decoder = options.device, PocketDecoder.bundled(options.device)

    def spoilt(seed: int) -> Groups:
        return spoilt_groups(decoder, SPOILT, seed)

    def turning(seed: int) -> Groups:
        return turning_groups(decoder, TURNING, seed)

    def branched(seed: int) -> Groups:
        pockets = {name: bundled_pocket(name, device) for name in PLAYERS}
        return branch_groups([pockets[name] for name in PLAYERS], decoder, BRANCHED, seed, log=options.log)

    def all_of(name: str, make: Callable[[int], Groups]) -> Groups:
        seeds = [options.seed + 101 + shard for shard in range(SHARDS)]
        return Groups.join([_stored(options, f"{name}{seed}", lambda seed=seed: make(seed)) for seed in seeds])

    return all_of("turning", turning), all_of("spoilt", spoilt), all_of("branched", branched)


def _stored(options: TrainOptions, name: str, make: Callable[[], Groups]) -> Groups:
    file = options.out / f"{name}.pt"
    if file.is_file():
        try:
            return Groups(**read_tensors_of(file, "delete it to have it made again"))
        except TypeError as error:
            raise CheckpointError(f"{file} holds other groups ({error}); delete it to have it made again") from error
    groups = make()
    options.log(f"made {len(groups.clips)} {name} groups")
    with whole_file(file) as part:
        torch.save(groups.state(), part)
    return groups


def run(options: TrainOptions) -> None:
    """Makes the preference groups, trains both rewards, exports them with their normalisation.

    The groups about changing backgrounds are for the clip reward: single frames do not show what they differ in. The
    budget is the frame reward's; the clip reward's heads take a minute or two more.
    """
    torch.manual_seed(options.seed)
    kinds = build_groups(options)
    groups = Groups.join(list(kinds))
    turning, spoilt, branched = counts = [len(kind.clips) for kind in kinds]
    train, held = _split(counts)
    rolled = torch.arange(turning + spoilt, turning + spoilt + branched)
    frame, made = _train_frames(options, groups, train[train >= turning], held[held >= turning], rolled)
    steps = min(options.steps or CLIP_STEPS, CLIP_STEPS)
    _train_clips(replace(options, minutes=None, steps=steps), frame, made, groups, train, held, rolled)


def _split(counts: list[int]) -> tuple[Tensor, Tensor]:
    """Rows to train on and rows held out: the last twelfth of each kind, so that no prompt is in both."""
    rows = torch.arange(sum(counts)).split(counts)
    parts = [part.tensor_split([len(part) - len(part) // HELD_SHARE]) for part in rows]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _frames(groups: Groups, rows: Tensor, columns: Tensor, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Some frames of every member of some groups: pictures [N, 3, 64, 64], tokens [N, L], truth [G, M * K, R]."""
    pictures = groups.clips[rows][:, :, columns]
    truth = torch.cat([part[rows][:, :, columns] for part in (groups.readings, groups.sights)], dim=-1).flatten(1, 2)
    tokens = groups.tokens[rows][:, :, None].expand(-1, -1, len(columns), -1).flatten(0, 2)
    return pictures.flatten(0, 2).to(device).float() / 255, tokens.to(device), truth.to(device)


def sides_of(detail: str, tokens: Tensor, device: str) -> Tensor:
    """-1 for members [G, M] whose prompt names a detail, else 1: what becomes of its form in a mirror."""
    named = (tokens == WORDS.index(detail) + 1).any(-1)
    return torch.where(named, -1.0, 1.0).to(device)


def known_words(weights: dict[str, Tensor], config: dict[str, Any], net: FrameNet) -> dict[str, Tensor]:
    """Weights for a net that knows more words, of which the new ones keep their random rows: a table by place, word."""
    old, words = weights["trunk.text.table.weight"], config["model"]["words"]
    table = net.trunk.text.table.weight.detach().clone().unflatten(0, (TEXT_LENGTH, -1))
    table[:, :words] = old.unflatten(0, (TEXT_LENGTH, words))
    return {**weights, "trunk.text.table.weight": table.flatten(0, 1)}


def _train_frames(
    options: TrainOptions, groups: Groups, train: Tensor, held: Tensor, rolled: Tensor
) -> tuple[FrameNet, int]:
    """The network, and after how many steps."""
    device, batch = options.device, options.batch or 6
    net = FrameNet(RewardConfig())
    if options.warm:
        load_strictly(net, known_words(*load_bundled("pocket_frame_reward"), net), "pocket_frame_reward")
    net.to(device)
    average = Average(net, 0.99)
    optimiser = MuonAdam(net, LR, adam_names=("table", "stem.0", "points", "score", "read"), decay=0.05)

    def step(progress: Progress) -> dict[str, float]:
        draw = torch.Generator().manual_seed(options.seed * 10**7 + progress.step)
        rows = train[torch.randint(len(train), (batch,), generator=draw)]
        columns = torch.randint(SEEN, (DRAWN,), generator=draw)
        pictures, tokens, truth = _frames(groups, rows, columns, device)
        if float(torch.rand((), generator=draw)) < 0.5:  # the world has no left and right of its own
            pictures, truth[..., X] = pictures.flip(-1), -truth[..., X]
            truth[..., FORM] *= sides_of("patch", groups.tokens[rows], device).repeat_interleave(DRAWN, dim=1)
        if float(torch.rand((), generator=draw)) < 0.5:
            pictures = (pictures + 0.02 * torch.randn(pictures.shape, generator=draw).to(device)).clamp(0, 1)
        with mixed(device):
            scores, read = net(pictures, tokens)
        labels = truth[..., : len(READINGS)].mean(-1, keepdim=True)
        scores, read = scores.float().view(*labels.shape), read.float().view(*truth.shape)
        known = torch.ones_like(truth)
        known[..., X : X + len(OF_OBJECT)] = truth[..., X - 1 : X]
        error = ((read - truth).square() * known).mean()
        loss = preference_loss(scores, labels) + 1e-3 * scores.square().mean()
        (loss + READ_WEIGHT * error).backward()
        optimiser.step(options.rate * warm_cosine(progress.share))
        average.update(net, progress.step)
        return {"loss": loss.item(), "read": error.item(), "agree": agreement_rate(scores.detach(), labels)}

    parts = {"model": net, "average": average, "optimiser": optimiser}
    ended = run_loop(replace(options, batch=batch), "frame_reward", parts, step)
    _export_frames(options, average.model, groups, held, rolled)
    return average.model, ended.step


@torch.no_grad()
def _export_frames(options: TrainOptions, net: FrameNet, groups: Groups, held: Tensor, rolled: Tensor) -> None:
    columns = torch.arange(0, SEEN, 4)

    def over(rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean score and mean label of each clip's frames, [G, M, 1]."""
        scores, labels = [], []
        for part in rows.split(8):
            pictures, tokens, truth = _frames(groups, part, columns, options.device)
            shape = (len(part), -1, len(columns))
            scores.append(net(pictures, tokens)[0].view(*shape).mean(2, keepdim=True))
            labels.append(truth[..., : len(READINGS)].mean(-1).view(*shape).mean(2, keepdim=True))
        return torch.cat(scores), torch.cat(labels)

    rate = agreement_rate(*over(held))
    options.log(f"frame_reward held-out pairs ordered as labelled: {rate:.3f}")
    _export(options, "pocket_frame_reward", net, over(rolled)[0][:, :-1].flatten(0, 1))


@torch.no_grad()
def _features(net: ClipNet, groups: Groups, device: str) -> Tensor:
    """What the network reads in all frames of all clips, [G, M, SEEN, said]."""
    made = []
    for rows in torch.arange(len(groups.clips)).split(4):
        pictures, tokens, _ = _frames(groups, rows, torch.arange(SEEN), device)
        with mixed(device):
            said = net.look(pictures, net.eye.trunk.text(tokens))
        made.append(said.float().view(len(rows), -1, SEEN, net.said))
    return torch.cat(made)


def _train_clips(
    options: TrainOptions,
    frame: FrameNet,
    made: int,
    groups: Groups,
    train: Tensor,
    held: Tensor,
    rolled: Tensor,
) -> None:
    """Over the eye of a frame reward that was ``made`` in so many steps."""
    device, batch = options.device, options.batch or 16
    net = ClipNet(RewardConfig(frames=SNIPPET_FRAMES, heads=len(HEADS))).to(device)
    net.eye.load_state_dict(frame.state_dict())
    net.eye.requires_grad_(False)
    said = _features(net, groups, device)
    gaps = torch.tensor([snippet_gap(length) for length in groups.lengths.tolist()], device=device)
    options.log(f"looked at {said.shape[0] * said.shape[1]} clips")
    average = Average(net, 0.995)
    optimiser = MuonAdam(net, CLIP_LR, adam_names=("joined.3",), decay=0.1)

    def scores_of(model: ClipNet, rows: Tensor, told: Tensor) -> Tensor:
        text = model.eye.trunk.text(groups.tokens[rows].flatten(0, 1).to(device))
        shown = told.flatten(0, 1).unflatten(1, (SNIPPETS, SNIPPET_FRAMES))
        return model.join(shown, text, gaps[rows].repeat_interleave(told.shape[1])).view(len(rows), -1, len(HEADS))

    def step(progress: Progress) -> dict[str, float]:
        draw = torch.Generator().manual_seed(options.seed * 10**7 + progress.step)
        rows = train[torch.randint(len(train), (batch,), generator=draw)]
        labels = groups.labels[rows].to(device)
        told = said[rows] + JITTER * torch.randn(said[rows].shape, generator=draw).to(device)
        sides = torch.randint(2, (batch, 1, 1, 2), generator=draw).to(device) * 2.0 - 1
        told[..., [1 + X, 1 + Y]] *= sides  # mirror images are as good
        for axis, detail in enumerate(("patch", "cap")):
            turned = torch.where(sides[..., axis] < 0, sides_of(detail, groups.tokens[rows], device)[..., None], 1.0)
            told[..., 1 + FORM] *= turned
        scores = scores_of(net, rows, told)
        loss = preference_loss(scores, labels)
        (loss + 1e-3 * scores.square().mean()).backward()
        optimiser.step(warm_cosine(progress.share))
        average.update(net, progress.step)
        return {"loss": loss.item(), "agree": agreement_rate(scores.detach(), labels)}

    parts = {"model": net, "average": average, "optimiser": optimiser}
    run_loop(replace(options, batch=batch), "clip_reward", parts, step, log_every=100, after={"frame_reward": made})
    with torch.no_grad():
        scores, labels = scores_of(average.model, held, said[held]), groups.labels[held].to(device)
        rates = [agreement_rate(scores[..., h : h + 1], labels[..., h : h + 1]) for h in range(len(HEADS))]
        options.log("clip_reward held-out pairs ordered as labelled: " + " ".join(f"{rate:.3f}" for rate in rates))
        scores = scores_of(average.model, rolled, said[rolled])[:, :-1].flatten(0, 1)
        _export(options, "pocket_clip_reward", average.model, scores)


def _export(options: TrainOptions, name: str, net: FrameNet | ClipNet, scores: Tensor) -> None:
    """Writes the weights with the mean and deviation of scores [N, heads] of rollouts."""
    config = {"model": asdict(net.config), "mean": scores.mean(0).tolist(), "std": scores.std(0).tolist()}
    if options.export:
        options.log(f"wrote {export_weights(name, net.state_dict(), config)}")
