"""The loop: at every chunk boundary, expand, score, prune, commit. It reads as the figure of the paper's method."""

from __future__ import annotations

from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Backbone, ClipReward, Codec, FrameReward
from streamt1.search.observer import Observer
from streamt1.search.policies import SearchConfig
from streamt1.search.stages import Result, Stages, World
from streamt1.trace.events import Emit

__all__ = ["Engine", "Result"]


class Engine:
    """A search over anything that satisfies the protocols.

    Args:
        backbone, codec, frame_reward, clip_reward: the world.
        config: how to search.
        emit: receives every event, in order.
        observer: sees what events do not hold.
        draft: decodes candidates for the rewards in the codec's place; see ``World``.
    """

    def __init__(
        self,
        backbone: Backbone,
        codec: Codec,
        frame_reward: FrameReward,
        clip_reward: ClipReward,
        config: SearchConfig = SearchConfig(),
        emit: Emit = lambda event: None,
        observer: Observer = Observer(),
        draft: Codec | None = None,
    ) -> None:
        self.world = World(backbone, codec, frame_reward, clip_reward, draft)
        self.config, self.emit, self.observer = config, emit, observer

    @classmethod
    def over(
        cls, world: World, config: SearchConfig, emit: Emit = lambda event: None, observer: Observer = Observer()
    ) -> Engine:
        """A search over a world as it is, its draft codec included."""
        parts = world.backbone, world.codec, world.frame_reward, world.clip_reward
        return cls(*parts, config, emit, observer, world.draft)

    def run(self, prompt: str, chunks: int, seed: int = 0) -> Result:
        """Searches for a video of ``chunks`` chunks.

        Raises:
            ConfigError: ``chunks`` is below 1, or settings that exclude one another.
            PromptError: the backbone cannot use the prompt.
            RewardError: all candidates of a chunk got scores that are not finite.
        """
        if chunks < 1:
            raise ConfigError(f"chunks={chunks} must be at least 1")
        with Stages(self.world, self.config, self.emit, prompt, chunks, seed, self.observer) as stage:
            beams = stage.start()
            for chunk in range(chunks):
                candidates = stage.expand(beams, chunk)
                candidates = stage.score(candidates, chunk)
                candidates = stage.prune(candidates, chunk)
                beams = stage.commit(candidates, chunk)
            return stage.choose(beams)
