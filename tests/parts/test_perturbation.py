"""Perturbed mixing weights: bounds, clipping, and a loss that rises under attack."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.networks.mixing import Mixing
from archgrad.parts.perturbation import AdversarialPerturbation, RandomPerturbation
from archgrad.parts.relaxation import Softmax
from archgrad.parts.schedule import Linear
from archgrad.parts.state import State

SEED = st.integers(0, 2**20)


class Toy:
    """A loss of the mixing weights p and of one weight w: w * f(p)."""

    def __init__(self, loss: Any) -> None:
        self.f, self.weights = loss, {"w": torch.ones((), dtype=torch.float64, requires_grad=True)}
        self.calls = 0

    def loss(self, mixing: Any, batch: Any, weights: Any = None) -> Tensor:
        self.calls += 1
        assert batch == "train"
        value: Tensor = (weights or self.weights)["w"] * self.f(mixing)
        return value

    def metric(self, mixing: Any, batch: Any) -> float:
        raise AssertionError("the accuracy is not asked for")


def state(loss: Any = None, seed: int = 0, progress: float = 0.0) -> State:
    problem: Any = Toy(loss)
    return State(problem, Softmax(), train="train", valid="valid", seed=seed, progress=progress)


def weights(seed: int = 0) -> Mixing:
    generator = torch.Generator().manual_seed(seed)
    logits = {
        name: 2 * torch.randn(rows, 4, generator=generator, dtype=torch.float64)
        for name, rows in (("normal", 5), ("reduce", 3))
    }
    return Mixing(
        {name: value.softmax(-1) for name, value in logits.items()},
        edges={"normal": torch.full((5,), 0.5, dtype=torch.float64)},
    )


def distance(found: Mixing, mixing: Mixing) -> float:
    return max(float((found[name] - mixing[name]).abs().max()) for name in mixing)


def quadratic(mixing: Mixing) -> Tensor:
    """Convex in p, with its minimum within the simplex."""
    return torch.stack([(p - 0.3).square().sum() for p in mixing.values()]).sum()


@given(SEED, st.floats(0.001, 1.0))
def test_noise_stays_within_its_size_and_between_zero_and_one(seed: int, size: float) -> None:
    mixing = weights(seed)
    found = RandomPerturbation(size)(mixing, state(seed=seed))
    assert distance(found, mixing) <= size + 1e-12
    assert all(((p >= 0) & (p <= 1)).all() for p in found.values())
    assert found.edges == mixing.edges


def test_noise_is_uniform_and_grows() -> None:
    mixing = Mixing({"g": torch.full((4000, 5), 0.5, dtype=torch.float64)})
    part = RandomPerturbation(Linear(0.1, 0.3))
    for progress, size in ((0.0, 0.1), (0.5, 0.2), (1.0, 0.3)):
        noise = part(mixing, state(progress=progress))["g"] - 0.5
        assert float(noise.abs().max()) == pytest.approx(size, rel=1e-3)
        assert float(noise.std()) == pytest.approx(size / 3**0.5, rel=0.02)
        assert abs(float(noise.mean())) < 0.01 * size * 4


@pytest.mark.parametrize("part", [RandomPerturbation(0.2), AdversarialPerturbation(0.2, steps=1)])
def test_a_seed_is_a_perturbation(part: Any) -> None:
    first, again, other = (part(weights(), state(quadratic, seed)) for seed in (1, 1, 2))
    assert distance(first, again) == 0.0 < distance(first, weights())
    assert distance(first, other) > 0.0


def test_the_ball_of_an_attack_grows() -> None:
    mixing = Mixing({"g": torch.full((2, 3), 0.5, dtype=torch.float64)})
    for progress, size in ((0.0, 0.03), (0.5, 0.165), (1.0, 0.3)):
        found = AdversarialPerturbation()(mixing, state(quadratic, progress=progress))
        assert distance(found, mixing) == pytest.approx(size)


@given(SEED, st.floats(0.01, 0.3), st.integers(1, 7))
def test_an_attack_raises_the_loss_within_its_ball(seed: int, size: float, steps: int) -> None:
    mixing, now = weights(seed), state(quadratic, seed)
    found = AdversarialPerturbation(size, steps)(mixing, now)
    assert distance(found, mixing) <= size + 1e-12
    assert all(((p >= 0) & (p <= 1)).all() for p in found.values())
    before, after = quadratic(mixing), quadratic(found)
    assert after > before or distance(found, mixing) == 0.0


def test_a_linear_loss_is_driven_to_the_corner_of_the_ball() -> None:
    """The worst point is known; a random point is below it. Seven steps of 2/7 reach any corner."""
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    mixing = Mixing({"g": torch.full((3, 4), 0.5, dtype=torch.float64)})
    now = state(lambda p: (p["g"] * sign).sum(), seed=3)
    found = AdversarialPerturbation(0.1)(mixing, now)
    torch.testing.assert_close(found["g"], mixing["g"] + 0.1 * sign)
    assert now.problem.calls == 7 + 2  # type: ignore[attr-defined]


def test_many_small_steps_find_a_worst_point_inside_the_ball() -> None:
    """It is 0.1 away in a ball of 0.3: one step of 0.6 overshoots, steps of 0.086 come near."""
    mixing = Mixing({"g": torch.full((6, 4), 0.5, dtype=torch.float64)})

    def peak(p: Mixing) -> Tensor:
        return -(p["g"] - 0.6).square().sum()

    few, many = (AdversarialPerturbation(0.3, n)(mixing, state(peak)) for n in (1, 7))
    assert distance(few, mixing) == 0.0  # it did not raise the loss
    assert float((many["g"] - 0.6).abs().max()) < 2 * 0.3 / 7


def test_an_attack_that_does_not_raise_the_loss_is_left_out() -> None:
    mixing = weights()

    def peak(p: Mixing) -> Tensor:
        return -torch.stack([(p[n] - mixing[n]).square().sum() for n in mixing]).sum()

    found = AdversarialPerturbation(0.1)(mixing, state(peak))
    assert distance(found, mixing) == 0.0


def test_the_weights_of_the_network_get_no_gradient() -> None:
    now = replace(state(quadratic), progress=0.5)
    with torch.no_grad():
        found = AdversarialPerturbation()(weights(), now)
    assert now.problem.weights["w"].grad is None
    assert not any(p.requires_grad for p in found.values())


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (RandomPerturbation, {"size": -0.1}, "size is -0.1, expected from 0 to 1"),
    (RandomPerturbation, {"size": Linear(0.0, 1.1)}, "expected from 0 to 1"),
    (AdversarialPerturbation, {"size": 2.0}, "size is 2.0, expected from 0 to 1"),
    (AdversarialPerturbation, {"steps": 0}, "0 steps, expected at least 1"),
]


@pytest.mark.parametrize(("part", "knob", "message"), REFUSED)
def test_values_out_of_range_are_refused(part: Any, knob: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        part(**knob)
