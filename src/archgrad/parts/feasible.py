"""The strongest architecture within a limit of cost: exactly, by dynamic programming."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain, product
from typing import NamedTuple

import numpy as np

from archgrad.architecture import Cell
from archgrad.costing.costs import CostTable
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.networks.nesting import followed
from archgrad.networks.supernet import Alpha
from archgrad.parts.discretization import Strength
from archgrad.parts.front import Front, Numbers, by_node, edge, node, ways_of
from archgrad.parts.state import State

NESTED = 10**4  # ways to decide choices together that hold others, at most
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
    strong) are enough (Nemhauser and Ullmann, Management Science 1969). Choices inside candidates
    of others count in the sum whether or not they are run, as decisions of their own; it is exact
    for them too, by trying every way to decide those that hold others. Where no architecture meets
    the limit, the cheapest one.
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
    costs = {group.name: _Costs(table, group) for group in groups}
    parts = [part for some in _apart(groups, costs) for part in _parts(some, costs, strength)]
    least = [float(part.front.cost[0]) for part in parts]
    room = max(limit * (1 + ROUNDING), table.fixed + sum(least)) - table.fixed
    found, left = Front.empty(), sum(least)
    for part, own in zip(parts, least, strict=True):
        left -= own
        found = found.joined(part.front, room - left + abs(room) * ROUNDING)
    best = found.picks[int(np.argmax(found.value))].tolist()
    picks = dict(zip(chain(*(part.edges for part in parts)), best, strict=True))
    return tuple(_cell(g, {row: picks[g.name, row] for row in range(len(g.edges))}) for g in groups)


class _Costs:
    """The costs of a group's candidates, by what holds its places."""

    def __init__(self, table: CostTable, group: Group) -> None:
        self.by_path = {path: np.array(rows) for path, rows in table.rows_by_path(group).items()}
        self.outer = {name for path in self.by_path for name, _ in path}
        self.none = np.zeros(group.shape)

    def where(self, chosen: Mapping[str, Sequence[str]]) -> Numbers:
        """(edges, operations), where the groups around have chosen these."""
        run = [rows for path, rows in self.by_path.items() if followed(path, chosen)]
        return sum(run, start=self.none)


class _Part(NamedTuple):
    """Ways to decide some edges, (group, row) each."""

    edges: list[tuple[str, int]]
    front: Front


def _apart(groups: Sequence[Group], costs: Mapping[str, _Costs]) -> list[list[Group]]:
    """The groups, those together of which one holds another."""
    found: list[list[Group]] = []
    for group in groups:
        own = {group.name, *costs[group.name].outer}
        near = [some for some in found if any(own & {g.name, *costs[g.name].outer} for g in some)]
        found = [some for some in found if some not in near] + [[*chain(*near), group]]
    return found


def _parts(
    groups: list[Group], costs: Mapping[str, _Costs], strength: dict[str, Strength]
) -> Iterator[_Part]:
    """Of groups that are apart from all others: node by node, or together."""
    held_by = {name for group in groups for name in costs[group.name].outer}
    if held_by:
        outer = [group for group in groups if group.name in held_by]
        inner = [group for group in groups if group.name not in held_by]
        yield _nested(outer, inner, costs, strength)
        return
    for group in groups:
        rows_of_costs = costs[group.name].where({})
        for rows in by_node(group):
            edges = [edge(group, r, rows_of_costs[r], strength[group.name][r]) for r in rows]
            front = node(group, [one.pruned() for one in edges])
            yield _Part([(group.name, row) for row in rows], front)


def _nested(
    outer: list[Group],
    inner: list[Group],
    costs: Mapping[str, _Costs],
    strength: dict[str, Strength],
) -> _Part:
    """Each way to decide the groups that hold others, with all that the others then can be.

    Those that no chosen candidate holds cost nothing. Groups of choices have one row.
    """
    ways = [ways_of(group, 0) for group in outer]
    if (count := math.prod(map(len, ways))) > NESTED:
        raise ArchgradError(
            f"the choices {', '.join(g.name for g in outer)} hold others and can be decided in "
            f"{count:,} ways together, expected at most {NESTED:,} where costs have a limit; give "
            "the choices inside different ones names of their own, or leave the limit out"
        )
    values = [edge(g, 0, costs[g.name].none[0], strength[g.name][0]).value for g in outer]
    fronts = []
    for numbers in product(*(range(len(some)) for some in ways)):
        taken = [(g, list(some[i])) for g, some, i in zip(outer, ways, numbers, strict=True)]
        chosen = {g.name: [g.candidates[0][i] for i in kept] for g, kept in taken}
        cost = sum(float(costs[g.name].where(chosen)[0, kept].sum()) for g, kept in taken)
        value = sum(float(one[i]) for one, i in zip(values, numbers, strict=True))
        front = Front(np.array([cost]), np.array([value]), np.array([numbers]))
        for group in inner:
            row = costs[group.name].where(chosen)[0]
            front = front.joined(edge(group, 0, row, strength[group.name][0]).pruned())
        fronts.append(front)
    edges = [(group.name, 0) for group in (*outer, *inner)]
    return _Part(edges, reduce(Front.beside, fronts).pruned())


def _cell(group: Group, picks: Mapping[int, int]) -> Cell:
    nodes = tuple(
        tuple(
            (group.candidates[r][i], group.edges[r][0])
            for r in rows
            if picks[r] >= 0
            for i in ways_of(group, r)[picks[r]]
        )
        for rows in by_node(group)
    )
    output = group.output or tuple(sorted({node for _, node in group.edges}))
    return Cell(name=group.name, inputs=group.inputs, nodes=nodes, output=output)
