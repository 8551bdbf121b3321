"""The stages of the loop for one run. ``engine.py`` says in which order; the three unit modules say by which rule."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Backbone, Branch, ClipReward, Codec, CodecState, FrameReward
from streamt1.core.seeds import derive_seed, generator
from streamt1.core.types import Chunk, Route, Score
from streamt1.search.beam import Beam, Candidate, Draw
from streamt1.search.cost import CostMeter
from streamt1.search.early_pruning import EarlyPruning
from streamt1.search.memory_sinking import decide_route
from streamt1.search.noise_propagation import candidate_seed, propagate
from streamt1.search.observer import Observer
from streamt1.search.policies import SearchConfig
from streamt1.search.reward_pruning import fuse, fusion_weight, prune, random_pick
from streamt1.search.scoring import Judge, finite
from streamt1.search.settling import shared_chunks, within_lag
from streamt1.search.width import Spending, candidates_for, check_budget, shares, usual_widths
from streamt1.trace import events
from streamt1.trace.events import Emit


@dataclass(frozen=True)
class World:
    """What is searched over.

    Attributes:
        draft: a light codec for the same latents. Where there is one, candidates are decoded by it for the rewards, and
            ``codec`` decodes only the chunks that leave, each once, over a single state.
    """

    backbone: Backbone
    codec: Codec
    frame_reward: FrameReward
    clip_reward: ClipReward
    draft: Codec | None = None

    @property
    def scoring_codec(self) -> Codec:
        """What shows candidates to the rewards."""
        return self.draft or self.codec


@dataclass(frozen=True, eq=False)
class Result:
    """The answer of a search.

    Attributes:
        fps: pixel frames per second.
        beam: the chosen beam; its branch has been released.
        beams: all that survived, best rank first.
        final: clip reward of each surviving beam's whole video.
        shown: the frames of each chunk of the chosen video.
        cost: see ``CostMeter.summary``.
    """

    fps: int
    beam: Beam
    beams: tuple[Beam, ...]
    final: tuple[float, ...]
    shown: tuple[Tensor, ...]
    cost: dict[str, Any]

    @property
    def frames(self) -> Tensor:
        """The chosen video, ``[T, 3, H, W]`` in 0..1."""
        return torch.cat(self.shown)

    @property
    def latents(self) -> Tensor:
        """``[F, C, H, W]``."""
        return self.beam.latents


class Stages:
    """One run. As a context manager it releases every branch that it still holds, whatever happens."""

    def __init__(
        self,
        world: World,
        config: SearchConfig,
        emit: Emit,
        prompt: str,
        chunks: int,
        seed: int,
        observer: Observer = Observer(),
    ) -> None:
        self._world, self._config, self._emit, self._observer = world, config, emit, observer
        self._prompt, self._chunks, self._seed = prompt, chunks, seed
        self._cost = CostMeter()
        self._judge = Judge(world.scoring_codec, world.frame_reward, world.clip_reward, config, prompt, self._cost)
        self._held: list[Branch] = []
        self._growing: list[Branch] = []
        self._widths = usual_widths(chunks, config.beam_size * config.top_k, config.taper)
        self._proposed = 0
        self._shown: list[Tensor] = []
        self._developed = world.codec.start()
        self._spreads: list[float] = []
        if world.draft is not None and config.decode == "official":
            raise ConfigError("decode=official repeats the published code, which has no draft codec; use only one")
        check_budget(config.budget_passes, chunks, world.backbone.passes_per_proposal)

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *exc: object) -> None:
        self._hold(self._growing)
        self._hold([])

    def start(self) -> list[Beam]:
        """One empty beam."""
        backbone, codec = self._world.backbone, self._world.codec
        frames = backbone.chunk_shape[0]
        config = dataclasses.asdict(self._config)
        start = events.RunStarted(self._prompt, self._seed, self._chunks, frames, codec.fps, config, codec.time_stride)
        self._emit(start)
        with self._cost.spend("text"):
            self._hold([backbone.start(self._prompt)])
        return [Beam(self._held[0], self._world.scoring_codec.start())]

    def expand(self, beams: Sequence[Beam], chunk: int) -> list[Candidate]:
        """Denoises and decodes every beam's candidates for the next chunk."""
        total = self._width(chunk)
        lineage = [beam.lineage[-1] for beam in beams if beam.lineage]
        self._emit(events.ChunkStarted(chunk, lineage, total))
        widths = shares(total, len(beams))
        draws = [
            self._draw(beam, rank, chunk, candidate)
            for rank, (beam, width) in enumerate(zip(beams, widths))
            for candidate in range(width)
        ]
        size = self._config.candidate_batch or total
        batches = [draws[begin : begin + size] for begin in range(0, total, size)]
        return [candidate for batch in batches for candidate in self._generate(batch)]

    def _draw(self, beam: Beam, rank: int, chunk: int, candidate: int) -> Draw:
        config, last = self._config, beam.last
        parent_seed, parent_noise = (last.seed, last.noise) if last else (None, None)
        seed = candidate_seed(config.seeds, self._seed, chunk, rank, candidate, parent_seed)
        own = generator(seed)
        noise = torch.randn(self._world.backbone.chunk_shape, generator=own)
        if config.propagation:
            noise = propagate(noise, parent_noise, config.noise_strength)
        return Draw(beam, rank, chunk, seed, own, noise)

    def _width(self, chunk: int) -> int:
        """Candidates of this chunk, over all beams."""
        config, cost = self._config, self._cost.summary()
        spending = Spending(cost["model_passes"], cost["seconds"]["total"], self._proposed, self._spreads)
        return candidates_for(
            self._widths[chunk:],
            spending,
            self._world.backbone.passes_per_proposal,
            config.adaptive,
            config.budget_passes,
            config.budget_seconds,
        )

    def _generate(self, draws: Sequence[Draw]) -> list[Candidate]:
        """Those candidates of one batch that are denoised to their end, whoever their parents are."""
        backbone, steps, early = self._world.backbone, self._world.backbone.passes_per_proposal, None
        if self._config.preview_step is not None:
            early = self._early_pruning(draws, self._config.preview_step)
        branches, generators = [draw.parent.branch for draw in draws], [draw.generator for draw in draws]
        with self._cost.spend("model"):
            latents = backbone.propose(branches, torch.stack([draw.noise for draw in draws]), generators, early)
        kept = [draws[row] for row in early.kept] if early else draws
        saved = (len(draws) - len(kept)) * (steps - (self._config.preview_step or steps))
        self._cost.count(model_passes=len(draws) * steps - saved)
        return [self._candidate(*made) for made in zip(kept, latents, *self._pictured(kept, latents, "decode"))]

    def _pictured(self, draws: Sequence[Draw], latents: Tensor, kind: str) -> tuple[Tensor, list[CodecState]]:
        """Frames of candidates for the rewards, and the decoder's states; its time is taken under ``kind``."""
        count = "latents_decoded" if self._world.draft is None else "latents_drafted"
        with self._cost.spend(kind, **{count: latents.shape[0] * latents.shape[1]}):
            return self._world.scoring_codec.decode([draw.parent.codec for draw in draws], latents)

    def _early_pruning(self, draws: Sequence[Draw], after: int) -> EarlyPruning:
        weight = fusion_weight(draws[0].index, self._chunks, self._config.fusion_cap)

        def score(rows: Sequence[int], previews: Tensor) -> list[float]:
            previewed = [draws[row] for row in rows]
            pictured = self._pictured(previewed, previews, "preview")
            made = [Candidate.of(draw, -1, *parts) for draw, *parts in zip(previewed, previews, *pictured)]
            shorts, longs = self._judge.chunks(made)
            return [fuse(short, long, weight) for (short, _), (long, _) in zip(shorts, longs)]

        return EarlyPruning(score, after, self._config.preview_keep)

    def _candidate(self, draw: Draw, latents: Tensor, frames: Tensor, state: CodecState) -> Candidate:
        candidate = Candidate.of(draw, self._proposed, latents, frames, state)
        self._proposed += 1
        parent = draw.parent.lineage[-1] if draw.parent.lineage else None
        self._emit(events.CandidateProposed(draw.index, candidate.id, parent, draw.rank, draw.seed))
        self._observer.look(candidate.id, frames)
        return candidate

    def score(self, candidates: list[Candidate], chunk: int) -> list[Candidate]:
        """Gives every candidate its short, long and fused score and its chunk's route."""
        if not self._config.scores_chunks:
            return candidates
        weight = fusion_weight(chunk, self._chunks, self._config.fusion_cap)
        shorts, longs = self._judge.chunks(candidates)
        scored = []
        for candidate, (short, short_parts), (long, long_parts) in zip(candidates, shorts, longs):
            score = Score(short, long, fuse(short, long, weight), {**short_parts, **long_parts})
            route = self._route(candidate, score)
            scored.append(candidate.judged(candidate.chunk.judged(score, route)))
            self._report_score(scored[-1], score, route)
        self._note_spread([c.chunk.score.fused for c in scored if c.chunk.score])
        return scored

    def _note_spread(self, fused: list[float]) -> None:
        """One candidate alone tells nothing; its chunk counts as an average one, so that widths recover."""
        known = [value for value in fused if math.isfinite(value)]
        if len(known) > 1:
            self._spreads.append(statistics.pstdev(known))
        elif self._spreads:
            self._spreads.append(statistics.fmean(self._spreads))

    def _route(self, candidate: Candidate, score: Score) -> Route | None:
        config = self._config
        if not config.sinking:
            return None
        return decide_route(
            score,
            candidate.parent.scores,
            config.window,
            config.short_threshold,
            config.long_threshold,
            config.short_baseline,
        )

    def _report_score(self, candidate: Candidate, score: Score, route: Route | None) -> None:
        chunk, name = candidate.chunk.index, route.value if route else None
        if not math.isfinite(score.fused):
            self._emit(
                events.Warned(f"chunk {chunk}: candidate {candidate.id} loses: its score is not a finite number")
            )
        parts = {part: finite(value) for part, value in score.parts.items()}
        values = finite(score.short), finite(score.long), finite(score.fused)
        self._emit(events.CandidateScored(chunk, candidate.id, *values, parts, name))

    def prune(self, candidates: list[Candidate], chunk: int) -> list[Candidate]:
        """The survivors, best first."""
        config = self._config
        if config.pruning == "final":
            return [candidate.apart() for candidate in candidates[: config.top_k]]
        if config.pruning == "random":
            kept = random_pick(len(candidates), config.top_k, derive_seed(self._seed, chunk, 0, 0, "prune"))
        else:
            kept = prune([c.chunk.score.fused if c.chunk.score else math.nan for c in candidates], config.top_k)
        if config.lag is not None:
            kept = [kept[i] for i in within_lag([candidates[i].lineage for i in kept], config.lag)]
        for i in sorted(set(range(len(candidates))) - set(kept)):
            self._emit(events.CandidatePruned(chunk, candidates[i].id))
        return [candidates[i].apart() for i in kept]

    def commit(self, survivors: list[Candidate], chunk: int) -> list[Beam]:
        """Writes the survivors into memory, and only them. The last chunk has no future, so it is only kept."""
        backbone, branches = self._world.backbone, self._growing
        last = chunk == self._chunks - 1
        for rank, candidate in enumerate(survivors):
            route = candidate.chunk.route
            if not last:
                with self._cost.spend("model", model_passes=1):
                    branches.append(backbone.commit(candidate.parent.branch, candidate.chunk.latents, route))
            self._emit(events.ChunkCommitted(chunk, candidate.id, rank, route.value if route else None))
            if not last:
                self._report_memory(candidate, branches[-1])
        beams = [c.grown(branch) for c, branch in zip(survivors, branches or [None] * len(survivors))]
        self._hold(branches)
        self._growing = []
        self._settle(beams[0], shared_chunks([beam.lineage for beam in beams]))
        return beams

    def _settle(self, beam: Beam, count: int) -> None:
        """The first ``count`` chunks of a beam are final: whatever wins begins with them."""
        for chunk in beam.chunks[len(self._shown) : count]:
            self._emit(events.ChunkSettled(chunk.index, beam.lineage[chunk.index]))
            self._shown.append(self._develop(chunk))
            self._observer.settled(chunk.index, self._shown[-1])

    def _develop(self, chunk: Chunk) -> Tensor:
        """A settled chunk's frames as people see them, ``[T, 3, H, W]``; chunks come in order."""
        if self._world.draft is None:
            return chunk.frames
        with self._cost.spend("decode", latents_decoded=len(chunk.latents)):
            frames, (self._developed,) = self._world.codec.decode([self._developed], chunk.latents[None])
        return frames[0]

    def _report_memory(self, candidate: Candidate, branch: Branch) -> None:
        now = self._observer.recall(branch)
        if now is None:
            return
        route, outcome = (label.value if label else None for label in (now.route, now.outcome))
        held = list(now.sinks), list(now.window)
        self._emit(events.MemoryChanged(candidate.chunk.index, candidate.id, *held, now.left, route, outcome, now.slot))

    def choose(self, beams: list[Beam]) -> Result:
        """The beam whose whole video the clip reward likes best; the earlier wins a tie."""
        finals = self._judge.videos(beams)
        for rank, (beam, long) in enumerate(zip(beams, finals)):
            if not math.isfinite(long):
                self._emit(events.Warned(f"the video of beam {rank} loses: its score is not a finite number"))
            self._emit(events.BeamJudged(beam.lineage[-1], rank, finite(long)))
        best = prune(finals, 1)[0]
        self._settle(beams[best], len(beams[best].chunks))
        cost = self._cost.summary()
        self._emit(events.RunFinished(list(beams[best].lineage), finals[best], cost))
        shown = tuple(self._shown)
        return Result(self._world.codec.fps, beams[best], tuple(beams), tuple(finals), shown, cost)

    def _hold(self, branches: list[Branch]) -> None:
        """Releases the branches held so far and holds these instead."""
        for branch in self._held:
            self._world.backbone.release(branch)
        self._held = branches
