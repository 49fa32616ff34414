"""Relaxations against their definitions, in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Gamma

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice, Group
from archgrad.networks.mixing import Mixing
from archgrad.networks.supernet import Supernet
from archgrad.parts.relaxation import (
    ALONE,
    Dirichlet,
    EdgeNormalized,
    Gates,
    GumbelSoftmax,
    Masked,
    Relaxation,
    Sigmoid,
    Softmax,
)
from archgrad.parts.schedule import Linear
from archgrad.parts.state import State

STATE = State(None, Softmax())  # type: ignore[arg-type]
MANY = 20_000  # rows of equal logits, as many draws


def alphas(seed: int, rows: int, columns: int, scale: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: scale * torch.randn(rows + more, columns, generator=generator, dtype=torch.float64)
        for more, name in enumerate(("normal", "reduce"))
    }


def rows_of(logits: list[float], count: int = MANY) -> dict[str, Tensor]:
    return {"g": torch.tensor(logits, dtype=torch.float64).expand(count, -1).clone()}


def at(seed: int = 0, progress: float = 0.0, sample: bool = True) -> State:
    return replace(STATE, seed=seed, progress=progress, sample=sample)


def typical(relaxation: Relaxation, alpha: dict[str, Tensor]) -> Mixing:
    return relaxation(alpha, at(sample=False))


# --- softmax and sigmoid -------------------------------------------------------------------------

SHAPES = (st.integers(0, 2**20), st.integers(1, 14), st.integers(1, 8), st.floats(0, 100))


@given(*SHAPES)
def test_rows_are_exponentials_divided_by_their_sum(
    seed: int, rows: int, columns: int, scale: float
) -> None:
    alpha = alphas(seed, rows, columns, scale)
    mixing = Softmax()(alpha, STATE)
    assert list(mixing) == ["normal", "reduce"]
    for name, weights in mixing.items():
        powers = (alpha[name] - alpha[name].max()).exp() + 1e-300
        assert weights.shape == alpha[name].shape
        torch.testing.assert_close(weights.sum(dim=1), torch.ones_like(weights[:, 0]))
        if scale < 10:
            torch.testing.assert_close(weights, powers / powers.sum(dim=1, keepdim=True))
        assert torch.equal(weights, Softmax().strength(alpha, STATE)[name])


@given(*SHAPES, st.floats(-50, 50))
def test_a_constant_on_an_edge_changes_nothing(
    seed: int, rows: int, columns: int, scale: float, constant: float
) -> None:
    alpha = alphas(seed, rows, columns, scale)
    moved = {name: value + constant for name, value in alpha.items()}
    for name, weights in Softmax()(alpha, STATE).items():
        torch.testing.assert_close(Softmax()(moved, STATE)[name], weights, rtol=1e-6, atol=1e-9)


def test_large_values_stay_finite() -> None:
    weights = Softmax()({"g": torch.tensor([[1e4, -1e4, 0.0]])}, STATE)["g"]
    assert torch.equal(weights, torch.tensor([[1.0, 0.0, 0.0]]))


def test_the_gradient_is_that_of_softmax() -> None:
    alpha = {"g": torch.tensor([[0.2, -0.3, 0.5]], requires_grad=True)}
    weights = Softmax()(alpha, STATE)["g"]
    (gradient,) = torch.autograd.grad(weights[0, 1], alpha["g"])
    w = weights.detach()[0]
    torch.testing.assert_close(gradient[0], w[1] * (torch.tensor([0.0, 1.0, 0.0]) - w))


@given(*SHAPES)
def test_sigmoids_do_not_compete(seed: int, rows: int, columns: int, scale: float) -> None:
    alpha = alphas(seed, rows, columns, scale)
    mixing = Sigmoid()(alpha, STATE)
    for name, weights in mixing.items():
        torch.testing.assert_close(weights, 1 / (1 + (-alpha[name]).exp()))
        assert torch.equal(weights, Sigmoid().strength(alpha, STATE)[name])
    assert (Softmax.simplex, Sigmoid.simplex) == (True, False)


# --- Gumbel-softmax and gates --------------------------------------------------------------------

LOGITS = [1.0, 0.0, -1.0, 2.5]
P = torch.tensor(LOGITS, dtype=torch.float64).softmax(0)
SAMPLED: list[Relaxation] = [GumbelSoftmax(), GumbelSoftmax(hard=True), Gates(), Dirichlet()]


@pytest.mark.parametrize("relaxation", [GumbelSoftmax(), GumbelSoftmax(0.1, hard=True), Gates()])
def test_the_largest_weight_is_drawn_from_the_softmax(relaxation: Relaxation) -> None:
    weights = relaxation(rows_of(LOGITS), at(3))["g"]
    frequency = torch.eye(4, dtype=torch.float64)[weights.argmax(1)].mean(0)
    deviation = (P * (1 - P) / MANY).sqrt()
    assert ((frequency - P).abs() < 4 * deviation).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(MANY, dtype=torch.float64))


@pytest.mark.parametrize("relaxation", SAMPLED)
def test_a_seed_is_a_draw(relaxation: Relaxation) -> None:
    alpha = alphas(0, 6, 5, 1.0)
    first, again, other = (relaxation(alpha, at(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in alpha)
    assert not any(torch.equal(first[name], other[name]) for name in alpha)
    assert not torch.equal(first["normal"], first["reduce"][:6])  # one stream for all groups


@pytest.mark.parametrize("relaxation", SAMPLED)
def test_strength_and_typical_weights_are_without_noise(relaxation: Relaxation) -> None:
    alpha = alphas(0, 6, 5, 1.0)
    strength = relaxation.strength(alpha, at(1))
    mixing = typical(relaxation, alpha)
    for name, value in strength.items():
        torch.testing.assert_close(value.sum(1), torch.ones_like(value[:, 0]))
        assert torch.equal(value, relaxation.strength(alpha, at(2))[name])
        if mixing.active:
            assert torch.equal(mixing[name].argmax(1), value.argmax(1))
            assert mixing.active[name] == [[int(i)] for i in value.argmax(1)]
        else:
            torch.testing.assert_close(mixing[name], value)


def test_the_temperature_pulls_to_a_corner_as_it_falls() -> None:
    relaxation, alpha = GumbelSoftmax(Linear(10.0, 0.1)), rows_of(LOGITS, 500)
    largest = [float(relaxation(alpha, at(0, t))["g"].amax(1).mean()) for t in (0, 0.9, 1)]
    assert largest[0] < 0.4 < largest[1] < largest[2]
    assert largest[2] > 0.95


def test_the_soft_weights_are_the_tempered_softmax_of_perturbed_logits() -> None:
    """Temperatures share the noise of a seed: log-ratios scale by their quotient."""
    alpha = alphas(1, 4, 5, 1.0)
    warm, cold = (GumbelSoftmax(t)(alpha, at(5))["normal"].log() for t in (4.0, 2.0))
    ratio = (cold - cold[:, :1])[:, 1:] / (warm - warm[:, :1])[:, 1:]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 2.0))


def test_hard_weights_are_one_hot_with_the_gradient_of_the_soft_ones() -> None:
    alpha = {n: a.requires_grad_() for n, a in alphas(2, 4, 5, 1.0).items()}
    soft, hard = (GumbelSoftmax(2.0, hard=hard)(alpha, at(7)) for hard in (False, True))
    scale = torch.randn(4, 5, dtype=torch.float64)
    largest = torch.eye(5, dtype=torch.float64)[soft["normal"].argmax(1)]
    torch.testing.assert_close(hard["normal"], largest, rtol=0, atol=1e-15)
    gradients = [
        torch.autograd.grad((mixing["normal"] * scale).sum(), alpha["normal"])[0]
        for mixing in (soft, hard)
    ]
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 1e-3


class Counting(nn.Module):
    """x times its number; knows how often it was asked."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.calls = factor, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.factor * x


