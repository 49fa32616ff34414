"""The gradient of sampled paths on problems whose gates have known gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice, Group
from archgrad.networks.operations import Zero
from archgrad.networks.supernet import Supernet
from archgrad.parts.hypergradient import Estimate
from archgrad.parts.paths import TwoPaths, keep_other_probabilities
from archgrad.parts.relaxation import Gates
from archgrad.parts.state import State
from archgrad.task import Task

TARGET = 1.7


class Times(nn.Module):
    """Its number times x; remembers which outputs had a graph."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))
        self.graphs: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        output = self.factor * x.requires_grad_()  # a graph wherever one is recorded
        self.graphs.append(output.requires_grad)
        return output


def problem(*factors: float, squared: bool = True) -> tuple[Supernet, State]:
    """One edge; L_val = (m - TARGET)^2 or m, of the mixed output m at x = 1. Factor 0: none."""
    names = tuple(f"op{index}" for index in range(len(factors)))
    candidates = {n: Times(f) if f else Zero(1) for n, f in zip(names, factors)}
    group = Group("g", 1, ((0, 1),), (names,), 1)
    net = Supernet(
        Choice(candidates, "g", 0),
        [group],
        task=Task(lambda m, target: (m - target).square().sum() if squared else m.sum()),
    )
    logits = torch.randn(1, len(factors), generator=torch.Generator().manual_seed(1))
    net.alpha = {"g": logits.double().requires_grad_()}
    batch = torch.ones(1, 1, dtype=torch.float64), torch.tensor(TARGET, dtype=torch.float64)
    return net, State(net, Gates(), valid=batch, groups=(group,))


def estimate(net: Supernet, state: State, seed: int, paths: int = 2) -> tuple[Any, list[int], int]:
    """The estimate, the drawn candidates and the active one."""
    found = TwoPaths(paths)(net.alpha, replace(state, seed=seed))
    drawn = found.touched["g"][0].nonzero().flatten().tolist()
    ran = [i for i, c in enumerate(net.choices[0].candidates) if getattr(c, "graphs", None)]
    active = [i for i in ran if net.choices[0].candidates[i].graphs == [True]]
    return found, drawn, active[0] if active else -1


FACTORS = (0.5, 2.0, -1.0, 3.0)


@pytest.mark.parametrize("paths", [2, 3, 4, 9])
@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_is_that_of_the_gates_through_a_softmax_of_the_drawn(
    seed: int, paths: int
) -> None:
    net, state = problem(*FACTORS)
    found, drawn, active = estimate(net, state, seed, paths)
    assert len(drawn) == min(paths, 4) and active in drawn
    p = net.alpha["g"].detach()[0, drawn].softmax(0)
    slope = 2 * (FACTORS[active] - TARGET)
    gates = torch.tensor([slope * FACTORS[i] for i in drawn], dtype=torch.float64)
    jacobian = torch.diag(p) - p[:, None] * p  # p_j (delta_ij - p_i)
    expected = torch.zeros(4, dtype=torch.float64)
    expected[drawn] = jacobian @ gates
    torch.testing.assert_close(found.gradient["g"][0], expected)
    assert float(found.loss) == pytest.approx((FACTORS[active] - TARGET) ** 2)


def test_of_the_drawn_only_the_active_one_has_a_graph() -> None:
    net, state = problem(*FACTORS)
    _, drawn, active = estimate(net, state, 0)
    graphs = [candidate.graphs for candidate in net.choices[0].candidates]
    expected = [[True] if i == active else [False] if i in drawn else [] for i in range(4)]
    assert graphs == expected
    assert all(weight.grad is None for weight in net.weights.values())


@pytest.mark.no_cover  # thousands of draws
def test_pairs_and_active_ones_are_drawn_from_the_softmax() -> None:
    net, state = problem(*FACTORS)
    p = net.alpha["g"].detach()[0].softmax(0)
    count, actives, pairs = 600, torch.zeros(4), torch.zeros(4, 4)
    for seed in range(count):
        for candidate in net.choices[0].candidates:
            candidate.graphs.clear()
        _, (i, j), active = estimate(net, state, seed)
        actives[active] += 1
        pairs[i, j] += 1
    pair = torch.zeros(4, 4)
    for i in range(4):
        for j in range(i + 1, 4):  # one first, then the other of what is left
            pair[i, j] = p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j])
    active = torch.tensor([
        sum(float(pair[min(i, j), max(i, j)] * p[i] / (p[i] + p[j])) for j in range(4) if j != i)
        for i in range(4)
    ])  # fmt: skip
    for found, expected in ((pairs / count, pair), (actives / count, active)):
        deviation = (expected * (1 - expected) / count).sqrt()
        assert ((found - expected).abs() <= 4 * deviation).all()


