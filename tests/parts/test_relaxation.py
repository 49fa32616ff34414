"""The softmax relaxation against its definition."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from archgrad.parts.relaxation import softmax


def alphas(seed: int, rows: int, columns: int, scale: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: scale * torch.randn(rows + more, columns, generator=generator, dtype=torch.float64)
        for more, name in enumerate(("normal", "reduce"))
    }


SHAPES = (st.integers(0, 2**20), st.integers(1, 14), st.integers(1, 8), st.floats(0, 100))


@given(*SHAPES)
def test_rows_are_exponentials_divided_by_their_sum(
    seed: int, rows: int, columns: int, scale: float
) -> None:
    alpha = alphas(seed, rows, columns, scale)
    mixing = softmax(alpha)
    assert list(mixing) == ["normal", "reduce"]
    for name, weights in mixing.items():
        powers = (alpha[name] - alpha[name].max()).exp() + 1e-300
        assert weights.shape == alpha[name].shape
        torch.testing.assert_close(weights.sum(dim=1), torch.ones_like(weights[:, 0]))
        if scale < 10:
            torch.testing.assert_close(weights, powers / powers.sum(dim=1, keepdim=True))


@given(*SHAPES, st.floats(-50, 50))
def test_a_constant_on_an_edge_changes_nothing(
    seed: int, rows: int, columns: int, scale: float, constant: float
) -> None:
    alpha = alphas(seed, rows, columns, scale)
    moved = {name: value + constant for name, value in alpha.items()}
    for name, weights in softmax(alpha).items():
        torch.testing.assert_close(softmax(moved)[name], weights, rtol=1e-6, atol=1e-9)


def test_known_weights() -> None:
    alpha = {"normal": torch.tensor([[0.0, 0.0], [0.0, 3.0]]).exp().log()}
    e3 = torch.tensor(3.0).exp()
    expected = torch.tensor([[0.5, 0.5], [1 / (1 + e3), e3 / (1 + e3)]])
    torch.testing.assert_close(softmax(alpha)["normal"], expected)


def test_large_values_stay_finite() -> None:
    weights = softmax({"normal": torch.tensor([[1e4, -1e4, 0.0]])})["normal"]
    assert torch.equal(weights, torch.tensor([[1.0, 0.0, 0.0]]))


def test_the_gradient_is_that_of_softmax() -> None:
    alpha = {"normal": torch.tensor([[0.2, -0.3, 0.5]], requires_grad=True)}
    weights = softmax(alpha)["normal"]
    (gradient,) = torch.autograd.grad(weights[0, 1], alpha["normal"])
    w = weights.detach()[0]
    torch.testing.assert_close(gradient[0], w[1] * (torch.tensor([0.0, 1.0, 0.0]) - w))


def test_no_state_is_needed() -> None:
    alpha = alphas(0, 3, 4, 1)
    assert torch.equal(softmax(alpha, None)["normal"], softmax(alpha)["normal"])