def counting() -> Supernet:
    candidates = {name: Counting(index + 1.0) for index, name in enumerate("abc")}
    group = Group("g", 1, ((0, 1),), (tuple("abc"),), 1)
    return Supernet(Choice(candidates, "g", 0), [group])


@pytest.mark.parametrize("relaxation", [GumbelSoftmax(1.0, hard=True), Gates()])
def test_only_the_sampled_candidate_is_computed(relaxation: Relaxation) -> None:
    x, seen = torch.ones(1, dtype=torch.float64), set()
    for seed in range(8):
        net = counting()
        alpha = {"g": torch.zeros(1, 3, dtype=torch.float64)}
        output = net.forward(relaxation(alpha, at(seed)), x)
        calls = [candidate.calls for candidate in net.choices[0].candidates]
        assert sorted(calls) == [0, 0, 1]
        torch.testing.assert_close(output, x * (1 + calls.index(1)))
        seen.add(calls.index(1))
    assert len(seen) > 1


def test_the_gradient_of_one_path_is_that_of_its_own_soft_weight() -> None:
    """d L / d alpha = L'(m) o_k(x) d q_k / d alpha: the others add nothing (GDAS, later form)."""
    net, alpha = counting(), {"g": torch.randn(1, 3, dtype=torch.float64).requires_grad_()}
    x = torch.tensor([2.0], dtype=torch.float64)
    relaxation = GumbelSoftmax(1.5, hard=True)
    output = net.forward(relaxation(alpha, at(4)), x)
    (found,) = torch.autograd.grad(output.square().sum(), alpha["g"])
    q = GumbelSoftmax(1.5)(alpha, at(4))["g"]
    k = int(q.argmax())
    (slope,) = torch.autograd.grad(q[0, k], alpha["g"])
    candidate = (k + 1.0) * x
    torch.testing.assert_close(found, 2 * candidate * candidate * slope)


