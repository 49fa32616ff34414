"""The derivation rules: known cells, ties, none, thresholds, skips, and the number of edges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from archgrad.architecture import Architecture, Cell, published
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.networks.operations import OPERATIONS
from archgrad.networks.supernet import Alpha
from archgrad.parts.discretization import SkipLimit, StrongestEdges, Threshold
from archgrad.parts.relaxation import Sigmoid, Softmax
from archgrad.parts.state import State
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.nas_bench_201 import NasBench201

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


# --- threshold -----------------------------------------------------------------------------------


def sigmoids(*rows: tuple[float, ...]) -> Tensor:
    """Alpha whose sigmoids are these."""
    return torch.tensor(rows, dtype=torch.float64).logit()


FAIR = Group("normal", 2, SPACE.groups[0].edges, (("skip_connect", "sep_conv_3x3"),) * 14, 2)


def thresholded(strong: dict[tuple[int, int], float], least: float = 0.85, **knobs: Any) -> Cell:
    """The cell where the convolution of these edges is so strong, all else 0.1."""
    rows = [(0.1, strong.get(edge, 0.1)) for edge in FAIR.edges]
    found = Threshold(least, **knobs)({"normal": sigmoids(*rows)}, state((FAIR,), Sigmoid()))
    return found[0]


def conv(*sources: int) -> tuple[tuple[str, int], ...]:
    return tuple(("sep_conv_3x3", source) for source in sources)


def test_strong_edges_are_kept_and_nodes_may_have_one_or_none() -> None:
    cell = thresholded({(0, 2): 0.9, (1, 2): 0.86, (1, 4): 0.99, (2, 5): 0.9, (4, 5): 0.84})
    assert cell.nodes == (conv(0, 1), (), conv(1), conv(2))
    assert cell.output == (2, 4, 5)


def test_of_many_strong_edges_the_strongest_k_stay() -> None:
    strong = {(0, 5): 0.9, (1, 5): 0.95, (2, 5): 0.99, (0, 2): 0.9}
    assert thresholded(strong).nodes[3] == conv(1, 2)
    assert thresholded(strong, k=1).nodes[3] == conv(2)
    assert thresholded(strong, least=0.96).nodes == ((), (), (), conv(1))  # see below


def test_edges_from_a_node_without_inputs_are_left_out() -> None:
    """3 has no input, so its edge to 4 goes, and with it 4 and the edge from 4 to 5."""
    cell = thresholded({(1, 2): 0.9, (3, 4): 0.99, (4, 5): 0.99, (2, 5): 0.86})
    assert cell.nodes == (conv(1), (), (), conv(2))
    assert cell.output == (2, 5)


def test_a_cell_without_a_strong_edge_from_an_input_keeps_its_strongest() -> None:
    cell = thresholded({(1, 3): 0.3, (0, 4): 0.2, (2, 3): 0.99, (3, 5): 0.9})
    assert cell.nodes == ((), conv(1), (), conv(3))
    assert cell.output == (3, 5)


@given(st.integers(0, 2**30), st.floats(0, 1), st.integers(1, 2))
def test_thresholded_cells_are_connected_and_strong(seed: int, least: float, k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    alpha = {g.name: 3 * torch.randn(g.shape, generator=generator) for g in SPACE.groups}
    cells = Threshold(least, k)(alpha, state(relaxation=Sigmoid()))
    for group, cell in zip(SPACE.groups, cells):
        strength = alpha[group.name].sigmoid()
        weak = 0
        alive = {0, 1}
        for node, edges in enumerate(cell.nodes, start=2):
            assert len(edges) <= k and {source for _, source in edges} <= alive
            for operation, source in edges:
                found = float(strength[row(source, node), NAMES.index(operation)])
                assert operation != "none"
                weak += found < least
            alive |= {node} if edges else set()
        assert cell.output == tuple(sorted(alive - {0, 1})) != ()
        assert weak <= 1


def test_where_every_edge_stays_a_weak_one_becomes_none() -> None:
    space = replace(NasBench201(), candidates=((("none", "skip_connect", "nor_conv_3x3"),) * 6,))
    strength = [(0.2, 0.1, 0.9), (0.1, 0.1, 0.2), (0.1, 0.95, 0.9), (0.1, 0.3, 0.2), (0.1,) * 3]
    alpha = {"cell": sigmoids(*strength, (0.5, 0.2, 0.86))}
    (cell,) = Threshold()(alpha, state(space.groups, Sigmoid()))
    expected = ("nor_conv_3x3", "none", "skip_connect", "none", "none", "nor_conv_3x3")
    assert cell.operations == expected
    space.validate(Architecture(space=space.name, cells=(cell,)))
    (cell,) = Threshold(0.97)(alpha, state(space.groups, Sigmoid()))
    assert cell.operations == ("none", "none", "none", "skip_connect", "none", "none")


def test_where_none_may_stay_k_still_keeps_the_strongest_edges() -> None:
    group = replace(one_node(3, "none", "a"), keep_none=True, edges_per_node=None)
    alpha = {"cell": sigmoids((0.1, 0.2), (0.1, 0.9), (0.1, 0.95))}
    (cell,) = Threshold(0.85, k=1)(alpha, state((group,), Sigmoid()))
    assert cell.nodes == ((("a", 2),),)


@pytest.mark.parametrize("least", [-0.1, 1.1])
def test_a_threshold_out_of_range_is_refused(least: float) -> None:
    with pytest.raises(ArchgradError, match=f"found {least}, expected from 0 to 1"):
        Threshold(least)


# --- limited skips -------------------------------------------------------------------------------


def limited(most: int, alpha: Alpha, **knobs: Any) -> tuple[Cell, ...]:
    return SkipLimit(most, **knobs)(alpha, state())


@given(st.integers(0, 2**30), st.integers(0, 8))
def test_normal_cells_have_at_most_so_many_skips(seed: int, most: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    alpha = {g.name: torch.randn(g.shape, generator=generator) for g in SPACE.groups}
    for value in alpha.values():
        value[:, NAMES.index("skip_connect")] += 2.0
    before = {name: value.clone() for name, value in alpha.items()}
    normal, reduce = limited(most, alpha)
    plain = derive(alpha)
    assert normal.operations.count("skip_connect") == min(
        most, plain[0].operations.count("skip_connect")
    )
    assert reduce == plain[1]
    assert limited(8, alpha) == plain
    assert all(torch.equal(alpha[name], before[name]) for name in alpha)
    SPACE.validate(Architecture(space=SPACE.name, cells=(normal, reduce)))


def test_the_weakest_skip_goes_and_edges_are_chosen_anew() -> None:
    """The edge from 1 is there for its skip alone; without it the edge from 2 is stronger."""
    group = one_node(3, "skip_connect", "a", k=2)
    rows = [[0.9, 0.3], [0.8, 0.1], [0.2, 0.4]]

    class Given:
        def strength(self, alpha: Alpha, state: State) -> Alpha:
            return alpha

    def found(most: int) -> Any:
        return SkipLimit(most)({"cell": torch.tensor(rows)}, state((group,), Given()))[0].nodes[0]

    assert found(2) == (("skip_connect", 0), ("skip_connect", 1))
    assert found(1) == (("skip_connect", 0), ("a", 2))
    assert found(0) == (("a", 0), ("a", 2))


def test_a_skip_that_is_the_only_candidate_stays() -> None:
    for names in (("skip_connect",), ("none", "skip_connect")):
        group = one_node(2, *names, k=2)
        alpha = {"cell": torch.zeros(2, len(names))}
        (cell,) = SkipLimit(0)(alpha, state((group,)))
        assert cell.operations == ("skip_connect", "skip_connect")


def test_the_cells_and_k_can_be_chosen() -> None:
    alpha = zeros()
    for value in alpha.values():
        value[:, NAMES.index("skip_connect")] = 3.0
    normal, reduce = limited(1, alpha, cells=("reduce",), k=1)
    assert [cell.operations.count("skip_connect") for cell in (normal, reduce)] == [4, 1]
    assert all(len(edges) == 1 for cell in (normal, reduce) for edges in cell.nodes)
    with pytest.raises(ArchgradError, match="skip limit: found -1, expected at least 0"):
        SkipLimit(-1)
