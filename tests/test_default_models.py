"""The estimators' default models: what they offer, and that they work at every size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from archgrad import build
from archgrad.architecture import Architecture, Cell
from archgrad.default_models import KINDS, darts_cnn, residual_mlp
from archgrad.spaces.own import OwnModel


def chosen(model: nn.Module, **names: str) -> Architecture:
    """These candidates, elsewhere the last."""
    offered = {group.name: group.candidates[0] for group in OwnModel(model).groups}
    picks = {name: names.get(name, candidates[-1]) for name, candidates in offered.items()}
    cells = (
        Cell(name=name, inputs=1, nodes=(((pick, 0),),), output=(1,))
        for name, pick in picks.items()
    )
    return Architecture(space="own", cells=tuple(cells))


def test_the_perceptron_offers_none_linear_deep_and_two_widths() -> None:
    model = residual_mlp((5,), 3, width=8, blocks=2)
    groups = {group.name: group.candidates[0] for group in OwnModel(model).groups}
    assert groups == {
        "block_0": ("none", "linear", "deep", "wide"),
        "width_0": ("16", "32"),
        "block_1": ("none", "linear", "deep", "wide"),
        "width_1": ("16", "32"),
    }


@pytest.mark.parametrize(
    ("candidate", "width", "linear_layers"),
    [("none", "16", []), ("linear", "16", [(8, 8)]), ("deep", "16", [(8, 8)] * 3),
     ("wide", "16", [(8, 16), (16, 8)]), ("wide", "32", [(8, 32), (32, 8)])],
)  # fmt: skip
def test_a_derived_perceptron(
    candidate: str, width: str, linear_layers: list[tuple[int, int]]
) -> None:
    made = residual_mlp((5,), 3, width=8, blocks=1, dropout=0.0)
    network = build(lambda: made, chosen(made, block_0=candidate, width_0=width))
    layers = [m for m in network[1].modules() if isinstance(m, nn.Linear)]  # type: ignore[index]
    assert [(layer.in_features, layer.out_features) for layer in layers] == linear_layers
    x = torch.randn(7, 5)
    assert network(x).shape == (7, 3)
    torch.testing.assert_close(network(x[:1]), network(x)[:1])  # in training mode as well


def test_the_space_has_the_shape_of_images_and_sequences() -> None:
    space = darts_cnn((3, 12, 10), 7)
    assert (space.input_shape, space.classes) == ((3, 12, 10), 7)
    assert darts_cnn((1, 8, 8), 1).classes == 2
    assert (darts_cnn((2, 9), 3).dims, darts_cnn((2, 9), 3).input_shape) == (1, (2, 9))


def test_axes_of_the_kinds() -> None:
    assert {name: kind.axes for name, kind in KINDS.items()} == {
        "tabular": 2,
        "sequence": 3,
        "image": 4,
    }
