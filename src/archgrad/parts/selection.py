"""Selections: the architecture from the trained supernet itself, at the end of a search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from archgrad.architecture import Cell
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.parts.architectures import drawn
from archgrad.parts.relaxation import ALONE

__all__ = ["Effort", "Perturbation", "RandomSearch", "Trained"]


class Trained(Protocol):
    """What a selection may do with a search that is done."""

    groups: tuple[Group, ...]

    def score(self, mask: Mapping[str, Tensor]) -> tuple[float, float]:
        """Loss and accuracy on alpha's half with the mask of `parts.relaxation.Masked`."""

    def score_alone(self, cells: tuple[Cell, ...], batches: int | None) -> tuple[float, float]:
        """Loss and accuracy of an architecture with the shared weights.

        On the first `batches` of alpha's half, the same in every call, or on all of it (None).
        """

    def tune(self, mask: Mapping[str, Tensor], epochs: int, start: int, of: int) -> None:
        """Train weights and alpha on with the mask.

        Epochs `start` to `start + epochs` of a cosine over `of` epochs from a tenth of the
        search's learning rate to 0.
        """

    def random(self, below: int) -> int:
        """A random number from 0 to `below - 1`, of the search's own random state."""


class Effort(NamedTuple):
    """What a selection takes at most: `evaluations` of a batch, and `epochs` of training."""

    evaluations: int
    epochs: int = 0


@dataclass(frozen=True)
class Perturbation:
    """Keep on each edge the candidate whose removal hurts the supernet most.

    DARTS-PT (arXiv:2108.04392): edges in random order (the same edge of every group in one round,
    and where every group has a single edge, as the layers of a chain, one group a round);
    for each candidate but `none` the supernet without it is evaluated on alpha's half, with batch
    statistics; the one that costs most (the several, where an edge keeps more) is kept, with weight
    1, and the supernet is tuned for `epochs` epochs before the next edge. Then, node by node in
    random order, the edges whose removal hurts least are dropped until the space's number is left.
    `criterion`: "accuracy" or "loss".

    Differs from the original code: the cosine of the learning rate runs over all rounds, edges and
    nodes alike; momentum goes on from the search; the alpha of a decided edge has no gradient;
    where a group keeps `none`, it is a candidate like the others.

    `ArchgradError` for `epochs` below 0 and another `criterion`.

    >>> import archgrad
    >>> from archgrad.parts.selection import Perturbation
    >>> Perturbation(epochs=2).effort(archgrad.space("nas-bench-201").groups, checks=10)
    Effort(evaluations=300, epochs=10)
    """

    epochs: int = 5
    criterion: str = "accuracy"

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.criterion not in ("accuracy", "loss"):
            raise ArchgradError(
                f"perturbation-based selection: epochs {self.epochs} must be at least 0, criterion "
                f'"{self.criterion}" accuracy or loss'
            )

    def __call__(self, search: Trained) -> tuple[Cell, ...]:
        groups = search.groups
        mask = {group.name: torch.ones(group.shape) for group in groups}
        edges = _together(groups)
        rounds = [("edge", index) for index in _shuffled(len(edges), search)]
        nodes = sorted({node for g in groups if g.edges_per_node for _, node in g.edges})
        rounds += [("node", nodes[i]) for i in _shuffled(len(nodes), search)]
        for turn, (kind, index) in enumerate(rounds):
            if kind == "edge":
                for group, row in edges[index]:
                    self._decide(group, row, mask, search)
            else:
                for group in groups:
                    self._thin(group, index, mask, search)
            if self.epochs and turn + 1 < len(rounds):
                total = self.epochs * (len(rounds) - 1)
                search.tune(mask, self.epochs, turn * self.epochs, total)
        return tuple(_cell(group, mask[group.name]) for group in groups)

    def effort(self, groups: Sequence[Group], checks: int) -> Effort:
        """What it takes where alpha's half has `checks` batches."""
        evaluations, rounds = 0, len(_together(groups))
        for group in groups:
            for row in range(len(group.candidates)):
                offered = len(group.derivable(row))
                evaluations += offered if offered > 1 else 0
            if group.edges_per_node is not None:
                entering = Counter(node for _, node in group.edges)
                thinned = (range(group.edges_per_node + 1, n + 1) for n in entering.values())
                evaluations += sum(map(sum, thinned))
        rounds += len({node for g in groups if g.edges_per_node for _, node in g.edges})
        return Effort(evaluations * checks, self.epochs * (rounds - 1))

    def _worth(self, mask: Mapping[str, Tensor], search: Trained) -> float:
        loss, accuracy = search.score(mask)
        return accuracy if self.criterion == "accuracy" else -loss

    def _decide(self, group: Group, row: int, mask: dict[str, Tensor], search: Trained) -> None:
        open_ones = group.derivable(row)
        worth = {
            i: self._worth(_without(mask, group.name, row, i), search)
            for i in (open_ones if len(open_ones) > 1 else [])
        }
        chosen = sorted(open_ones, key=lambda i: worth.get(i, 0.0))[: group.picks]
        mask[group.name][row] = ALONE * torch.eye(group.shape[1])[chosen].sum(0)

    def _thin(self, group: Group, node: int, mask: dict[str, Tensor], search: Trained) -> None:
        left = [
            row
            for row, (_, target) in enumerate(group.edges)
            if target == node and mask[group.name][row].any()
        ]
        while group.edges_per_node is not None and len(left) > group.edges_per_node:
            worth = {row: self._worth(_without(mask, group.name, row), search) for row in left}
            least = max(left, key=lambda row: worth[row])
            mask[group.name][least] = 0.0
            left.remove(least)