# --- Dirichlet -----------------------------------------------------------------------------------


def test_the_concentration_is_elu_plus_one() -> None:
    logits = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)
    expected = torch.tensor([torch.tensor(-2.0, dtype=torch.float64).exp(), 1.0, 4.0])
    torch.testing.assert_close(Dirichlet.concentration(logits), expected.double())
    assert (Dirichlet.concentration(torch.tensor([-1e4])) > 0).all()


def test_draws_have_the_mean_and_spread_of_the_distribution() -> None:
    alpha = rows_of(LOGITS)
    drawn = Dirichlet()(alpha, at(1))["g"]
    concentration = Dirichlet.concentration(alpha["g"][0])
    mean, total = concentration / concentration.sum(), concentration.sum()
    variance = mean * (1 - mean) / (total + 1)
    torch.testing.assert_close(drawn.sum(1), torch.ones(MANY, dtype=torch.float64))
    torch.testing.assert_close(Dirichlet().strength(alpha, at())["g"][0], mean)
    assert ((drawn.mean(0) - mean).abs() < 4 * (variance / MANY).sqrt()).all()
    torch.testing.assert_close(drawn.var(0), variance, rtol=0.05, atol=0)


def test_the_gradient_is_that_of_the_quantiles() -> None:
    """Implicit reparameterization: with the quantiles fixed, draws move with alpha."""
    alpha = {"g": torch.tensor([[0.7, -0.4, 1.2]], dtype=torch.float64)}
    leaves = {"g": alpha["g"].clone().requires_grad_()}
    scale = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    value = (Dirichlet()(leaves, at(3))["g"].square() * scale).sum()
    (found,) = torch.autograd.grad(value, leaves["g"])
    generator = torch.Generator().manual_seed(3)
    gamma = torch._standard_gamma(Dirichlet.concentration(alpha["g"]), generator=generator)
    quantile = Gamma(Dirichlet.concentration(alpha["g"]), 1.0).cdf(gamma)

    def at_quantile(logits: Tensor) -> Tensor:
        low, high = torch.zeros(1, 3).double(), torch.full((1, 3), 60.0).double()
        for _ in range(80):
            middle = (low + high) / 2
            above = Gamma(Dirichlet.concentration(logits), 1.0).cdf(middle) > quantile
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return ((low / low.sum()).square() * scale).sum()

    for column in range(3):
        step = 1e-4 * torch.eye(3, dtype=torch.float64)[column]
        difference = (at_quantile(alpha["g"] + step) - at_quantile(alpha["g"] - step)) / 2e-4
        torch.testing.assert_close(found[0, column], difference, rtol=1e-3, atol=1e-5)


def test_the_mean_gradient_is_the_gradient_of_the_mean() -> None:
    """E[sum_i s_i x_i^2] of a Dirichlet is a known function of its concentration."""
    alpha = {n: value.requires_grad_() for n, value in rows_of([0.7, -0.4, 1.2]).items()}
    scale = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    value = (Dirichlet()(alpha, at(2))["g"].square() @ scale).sum()
    (each,) = torch.autograd.grad(value, alpha["g"])
    one = alpha["g"].detach()[0].requires_grad_()
    c = Dirichlet.concentration(one)
    expected = (scale * c * (c + 1)).sum() / (c.sum() * (c.sum() + 1))
    (exact,) = torch.autograd.grad(expected, one)
    deviation = each.std(0) / MANY**0.5
    assert ((each.mean(0) - exact).abs() < 4 * deviation).all()
    assert (exact.abs() > 4 * deviation).all()


