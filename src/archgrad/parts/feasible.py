"""The strongest architecture within a limit of cost: exactly, by dynamic programming."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archgrad.architecture import Cell
from archgrad.choice import Group
from archgrad.costs import CostTable
from archgrad.errors import ArchgradError
from archgrad.parts.discretization import Strength
from archgrad.parts.state import State
from archgrad.supernet import Alpha

Numbers = NDArray[Any]
WEAKEST = 1e-30  # a strength of 0 has no logarithm
WAYS = 10**6  # of one edge, at most
ROUNDING = 1e-9  # of sums of costs, relative


def within(cost: float, limit: float) -> bool:
    """Whether a cost meets the limit, but for rounding."""
    return cost <= limit * (1 + ROUNDING)


@dataclass(frozen=True, eq=False)
class Feasible:
    """The architecture of another rule where it meets the limit, else the strongest that does.

    The strongest is that of the largest sum of log strength over the chosen candidates, among all
    architectures that keep the space's number of edges a node. It is exact for every group whose
    nodes keep a fixed number of edges, chains and cells alike: nodes are independent but for the
    cost they share, so the partial architectures that nothing dominates (none is cheaper and as
    strong) are enough (Nemhauser and Ullmann, Management Science 1969). Where no architecture
    meets the limit, the cheapest one.
    """

    rule: Callable[[Alpha, State], tuple[Cell, ...]]
    table: CostTable
    limit: float

    def __call__(self, alpha: Alpha, state: State) -> tuple[Cell, ...]:
        cells = self.rule(alpha, state)
        if within(self.table.predict(cells), self.limit):
            return cells
        strength = {name: value.tolist() for name, value in state.strength(alpha).items()}
        return strongest_within(self.table, state.groups, strength, self.limit)


def cheapest(table: CostTable, groups: Sequence[Group]) -> float:
    """The cost of the cheapest architecture that these groups can make."""
    even = {group.name: [[1.0] * group.shape[1]] * group.shape[0] for group in groups}
    return table.predict(strongest_within(table, groups, even, -math.inf))


def strongest_within(
    table: CostTable, groups: Sequence[Group], strength: dict[str, Strength], limit: float
) -> tuple[Cell, ...]:
    """The architecture of the largest sum of log strength that meets the limit, or the cheapest."""
    fronts = [front for g in groups for front in _nodes(g, table.rows(g), strength[g.name])]
    least = [float(front.cost[0]) for front in fronts]
    room = max(limit * (1 + ROUNDING), table.fixed + sum(least)) - table.fixed
    found, left = Front.empty(), sum(least)
    for front, own in zip(fronts, least, strict=True):
        left -= own
        found = found.joined(front, room - left + abs(room) * ROUNDING)
    best = iter(found.picks[int(np.argmax(found.value))].tolist())
    return tuple(
        _cell(g, {row: next(best) for rows in _by_node(g) for row in rows}) for g in groups
    )


class Front(NamedTuple):
    """Partial architectures: ``cost`` and ``value``, (n,), and ``picks``, (n, edges so far).

    A pick is one of the `_ways` of an edge, by its number, or -1 where the edge is not kept.
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


def _by_node(group: Group) -> list[list[int]]:
    """The rows of each node."""
    nodes = [node for _, node in group.edges]
    return [[row for row, n in enumerate(nodes) if n == node] for node in sorted({*nodes})]


def _nodes(group: Group, costs: list[list[float]], strength: Strength) -> Iterator[Front]:
    for rows in _by_node(group):
        keep = len(rows) if group.edges_per_node is None else group.edges_per_node
        yield _node([_edge(group, row, costs[row], strength[row]) for row in rows], keep)


def _edge(group: Group, row: int, costs: list[float], strength: list[float]) -> Front:
    ways = _ways(group, row)
    value = np.array([sum(math.log(max(strength[i], WEAKEST)) for i in way) for way in ways])
    cost = np.array([sum(costs[i] for i in way) for way in ways], dtype=float)
    return Front(cost, value, np.arange(len(ways), dtype=np.int64).reshape(-1, 1)).pruned()


def _ways(group: Group, row: int) -> list[tuple[int, ...]]:
    """The candidates that a kept edge can hold: one, or as many as the group says."""
    names = group.candidates[row]
    open_ones = [i for i, name in enumerate(names) if group.keep_none or name != "none"]
    if (count := math.comb(len(open_ones), group.picks)) > WAYS:
        raise ArchgradError(
            f"choice {group.name} can keep {group.picks} of {len(open_ones)} candidates in "
            f"{count:,} ways, expected at most {WAYS:,} where costs have a limit; offer fewer "
            "candidates, or leave the limit out"
        )
    return list(combinations(open_ones, group.picks))


def _node(edges: list[Front], keep: int) -> Front:
    """All ways to keep so many of the edges."""
    dropped = Front(np.zeros(1), np.zeros(1), np.full((1, 1), -1, dtype=np.int64))
    taken = {0: Front.empty()}  # by the number of edges kept so far
    for left, edge in zip(range(len(edges) - 1, -1, -1), edges, strict=True):
        ways: dict[int, list[Front]] = {}
        for kept, front in taken.items():
            for more, other in ((0, dropped), (1, edge)):
                if keep - left <= kept + more <= keep:
                    ways.setdefault(kept + more, []).append(front.joined(other))
        taken = {kept: reduce(_either, fronts).pruned() for kept, fronts in ways.items()}
    return taken[keep]


def _either(one: Front, other: Front) -> Front:
    return Front(*(np.concatenate(pair) for pair in zip(one, other, strict=True)))


def _cell(group: Group, picks: Mapping[int, int]) -> Cell:
    nodes = tuple(
        tuple(
            (group.candidates[r][i], group.edges[r][0])
            for r in rows
            if picks[r] >= 0
            for i in _ways(group, r)[picks[r]]
        )
        for rows in _by_node(group)
    )
    output = group.output or tuple(sorted({node for _, node in group.edges}))
    return Cell(name=group.name, inputs=group.inputs, nodes=nodes, output=output)