def test_with_two_candidates_and_a_linear_loss_it_is_the_gradient_of_the_mixture() -> None:
    """L = m: every draw gives d (sum_o p_o o(x)) / d alpha exactly."""
    net, state = problem(0.5, 2.0, squared=False)
    mixture = (net.alpha["g"].softmax(-1) @ torch.tensor([0.5, 2.0], dtype=torch.float64)).sum()
    (exact,) = torch.autograd.grad(mixture, net.alpha["g"])
    for seed in range(5):
        found = TwoPaths()(net.alpha, replace(state, seed=seed))
        torch.testing.assert_close(found.gradient["g"], exact)


def test_its_mean_over_the_active_one_is_known_for_a_square() -> None:
    """E = p_0 p_1 (o_1 - o_0) sum_k p_k L'(o_k) for the second alpha: L' at the paths, not at m."""
    net, state = problem(0.5, 2.0)
    p = net.alpha["g"].detach()[0].softmax(0)
    slope = sum(p[k] * 2 * (factor - TARGET) for k, factor in enumerate((0.5, 2.0)))
    expected = p[0] * p[1] * 1.5 * slope
    values = torch.stack(
        [TwoPaths()(net.alpha, replace(state, seed=s)).gradient["g"][0, 1] for s in range(400)]
    )
    assert abs(float(values.mean() - expected)) < 4 * float(values.std()) / 400**0.5
    assert float(values.std()) > 0


def test_a_gate_of_none_has_no_gradient() -> None:
    net, state = problem(0.0, 2.0)
    p = net.alpha["g"].detach()[0].softmax(0)
    actives = set()
    for seed in range(12):
        net.choices[0].candidates[1].graphs.clear()  # type: ignore[union-attr,operator]
        found, _, active = estimate(net, state, seed)
        output = 2.0 if active == 1 else 0.0
        slope = 2 * (output - TARGET) * 2.0
        expected = torch.stack([-p[0] * p[1], p[1] * (1 - p[1])]) * slope
        torch.testing.assert_close(found.gradient["g"][0], expected)
        actives.add(active)
    assert actives == {-1, 1}


# --- the projection ------------------------------------------------------------------------------


@given(st.integers(0, 2**20), st.integers(2, 8), st.floats(0.01, 20))
def test_probabilities_of_the_others_are_kept(seed: int, size: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)

    def normal() -> Tensor:
        return scale * torch.randn(5, size, generator=generator, dtype=torch.float64)

    before, change = normal(), normal()
    drawn = torch.rand(5, size, generator=generator).argsort(dim=1) < 2
    after = torch.where(drawn, before + change, before + 1e-3)
    touched = Estimate({}, torch.zeros(()), touched={"g": drawn})
    found = keep_other_probabilities({"g": before}, {"g": after}, touched)["g"]
    assert torch.equal(found[~drawn], before[~drawn])
    torch.testing.assert_close(
        found.softmax(1)[~drawn], before.softmax(1)[~drawn], rtol=1e-12, atol=1e-12
    )
    shift = (found - after)[drawn].view(5, 2)
    torch.testing.assert_close(shift[:, 0], shift[:, 1])
    pair = [value[drawn].view(5, 2).softmax(1) for value in (found, after)]
    torch.testing.assert_close(*pair)  # between the drawn ones the step stands


def test_a_projection_without_a_draw_says_what_it_needs() -> None:
    with pytest.raises(ArchgradError, match="needs a hypergradient that draws candidates"):
        keep_other_probabilities({}, {}, Estimate({}, torch.zeros(())))


def test_a_single_path_is_refused() -> None:
    with pytest.raises(ArchgradError, match="found 1, expected at least 2"):
        TwoPaths(1)
