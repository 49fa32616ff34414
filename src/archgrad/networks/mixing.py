"""The mixing weights of all choices for one forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from archgrad.architecture import Cell
from archgrad.errors import ArchgradError
from archgrad.networks.choice import NONE, Choice, Group, Row

Paths = Mapping[str, Sequence[Sequence[int]]]  # group name -> candidates of each edge


class Mixing(dict[str, Tensor]):
    """Group name -> (edges, operations), the weights of the candidates; and how they are run.

    `edges`: group name -> (edges,), weights of whole edges (none for a group that is not in it);
    `active`: the candidates that are computed (all for a group that is not in it); `watched`:
    those computed without a graph (see `archgrad.networks.choice.Row`).

    A relaxation returns one, see examples/new_variant.py.

    >>> import torch
    >>> from archgrad.networks.mixing import Mixing
    >>> mixing = Mixing({"cell": torch.tensor([[0.25, 0.75]])})
    >>> mixing["cell"], mixing.edges
    (tensor([[0.2500, 0.7500]]), {})
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        edges: Mapping[str, Tensor] | None = None,
        active: Paths | None = None,
        watched: Paths | None = None,
    ) -> None:
        super().__init__(weights)
        self.edges, self.active, self.watched = edges or {}, active or {}, watched or {}

    def replaced(self, weights: Mapping[str, Tensor]) -> Mixing:
        """The same with other weights of the candidates."""
        return Mixing(weights, self.edges, self.active, self.watched)

    def rows(self, choices: Iterable[Choice]) -> list[Row]:
        """What each choice is run with."""
        weights = {name: value.unbind() for name, value in self.items()}
        edges = {name: value.unbind() for name, value in self.edges.items()}
        return [
            Row(
                weights[c.group][c.row],
                edges[c.group][c.row] if c.group in edges else None,
                self.active[c.group][c.row] if c.group in self.active else None,
                self.watched[c.group][c.row] if c.group in self.watched else (),
            )
            for c in choices
        ]


def one_hot(groups: Iterable[Group], cells: Iterable[Cell], like: Mapping[str, Tensor]) -> Mixing:
    """The mixing weights with which a supernet computes the derived cells: 1 kept, 0 dropped.

    Shapes, device and dtype are those of `like`: group name -> (edges, operations). The
    supernet's accuracy with these weights, without any tuning, is what is left of it after
    discretization; batch normalization should then use batch statistics, as running ones belong to
    the mixture.
    """
    derived = {cell.name: cell for cell in cells}
    found = {}
    for group in groups:
        if group.name not in derived:
            raise ArchgradError(
                f"group {group.name} has no cell among {sorted(derived)}; give one cell a group"
            )
        weights = torch.zeros_like(like[group.name])
        for node, edges in enumerate(derived[group.name].nodes, start=group.inputs):
            for operation, source in edges:
                row = group.edges.index((source, node)) if (source, node) in group.edges else None
                offered = () if row is None else group.candidates[row]
                if row is not None and operation == NONE and operation not in offered:
                    continue  # left out by the derivation where the space keeps every edge
                if row is None or operation not in offered:
                    raise ArchgradError(
                        f"cell {group.name}: {operation} from {source} to node {node} is no "
                        "candidate of the supernet; derive the cell from the same space"
                    )
                weights[row, offered.index(operation)] = 1
        found[group.name] = weights
    return Mixing(found)
