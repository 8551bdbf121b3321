import pytest
import torch

from streamt1.core.errors import ConfigError

pytest.importorskip("transformers")
from streamt1.rewards.hpsv3 import HPSv3Reward


def test_four_bits_need_cuda_and_say_what_does_not() -> None:
    reward = object.__new__(HPSv3Reward)
    reward.device = torch.device("cpu")
    with pytest.raises(ConfigError, match="CUDA only, not on cpu; use reward_bits=8"):
        reward.settled(torch.float32, 4, stays=True)
