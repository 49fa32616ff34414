"""The steps of a search against algorithm 1 of DARTS (arXiv:1806.09055), and what they lead to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import archgrad
from archgrad import Method
from archgrad.data import Data
from archgrad.networks.mixing import Mixing
from archgrad.parts.hypergradient import Estimate, Neumann, first_order
from archgrad.parts.optimizer import Descent
from archgrad.parts.regularizer import BetaDecay
from archgrad.parts.state import SGD, State


@dataclass
class Seen:
    """A hypergradient and a perturbation that write down what they see."""

    estimates: list[tuple[float, int, Tensor, Tensor]]
    weight_steps: list[Tensor]

    def hypergradient(self, alpha: Any, state: State) -> Estimate:
        found = first_order(alpha, state)
        before, slope = alpha["normal"].detach().clone(), found.gradient["normal"].clone()
        self.estimates.append((state.progress, state.step, before, slope))
        return found

    def perturbation(self, mixing: Mixing, state: State) -> Mixing:
        self.weight_steps.append(mixing["normal"].detach().clone())
        return mixing


def searched(data: Data, **slots: Any) -> Seen:
    """A tiny search: 2 epochs of 3 steps."""
    seen = Seen([], [])
    method = Method(hypergradient=seen.hypergradient, perturbation=seen.perturbation, **slots)
    archgrad.search(
        "s2", data, method=method, channels=2, cells=3, nodes=1, epochs=2, batch_size=8,
        guard="off", watch_fraction=0.0,
    )  # fmt: skip
    return seen


def test_alpha_moves_first_by_the_loss_and_its_terms(two_digits: Data) -> None:
    """Then the weights, at the new alpha: algorithm 1 with the terms of alpha's loss."""
    seen = searched(two_digits, arch_optimizer=Descent(0.5), regularizers=(BetaDecay(3.0),))
    assert len(seen.estimates) == len(seen.weight_steps) == 6
    edges = 4  # two in each of the two cells
    for (_, _, before, slope), mixing in zip(seen.estimates, seen.weight_steps, strict=True):
        decay = 3.0 * before.softmax(-1) / edges
        expected = (before - 0.5 * (slope + decay)).softmax(-1)
        torch.testing.assert_close(mixing, expected, rtol=1e-5, atol=1e-6)
    starts = [before for _, _, before, _ in seen.estimates]
    assert not torch.equal(starts[0], starts[1])


def test_alpha_rests_in_the_warm_up_and_between_its_steps(two_digits: Data) -> None:
    plain = searched(two_digits)
    resting = searched(two_digits, warm_up=0.5)
    seldom = searched(two_digits, interval=2)
    assert len(plain.weight_steps) == len(resting.weight_steps) == len(seldom.weight_steps) == 6
    assert [step for _, step, _, _ in plain.estimates] == [0, 1, 2] * 2
    assert [progress for progress, *_ in resting.estimates] == pytest.approx([3 / 6, 4 / 6, 5 / 6])
    assert [step for _, step, _, _ in seldom.estimates] == [0, 2] * 2


class Bilevel:
    """L_train = (w - B a)^2 / 2, L_val = (w - c)^2 / 2 + a^2 / 2: w*(a) = B a, all is known."""

    b, c = torch.tensor([2.0, -1.0]).double(), torch.tensor([1.0, 3.0]).double()

    def __init__(self) -> None:
        self.weights = {"w": torch.zeros(2).double()}
        self.alpha = {"a": torch.full((1, 1), 5.0).double().requires_grad_()}

    def loss(self, mixing: Any, batch: Any, weights: Any = None) -> Tensor:
        w, a = (weights or self.weights)["w"], mixing["a"].squeeze()
        if batch == "valid":
            return (w - self.c).square().sum() / 2 + a**2 / 2
        return (w - self.b * a).square().sum() / 2

    def metric(self, mixing: Any, batch: Any) -> float:
        raise AssertionError("no metric is asked for")


def ends(estimator: Any, xi: float, steps: int) -> float:
    problem = Bilevel()
    for _ in range(steps):
        state = State(problem, lambda alpha, _: alpha, "train", "valid", SGD(xi))
        slope = estimator(problem.alpha, state).gradient["a"]
        problem.alpha = {"a": (problem.alpha["a"].detach() - 0.1 * slope).requires_grad_()}
        w, a = problem.weights["w"], problem.alpha["a"].detach().squeeze()
        problem.weights = SGD(0.3).step(problem.weights, {"w": w - problem.b * a})
    return float(problem.alpha["a"].detach())


def test_the_implicit_gradient_solves_the_bilevel_problem() -> None:
    """argmin_a |B a - c|^2 / 2 + a^2 / 2 = B.c / (1 + B.B); the first order goes to 0 instead."""
    answer = float(Bilevel.b @ Bilevel.c / (1 + Bilevel.b @ Bilevel.b))
    assert answer == pytest.approx(-1 / 6)
    assert ends(Neumann(4), 0.9, 60) == pytest.approx(answer, abs=1e-4)  # 1 - 0.1^5 of the sum
    assert ends(first_order, 0.0, 200) == pytest.approx(0.0, abs=1e-6)