def test_a_tiny_concentration_gives_finite_weights_and_gradients() -> None:
    alpha = {"g": torch.full((50, 4), -30.0, requires_grad=True)}
    weights = Dirichlet()(alpha, at(0))["g"]
    weights.square().sum().backward()
    assert weights.isfinite().all() and alpha["g"].grad is not None
    assert alpha["g"].grad.isfinite().all()


# --- edge weights --------------------------------------------------------------------------------

CELL = Group("cell", 2, ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), (("none", "a", "b"),) * 5, 2)
OTHER = replace(CELL, name="other", edges=((0, 2), (0, 3), (1, 2), (1, 3), (2, 3)))


def with_edges(relaxation: EdgeNormalized) -> tuple[dict[str, Tensor], State]:
    generator = torch.Generator().manual_seed(0)
    shapes = {g.name: g.shape for g in (CELL, OTHER)} | relaxation.extra((CELL, OTHER))
    alpha = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }
    return alpha, replace(at(1), groups=(CELL, OTHER))


def test_each_node_has_edge_logits_of_its_own() -> None:
    assert EdgeNormalized().extra((CELL,)) == {"cell/2": (2,), "cell/3": (3,)}


@pytest.mark.parametrize("inner", [Softmax(), Sigmoid(), Dirichlet(), GumbelSoftmax(hard=True)])
def test_edge_weights_sum_to_one_a_node_and_multiply_the_strength(inner: Any) -> None:
    relaxation = EdgeNormalized(inner)
    alpha, state = with_edges(relaxation)
    mixing, strength = relaxation(alpha, state), relaxation.strength(alpha, state)
    plain = inner({g.name: alpha[g.name] for g in (CELL, OTHER)}, state)
    assert list(mixing) == ["cell", "other"]
    assert (mixing.active, mixing.watched) == (plain.active, plain.watched)
    for group in (CELL, OTHER):
        name, edges = group.name, mixing.edges[group.name]
        assert torch.equal(mixing[name], plain[name])
        for node in (2, 3):
            into = [row for row, (_, target) in enumerate(group.edges) if target == node]
            torch.testing.assert_close(edges[into], alpha[f"{name}/{node}"].softmax(0))
        expected = inner.strength(alpha, state)[name] * edges[:, None]
        torch.testing.assert_close(strength[name], expected)


def test_edge_normalization_stands_alone() -> None:
    with pytest.raises(ArchgradError, match="found twice, expected once"):
        EdgeNormalized(EdgeNormalized())


# --- masks ---------------------------------------------------------------------------------------


def test_a_mask_takes_weights_away_and_leaves_the_others() -> None:
    relaxation = EdgeNormalized()
    alpha, state = with_edges(relaxation)
    masks = {g.name: torch.ones(g.shape, dtype=torch.float64) for g in (CELL, OTHER)}
    masks["cell"][0] = torch.tensor([1.0, 0.0, 1.0])
    masks["cell"][3] = 0.0
    masked = Masked(relaxation, masks)
    plain, mixing = relaxation(alpha, state), masked(alpha, state)
    assert all(torch.equal(mixing.edges[name], plain.edges[name]) for name in plain)
    for found, whole in (
        (mixing, plain),
        (masked.strength(alpha, state), relaxation.strength(alpha, state)),
    ):
        assert torch.equal(found["other"], whole["other"])
        assert torch.equal(found["cell"], whole["cell"] * masks["cell"])
        assert (found["cell"] == 0).sum() == 4


def test_a_candidate_that_stands_alone_has_weight_one() -> None:
    alpha, group = {"cell": torch.randn(2, 3)}, {"cell": torch.tensor([[0, ALONE, 0], [1, 0, 1]])}
    found, plain = Masked(Softmax(), group)(alpha, STATE)["cell"], alpha["cell"].softmax(-1)
    assert found[0].tolist() == [0, 1, 0]
    assert found[1].tolist() == [plain[1, 0], 0, plain[1, 2]]


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, -1.0, Linear(1.0, 0.0), Linear(-1.0, 1.0)])
def test_a_temperature_of_zero_is_refused(temperature: Any) -> None:
    with pytest.raises(ArchgradError, match="temperature is .*, expected above 0 throughout"):
        GumbelSoftmax(temperature)
