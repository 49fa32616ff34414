"""Optimizers of alpha against their update rules; the constants of the original code count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.parts.optimizer import Adam, Descent, ExponentiatedGradient


def steps(part: Adam, count: int = 3) -> Tensor:
    alpha = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    optimizer = part([alpha])
    for index in range(count):
        alpha.grad = torch.tensor([0.3, -0.1, 0.0], dtype=torch.float64) * (1 + index)
        optimizer.step()
    return alpha.detach()


def by_hand(rate: float, betas: tuple[float, float], decay: float, count: int = 3) -> Tensor:
    """Adam with decay added to the gradient (Kingma, Ba, arXiv:1412.6980, algorithm 1)."""
    alpha = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    first, second = torch.zeros_like(alpha), torch.zeros_like(alpha)
    for index in range(count):
        gradient = torch.tensor([0.3, -0.1, 0.0], dtype=torch.float64) * (1 + index) + decay * alpha
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        mean, square = (
            moment / (1 - beta ** (index + 1)) for moment, beta in zip((first, second), betas)
        )
        alpha = alpha - rate * mean / (square.sqrt() + 1e-8)
    return alpha


def test_the_constants_are_those_of_the_original_code() -> None:
    torch.testing.assert_close(steps(Adam()), by_hand(3e-4, (0.5, 0.999), 1e-3))


OTHERS: list[dict[str, Any]] = [
    {"learning_rate": 0.01},
    {"betas": (0.9, 0.99)},
    {"weight_decay": 0.5},
]


@pytest.mark.parametrize("knob", OTHERS)
def test_each_constant_counts(knob: dict[str, Any]) -> None:
    values = {"learning_rate": 3e-4, "betas": (0.5, 0.999), "weight_decay": 1e-3, **knob}
    torch.testing.assert_close(steps(Adam(**knob)), by_hand(*values.values()))
    assert (steps(Adam(**knob)) - steps(Adam())).abs().max() > 1e-5


def test_an_iterator_of_tensors_will_do_and_zero_rate_moves_nothing() -> None:
    alpha = {"normal": torch.ones(2, requires_grad=True), "reduce": torch.ones(1)}
    optimizer = Adam()(iter(alpha.values()))
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(a) for a in alpha.values()]
    assert torch.equal(steps(Adam(0.0)), torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))


@pytest.mark.parametrize("knob", [{"learning_rate": -1e-4}, {"weight_decay": -1.0}])
def test_negative_constants_are_refused(knob: dict[str, float]) -> None:
    (value,) = knob.values()
    with pytest.raises(ArchgradError, match=f"{value} .*must be finite and not negative"):
        Adam(**knob)


@pytest.mark.parametrize("betas", [(1.0, 0.999), (0.5, 1.0), (-0.1, 0.9)])
def test_betas_out_of_range_are_refused(betas: tuple[float, float]) -> None:
    with pytest.raises(ArchgradError, match="betas .* expected from 0 to below 1"):
        Adam(betas=betas)


def test_descent_is_the_rate_times_the_gradient() -> None:
    alpha = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    optimizer = Descent(0.5)([alpha])
    alpha.grad = torch.tensor([0.2, -0.4], dtype=torch.float64)
    optimizer.step()
    expected = torch.tensor([0.9, -1.8], dtype=torch.float64)
    torch.testing.assert_close(alpha.detach(), expected)
    with pytest.raises(ArchgradError, match="learning rate -1.0 must be finite and not negative"):
        Descent(-1.0)


# --- exponentiated gradient ----------------------------------------------------------------------


def logits(seed: int, rows: int = 4, columns: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64).requires_grad_()


@given(st.integers(0, 2**20), st.floats(0.01, 1.0))
def test_theta_is_multiplied_by_the_exponential_of_its_own_gradient(seed: int, rate: float) -> None:
    """theta exp(-rate g) / Z, for a random quadratic loss of theta = softmax(alpha)."""
    generator = torch.Generator().manual_seed(seed + 1)
    matrix = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    alpha = logits(seed)
    optimizer = ExponentiatedGradient(rate, floor=1e-12)([alpha])
    for _ in range(3):
        theta = alpha.detach().softmax(-1).requires_grad_()
        (slope,) = torch.autograd.grad((theta @ matrix).square().sum(), theta)
        expected = theta.detach() * (-rate * slope).exp()
        expected = expected / expected.sum(-1, keepdim=True)
        optimizer.zero_grad()
        (alpha.softmax(-1) @ matrix).square().sum().backward()
        optimizer.step()
        if expected.min() > 1e-11:
            torch.testing.assert_close(alpha.detach().softmax(-1), expected)


def test_theta_stays_above_its_floor_and_can_come_back() -> None:
    alpha = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    optimizer = ExponentiatedGradient(1.0, floor=1e-3)([alpha])

    def step(slope: float) -> Tensor:
        optimizer.zero_grad()
        (slope * alpha.softmax(-1)[0, 0]).backward()
        optimizer.step()
        return alpha.detach().softmax(-1)[0]

    for _ in range(50):
        theta = step(5.0)
    torch.testing.assert_close(
        theta[0] * (1 + 1e-3), torch.tensor(1e-3).double(), rtol=1e-2, atol=0
    )
    for _ in range(4):
        theta = step(-5.0)
    assert float(theta[0]) > 0.99


def test_rows_of_one_dimension_are_edge_weights_and_none_stays() -> None:
    edge, resting = logits(0, 1)[0].detach().requires_grad_(), logits(1)
    before = resting.detach().clone()
    optimizer = ExponentiatedGradient(0.3)([edge, resting])
    theta = edge.detach().softmax(0)
    edge.softmax(0)[2].backward()
    optimizer.step()
    expected = theta * torch.tensor([0.0, 0.0, -0.3, 0.0, 0.0]).double().exp()
    torch.testing.assert_close(edge.detach().softmax(0), expected / expected.sum())
    assert torch.equal(resting.detach(), before)


def test_the_state_of_the_optimizer_goes_round() -> None:
    alpha = logits(0)
    optimizer = ExponentiatedGradient(0.3, floor=1e-4)([alpha])
    other = ExponentiatedGradient(0.1)([alpha])
    other.load_state_dict(optimizer.state_dict())
    assert [other.param_groups[0][key] for key in ("lr", "floor")] == [0.3, 1e-4]


@pytest.mark.parametrize("knob", [{"learning_rate": -0.1}, {"floor": 0.0}, {"floor": 0.5}])
def test_wrong_constants_of_the_exponentiated_gradient_are_refused(knob: dict[str, float]) -> None:
    with pytest.raises(ArchgradError, match="must be finite and not negative, floor .* 0 and 0.01"):
        ExponentiatedGradient(**knob)
