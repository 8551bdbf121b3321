"""The noise levels are the official code's, bit for bit."""

import numpy as np

from streamt1.backbones.sampling import TRAIN_STEPS, shifted_sigmas
from tests.parity.goldens import GoldenSet, golden_sets


def test_at_least_one_golden_set_is_there() -> None:
    assert golden_sets(), "no golden set was found: STREAMT1_GOLDENS must name a folder that holds stream_t1/*"


def test_schedule(golden: GoldenSet) -> None:
    stored = golden.arrays("schedule.npz")
    table = shifted_sigmas(golden.sizes["timestep_shift"])
    np.testing.assert_array_equal(table.numpy(), stored["sigmas"])
    np.testing.assert_array_equal((table * TRAIN_STEPS).numpy(), stored["timesteps"])
    np.testing.assert_array_equal(golden.schedule.sigmas.numpy(), stored["used_sigmas"])
    np.testing.assert_array_equal(golden.schedule.timesteps.numpy(), stored["used_timesteps"])
