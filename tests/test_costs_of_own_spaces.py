"""Costs and limits of a chain that is no cell space: through the protocol of spaces alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from archgrad.architecture import Architecture, Cell
from archgrad.costing.cost import cost
from archgrad.costing.costs import cost_table
from archgrad.networks.choice import Choice, Group
from archgrad.parts.discretization import StrongestEdges
from archgrad.parts.feasible import Feasible, cheapest
from archgrad.parts.relaxation import Softmax
from archgrad.parts.state import State

NAMES = ("conv1", "conv3", "conv5", "skip")


def candidates() -> dict[str, nn.Module]:
    convs = {f"conv{k}": nn.Conv2d(3, 3, k, padding=k // 2) for k in (1, 3, 5)}
    return {**convs, "skip": nn.Identity()}


@dataclass(frozen=True)
class Chain:
    """Three decisions; the second is met twice, with the same weights."""

    name: str = "chain"
    input_shape: tuple[int, int, int] = (3, 4, 4)

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(
            Group(f"layer {i}", 1, ((0, 1),), (NAMES,), None, keep_none=True) for i in (1, 2, 3)
        )

    def supernet(self, edges: Sequence[Any] = ()) -> nn.Module:
        return self._network([Choice(candidates(), g.name, 0) for g in self.groups])

    def derive(self, architecture: Architecture, auxiliary: bool = False) -> nn.Module:
        return self._network([candidates()[cell.operations[0]] for cell in architecture.cells])

    def _network(self, layers: list[nn.Module]) -> nn.Module:
        first, second, third = layers
        return nn.Sequential(
            nn.Conv2d(3, 3, 3), first, second, second, third, nn.Flatten(), nn.Linear(12, 2)
        )

    def random_architecture(self, generator: torch.Generator) -> Architecture:
        return made([NAMES[int(i)] for i in torch.randint(4, (3,), generator=generator)])


def made(names: Sequence[str]) -> Architecture:
    cells = (Cell(name=f"layer {i}", inputs=1, nodes=(((n, 0),),), output=(1,))
             for i, n in enumerate(names, start=1))  # fmt: skip
    return Architecture(space="chain", cells=tuple(cells))


SPACE: Any = Chain()
EVERY = [made(names) for names in itertools.product(NAMES, repeat=3)]


@pytest.mark.parametrize("kind", ["parameters", "multiply_adds"])
def test_every_architecture_is_predicted_exactly(kind: Any) -> None:
    table = cost_table(SPACE, kind)
    for architecture in EVERY:
        assert table.predict(architecture) == getattr(cost(SPACE, architecture), kind)
    convolution = 9 * 3 * 3
    twice = table.groups["layer 2"][0]["conv3"] / table.groups["layer 1"][0]["conv3"]
    assert twice == (1 if kind == "parameters" else 2)
    expected = convolution + 3 if kind == "parameters" else 4 * convolution
    assert table.groups["layer 1"][0]["conv3"] == expected


def test_the_strongest_of_all_within_a_limit() -> None:
    table = cost_table(SPACE, "multiply_adds")
    alpha = {g.name: torch.randn(g.shape, generator=torch.Generator().manual_seed(i))
             for i, g in enumerate(SPACE.groups)}  # fmt: skip
    state = State(None, Softmax(), groups=SPACE.groups)  # type: ignore[arg-type]

    def value(architecture: Architecture) -> float:
        pairs = zip(alpha.values(), architecture.cells, strict=True)
        return sum(float(a[0, NAMES.index(cell.operations[0])]) for a, cell in pairs)

    costs = [cost(SPACE, architecture).multiply_adds for architecture in EVERY]
    assert cheapest(table, SPACE.groups) == min(costs)
    for limit in sorted(set(costs)):
        within = [a for a, c in zip(EVERY, costs, strict=True) if c <= limit]
        found = Feasible(StrongestEdges(), table, limit)(alpha, state)
        assert Architecture(space="chain", cells=found) == max(within, key=value)
