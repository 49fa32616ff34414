"""Discretizations: alpha -> the cells of a discrete architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from archgrad.architecture import Cell
from archgrad.errors import ArchgradError
from archgrad.networks.choice import NONE, Group
from archgrad.networks.supernet import Alpha
from archgrad.parts.state import State

__all__ = ["ByGroup", "SkipLimit", "StrongestEdges", "Threshold"]

Strength = list[list[float]]  # of each edge's candidates
Best = tuple[float, int, str]  # strength, - index, name
SKIP = "skip_connect"


class ByGroup(ABC):
    """A rule that derives the cell of each group from the strength of its own candidates.

    One of your own is derived from it and has a `cell`. Called with alpha it gives a cell a group.
    """

    def __call__(self, alpha: Alpha, state: State) -> tuple[Cell, ...]:
        strength = state.strength(alpha)
        return tuple(self.cell(g, strength[g.name].tolist()) for g in state.groups)

    @abstractmethod
    def cell(self, group: Group, weights: Strength) -> Cell:
        """The cell of one group.

        `weights`: the strength of its candidates, edge by edge, as lists (edges, operations).
        """


@dataclass(frozen=True)
class StrongestEdges(ByGroup):
    """The k strongest incoming edges a node, the strongest operation but none on each.

    The strength of an edge is its largest mixing weight over all operations but `none`, the weights
    taken with `none` in the softmax (arXiv:1806.09055, section 2.4). Ties go to the lower index.
    `k`: edges kept a node; by default what the space says (2 in the paper). Where the space keeps
    every edge and lets it be `none`, this is the plain argmax. Edges of a node are listed by
    source, so that equal architectures are equal values; the original lists them by strength.
    `ArchgradError` for a `k` that a node does not have.

    >>> import archgrad
    >>> from archgrad.parts.discretization import StrongestEdges
    >>> normal, _ = archgrad.space("darts-cnn", nodes=1, operations=("none", "skip_connect")).groups
    >>> print(StrongestEdges(k=1).cell(normal, [[0.1, 0.9], [0.8, 0.2]]))
    normal  skip_connect<-0
    """

    k: int | None = None

    def cell(self, group: Group, weights: Strength) -> Cell:
        best = strongest(group, weights)
        nodes = {
            node: tuple(
                (name, group.edges[row][0])
                for row in sorted(rows)
                for name in _names(group, weights[row], row, best[row])
            )
            for node, rows in self.kept(group, best).items()
        }
        output = group.output or tuple(nodes)
        return Cell(
            name=group.name, inputs=group.inputs, nodes=tuple(nodes.values()), output=output
        )

    def kept(self, group: Group, best: list[Best]) -> dict[int, list[int]]:
        """Node -> the rows of its kept edges, the strongest first.

        `best`: of each edge its strongest operation, from `strongest`. `ArchgradError` for a `k`
        that a node does not have.
        """
        k = group.edges_per_node if self.k is None else self.k
        found = {}
        for node in sorted({node for _, node in group.edges}):
            rows = [row for row, (_, target) in enumerate(group.edges) if target == node]
            if k is not None and not 1 <= k <= len(rows):
                raise ArchgradError(
                    f"cell {group.name}: node {node} has {len(rows)} incoming edges, so {k} cannot "
                    f"be kept; expected k from 1 to {len(rows)}"
                )
            found[node] = sorted(rows, key=lambda row: -best[row][0])[:k]
        return found


def strongest(group: Group, weights: Strength) -> list[Best]:
    """Strength, - index and name of the strongest operation of each edge, as a group allows."""
    return [
        max((row[i], -i, group.candidates[edge][i]) for i in group.derivable(edge))
        for edge, row in enumerate(weights)
    ]


def _names(group: Group, weights: list[float], row: int, best: Best) -> list[str]:
    """What an edge keeps: its strongest operation, or the several strongest in their order."""
    if group.picks == 1:
        return [best[2]]
    order = sorted(range(len(weights)), key=lambda i: -weights[i])[: group.picks]
    return [group.candidates[row][i] for i in sorted(order)]


@dataclass(frozen=True)
class Threshold(ByGroup):
    """Of the k strongest edges a node those whose operation is at least `least` strong.

    FairDARTS (arXiv:1911.12126), section 3.4. A node can lose all edges; it is then not part of the
    output, and edges from it are left out. Where the space keeps every edge, a weak one becomes
    `none` if that is offered. Where nothing of a cell is strong enough, its strongest edge from
    an input is kept (that from input to output where every edge stays), so that every epoch has an
    architecture. `ArchgradError` for a `least` that is not from 0 to 1.

    >>> import archgrad
    >>> from archgrad.parts.discretization import Threshold
    >>> normal, _ = archgrad.space("darts-cnn", nodes=1, operations=("none", "skip_connect")).groups
    >>> print(Threshold(0.85).cell(normal, [[0.1, 0.9], [0.8, 0.2]]))
    normal  skip_connect<-0
    """

    least: float = 0.85
    k: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 1:
            raise ArchgradError(f"threshold: found {self.least}, expected from 0 to 1")

    def cell(self, group: Group, weights: Strength) -> Cell:
        best = strongest(group, weights)
        if group.keep_none and not all(NONE in names for names in group.candidates):
            return StrongestEdges(self.k).cell(group, weights)
        if group.keep_none:
            weak = [(0.0, 0, NONE) if row[0] < self.least else row for row in best]
            if all(row[2] == NONE for row in weak):
                whole = [r for r, (s, n) in enumerate(group.edges) if s < group.inputs]
                final = max(n for _, n in group.edges)
                straight = next(r for r in whole if group.edges[r][1] == final)
                weak[straight] = best[straight]
            return StrongestEdges(self.k).cell(
                replace(group, candidates=tuple((row[2],) for row in weak)),
                [[row[0]] for row in best],
            )
        kept = StrongestEdges(self.k).kept(group, best)
        strong = {
            node: [row for row in sorted(rows) if best[row][0] >= self.least]
            for node, rows in kept.items()
        }
        if not any(group.edges[row][0] < group.inputs for rows in strong.values() for row in rows):
            fallback = max(
                (row for row, (source, _) in enumerate(group.edges) if source < group.inputs),
                key=lambda row: best[row][0],
            )
            strong[group.edges[fallback][1]] = [fallback]
        alive, nodes = set(range(group.inputs)), []
        for node, rows in strong.items():
            edges = tuple(
                (best[row][2], group.edges[row][0]) for row in rows if group.edges[row][0] in alive
            )
            nodes.append(edges)
            alive |= {node} if edges else set()
        output = tuple(node for node in strong if node in alive)
        return Cell(name=group.name, inputs=group.inputs, nodes=tuple(nodes), output=output)


@dataclass(frozen=True)
class SkipLimit(ByGroup):
    """At most `most` skip connections in the cells named `cells`, by `StrongestEdges`.

    P-DARTS (arXiv:1904.12760), section 3.3: while there are more, the weakest chosen skip
    connection loses its strength, and edges and operations are chosen anew. A skip connection that
    is an edge's only candidate stays. `ArchgradError` for a `most` below 0.

    >>> import archgrad
    >>> from archgrad.parts.discretization import SkipLimit
    >>> names = ("skip_connect", "sep_conv_3x3")
    >>> normal, _ = archgrad.space("darts-cnn", nodes=1, operations=names).groups
    >>> print(SkipLimit(most=1).cell(normal, [[0.9, 0.1], [0.8, 0.2]]))
    normal  skip_connect<-0 sep_conv_3x3<-1
    """

    most: int = 2
    cells: tuple[str, ...] = ("normal", "cell")
    k: int | None = None

    def __post_init__(self) -> None:
        if self.most < 0:
            raise ArchgradError(f"skip limit: found {self.most}, expected at least 0")

    def cell(self, group: Group, weights: Strength) -> Cell:
        rule = StrongestEdges(self.k)
        if group.name not in self.cells:
            return rule.cell(group, weights)
        while True:
            best = strongest(group, weights)
            rows = [row for rows in rule.kept(group, best).values() for row in rows]
            skips = [
                row for row in rows if best[row][2] == SKIP and len(set(group.candidates[row])) > 1
            ]
            skips = [row for row in skips if best[row][0] > -1.0]
            if len(skips) <= self.most:
                return rule.cell(group, weights)
            weakest = min(skips, key=lambda row: best[row][0])
            weights[weakest][group.candidates[weakest].index(SKIP)] = -1.0
