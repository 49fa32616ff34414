"""The derivation rule: known cells, ties, none, and the number of edges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from archgrad.architecture import Architecture, Cell, published
from archgrad.choice import Group
from archgrad.errors import ArchgradError
from archgrad.operations import OPERATIONS
from archgrad.parts.discretization import StrongestEdges
from archgrad.parts.relaxation import Sigmoid, Softmax
from archgrad.parts.state import State
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.nas_bench_201 import NasBench201
from archgrad.supernet import Alpha

NAMES = tuple(OPERATIONS)
EDGES = DartsCNN().groups[0].edges
SPACE = DartsCNN()
SOFTMAX = Softmax()


def state(groups: tuple[Group, ...] = SPACE.groups, relaxation: Any = SOFTMAX) -> State:
    return State(None, relaxation, groups=groups)  # type: ignore[arg-type]


def zeros(groups: tuple[Group, ...] = SPACE.groups) -> dict[str, Tensor]:
    return {group.name: torch.zeros(group.shape) for group in groups}


def derive(alpha: Alpha, k: int | None = None) -> tuple[Cell, ...]:
    return StrongestEdges(k)(alpha, state())


def row(source: int, node: int) -> int:
    return EDGES.index((source, node))


def one_node(sources: int, *names: str, k: int = 1) -> Group:
    """A group with a single node and candidates ``names`` on each of its edges."""
    edges = tuple((source, sources) for source in range(sources))
    return Group("cell", sources, edges, (names,) * sources, k)


def kept(group: Group, alpha: list[list[float]], relaxation: Any = SOFTMAX) -> Any:
    found = StrongestEdges()({"cell": torch.tensor(alpha)}, state((group,), relaxation))
    return found[0].nodes[0]


# --- known cells -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["DARTS_V1", "DARTS_V2", "PC_DARTS", "PDARTS"])
def test_an_alpha_that_prefers_its_edges_gives_a_published_cell(name: str) -> None:
    expected = published(name)
    alpha = zeros()
    for cell in expected.cells:
        for node, edges in enumerate(cell.nodes, start=2):
            for operation, source in edges:
                alpha[cell.name][row(source, node), NAMES.index(operation)] = 1.0
    for cell, found in zip(expected.cells, derive(alpha)):
        by_source = tuple(tuple(sorted(edges, key=lambda edge: edge[1])) for edges in cell.nodes)
        assert found == cell.model_copy(update={"nodes": by_source})


def test_the_cells_are_those_of_the_groups() -> None:
    alpha = zeros()
    alpha["normal"][:, 4] = 1.0
    alpha["reduce"][:, 1] = 1.0
    normal, reduce = derive(alpha)
    assert (normal.name, reduce.name) == ("normal", "reduce")
    assert (normal.inputs, normal.output) == (2, (2, 3, 4, 5))
    assert set(normal.operations) == {"sep_conv_3x3"}
    assert set(reduce.operations) == {"max_pool_3x3"}


def test_edges_of_a_node_are_ranked_by_their_strongest_operation() -> None:
    group = one_node(3, "none", "a", "b", k=2)
    strong_sum, strong, weak = [0.0, 1.0, 1.0], [0.0, 1.5, -5.0], [0.0, 0.1, 0.0]
    assert kept(group, [weak, strong_sum, strong]) == (("a", 1), ("a", 2))
    assert kept(replace(group, edges_per_node=1), [weak, strong_sum, strong]) == (("a", 2),)


# --- none --------------------------------------------------------------------------------------


def test_none_is_skipped_though_strongest() -> None:
    alpha = zeros()
    for value in alpha.values():
        value[:, 0] = 9.0
        value[:, 6] = 1.0
    for cell in derive(alpha):
        assert set(cell.operations) == {"dil_conv_3x3"}


def test_none_takes_its_part_in_the_softmax() -> None:
    """Without none the first edge would win (logit 2 against 1); none at 4 leaves it 0.12."""
    group = one_node(2, "none", "a", "b")
    heavy, light = [4.0, 2.0, -9.0], [-9.0, 1.0, -9.0]
    assert kept(group, [heavy, light]) == (("a", 1),)

    class WithoutNone:
        def strength(self, alpha: Alpha, state: State) -> dict[str, Tensor]:
            rest = alpha["cell"][:, 1:].softmax(dim=-1)
            return {"cell": torch.cat([torch.zeros(2, 1), rest], dim=1)}

    sure, unsure = [9.0, 3.0, 0.0], [0.0, 1.0, 0.9]
    assert kept(group, [sure, unsure]) == (("a", 1),)
    assert kept(group, [sure, unsure], WithoutNone()) == (("a", 0),)


def test_the_relaxation_of_the_method_is_the_one_that_ranks() -> None:
    """The sigmoid has no competition, so the larger logit wins."""
    group = one_node(2, "none", "a", "b")
    alpha = [[0.0, 2.0, 1.9], [0.0, 1.5, -9.0]]
    assert kept(group, alpha) == (("a", 1),)
    assert kept(group, alpha, Sigmoid()) == (("a", 0),)


def test_where_none_is_kept_every_edge_takes_its_argmax() -> None:
    """The rule of NAS-Bench-201, whose output is the last node alone."""
    space = NasBench201()
    alpha = torch.randn(6, 5, generator=torch.Generator().manual_seed(3))
    alpha[4, 0] = 9.0
    (cell,) = StrongestEdges()({"cell": alpha}, state(space.groups))
    names = space.groups[0].candidates[0]
    assert cell.operations == tuple(names[int(row.argmax())] for row in alpha)
    assert cell.nodes[2][1] == ("none", 1)
    assert [[source for _, source in edges] for edges in cell.nodes] == [[0], [0, 1], [0, 1, 2]]
    assert (cell.inputs, cell.output) == (1, (3,))
    space.validate(Architecture(space=space.name, cells=(cell,)))


@pytest.mark.parametrize("number", [None, 2])
def test_keeping_none_and_every_edge_are_apart(number: int | None) -> None:
    group = one_node(3, "none", "a")
    sure, weak, none = [0.0, 5.0], [0.0, 1.0], [4.0, 0.0]
    found = kept(replace(group, edges_per_node=number), [sure, weak, none])
    assert found == (("a", 0), ("a", 1), ("a", 2))[:number]
    found = kept(replace(group, edges_per_node=number, keep_none=True), [sure, weak, none])
    assert found == (
        (("a", 0), ("a", 1), ("none", 2)) if number is None else (("a", 0), ("none", 2))
    )


# --- ties --------------------------------------------------------------------------------------


def test_ties_go_to_the_lower_index() -> None:
    """All equal: the first two sources and the first operation after none."""
    for cell in derive(zeros()):
        assert cell.nodes == ((("max_pool_3x3", 0), ("max_pool_3x3", 1)),) * 4


def test_ties_of_operations_and_edges_go_to_the_lower_index() -> None:
    group = one_node(3, "none", "a", "b", "c")
    assert kept(group, [[0.0, 0.0, 1.0, 1.0]] * 3) == (("b", 0),)
    weaker, strong = [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 5.0]
    assert kept(group, [weaker, strong, strong]) == (("c", 1),)
    two = replace(group, edges_per_node=2)
    assert kept(two, [weaker, weaker, strong]) == (("a", 0), ("c", 2))


# --- number of edges ---------------------------------------------------------------------------


def test_k_comes_from_the_space_unless_given() -> None:
    alpha = {name: torch.randn(14, 8) for name in ("normal", "reduce")}
    one = tuple(replace(group, edges_per_node=1) for group in SPACE.groups)
    assert StrongestEdges()(alpha, state(one)) == derive(alpha, k=1)
    assert StrongestEdges(2)(alpha, state(one)) == derive(alpha) == derive(alpha, k=2)
    for single, double in zip(derive(alpha, k=1), derive(alpha, k=2)):
        for few, many in zip(single.nodes, double.nodes):
            assert (len(few), len(many)) == (1, 2)
            assert set(few) < set(many)


@pytest.mark.parametrize("k", [0, 3, -1])
def test_more_edges_than_a_node_has_are_refused(k: int) -> None:
    with pytest.raises(
        ArchgradError,
        match=f"cell normal: node 2 has 2 incoming edges, so {k} cannot .*k from 1 to 2",
    ):
        derive(zeros(), k=k)


# --- properties --------------------------------------------------------------------------------


@given(st.integers(0, 2**30), st.floats(1e-3, 30), st.integers(1, 2), st.integers(1, 5))
def test_cells_are_valid_and_the_strongest_edges(
    seed: int, scale: float, k: int, nodes: int
) -> None:
    space = replace(SPACE, nodes=nodes, edges_per_node=k)
    generator = torch.Generator().manual_seed(seed)
    alpha = {
        group.name: scale * torch.randn(group.shape, generator=generator) for group in space.groups
    }
    cells = StrongestEdges()(alpha, state(space.groups))
    space.validate(Architecture(space=space.name, cells=cells))  # distinct sources, never none
    for group, cell in zip(space.groups, cells):
        strength = alpha[group.name].softmax(dim=1)[:, 1:].amax(dim=1)
        for node, edges in enumerate(cell.nodes, start=2):
            assert len(edges) == k
            rows = {source: row for row, (source, end) in enumerate(group.edges) if end == node}
            sources = {source for _, source in edges}
            least = min(strength[rows[source]] for source in sources)
            assert all(strength[rows[other]] <= least for other in rows.keys() - sources)
            for operation, source in edges:
                column = int(alpha[group.name][rows[source], 1:].argmax())
                assert operation == NAMES[1 + column]


@given(st.integers(0, 2**30))
def test_a_constant_on_an_edge_changes_nothing(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    alpha = {
        name: torch.randn(14, 8, generator=generator, dtype=torch.float64)
        for name in ("normal", "reduce")
    }
    shift = torch.randn(14, 1, generator=generator, dtype=torch.float64)
    assert derive({name: value + shift for name, value in alpha.items()}) == derive(alpha)
