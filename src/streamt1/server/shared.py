"""Presets whose devices are shared: every video takes some of them, and several are made side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol, get_args

from streamt1.config.schema import RunConfig
from streamt1.core.errors import ConfigError
from streamt1.core.protocols import Models
from streamt1.core.timeline import Switch
from streamt1.pipeline.pipeline import Pipeline
from streamt1.server.models import LoadedPresets


class Loan(Protocol):
    """Some devices, for one video."""

    def models(self, name: str, /) -> Models:
        """Those of a preset on these devices."""
        ...

    def give_back(self) -> None:
        """They are free again."""
        ...


class Pool(Protocol):
    """All devices; see ``distributed.pool``."""

    def __len__(self) -> int: ...

    def least(self, name: str, /) -> int: ...

    def take(self, count: int, wanted: Callable[[], bool], /) -> Loan | None: ...


def check_share(said: str, count: int, most: int, preset: str, least: int) -> None:
    """Raises ``ConfigError`` for a number of devices that a video of a preset cannot have.

    Args:
        said: by which option or field the number came.
        most, least: devices that there are, and that the preset needs.
    """
    if not 1 <= count <= most:
        raise ConfigError(f"{said}={count}: this server has {most} devices, of which a video takes 1 or more")
    if count < least:
        raise ConfigError(
            f"{said}={count}: {preset} has devices for its rewards alone (placement.reward_devices), so that its"
            f" videos take all {most}"
        )


class SharedPresets(LoadedPresets):
    """Presets that are loaded on all devices of a pool.

    Args:
        device: their name, for people.
        configs: by preset; the first is the default.
        usual: devices of a video that does not say how many; None for all.

    Raises:
        ConfigError: ``usual`` is more than there are, or less than a preset needs.
    """

    def __init__(self, device: str, configs: Mapping[str, RunConfig], pool: Pool, usual: int | None = None) -> None:
        self._pool, self._usual = pool, len(pool) if usual is None else usual
        self.most, self._turn = len(pool), threading.Lock()
        for name in configs:
            self._check(name, self._usual, "--devices-per-job")
        loan = pool.take(self.most, lambda: True)
        assert loan is not None
        try:
            super().__init__(device, {name: Pipeline(one, loan.models(name)) for name, one in configs.items()})
            for pipeline in self._pipelines.values():  # requests are checked while others have the devices
                for memory in (None, *get_args(Switch)):
                    pipeline.models.backbone.switch_passes(memory)
        finally:
            loan.give_back()

    def check_devices(self, preset: str, count: int) -> None:
        """See ``LoadedPresets.check_devices``."""
        self._check(preset, count, "devices")

    def _check(self, preset: str, count: int, said: str) -> None:
        check_share(said, count, self.most, preset, self._pool.least(preset))

    def begin(self) -> None:
        """See ``LoadedPresets.begin``."""
        self._turn.acquire()

    def began(self) -> None:
        """See ``LoadedPresets.began``."""
        self._turn.release()

    def take(self, count: int | None, wanted: Callable[[], bool]) -> LoadedPresets | None:
        """See ``LoadedPresets.take``."""
        loan = self._pool.take(self._usual if count is None else count, wanted)
        return None if loan is None else LentPresets(self, loan)


class LentPresets(LoadedPresets):
    """The same presets on the devices of one video."""

    def __init__(self, shared: SharedPresets, loan: Loan) -> None:
        self.device, self.served, self._shared, self._loan = shared.device, shared.served, shared, loan

    def pipeline(self, preset: str, config: RunConfig | None = None) -> Pipeline:
        """See ``LoadedPresets.pipeline``."""
        return Pipeline(config or self.config(preset), self._loan.models(preset))

    def config(self, preset: str) -> RunConfig:
        """See ``LoadedPresets.config``."""
        return self._shared.config(preset)

    def give_back(self) -> None:
        """See ``LoadedPresets.give_back``."""
        self._loan.give_back()