@dataclass(frozen=True)
class RandomSearch:
    """The best of random architectures, each evaluated with the shared weights.

    Li and Talwalkar (arXiv:1902.07638): of `samples` uniform draws, each evaluated on `batches`
    batches of alpha's half, the `top` ones are evaluated again on all of it, and the most
    accurate is kept (equally accurate ones: that of the lower loss, then the first drawn).

    Differs from the original code: all architectures see the same batches, where there every
    evaluation goes on to the next ones, so that ranks differ by their luck; an architecture that is
    drawn twice is evaluated once; one round of samples whatever the length of the search, where
    there every 10,000 steps make one.

    `ArchgradError` for numbers below 1.

    >>> import archgrad
    >>> from archgrad.parts.selection import RandomSearch
    >>> RandomSearch(samples=100).effort(archgrad.space("nas-bench-201").groups, checks=20)
    Effort(evaluations=1200, epochs=0)
    """

    samples: int = 1000
    top: int = 10
    batches: int = 10

    def __post_init__(self) -> None:
        if min(self.samples, self.top, self.batches) < 1:
            raise ArchgradError(
                f"random search: samples {self.samples}, top {self.top} and batches "
                f"{self.batches} must be at least 1"
            )

    def effort(self, groups: Sequence[Group], checks: int) -> Effort:
        """What it takes where alpha's half has `checks` batches."""
        first = self.samples * min(self.batches, checks)
        return Effort(first + min(self.top, self.samples) * checks)

    def __call__(self, search: Trained) -> tuple[Cell, ...]:
        generator = torch.Generator().manual_seed(search.random(2**62))
        found = dict.fromkeys(drawn(search.groups, generator) for _ in range(self.samples))
        first = sorted(found, key=lambda cells: _rank(search.score_alone(cells, self.batches)))
        return min(first[: self.top], key=lambda cells: _rank(search.score_alone(cells, None)))


def _rank(score: tuple[float, float]) -> tuple[float, float]:
    """Smaller is better."""
    loss, accuracy = score
    return -accuracy, loss


def _together(groups: Sequence[Group]) -> list[list[tuple[Group, int]]]:
    """The edges that are decided in one round, as groups and rows."""
    most = max(group.shape[0] for group in groups)
    if most == 1:
        return [[(group, 0)] for group in groups]
    return [[(group, row) for group in groups if row < group.shape[0]] for row in range(most)]


def _without(
    mask: Mapping[str, Tensor], group: str, row: int, column: int | None = None
) -> dict[str, Tensor]:
    """A copy of the mask without one candidate, or without a whole edge."""
    changed = {name: value.clone() for name, value in mask.items()}
    if column is None:
        changed[group][row] = 0.0
    else:
        changed[group][row, column] = 0.0
    return changed


def _cell(group: Group, mask: Tensor) -> Cell:
    nodes: dict[int, list[tuple[str, int]]] = {node: [] for _, node in group.edges}
    for row, (source, node) in enumerate(group.edges):
        for column in mask[row].nonzero().flatten().tolist():
            nodes[node].append((group.candidates[row][column], source))
    ordered = sorted(nodes)
    return Cell(
        name=group.name,
        inputs=group.inputs,
        nodes=tuple(tuple(nodes[node]) for node in ordered),
        output=group.output or tuple(ordered),
    )


def _shuffled(count: int, search: Trained) -> list[int]:
    """0 to count - 1 in random order (Fisher and Yates)."""
    order = list(range(count))
    for last in range(count - 1, 0, -1):
        other = search.random(last + 1)
        order[last], order[other] = order[other], order[last]
    return order
