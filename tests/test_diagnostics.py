"""Known values of the measurements of a search's health."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archgrad.architecture import Cell, published
from archgrad.diagnostics import entropy, skip_share


@given(st.integers(1, 8), st.integers(1, 20), st.integers(1, 20))
def test_uniform_weights_have_the_entropy_of_their_number(ops: int, normal: int, more: int) -> None:
    mixing = {
        "normal": torch.full((normal, ops), 1 / ops),
        "reduce": torch.full((more, ops), 1 / ops),
    }
    assert entropy(mixing) == pytest.approx(math.log(ops), abs=1e-5)


def test_one_hot_weights_have_none() -> None:
    assert entropy({"normal": torch.eye(8), "reduce": torch.eye(8)[:3]}) == 0.0


def test_the_mean_is_over_edges_and_not_over_groups() -> None:
    """Three edges without entropy, one with ln 2."""
    mixing = {"normal": torch.eye(2)[[0, 1, 0]], "reduce": torch.tensor([[0.5, 0.5]])}
    assert entropy(mixing) == pytest.approx(math.log(2) / 4)


def test_a_known_entropy() -> None:
    mixing = {"normal": torch.tensor([[0.5, 0.25, 0.25]])}
    assert entropy(mixing) == pytest.approx(1.5 * math.log(2))


@pytest.mark.parametrize(
    ("name", "share"),
    [("DARTS_V1", 6 / 16), ("DARTS_V2", 5 / 16), ("PC_DARTS", 1 / 16), ("PDARTS", 2 / 16)],
)
def test_skip_share_of_the_published_cells(name: str, share: float) -> None:
    assert skip_share(published(name).cells) == share


def test_a_collapsed_cell_is_all_skips() -> None:
    nodes = ((("skip_connect", 0), ("skip_connect", 1)),)
    skips = Cell(name="normal", inputs=2, nodes=nodes, output=(2,))
    other = Cell(name="normal", inputs=2, nodes=((("none", 0),),), output=(2,))
    assert skip_share((skips,)) == 1.0
    assert skip_share((other,)) == 0.0
    assert skip_share((skips, other)) == pytest.approx(2 / 3)
