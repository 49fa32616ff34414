"""Perturbation-based selection on supernets whose scores are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from archgrad.architecture import Architecture, Cell
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.parts.relaxation import ALONE
from archgrad.parts.selection import Perturbation, RandomSearch
from archgrad.spaces import space
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.mbconv import MBConv
from archgrad.spaces.nas_bench_201 import NasBench201

DARTS = DartsCNN(nodes=2, operations=("none", "skip_connect", "sep_conv_3x3"))
BENCH = NasBench201()


class Fake:
    """The accuracy is the worth of the candidates there, the loss minus their ``other`` worth."""

    def __init__(
        self,
        groups: tuple[Group, ...],
        worth: Mapping[str, Tensor],
        other: Any = None,
        seed: int = 0,
    ) -> None:
        self.groups, self.worth, self.other = groups, worth, other or worth
        self.generator = torch.Generator().manual_seed(seed)
        self.tuned: list[tuple[int, int, int]] = []
        self.masks: list[dict[str, Tensor]] = []
        self.scored = 0

    def score(self, mask: Mapping[str, Tensor]) -> tuple[float, float]:
        self.scored += 1
        loss = -sum(float((mask[name] * value).sum()) for name, value in self.other.items())
        return loss, sum(float((mask[name] * value).sum()) for name, value in self.worth.items())

    def tune(self, mask: Mapping[str, Tensor], epochs: int, start: int, of: int) -> None:
        self.tuned.append((epochs, start, of))
        self.masks.append({name: value.clone() for name, value in mask.items()})

    def random(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self.generator))


def worths(groups: tuple[Group, ...], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {g.name: torch.rand(g.shape, generator=generator, dtype=torch.float64) for g in groups}


def best_cells(groups: tuple[Group, ...], worth: Mapping[str, Tensor]) -> tuple[Cell, ...]:
    """The most worthy candidate of each edge, then the most worthy edges of each node."""
    cells = []
    for group in groups:
        picks = []
        for names, row in zip(group.candidates, worth[group.name].tolist()):
            picks.append(max((w, n) for w, n in zip(row, names) if group.keep_none or n != "none"))
        nodes = []
        for node in sorted({node for _, node in group.edges}):
            rows = [row for row, (_, target) in enumerate(group.edges) if target == node]
            kept = sorted(rows, key=lambda row: -picks[row][0])[: group.edges_per_node]
            nodes.append(tuple((picks[row][1], group.edges[row][0]) for row in sorted(kept)))
        output = group.output or tuple(range(group.inputs, group.inputs + len(nodes)))
        cells.append(Cell(name=group.name, inputs=group.inputs, nodes=tuple(nodes), output=output))
    return tuple(cells)


@settings(max_examples=25)
@given(st.integers(0, 2**20), st.integers(1, 2))
def test_what_costs_most_when_it_goes_is_kept(seed: int, k: int) -> None:
    """In any order of edges and nodes."""
    space = replace(DARTS, edges_per_node=k)
    search = Fake(space.groups, worths(space.groups, seed), seed=seed)
    cells = Perturbation(epochs=0)(search)
    assert cells == best_cells(space.groups, search.worth)
    space.validate(Architecture(space=space.name, cells=cells))
    assert search.tuned == []


def test_the_criterion_decides_what_costs() -> None:
    worth, other = worths(DARTS.groups, 1), worths(DARTS.groups, 2)
    for criterion, expected in (("accuracy", worth), ("loss", other)):
        cells = Perturbation(0, criterion)(Fake(DARTS.groups, worth, other))
        assert cells == best_cells(DARTS.groups, expected)
    assert best_cells(DARTS.groups, worth) != best_cells(DARTS.groups, other)


def test_tuning_comes_between_all_decisions_and_never_after_the_last() -> None:
    """Five edges and two nodes, both groups in one round: six times three epochs."""
    search = Fake(DARTS.groups, worths(DARTS.groups))
    Perturbation(epochs=3)(search)
    assert search.tuned == [(3, start, 18) for start in (0, 3, 6, 9, 12, 15)]
    for number, mask in enumerate(search.masks[:5], start=1):
        for value in mask.values():
            decided = (value == ALONE).any(1)
            assert decided.sum() == number and (value[~decided] == 1).all()
    for name in ("normal", "reduce"):
        last = [int((mask[name] > 0).sum()) for mask in search.masks[4:]]
        assert last[0] == 5  # one candidate an edge, before a node is thinned
        assert last[1] in (4, 5)
    first = [(value == ALONE).any(1).nonzero().item() for value in search.masks[0].values()]
    assert first[0] == first[1]  # the same edge of every group


def test_the_order_is_random_by_the_searchs_own_state() -> None:
    def order(seed: int) -> list[Any]:
        search = Fake(DARTS.groups, worths(DARTS.groups), seed=seed)
        Perturbation(epochs=1)(search)
        return [mask["normal"].sum(1).tolist() for mask in search.masks]

    assert order(1) == order(1)
    assert len({str(order(seed)) for seed in range(6)}) > 3


def test_nas_bench_201_keeps_every_edge_and_may_keep_none() -> None:
    """Twenty-five epochs in all: five after each of the first five edges."""
    worth = worths(BENCH.groups)
    worth["cell"][2, 0] = 2.0
    search = Fake(BENCH.groups, worth)
    (cell,) = Perturbation()(search)
    assert (cell,) == best_cells(BENCH.groups, worth)
    assert cell.operations[2] == "none" and len(cell.operations) == 6
    assert search.tuned == [(5, start, 25) for start in (0, 5, 10, 15, 20)]
    assert search.scored == 6 * 5
    BENCH.validate(Architecture(space=BENCH.name, cells=(cell,)))


def test_none_is_never_tried_where_it_may_not_stay() -> None:
    worth = worths(DARTS.groups)
    for value in worth.values():
        value[:, 0] = 9.0
    search = Fake(DARTS.groups, worth)
    cells = Perturbation(0)(search)
    assert not any("none" in cell.operations for cell in cells)
    # two candidates an edge, then three edges of the second node
    assert search.scored == 2 * (5 * 2 + 3)


def test_a_single_candidate_is_not_scored() -> None:
    space = replace(DARTS, candidates=((("none", "sep_conv_3x3"),) * 5,) * 2)
    search = Fake(space.groups, worths(space.groups))
    Perturbation(0)(search)
    assert search.scored == 2 * 3


def test_the_layers_of_a_chain_are_decided_one_by_one() -> None:
    space = MBConv(cells=2)
    worth = worths(space.groups)
    worth["layer 2"][0, -1] = 2.0
    search = Fake(space.groups, worth)
    cells = Perturbation(1)(search)
    assert cells == best_cells(space.groups, worth)
    assert cells[1].operations == ("none",)
    assert search.tuned == [(1, start, 10) for start in range(10)]
    decided = [sum(bool((m == ALONE).any()) for m in mask.values()) for mask in search.masks]
    assert decided == list(range(1, 11))


def test_groups_of_different_size_go_side_by_side() -> None:
    small = Group("small", 1, ((0, 1),), (("a", "b"),), 1)
    large = Group("large", 1, ((0, 1), (0, 2), (1, 2)), (("a", "b"),) * 3, 1)
    worth = {"small": torch.tensor([[0.1, 0.2]]), "large": torch.tensor([[0.2, 0.1]] * 3)}
    first, second = Perturbation(1)(Fake((small, large), worth))
    assert first.operations == ("b",)
    assert second.nodes[0] == (("a", 0),) and len(second.nodes[1]) == 1


@pytest.mark.parametrize(
    ("knob", "message"),
    [({"epochs": -1}, "epochs -1 must be at least 0"), ({"criterion": "luck"}, '"luck" accuracy')],
)
def test_values_out_of_range_are_refused(knob: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        Perturbation(**knob)


# --- random search with shared weights ----------------------------------------------------------


class Shared(Fake):
    """Scores a whole architecture by its operations; few batches mistake one of them."""

    def __init__(self, groups: tuple[Group, ...], mistaken: str | None = None) -> None:
        super().__init__(groups, {})
        self.mistaken, self.scored = mistaken, list[tuple[tuple[Cell, ...], int | None]]()

    def score_alone(self, cells: tuple[Cell, ...], batches: int | None) -> tuple[float, float]:
        self.scored.append((cells, batches))
        names = [name for cell in cells for name in cell.operations]
        worth = sum(self.groups[0].candidates[0].index(name) for name in names)
        if batches is not None and self.mistaken is not None:
            worth -= 1000 * names.count(self.mistaken)
        return 0.0, worth / 1e4


def test_random_search_rescores_the_best_and_keeps_the_best_of_them() -> None:
    groups = space("nas-bench-201").groups
    search = Shared(groups)
    cells = RandomSearch(samples=30, top=5, batches=2)(search)
    few = [cells for cells, batches in search.scored if batches == 2]
    full = [cells for cells, batches in search.scored if batches is None]
    assert len(few) == len(set(few)) <= 30 and len(full) == 5
    worth = {one: search.score_alone(one, None)[1] for one in few}
    assert sorted((worth[one] for one in full), reverse=True) == sorted(worth.values())[:-6:-1]
    assert worth[cells] == max(worth.values())


def test_what_few_batches_mistake_is_lost_unless_it_is_rescored() -> None:
    groups = space("nas-bench-201").groups
    best, strongest = [], groups[0].candidates[0][-1]
    for top in (1, 30):
        search = Shared(groups, mistaken=strongest)
        cells = RandomSearch(samples=30, top=top)(search)
        best.append(search.score_alone(cells, None)[1])
    assert best[1] > best[0]


@pytest.mark.parametrize("knob", ["samples", "top", "batches"])
def test_random_search_refuses_nothing_to_do(knob: str) -> None:
    with pytest.raises(ArchgradError, match=f"{knob} 0"):
        RandomSearch(**{knob: 0})


@pytest.mark.parametrize(
    "groups",
    [DARTS.groups, BENCH.groups, space("s1").groups, space("s3").groups, MBConv(cells=1).groups],
    ids=["darts", "nas-bench-201", "s1", "s3", "mbconv"],
)
@pytest.mark.parametrize("epochs", [0, 2])
def test_the_effort_is_what_is_done(groups: tuple[Group, ...], epochs: int) -> None:
    search = Fake(groups, worths(groups))
    selection = Perturbation(epochs)
    selection(search)
    effort = selection.effort(groups, checks=3)
    assert effort.evaluations == 3 * search.scored
    assert effort.epochs == sum(tuned for tuned, _, _ in search.tuned)


@pytest.mark.parametrize(
    ("selection", "checks", "evaluations"),
    [(RandomSearch(100, 10, 4), 20, 100 * 4 + 10 * 20), (RandomSearch(5, 10, 4), 3, 5 * 3 + 5 * 3)],
)
def test_the_effort_of_random_search(
    selection: RandomSearch, checks: int, evaluations: int
) -> None:
    assert selection.effort(DARTS.groups, checks) == (evaluations, 0)
