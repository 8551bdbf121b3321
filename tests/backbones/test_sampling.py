from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from streamt1.backbones.sampling import Schedule, few_step, shifted_sigmas, to_x0
from streamt1.core.errors import ConfigError


def test_schedule_of_the_official_models() -> None:
    assert Schedule().timesteps.tolist() == pytest.approx([1000, 937.5, 833.33333, 625])
    assert shifted_sigmas(5.0)[-1].item() == pytest.approx(0.00498008)
    assert torch.equal(shifted_sigmas(1.0), torch.linspace(1, 0, 1001)[:-1])


@pytest.mark.parametrize("steps", [(), (1000, 1000), (500, 750), (1001, 500), (500, 0, 0), (0,)])
def test_steps_must_fall(steps: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="steps"):
        Schedule(steps)


def test_to_x0_undoes_the_noising() -> None:
    x0, noise, sigma = torch.randn(5), torch.randn(5), torch.tensor(0.7)
    assert torch.allclose(to_x0((1 - sigma) * x0 + sigma * noise, noise - x0, sigma), x0, atol=1e-6)


def known(target: Tensor, inputs: list[Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A model that knows x0, and notes what it is asked."""

    def flow(x: Tensor, t: Tensor) -> Tensor:
        inputs.append(x)
        return (x - target) / (t / 1000)

    return flow


def test_few_step_lands_on_what_the_model_knows_over_the_noise_that_it_is_given() -> None:
    target, inputs = torch.randn(2, 3, 4, 2, 2), list[Tensor]()
    x, fresh, sigmas = torch.randn(2, 3, 4, 2, 2), torch.randn(2, 3, 3, 4, 2, 2), Schedule().sigmas
    landed, clean = few_step(known(target, inputs), x, fresh, Schedule(), range(4))
    assert torch.equal(landed, clean)
    assert torch.allclose(clean, target, atol=1e-5)
    assert torch.equal(inputs[0], x)
    for step in (1, 2, 3):
        noised = (1 - sigmas[step]) * target + sigmas[step] * fresh[:, step - 1]
        assert torch.allclose(inputs[step], noised, atol=1e-5)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_chunk_may_be_denoised_in_two_calls(cut: int) -> None:
    target, inputs = torch.randn(2, 3, 4, 2, 2), list[Tensor]()
    x, fresh, flow = torch.randn(2, 3, 4, 2, 2), torch.randn(2, 3, 3, 4, 2, 2), known(target, inputs)
    whole = few_step(flow, x, fresh, Schedule(), range(4))
    half, preview = few_step(flow, x, fresh, Schedule(), range(cut))
    assert torch.allclose(preview, target, atol=1e-5)
    assert not torch.allclose(half, target, atol=1e-2), "noised again, for the next step"
    assert all(torch.equal(a, b) for a, b in zip(few_step(flow, half, fresh, Schedule(), range(cut, 4)), whole))


def test_one_step_needs_no_noise() -> None:
    schedule, target = Schedule((1000,)), torch.randn(2, 3, 4, 2, 2)
    assert (len(schedule.steps), schedule.draws) == (1, 0)
    x, none = torch.randn(2, 3, 4, 2, 2), torch.empty(2, 0, 3, 4, 2, 2)
    clean, _ = few_step(known(target, []), x, none, schedule, range(1))
    assert torch.allclose(clean, target, atol=1e-5)


def test_euler_follows_the_flow_from_the_initial_noise() -> None:
    schedule, target, inputs = Schedule(sampler="euler"), torch.randn(2, 3, 4, 2, 2), list[Tensor]()
    assert schedule.draws == 0
    noise, sigmas = torch.randn(2, 3, 4, 2, 2), schedule.sigmas
    landed, clean = few_step(known(target, inputs), noise, torch.empty(2, 0, 3, 4, 2, 2), schedule, range(4))
    assert torch.equal(landed, clean)
    assert torch.allclose(clean, target, atol=1e-5)
    for step in range(4):
        assert torch.allclose(inputs[step], (1 - sigmas[step]) * target + sigmas[step] * noise, atol=1e-5)


def test_euler_comes_nearer_to_the_exact_answer_with_more_steps() -> None:
    """Data of variance .25: the flow at noise level s is known, and takes noise to half of itself."""

    def flow(x: Tensor, t: Tensor) -> Tensor:
        s = t / 1000
        variance = 0.25 * (1 - s) ** 2 + s**2
        return (x - 0.25 * (1 - s) / variance * x) / s

    noise, errors = torch.randn(500, generator=torch.Generator().manual_seed(0)).view(1, 1, 1, 1, 500), []
    for count in (4, 16, 64):
        steps = tuple(torch.linspace(1000, 1000 / count, count).round().int().tolist())
        landed, _ = few_step(flow, noise, torch.empty(1, 0), Schedule(steps, 1.0, "euler"), range(count))
        errors.append((landed - 0.5 * noise).abs().mean().item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


def test_a_sampler_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match="sampler='ddim' is none of renoise, euler"):
        Schedule(sampler="ddim")  # type: ignore[arg-type]


def test_a_corrected_step_is_taken_twice_and_its_first_prediction_noised_again() -> None:
    schedule, target, asked = Schedule(corrected=(500,)), torch.randn(1, 3, 4, 2, 2), list[tuple[bool, float]]()
    assert [t for t, _ in schedule.path] == [1000, 750, 500, 500, 250]
    assert (schedule.passes, schedule.draws) == (5, 4)
    inputs, fresh = list[Tensor](), torch.randn(1, 4, 3, 4, 2, 2)

    def seen(over_first: bool) -> Callable[[Tensor, Tensor], Tensor]:
        def flow(x: Tensor, t: Tensor) -> Tensor:
            asked.append((over_first, t.item()))
            return known(2 * target if over_first else target, inputs)(x, t)

        return flow

    clean, _ = few_step(seen(False), torch.randn(1, 3, 4, 2, 2), fresh, schedule, range(5), seen(True))
    sigma = schedule.sigmas[2]
    assert [first for first, _ in asked] == [False, False, True, False, False]
    assert asked[2][1] == asked[3][1] == pytest.approx(833.33333)
    assert torch.allclose(inputs[3], (1 - sigma) * 2 * target + sigma * fresh[:, 2], atol=1e-5)
    assert torch.allclose(clean, target, atol=1e-5)


def test_the_first_chunk_is_not_corrected() -> None:
    schedule = Schedule(corrected=(500, 250))
    assert schedule.of_chunk(0) == Schedule()
    assert schedule.of_chunk(1) is schedule


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"corrected": (600,)}, r"corrected=\(600,\) must be some of the steps after the first: \(750, 500, 250\)"),
        ({"corrected": (1000,)}, "must be some of the steps after the first"),
        ({"corrected": (500, 500)}, "must be some of the steps after the first"),
        ({"corrected": (500,), "sampler": "euler"}, r"noises a prediction again, which euler never does"),
    ],
)
def test_corrections_that_cannot_be(settings: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Schedule(**settings)
