import pytest
import torch

from streamt1.backbones.sampling import Schedule, few_step, shifted_sigmas, to_x0
from streamt1.core.errors import ConfigError
from streamt1.core.seeds import generator


def test_schedule_of_the_official_models() -> None:
    assert Schedule().timesteps.tolist() == pytest.approx([1000, 937.5, 833.33333, 625])
    assert shifted_sigmas(5.0)[-1].item() == pytest.approx(0.00498008)
    assert torch.equal(shifted_sigmas(1.0), torch.linspace(1, 0, 1001)[:-1])


@pytest.mark.parametrize("steps", [(), (1000, 1000), (500, 750), (1001, 500), (500, 0)])
def test_steps_must_fall(steps: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="steps"):
        Schedule(steps)


def test_to_x0_undoes_the_noising() -> None:
    x0, noise, sigma = torch.randn(5), torch.randn(5), torch.tensor(0.7)
    assert torch.allclose(to_x0((1 - sigma) * x0 + sigma * noise, noise - x0, sigma), x0, atol=1e-6)


def test_few_step_draws_from_each_candidates_own_generator_between_steps_only() -> None:
    """A model that knows x0 lets the sampler land on it; three draws are taken for four steps."""
    target = torch.randn(2, 3, 4, 2, 2)
    sources = [generator(1), generator(2)]
    noise = torch.stack([torch.randn(3, 4, 2, 2, generator=g) for g in sources])
    inputs = []

    def flow(x: torch.Tensor, t: torch.Tensor, rows: range) -> torch.Tensor:
        inputs.append(x)
        return (x - target) / (t / 1000)

    assert torch.allclose(few_step(flow, noise, sources, Schedule()), target, atol=1e-5)
    expected = generator(2)
    draws = [torch.randn(3, 4, 2, 2, generator=expected) for _ in range(4)]
    sigmas = Schedule().sigmas
    for step in (1, 2, 3):
        assert torch.allclose(inputs[step][1], (1 - sigmas[step]) * target[1] + sigmas[step] * draws[step], atol=1e-5)
    assert torch.equal(torch.randn(3, generator=sources[1]), torch.randn(3, generator=expected))
