"""The mixing weights of all choices: what each choice is run with."""

from __future__ import annotations

import torch
from torch import nn

from archgrad.networks.choice import Choice
from archgrad.networks.mixing import Mixing

WEIGHTS = {"normal": torch.arange(6.0).view(3, 2), "reduce": -torch.arange(4.0).view(2, 2)}


def choice(group: str, row: int) -> Choice:
    return Choice({"a": nn.Identity(), "b": nn.Identity()}, group, row)


def test_each_choice_has_the_row_of_its_group() -> None:
    choices = [choice("reduce", 1), choice("normal", 0), choice("normal", 2), choice("normal", 0)]
    rows = Mixing(WEIGHTS).rows(choices)
    expected = [[-2.0, -3.0], [0.0, 1.0], [4.0, 5.0], [0.0, 1.0]]
    assert [row.weights.tolist() for row in rows] == expected
    assert all((row.edge, row.active, row.watched) == (None, None, ()) for row in rows)


def test_edges_and_paths_belong_to_their_groups_alone() -> None:
    mixing = Mixing(
        WEIGHTS,
        edges={"normal": torch.tensor([0.1, 0.2, 0.3])},
        active={"reduce": [[1], [0]]},
        watched={"reduce": [[0], []]},
    )
    normal, reduce = mixing.rows([choice("normal", 1), choice("reduce", 0)])
    assert normal.edge is not None and float(normal.edge) == float(torch.tensor(0.2))
    assert (normal.active, normal.watched) == (None, ())
    assert (reduce.edge, reduce.active, reduce.watched) == (None, [1], [0])


def test_replaced_weights_are_run_in_the_same_way() -> None:
    edges = {"normal": torch.ones(3)}
    mixing = Mixing(WEIGHTS, edges, {"normal": [[0]] * 3}, {"normal": [[1]] * 3})
    other = mixing.replaced({name: 2 * value for name, value in mixing.items()})
    assert (other.edges, other.active, other.watched) == (
        mixing.edges,
        mixing.active,
        mixing.watched,
    )
    assert torch.equal(other["normal"], 2 * WEIGHTS["normal"])
    assert torch.equal(mixing["normal"], WEIGHTS["normal"])


def test_gradients_of_all_rows_meet_in_their_group() -> None:
    leaf = WEIGHTS["normal"].clone().requires_grad_()
    rows = Mixing({"normal": leaf}).rows([choice("normal", 1), choice("normal", 1)])
    torch.stack([row.weights.sum() for row in rows]).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [[0.0, 0.0], [2.0, 2.0], [0.0, 0.0]]
