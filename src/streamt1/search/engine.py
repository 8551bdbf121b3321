"""The loop: at every chunk boundary, expand, score, prune, commit. It reads as the figure of the paper's method."""

from __future__ import annotations

from collections.abc import Iterator

from streamt1.core.protocols import Models
from streamt1.core.timeline import Timeline
from streamt1.search.choose import Result, choose
from streamt1.search.commit import commit
from streamt1.search.config import SearchConfig
from streamt1.search.cost import CostMeter
from streamt1.search.expand import expand
from streamt1.search.prune import prune
from streamt1.search.start import start
from streamt1.search.state import SearchState
from streamt1.search.switch import switched
from streamt1.search.watcher import Watcher
from streamt1.search.whole import score


def step(models: Models, config: SearchConfig, state: SearchState, watcher: Watcher) -> SearchState:
    """One chunk: maps the state at a chunk boundary to the state at the next."""
    state.check_held()
    cost = CostMeter(state.cost)
    with switched(models, state, watcher, cost) as state:
        candidates = expand(models, config, state, watcher, cost)
        candidates = score(models, config, state, candidates, watcher, cost)
        survivors, tried = prune(config, state, candidates, watcher), state.tried(candidates)
        del candidates  # the losers' frames and decoder states, before the survivors are written
        return commit(models, config, tried, survivors, watcher, cost)


def search(
    models: Models, config: SearchConfig, state: SearchState, watcher: Watcher = Watcher()
) -> Iterator[SearchState]:
    """Goes on from a state: yields the one at every chunk boundary that follows, up to the last chunk, if there is one.

    A state that has been gone on from has given its memory to the next one. Where a step fails, the state before it is
    as it was; not where a new prompt has had its memory written again (``recache``).

    Raises:
        RewardError: all candidates of a chunk got scores that are not finite.
        MemoryIntegrityError: the state has been gone on from before, or released.
    """
    while not state.ended:
        state = step(models, config, state, watcher)
        yield state


class Engine:
    """Whole searches over models that satisfy the protocols: from a prompt to a video.

    Args:
        models: what is searched over.
        config: how to search.
        watcher: sees every search.
    """

    def __init__(self, models: Models, config: SearchConfig = SearchConfig(), watcher: Watcher = Watcher()) -> None:
        self.models, self.config, self.watcher = models, config, watcher

    def run(self, prompt: str | Timeline, chunks: int | None = None, seed: int = 0) -> Result:
        """Searches for a video of ``chunks`` chunks, or of scenes, which have their own lengths.

        Raises:
            ConfigError: ``chunks`` is below 1, or settings that exclude one another.
            PromptError: the backbone cannot use the prompt.
            RewardError: all candidates of a chunk got scores that are not finite.
        """
        state = start(self.models, self.config, prompt, chunks, seed, self.watcher)
        try:
            for reached in search(self.models, self.config, state, self.watcher):
                state = reached
            return choose(self.models, self.config, state, self.watcher)
        finally:
            state.release(self.models)
