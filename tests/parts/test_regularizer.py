"""Regularizers: values and gradients against their formulas, in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Dirichlet as Distribution
from torch.distributions import kl_divergence

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.parts.regularizer import BetaDecay, DirichletAnchor, Entropy, ZeroOne
from archgrad.parts.relaxation import Softmax
from archgrad.parts.schedule import Cosine, Linear
from archgrad.parts.state import State

NAMES = ("none", "a", "b", "c")
NORMAL = Group("normal", 1, ((0, 1), (0, 2), (1, 2)), (NAMES,) * 3, 1)
REDUCE = replace(NORMAL, name="reduce", edges=((0, 1), (0, 2)), candidates=(NAMES,) * 2)
GROUPS = (NORMAL, REDUCE)
EDGES = 5
SEED = st.integers(0, 2**20)


def state(progress: float = 0.0) -> State:
    return State(None, Softmax(), groups=GROUPS, progress=progress)  # type: ignore[arg-type]


def random(seed: int) -> dict[str, Tensor]:
    """Alpha of both groups, and edge logits that no term may touch."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {**{g.name: g.shape for g in GROUPS}, "normal/1": (1,)}
    return {
        name: (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_()
        for name, shape in shapes.items()
    }


def constant(value: float) -> dict[str, Tensor]:
    return {
        g.name: torch.full(g.shape, value, dtype=torch.float64, requires_grad=True) for g in GROUPS
    }


def value_of(part: Any, alpha: dict[str, Tensor], progress: float = 0.0) -> float:
    with torch.no_grad():
        return float(part(alpha, state(progress)))


def slopes(part: Any, alpha: dict[str, Tensor], progress: float = 0.0) -> dict[str, Tensor]:
    value = part(alpha, state(progress))
    assert value.shape == ()
    found = torch.autograd.grad(value, list(alpha.values()), materialize_grads=True)
    return dict(zip(alpha, found))


@given(SEED)
def test_beta_decay_is_a_decay_of_the_mixing_weights(seed: int) -> None:
    alpha = random(seed)
    found = slopes(BetaDecay(Linear(0.0, 50.0)), alpha, progress=0.5)
    for group in GROUPS:
        expected = 25.0 * alpha[group.name].softmax(-1) / EDGES
        torch.testing.assert_close(found[group.name], expected)
    assert not found["normal/1"].any()


def test_beta_decay_of_uniform_weights_is_the_logarithm_of_their_number() -> None:
    value = BetaDecay(3.0)(constant(0.0), state())
    torch.testing.assert_close(value, torch.tensor(3 * math.log(4), dtype=torch.float64))


@given(SEED)
def test_the_zero_one_loss_and_its_gradient(seed: int) -> None:
    alpha, n = random(seed), EDGES * len(NAMES)
    found = slopes(ZeroOne(10.0), alpha)
    for group in GROUPS:
        s = alpha[group.name].sigmoid()
        torch.testing.assert_close(found[group.name], -10 * (2 / n) * (s - 0.5) * s * (1 - s))
    flat = torch.cat([alpha[g.name].flatten() for g in GROUPS]).sigmoid()
    torch.testing.assert_close(ZeroOne(10.0)(alpha, state()), -10 * (flat - 0.5).square().mean())
    torch.testing.assert_close(
        ZeroOne(2.0, power=1)(alpha, state()), -2 * (flat - 0.5).abs().mean()
    )


@pytest.mark.parametrize(("power", "least"), [(2, -0.25), (1, -0.5)])
def test_the_zero_one_loss_is_largest_at_zero_and_least_far_out(power: int, least: float) -> None:
    part = ZeroOne(1.0, power)
    assert value_of(part, constant(0.0)) == 0.0
    assert not any(slope.any() for slope in slopes(part, constant(0.0)).values())
    for value in (-50.0, 50.0):
        assert value_of(part, constant(value)) == pytest.approx(least)


@given(SEED)
def test_entropy_in_bits_without_none(seed: int) -> None:
    alpha = random(seed)
    total = 0.0
    for group in GROUPS:
        for row in alpha[group.name].tolist():
            powers = [math.exp(value) for value in row[1:]]
            shares = [power / sum(powers) for power in powers]
            total -= sum(share * math.log2(share) for share in shares)
    value = Entropy(0.5)(alpha, state())
    assert float(value.detach()) == pytest.approx(0.5 * total / EDGES, rel=1e-9)
    assert all(not slopes(Entropy(1.0), alpha)[g.name][:, 0].any() for g in GROUPS)


def test_entropy_is_largest_for_uniform_weights_and_turns_along_a_cosine() -> None:
    uniform, sure = constant(0.0), constant(0.0)
    for value in sure.values():
        value.data[:, 1] = 60.0
    assert value_of(Entropy(1.0), uniform) == pytest.approx(math.log2(3))
    assert value_of(Entropy(1.0), sure) == pytest.approx(0.0, abs=1e-12)
    assert all(float(slope.abs().max()) < 1e-12 for slope in slopes(Entropy(1.0), uniform).values())
    turning = [value_of(Entropy(), uniform, t) for t in (0.0, 0.5, 1.0)]
    assert turning == pytest.approx([-0.2 * math.log2(3), 0.0, 0.2 * math.log2(3)])
    assert Entropy() == Entropy(Cosine(-0.2, 0.2))


def test_a_node_with_none_alone_has_no_entropy() -> None:
    group = replace(NORMAL, candidates=(("none",),) * 3, keep_none=True)
    alpha = {"normal": torch.zeros(3, 1)}
    assert float(Entropy(1.0)(alpha, replace(state(), groups=(group,)))) == 0.0


@given(SEED)
def test_the_anchor_is_the_divergence_from_the_flat_dirichlet(seed: int) -> None:
    alpha = random(seed)
    total = 0.0
    for group in GROUPS:
        for row in alpha[group.name].detach():
            concentration = torch.where(row > 0, row + 1, row.exp())
            flat = Distribution(torch.ones(4, dtype=torch.float64))
            total += float(kl_divergence(Distribution(concentration), flat))
    value = DirichletAnchor(0.1)(alpha, state()).detach()
    assert float(value) == pytest.approx(0.1 * total, rel=1e-9)
    assert total > 0


def test_the_anchor_of_a_known_concentration() -> None:
    """KL(Dir(2, 1) || Dir(1, 1)): the density 2x has the entropy 1/2 - ln 2."""
    group = Group("g", 1, ((0, 1),), (("a", "b"),), 1)
    alpha = {"g": torch.tensor([[1.0, 0.0]], dtype=torch.float64)}
    value = DirichletAnchor(1.0)(alpha, replace(state(), groups=(group,)))
    assert float(value) == pytest.approx(math.log(2) - 0.5)


def test_the_anchor_holds_alpha_at_zero() -> None:
    zero = constant(0.0)
    assert value_of(DirichletAnchor(1.0), zero) == pytest.approx(0.0, abs=1e-12)
    for slope in slopes(DirichletAnchor(1.0), zero).values():
        torch.testing.assert_close(slope, torch.zeros_like(slope))
    for value in (0.5, -0.5):  # back to zero from either side
        assert all(
            (s * value > 0).all() for s in slopes(DirichletAnchor(), constant(value)).values()
        )


@pytest.mark.parametrize("power", [0, 3, -1])
def test_other_powers_of_the_zero_one_loss_are_refused(power: int) -> None:
    with pytest.raises(ArchgradError, match=f"power is {power}, expected 1 or 2"):
        ZeroOne(power=power)
