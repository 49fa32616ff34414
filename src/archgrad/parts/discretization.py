"""Discretizations: alpha -> the cells of a discrete architecture."""

from __future__ import annotations

from dataclasses import dataclass

from archgrad.architecture import Cell
from archgrad.choice import Group
from archgrad.errors import ArchgradError
from archgrad.parts.state import State
from archgrad.supernet import Alpha


@dataclass(frozen=True)
class StrongestEdges:
    """The k strongest incoming edges a node, the strongest operation but none on each.

    The strength of an edge is its largest mixing weight over all operations but ``none``, the
    weights taken with ``none`` in the softmax (arXiv:1806.09055, section 2.4). Ties go to the
    lower index. ``k``: edges kept a node; by default what the space says (2 in the paper). Where
    the space keeps every edge and lets it be ``none``, this is the plain argmax. Edges
    of a node are listed by source, so that equal architectures are equal values; the original
    lists them by strength.
    """

    k: int | None = None

    def __call__(self, alpha: Alpha, state: State) -> tuple[Cell, ...]:
        mixing = state.relaxation(alpha, state)
        return tuple(self._cell(group, mixing[group.name].tolist()) for group in state.groups)

    def _cell(self, group: Group, weights: list[list[float]]) -> Cell:
        k = group.edges_per_node if self.k is None else self.k
        nodes = sorted({node for _, node in group.edges})
        best = [
            max(
                (weight, -index, name)
                for index, (weight, name) in enumerate(zip(*row))
                if group.keep_none or name != "none"
            )
            for row in zip(weights, group.candidates, strict=True)
        ]
        kept = []
        for node in nodes:
            rows = [row for row, (_, target) in enumerate(group.edges) if target == node]
            if k is not None and not 1 <= k <= len(rows):
                raise ArchgradError(
                    f"cell {group.name}: node {node} has {len(rows)} incoming edges, so {k} cannot "
                    f"be kept; expected k from 1 to {len(rows)}"
                )
            strongest = sorted(rows, key=lambda row: -best[row][0])[:k]
            kept.append(tuple((best[row][2], group.edges[row][0]) for row in sorted(strongest)))
        output = group.output or tuple(nodes)
        return Cell(name=group.name, inputs=group.inputs, nodes=tuple(kept), output=output)
