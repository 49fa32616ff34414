"""Partial architectures that no other dominates: none is cheaper and as strong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group

Numbers = NDArray[Any]
WEAKEST = 1e-30  # a strength of 0 has no logarithm
WAYS = 10**6  # of one edge, at most


class Front(NamedTuple):
    """Partial architectures: `cost` and `value`, (n,), and `picks`, (n, edges so far).

    A pick is one of the `ways_of` of an edge, by its number, or -1 where the edge is not kept.
    """

    cost: Numbers
    value: Numbers
    picks: Numbers

    @classmethod
    def empty(cls) -> Front:
        """The only architecture of no edges."""
        return cls(np.zeros(1), np.zeros(1), np.zeros((1, 0), dtype=np.int64))

    def joined(self, other: Front, room: float = math.inf) -> Front:
        """Each of these with each of the others, where that is within the room; pruned."""
        cost = np.add.outer(self.cost, other.cost).ravel()
        value = np.add.outer(self.value, other.value).ravel()
        order = _undominated(cost, value, room)
        mine, theirs = np.divmod(order, len(other.cost))
        picks = np.hstack([self.picks[mine], other.picks[theirs]])
        return Front(cost[order], value[order], picks)

    def beside(self, other: Front) -> Front:
        """These and the others."""
        return Front(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    def pruned(self) -> Front:
        """Those that none dominates, the cheapest first."""
        order = _undominated(self.cost, self.value, math.inf)
        return Front(self.cost[order], self.value[order], self.picks[order])


def _undominated(cost: Numbers, value: Numbers, room: float) -> Numbers:
    order = np.lexsort((-value, cost))
    order = order[cost[order] <= room]
    best = np.maximum.accumulate(value[order])
    rising = np.ones(len(order), dtype=bool)
    rising[1:] = best[1:] > best[:-1]
    return np.asarray(order[rising])


def by_node(group: Group) -> list[list[int]]:
    """The rows of each node."""
    nodes = [node for _, node in group.edges]
    return [[row for row, n in enumerate(nodes) if n == node] for node in sorted({*nodes})]


def edge(group: Group, row: int, costs: Sequence[float], strength: Sequence[float]) -> Front:
    """All ways to decide an edge, in their order: dominated ones too."""
    ways = ways_of(group, row)
    value = np.array([sum(math.log(max(strength[i], WEAKEST)) for i in way) for way in ways])
    cost = np.array([sum(costs[i] for i in way) for way in ways], dtype=float)
    return Front(cost, value, np.arange(len(ways), dtype=np.int64).reshape(-1, 1))


def ways_of(group: Group, row: int) -> list[tuple[int, ...]]:
    """The candidates that a kept edge can hold: one, or as many as the group says."""
    open_ones = group.derivable(row)
    if (count := math.comb(len(open_ones), group.picks)) > WAYS:
        raise ArchgradError(
            f"choice {group.name} can keep {group.picks} of {len(open_ones)} candidates in "
            f"{count:,} ways, expected at most {WAYS:,} where costs have a limit; offer fewer "
            "candidates, or leave the limit out"
        )
    return list(combinations(open_ones, group.picks))


def node(group: Group, edges: Sequence[Front]) -> Front:
    """All ways to keep as many of a node's edges as the group says."""
    keep = len(edges) if group.edges_per_node is None else group.edges_per_node
    dropped = Front(np.zeros(1), np.zeros(1), np.full((1, 1), -1, dtype=np.int64))
    taken = {0: Front.empty()}  # by the number of edges kept so far
    for left, one in zip(range(len(edges) - 1, -1, -1), edges, strict=True):
        ways: dict[int, list[Front]] = {}
        for kept, front in taken.items():
            for more, other in ((0, dropped), (1, one)):
                if keep - left <= kept + more <= keep:
                    ways.setdefault(kept + more, []).append(front.joined(other))
        taken = {kept: reduce(Front.beside, fronts).pruned() for kept, fronts in ways.items()}
    return taken[keep]
