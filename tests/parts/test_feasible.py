"""The strongest architecture within a limit, against brute force."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain, combinations, product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archgrad.architecture import Cell
from archgrad.costing.costs import CostTable, Place
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.parts.discretization import StrongestEdges, Threshold
from archgrad.parts.feasible import Feasible, cheapest, strongest_within, within
from archgrad.parts.relaxation import Sigmoid, Softmax
from archgrad.parts.state import State

CHAIN = tuple(
    Group(f"layer {i}", 1, ((0, 1),), (("none", "a", "b", "c"),), None, keep_none=True)
    for i in range(1, 6)
)
CELL = (
    Group("cell", 2, ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), (("none", "a", "b"),) * 5, 2),
    Group("tail", 1, ((0, 1), (0, 2), (1, 2)), (("a", "none"),) * 3, None, True, (2,)),
)


def table(groups: Sequence[Group], seed: int, whole: bool) -> CostTable:
    generator = torch.Generator().manual_seed(seed)
    places = []
    for group in groups:
        costs = torch.rand(group.shape, generator=generator, dtype=torch.float64)
        costs = (4 * costs).floor() if whole else costs
        for edge, (names, row) in enumerate(zip(group.candidates, costs.tolist(), strict=True)):
            values = dict(zip(names, row, strict=True))
            places.append(Place("", group.name, edge, (1,), values))
    edges = {group.name: group.edges for group in groups}
    return CostTable("latency", "own", 1.0, edges, tuple(places))


def alpha(groups: Sequence[Group], seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed + 1)
    return {g.name: torch.randn(g.shape, generator=generator) for g in groups}


def cells_of(group: Group) -> Iterator[list[tuple[int, int]]]:
    """Every cell of a group, as (row, candidate) of its edges."""
    ways = []
    for node in sorted({node for _, node in group.edges}):
        rows = [row for row, (_, target) in enumerate(group.edges) if target == node]
        keep = group.edges_per_node or len(rows)
        ways.append([
            list(zip(chosen, picks, strict=True))
            for chosen in combinations(rows, keep)
            for picks in product(*(
                [i for i, n in enumerate(group.candidates[r]) if group.keep_none or n != "none"]
                for r in chosen
            ))
        ])  # fmt: skip
    return (list(chain(*nodes)) for nodes in product(*ways))


def brute_force(
    groups: Sequence[Group], costs: CostTable, strength: Any, limit: float
) -> tuple[float, float]:
    """The largest value within the limit and the least cost of all, by trying everything."""
    rows = {group.name: costs.rows(group) for group in groups}
    best, least = -math.inf, math.inf
    for cells in product(*(list(cells_of(group)) for group in groups)):
        picks = [(g.name, r, c) for g, cell in zip(groups, cells, strict=True) for r, c in cell]
        cost = 1.0 + sum(rows[name][r][c] for name, r, c in picks)
        value = sum(math.log(strength[name][r][c]) for name, r, c in picks)
        least = min(least, cost)
        best = max(best, value) if within(cost, limit) else best
    return best, least


def value_of(groups: Sequence[Group], cells: tuple[Cell, ...], strength: Any) -> float:
    total = 0.0
    for group, cell in zip(groups, cells, strict=True):
        rows = {edge: row for row, edge in enumerate(group.edges)}
        for node, edges in enumerate(cell.nodes, start=cell.inputs):
            for name, source in edges:
                row = rows[source, node]
                total += math.log(strength[group.name][row][group.candidates[row].index(name)])
    return total


@pytest.mark.parametrize("groups", [CHAIN, CELL], ids=["chain", "cells"])
@settings(max_examples=15)
@given(seed=st.integers(0, 2**20), tight=st.floats(0, 1), whole=st.booleans())
def test_it_is_what_brute_force_finds(
    groups: tuple[Group, ...], seed: int, tight: float, whole: bool
) -> None:
    costs, weights = table(groups, seed, whole), alpha(groups, seed)
    strength = {name: value.softmax(-1).tolist() for name, value in weights.items()}
    free = costs.predict(strongest_within(costs, groups, strength, math.inf))
    _, least = brute_force(groups, costs, strength, math.inf)
    assert cheapest(costs, groups) == pytest.approx(least)
    limit = least + tight * (free - least)
    best, _ = brute_force(groups, costs, strength, limit)
    cells = strongest_within(costs, groups, strength, limit)
    assert within(costs.predict(cells), limit)
    assert value_of(groups, cells, strength) == pytest.approx(best)


@pytest.mark.parametrize("groups", [CHAIN, CELL], ids=["chain", "cells"])
def test_without_a_limit_it_is_the_rule_itself(groups: tuple[Group, ...]) -> None:
    costs, weights = table(groups, 3, False), alpha(groups, 3)
    state = State(None, Softmax(), groups=groups)  # type: ignore[arg-type]
    usual = StrongestEdges()(weights, state)
    assert Feasible(StrongestEdges(), costs, math.inf)(weights, state) == usual
    strength = {name: value.softmax(-1).tolist() for name, value in weights.items()}
    assert strongest_within(costs, groups, strength, math.inf) == usual


def test_another_rule_is_kept_where_it_meets_the_limit() -> None:
    costs, weights = table(CELL[:1], 1, False), alpha(CELL[:1], 1)
    state = State(None, Sigmoid(), groups=CELL[:1])  # type: ignore[arg-type]
    rule = Threshold(0.7)
    usual = rule(weights, state)
    cost = costs.predict(usual)
    assert Feasible(rule, costs, cost)(weights, state) == usual
    assert Feasible(rule, costs, 0.99 * cost)(weights, state) != usual


def test_where_nothing_meets_the_limit_it_is_the_cheapest() -> None:
    costs, weights = table(CHAIN, 5, False), alpha(CHAIN, 5)
    state = State(None, Softmax(), groups=CHAIN)  # type: ignore[arg-type]
    cells = Feasible(StrongestEdges(), costs, 0.5)(weights, state)
    assert costs.predict(cells) == pytest.approx(cheapest(costs, CHAIN)) and costs.fixed == 1.0


def picking(picks: int, inputs: int) -> tuple[Group, ...]:
    names = tuple(map(str, range(inputs)))
    return (Group("merge", 1, ((0, 1),), (names,), None, keep_none=True, picks=picks),)


def test_the_strongest_of_very_many_ways() -> None:
    """48,620 ways, more than 16 bits can count; the strongest, the last nine, is the last way."""
    groups = picking(9, 18)
    strength = {"merge": [[float(i + 1) for i in range(18)]]}
    (cell,) = strongest_within(table(groups, 1, False), groups, strength, math.inf)
    assert cell.operations == tuple(str(i) for i in range(9, 18))


def test_too_many_ways_are_refused() -> None:
    groups = picking(12, 24)
    with pytest.raises(ArchgradError, match="can keep 12 of 24 candidates in 2,704,156 ways"):
        cheapest(table(groups, 1, False), groups)


def test_a_long_chain_takes_a_moment() -> None:
    """21 layers of 7 candidates, as in ProxylessNAS: 7^21 architectures."""
    names = tuple("abcdefg")
    groups = tuple(Group(f"layer {i}", 1, ((0, 1),), (names,), None, True) for i in range(21))
    costs, weights = table(groups, 7, False), alpha(groups, 7)
    strength = {name: value.softmax(-1).tolist() for name, value in weights.items()}
    free = costs.predict(strongest_within(costs, groups, strength, math.inf))
    limit = (cheapest(costs, groups) + free) / 2
    cells = strongest_within(costs, groups, strength, limit)
    assert 0.97 * limit < costs.predict(cells) <= limit
