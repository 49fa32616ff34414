"""Architectures of a supernet: drawn uniformly, and the mixing weights that compute one alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from archgrad.architecture import Cell
from archgrad.networks.choice import Group
from archgrad.networks.mixing import Mixing, one_hot


def drawn(groups: Iterable[Group], generator: torch.Generator) -> tuple[Cell, ...]:
    """Cells as they are derived, all equally likely.

    A node keeps as many of its edges as the space says (all, where it says nothing), an edge one
    candidate, or as many as its group keeps, and `none` only where the space keeps it.
    """
    return tuple(_cell(group, generator) for group in groups)


def _cell(group: Group, generator: torch.Generator) -> Cell:
    nodes = {}
    for node in sorted({node for _, node in group.edges}):
        rows = [row for row, (_, target) in enumerate(group.edges) if target == node]
        kept = _some(rows, group.edges_per_node or len(rows), generator)
        nodes[node] = tuple(
            (name, group.edges[row][0])
            for row in kept
            for name in _some(_offered(group, row), group.picks, generator)
        )
    output = group.output or tuple(nodes)
    return Cell(name=group.name, inputs=group.inputs, nodes=tuple(nodes.values()), output=output)


def _offered(group: Group, row: int) -> list[str]:
    names = group.candidates[row]
    return [names[i] for i in group.derivable(row)] or list(names)


def _some(among: Sequence[Any], count: int, generator: torch.Generator) -> list[Any]:
    """Some of them, without replacement, in their own order."""
    order = torch.randperm(len(among), generator=generator)[:count].sort().values
    return [among[i] for i in order.tolist()]


def alone(groups: Sequence[Group], cells: Iterable[Cell], like: Mapping[str, Tensor]) -> Mixing:
    """The mixing weights of an architecture, whose candidates alone are computed.

    Shapes, device and type are those of `like`: group name -> (edges, operations).
    """
    weights = one_hot(groups, cells, like)
    active = {
        name: [[i for i, weight in enumerate(row) if weight] for row in value.tolist()]
        for name, value in weights.items()
    }
    return Mixing(weights, active=active)
