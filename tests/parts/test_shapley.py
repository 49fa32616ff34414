"""Shapley values on games whose values are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.networks.mixing import Mixing
from archgrad.parts.hypergradient import Estimate
from archgrad.parts.relaxation import EdgeNormalized, Softmax
from archgrad.parts.shapley import Shapley
from archgrad.parts.state import State

WORTH = {
    "normal": torch.tensor([[0.05, 0.20, 0.0], [0.15, 0.01, 0.09]]),
    "reduce": torch.tensor([[0.02, 0.08, 0.10]]),
}
GROUPS = tuple(
    Group(name, 1, ((0, 1), (0, 2))[: len(worth)], (tuple("abc"),) * len(worth), 1)
    for name, worth in WORTH.items()
)
BASE = 0.3  # the accuracy without any candidate


class Game:
    """The accuracy is the sum of the worths of the candidates that are there."""

    def __init__(self, interact: bool = False) -> None:
        self.weights: dict[str, Tensor] = {}
        self.interact, self.asked = interact, 0

    def metric(self, mixing: Any, batch: Any) -> float:
        assert isinstance(mixing, Mixing) and batch == "valid"
        self.asked += 1
        there = {name: mixing[name] > 0 for name in WORTH}
        if self.interact:  # the first candidate counts with the second alone
            there["normal"][0, 0] &= there["normal"][0, 1]
        return BASE + sum(float(WORTH[name][there[name]].sum()) for name in WORTH)

    def loss(self, mixing: Any, batch: Any, weights: Any = None) -> Tensor:
        return torch.tensor(1.25)


def state(game: Game | None = None, relaxation: Any = Softmax()) -> State:  # noqa: B008
    problem: Any = game or Game()
    return State(problem, relaxation, train="train", valid="valid", groups=GROUPS)


def alpha() -> dict[str, Tensor]:
    return {g.name: torch.zeros(g.shape, requires_grad=True) for g in GROUPS}


def run(part: Shapley, now: State, steps: int, first_seed: int = 0) -> list[Estimate | None]:
    return [part(alpha(), replace(now, seed=first_seed + step)) for step in range(steps)]


def standardized(worth: Tensor) -> Tensor:
    return (worth - worth.mean()) / worth.std()


def test_in_an_additive_game_every_credit_is_the_worth() -> None:
    """Whatever the order; the score is then the standardized worth, minus it the gradient."""
    now = state()
    found = run(Shapley(samples=3, truncation=0.0, momentum=0.0), now, 3)
    assert found[:2] == [None, None] and found[2] is not None
    for name, worth in WORTH.items():
        torch.testing.assert_close(
            found[2].gradient[name], -standardized(worth), rtol=1e-4, atol=1e-4
        )
    assert float(found[2].loss) == 1.25
    assert now.memory["shapley"]["credits"] == []


def test_credits_sum_to_what_removing_all_costs() -> None:
    now = state(Game(interact=True))
    run(Shapley(samples=9, truncation=0.0), now, 5)
    full = sum(float(worth.sum()) for worth in WORTH.values())
    credits = now.memory["shapley"]["credits"]
    assert len(credits) == 5
    for credit in credits:
        assert sum(float(value.sum()) for value in credit.values()) == pytest.approx(full)


def test_partners_share_what_they_are_worth_together() -> None:
    """The first is credited 0.05 when it goes first; otherwise the second is credited 0.25."""
    now = state(Game(interact=True))
    run(Shapley(samples=400, truncation=0.0), now, 100)
    credits = torch.stack([credit["normal"][0, :2] for credit in now.memory["shapley"]["credits"]])
    torch.testing.assert_close(credits.sum(1), torch.full((100,), 0.25))
    torch.testing.assert_close(
        credits.mean(0), torch.tensor([0.025, 0.225]), rtol=0, atol=4 * 0.025 / 100**0.5
    )


def test_an_order_ends_where_the_accuracy_is_too_low() -> None:
    """Full accuracy 1: below 0.9 after a few removals; what is not reached has no credit."""
    games = []
    for truncation in (0.0, 0.5, 0.9, 1.0):
        game = Game()
        now = state(game)
        run(Shapley(samples=50, truncation=truncation), now, 20)
        games.append(game.asked)
        for credit in now.memory["shapley"]["credits"]:
            total = sum(float(value.sum()) for value in credit.values())
            largest = max(float(value.max()) for value in credit.values())
            assert total - largest <= 1 - truncation + 1e-6
    assert games[0] == 20 * (1 + 9)
    assert games == sorted(games, reverse=True) and len(set(games)) == 4


def test_the_score_is_an_average_over_rounds() -> None:
    now = state()
    first, second = (
        next(e for e in run(Shapley(2, 0.0, momentum=0.8), now, 2, seed) if e is not None)
        for seed in (0, 10)
    )
    for name, worth in WORTH.items():
        score = -standardized(worth)
        torch.testing.assert_close(first.gradient[name], 0.2 * score, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(second.gradient[name], 0.36 * score, rtol=1e-4, atol=1e-4)


def test_spread_counts_against_a_candidate() -> None:
    """The score is mean - standard deviation over the orders."""
    kept = state(Game(interact=True))
    run(Shapley(samples=99, truncation=0.0), kept, 40)
    credits = torch.stack([credit["normal"] for credit in kept.memory["shapley"]["credits"]])
    found = run(Shapley(40, truncation=0.0, momentum=0.0), state(Game(interact=True)), 40)[-1]
    assert found is not None
    expected = -standardized(credits.mean(0) - credits.std(0))
    torch.testing.assert_close(found.gradient["normal"], expected)
    assert credits.std(0)[0, 1] > 0.01


def test_edge_logits_stay_and_alpha_needs_no_graph() -> None:
    relaxation = EdgeNormalized()
    leaves = alpha() | {
        name: torch.zeros(shape, requires_grad=True)
        for name, shape in relaxation.extra(GROUPS).items()
    }
    now = state(relaxation=relaxation)
    part = Shapley(2, 0.0)
    part(leaves, now)
    estimate = part(leaves, replace(now, seed=1))
    assert estimate is not None and estimate.gradient.keys() == leaves.keys()
    assert not estimate.gradient["normal/1"].any()
    assert not any(value.requires_grad for value in estimate.gradient.values())


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"samples": 1}, "samples 1 must be at least 2"),
    ({"truncation": 1.5}, "truncation 1.5 from 0 to 1"),
    ({"momentum": 1.0}, "momentum 1.0 from 0 to below 1"),
]


@pytest.mark.parametrize(("knob", "message"), REFUSED)
def test_values_out_of_range_are_refused(knob: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        Shapley(**knob)
