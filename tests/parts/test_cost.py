"""The expected cost: ProxylessNAS's toy, its two forms, and what a derived node keeps."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from archgrad.costing.costs import CostTable, Place
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.networks.supernet import Alpha
from archgrad.parts.cost import CostPenalty, CostRatio, ExpectedCost
from archgrad.parts.hypergradient import Estimate
from archgrad.parts.relaxation import (
    Dirichlet,
    EdgeNormalized,
    Gates,
    GumbelSoftmax,
    Relaxation,
    Sigmoid,
    Softmax,
)
from archgrad.parts.schedule import Linear
from archgrad.parts.state import State


def table(group: Group, rows: list[list[float]], fixed: float = 0.0) -> CostTable:
    places = tuple(
        Place(f"place {edge}", group.name, edge, (1,), dict(zip(names, row, strict=True)))
        for edge, (names, row) in enumerate(zip(group.candidates, rows, strict=True))
    )
    return CostTable("latency", "toy", fixed, {group.name: group.edges}, places)


LAYER = Group("layer 1", 1, ((0, 1),), (("a", "b"),), None, keep_none=True)
TOY = ExpectedCost(table(LAYER, [[10.0, 20.0]]))
ALPHA = {"layer 1": torch.tensor([[0.7, 0.3]], dtype=torch.float64).log()}


SOFTMAX = Softmax()
PATHS = (SOFTMAX, Gates(), GumbelSoftmax(), GumbelSoftmax(hard=True))


def state(
    relaxation: Any = SOFTMAX, groups: tuple[Group, ...] = (LAYER,), progress: float = 0.0
) -> State:
    return State(None, relaxation, groups=groups, progress=progress)  # type: ignore[arg-type]


def slope(part: Any, alpha: Alpha, at: State) -> tuple[float, dict[str, list[Any]]]:
    leaves = {name: value.clone().requires_grad_() for name, value in alpha.items()}
    value = part(leaves, at)
    found = torch.autograd.grad(value, list(leaves.values()))
    return float(value.detach()), {n: g.tolist() for n, g in zip(leaves, found, strict=True)}


@pytest.mark.parametrize("relaxation", PATHS)
def test_the_toy_of_proxyless(relaxation: Relaxation) -> None:
    value, found = slope(TOY, ALPHA, state(relaxation))
    assert value == pytest.approx(13.0)
    assert found["layer 1"][0] == pytest.approx([-2.1, 2.1])


def test_sigmoids_count_as_they_are_and_the_dirichlet_by_its_mean() -> None:
    logits = {"layer 1": torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)}
    assert float(TOY(logits, state(Sigmoid()))) == pytest.approx(0.5 * 10 + 0.75 * 20)
    logits = {"layer 1": torch.tensor([[0.0, 2.0]], dtype=torch.float64)}
    assert float(TOY(logits, state(Dirichlet()))) == pytest.approx((1 * 10 + 3 * 20) / 4)


NODE = Group("cell", 2, ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), (("none", "a", "b"),) * 5, 2)
COSTS = [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 3.0, 6.0], [0.0, 3.0, 6.0], [0.0, 3.0, 6.0]]


def test_what_a_node_keeps_is_shared_among_its_edges_and_none_is_never_derived() -> None:
    """Node 2 keeps both edges, node 3 two of three; a and b are equally likely."""
    cost = ExpectedCost(table(NODE, COSTS, fixed=100.0))
    alpha = {"cell": torch.zeros(5, 3, dtype=torch.float64)}
    alpha["cell"][:, 0] = 7.0
    assert float(cost(alpha, state(groups=(NODE,)))) == pytest.approx(100 + 2 * 1.5 + 2 * 4.5)


def test_edge_weights_decide_which_edges_count() -> None:
    cost = ExpectedCost(table(NODE, [*COSTS[:4], [0.0, 30.0, 30.0]]))
    alpha = {
        "cell": torch.zeros(5, 3, dtype=torch.float64),
        "cell/2": torch.zeros(2, dtype=torch.float64),
        "cell/3": torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log(),
    }
    value, found = slope(cost, alpha, state(EdgeNormalized(), (NODE,)))
    assert value == pytest.approx(2 * 1.5 + 2 * (0.75 * 4.5 + 0.25 * 30))
    assert found["cell/3"][2] > 0 > found["cell/3"][0]


def test_the_linear_form() -> None:
    """add#linear: weight (E - ref) / ref."""
    value, found = slope(CostPenalty(TOY, 10.0), ALPHA, state())
    assert value == pytest.approx(0.1 * 0.3)
    assert found["layer 1"][0] == pytest.approx([-0.021, 0.021])
    assert slope(CostPenalty(TOY, 26.0), ALPHA, state())[0] == pytest.approx(-0.05)
    scheduled = CostPenalty(TOY, 10.0, Linear(0.0, 4.0))
    assert slope(scheduled, ALPHA, state(progress=0.5))[0] == pytest.approx(2 * 0.3)


def test_above_the_limit_alone() -> None:
    above = CostPenalty(TOY, 10.0, 2.0, above=True)
    assert slope(above, ALPHA, state())[0] == pytest.approx(0.6)
    below = CostPenalty(TOY, 14.0, 2.0, above=True)
    assert slope(below, ALPHA, state()) == (0.0, {"layer 1": [[0.0, 0.0]]})


def test_the_logarithmic_form_is_the_gradient_of_the_product() -> None:
    """mul#log: L alpha (log E / log ref)^beta, L a quadratic function of alpha."""

    def loss(alpha: Alpha) -> Tensor:
        return (alpha["layer 1"] ** 2).sum() + 1

    def inner(alpha: Alpha, at: State) -> Estimate:
        value = loss(alpha)
        (found,) = torch.autograd.grad(value, [alpha["layer 1"]])
        return Estimate({"layer 1": found}, value.detach())

    form = CostRatio(inner, TOY, 20.0)
    leaf = {"layer 1": ALPHA["layer 1"].clone().requires_grad_()}
    whole = loss(leaf) * 0.2 * (TOY(leaf, state()).log() / math.log(20.0)) ** 0.3
    (expected,) = torch.autograd.grad(whole, [leaf["layer 1"]])
    estimate = form(leaf, state())
    assert estimate is not None
    torch.testing.assert_close(estimate.gradient["layer 1"], expected)
    assert float(estimate.loss) == pytest.approx(float(loss(leaf).detach()))
    assert CostRatio(lambda alpha, at: None, TOY, 20.0)(leaf, state()) is None
    with pytest.raises(ArchgradError, match="reference is 0.8 latency, expected above 1"):
        CostRatio(inner, TOY, 0.8)
