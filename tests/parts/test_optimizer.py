"""Adam of alpha: the constants of the original code, and each of them counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.parts.optimizer import Adam


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
