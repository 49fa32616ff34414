"""The DARTS space: structure, shapes, limits, the random sampler."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import isqrt
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from archgrad.architecture import Architecture, Cell, published
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice
from archgrad.networks.network import DropPath
from archgrad.networks.operations import OPERATIONS, FactorizedReduce
from archgrad.networks.supernet import Supernet
from archgrad.parts.relaxation import Softmax
from archgrad.spaces.darts_cnn import DartsCNN

V2 = published("DARTS_V2")
TINY = DartsCNN(channels=2, cells=3, nodes=2, in_channels=1, image_size=(8, 8), classes=3)


def logits(found: DartsCNN, batch: int = 2) -> Tensor:
    """Of the supernet, uniformly mixed, on random images."""
    supernet = Supernet(found.supernet().eval(), found.groups)
    x = torch.randn(batch, *found.input_shape)
    return supernet.forward(Softmax()(supernet.alpha, None), x)


# --- structure ---------------------------------------------------------------------------------


def test_the_edges_are_node_major() -> None:
    for group in DartsCNN().groups:
        assert group.edges == (
            *((0, 2), (1, 2)),
            *((0, 3), (1, 3), (2, 3)),
            *((0, 4), (1, 4), (2, 4), (3, 4)),
            *((0, 5), (1, 5), (2, 5), (3, 5), (4, 5)),
        )
        assert group.candidates == (tuple(OPERATIONS),) * 14
        assert (group.inputs, group.edges_per_node) == (2, 2)


@given(st.integers(1, 7), st.integers(2, 8))
def test_alpha_has_one_row_an_edge_and_one_column_an_operation(nodes: int, count: int) -> None:
    found = DartsCNN(nodes=nodes, operations=tuple(OPERATIONS)[:count])
    shape = (nodes * (nodes + 3) // 2, count)
    assert [(group.name, group.shape) for group in found.groups] == [
        ("normal", shape),
        ("reduce", shape),
    ]


@pytest.mark.parametrize(("cells", "reductions"), [(8, [2, 5]), (14, [4, 9]), (20, [6, 13])])
def test_reduction_cells_stand_at_thirds_and_share_their_choices(
    cells: int, reductions: list[int]
) -> None:
    with torch.device("meta"):
        network = replace(TINY, cells=cells, image_size=(32, 32)).supernet()
    for index, cell in enumerate(network.cells):
        expected = "reduce" if index in reductions else "normal"
        assert {edge.group for edge in cell.edges} == {expected}
        assert [edge.row for edge in cell.edges] == list(range(5))
        assert cell.sources == ((0, 1), (0, 1, 2))
        halved = isinstance(cell.preprocess0, FactorizedReduce)
        assert halved is (index - 1 in reductions)


def test_strides_stand_on_the_edges_from_the_inputs_of_reduction_cells() -> None:
    network = DartsCNN(channels=2, cells=3).supernet()
    for cell in network.cells:
        for choice, (source, _) in zip(cell.edges, DartsCNN().groups[0].edges):
            strided = choice.group == "reduce" and source < 2
            parts = dict(zip(choice.names, choice.candidates))
            assert parts["none"].stride == (2 if strided else 1)
            assert parts["sep_conv_3x3"][1].stride == ((2, 2) if strided else (1, 1))
            assert isinstance(parts["skip_connect"], FactorizedReduce) is strided


def test_norms_are_affine_in_derived_networks_and_in_the_stem_of_the_supernet() -> None:
    def norms(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
        return {n: m for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}

    search, derived = norms(TINY.supernet()), norms(TINY.derive(published_for(TINY)))
    assert len(search) > 50
    assert [name for name, norm in search.items() if norm.affine] == ["stem0.1"]
    assert len(derived) > 8
    assert all(norm.affine for norm in derived.values())


def published_for(found: DartsCNN) -> Architecture:
    return found.random_architecture(torch.Generator().manual_seed(0))


def test_a_derived_network_has_its_edges_with_drop_path_on_all_but_identities() -> None:
    network = DartsCNN(channels=2, cells=3, image_size=(8, 8)).derive(V2)
    normal, reduce = network.cells[0], network.cells[1]
    assert normal.sources == ((0, 1), (0, 1), (1, 0), (0, 2))
    kinds = [type(edge) for edge in normal.edges]
    assert kinds == [nn.Sequential] * 5 + [nn.Identity] * 2 + [nn.Sequential]
    assert reduce.sources == ((0, 1), (2, 1), (0, 2), (2, 1))
    assert isinstance(reduce.edges[0][0], nn.MaxPool2d)  # no norm after it
    dropped = [edge for cell in network.cells for edge in cell.edges if type(edge) is nn.Sequential]
    assert all(isinstance(edge[1], DropPath) for edge in dropped)
    assert sum(isinstance(m, DropPath) for m in network.modules()) == len(dropped) == 6 + 2 * 5


def test_a_strided_skip_is_dropped_too() -> None:
    edges = ((("skip_connect", 0), ("skip_connect", 1)),)
    cells = tuple(Cell(name=n, inputs=2, nodes=edges, output=(2,)) for n in ("normal", "reduce"))
    network = replace(TINY, nodes=1).derive(Architecture(space="darts-cnn", cells=cells))
    assert [type(edge) for edge in network.cells[0].edges] == [nn.Identity] * 2
    assert all(isinstance(edge[1], DropPath) for edge in network.cells[1].edges)


def test_derived_networks_are_initialized_afresh() -> None:
    first, second = (TINY.derive(published_for(TINY)).classifier.weight for _ in range(2))
    assert not torch.equal(first, second)


def test_every_knob_changes_the_supernet() -> None:
    def shapes(found: DartsCNN) -> list[torch.Size]:
        with torch.device("meta"):
            return [parameter.shape for parameter in found.supernet().parameters()]

    knobs: dict[str, Any] = {
        "channels": 3,
        "cells": 4,
        "nodes": 3,
        "in_channels": 2,
        "classes": 4,
        "operations": ("skip_connect", "sep_conv_3x3"),
    }
    plain = shapes(TINY)
    for knob, value in knobs.items():
        assert shapes(replace(TINY, **{knob: value})) != plain, knob
    large = replace(TINY, image_size=(64, 64))
    assert shapes(replace(large, imagenet=True)) != shapes(large)
    assert large.input_shape == (1, 64, 64)
    assert replace(TINY, edges_per_node=1).groups[0].edges_per_node == 1


# --- shapes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(3, 32, 32), (1, 28, 28), (1, 8, 8), (1, 7, 9), (2, 15, 15), (1, 3, 3), (1, 3, 40)]
)
@pytest.mark.parametrize("batch", [1, 2])
def test_images_of_any_shape_give_logits(shape: tuple[int, int, int], batch: int) -> None:
    found = replace(TINY, in_channels=shape[0], image_size=shape[1:])
    out = logits(found, batch)
    assert out.shape == (batch, 3)
    assert out.isfinite().all()
    derived = found.derive(published_for(found)).eval()
    assert derived(torch.randn(batch, *shape)).shape == (batch, 3)


def test_the_imagenet_form_takes_color_images() -> None:
    found = replace(TINY, in_channels=3, image_size=(33, 40), imagenet=True)
    assert logits(found, 1).shape == (1, 3)


@settings(max_examples=25, deadline=None)
@given(
    cells=st.integers(3, 6),
    imagenet=st.booleans(),
    longer=st.integers(0, 5),
    upright=st.booleans(),
)
def test_exactly_the_smallest_image_works(
    cells: int, imagenet: bool, longer: int, upright: bool
) -> None:
    plain = replace(TINY, cells=cells, nodes=1, operations=("skip_connect", "avg_pool_3x3"))
    smallest = replace(plain, image_size=(99, 99), imagenet=imagenet).smallest_image
    assert smallest == (17 if imagenet else 3)

    def found(side: int) -> DartsCNN:
        size = (side + longer, side) if upright else (side, side + longer)
        return replace(plain, image_size=size, imagenet=imagenet)

    assert logits(found(smallest)).isfinite().all()
    with pytest.raises(ArchgradError, match=f"shrink below .* at least {smallest} pixels a side"):
        found(smallest - 1)


@settings(max_examples=12, deadline=None)
@given(cells=st.integers(3, 6), longer=st.integers(0, 5), imagenet=st.booleans())
def test_exactly_the_smallest_image_works_with_the_auxiliary_head(
    cells: int, longer: int, imagenet: bool
) -> None:
    plain = replace(TINY, cells=cells, nodes=1, image_size=(250, 250), imagenet=imagenet)
    smallest = plain.smallest_auxiliary_image
    assert smallest == (193 if imagenet else 29)

    def found(side: int) -> DartsCNN:
        return replace(plain, image_size=(side, side + longer))

    architecture = published_for(plain)
    with torch.device("meta"):
        network = found(smallest).derive(architecture, auxiliary=True)
        x = torch.empty(2, *found(smallest).input_shape)
    _, extra = network.train().forward_with_auxiliary(x)
    assert extra is not None
    assert extra.shape == (2, 3)
    size = f"{smallest - 1}x{smallest - 1 + longer}"
    with pytest.raises(ArchgradError, match=f"at least {smallest} pixels a side.*found {size}"):
        found(smallest - 1).derive(architecture, auxiliary=True)
    found(smallest - 1).derive(architecture)


# --- limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "smallest"),
    [
        ("channels", 2),
        ("cells", 3),
        ("nodes", 1),
        ("in_channels", 1),
        ("classes", 2),
        ("edges_per_node", 1),
    ],
)
def test_values_out_of_range_are_named(field: str, smallest: int) -> None:
    values: dict[str, Any] = {field: smallest}
    assert replace(TINY, **values) is not None
    for value in (smallest - 1, -3):
        wrong: dict[str, Any] = {field: value}
        with pytest.raises(
            ArchgradError, match=rf"{field} is {value}, expected at least {smallest}$"
        ):
            replace(TINY, **wrong)


def test_the_least_of_everything_is_a_network() -> None:
    found = DartsCNN(
        channels=2,
        cells=3,
        nodes=1,
        in_channels=1,
        image_size=(3, 3),
        classes=2,
        edges_per_node=1,
    )
    assert logits(found).shape == (2, 2)


def test_more_edges_than_the_first_node_has_are_refused() -> None:
    with pytest.raises(ArchgradError, match=r"shall keep 3 edges.* only 2 .*expected 1 to 2"):
        DartsCNN(edges_per_node=3)


def test_sized_changes_width_and_depth_alone() -> None:
    assert TINY.sized(channels=6, cells=5) == replace(TINY, channels=6, cells=5)
    assert TINY.sized(channels=6) == replace(TINY, channels=6)
    assert TINY.sized() == TINY


# --- what a derived network accepts ------------------------------------------------------------


def cells(**changes: Any) -> Architecture:
    good = {"name": "normal", "inputs": 2, "nodes": ((("skip_connect", 0),),), "output": (2,)}
    normal = Cell.model_validate({**good, **changes})
    reduce = Cell.model_validate({**good, "name": "reduce"})
    return Architecture(space="darts-cnn", cells=(normal, reduce))


def test_a_cell_with_few_edges_can_be_built() -> None:
    TINY.validate(cells())
    assert TINY.derive(cells()).eval()(torch.zeros(1, 1, 8, 8)).shape == (1, 3)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (cells(name="other"), r"\['other', 'reduce'\] does not fit.*normal and reduce"),
        (V2.model_copy(update={"space": "darts-rnn"}), "of space darts-rnn .* fit space darts-cnn"),
        (V2.model_copy(update={"cells": V2.cells[:1]}), r"cells \['normal'\] does not fit"),
        (cells(inputs=1, output=(1,)), "cell normal has 1 inputs, space darts-cnn has 2"),
        (cells(nodes=((("none", 0),),)), '"none" cannot be built.*known: max_pool_3x3, '),
        (cells(nodes=((("conv", 0),),)), 'cell normal: operation "conv" cannot be built'),
        (cells(nodes=((),)), r"node 2 has no incoming edges .* output \[2\]; leave it out"),
        (
            cells(nodes=((), (("skip_connect", 2),)), output=(3,)),
            "node 3 takes node 2, which has no incoming edges; leave that edge out",
        ),
        (
            cells(nodes=((("skip_connect", 0),), ()), output=(2, 3)),
            r"node 3 has no incoming edges and cannot be in the output \[2, 3\]",
        ),
        (
            cells(nodes=((("skip_connect", 0), ("max_pool_3x3", 0)),)),
            r"node 2 has the sources \[0, 0\]; expected them all different",
        ),
    ],
)
def test_an_architecture_that_does_not_fit_is_refused(
    architecture: Architecture, message: str
) -> None:
    with pytest.raises(ArchgradError, match=message):
        TINY.derive(architecture)


def test_nodes_without_edges_are_left_out() -> None:
    """arXiv:1911.12126: the network is that of the cell without its isolated nodes."""
    edges = (("sep_conv_3x3", 1), ("max_pool_3x3", 0))
    isolated = cells(nodes=((), edges, (), (("skip_connect", 3),)), output=(3, 5))
    compact = cells(nodes=(edges, (("skip_connect", 2),)), output=(2, 3))
    networks = []
    for architecture in (isolated, compact):
        torch.manual_seed(0)
        networks.append(TINY.derive(architecture).eval())
    x = torch.randn(2, *TINY.input_shape)
    assert torch.equal(networks[0](x), networks[1](x))
    assert networks[0].state_dict().keys() == networks[1].state_dict().keys()


def test_an_operation_that_the_space_leaves_out_is_refused() -> None:
    found = replace(TINY, operations=("none", "skip_connect"))
    found.validate(cells())
    with pytest.raises(ArchgradError, match=r"known: skip_connect$"):
        found.validate(V2)


# --- random architectures ----------------------------------------------------------------------


@given(st.integers(0, 2**40), st.integers(1, 6), st.integers(1, 2))
def test_random_cells_are_valid_and_repeat_with_the_seed(seed: int, nodes: int, edges: int) -> None:
    found = replace(TINY, nodes=nodes, edges_per_node=edges)
    first, second = (
        found.random_architecture(torch.Generator().manual_seed(seed)) for _ in range(2)
    )
    assert first == second
    found.validate(first)  # known operations, never none, distinct sources
    for cell in first.cells:
        assert len(cell.nodes) == nodes
        assert cell.output == tuple(range(2, 2 + nodes))
        assert all(len(kept) == edges for kept in cell.nodes)
        assert all([s for _, s in kept] == sorted({s for _, s in kept}) for kept in cell.nodes)


def test_random_cells_are_uniform() -> None:
    """Operations and pairs of sources of 1,500 draws within five standard deviations."""
    generator = torch.Generator().manual_seed(7)
    operations: Counter[str] = Counter()
    pairs: dict[tuple[str, int], Counter[tuple[int, ...]]] = {}
    draws = 1500
    for _ in range(draws):
        for cell in DartsCNN().random_architecture(generator).cells:
            operations.update(cell.operations)
            for node, kept in enumerate(cell.nodes, start=2):
                chosen = tuple(source for _, source in kept)
                pairs.setdefault((cell.name, node), Counter())[chosen] += 1

    def check(counts: Counter[Any], kinds: int) -> None:
        total = counts.total()
        assert len(counts) == kinds
        assert max(abs(n - total // kinds) for n in counts.values()) < 5 * isqrt(total // kinds)
        chi_square = sum((n - total / kinds) ** 2 / (total / kinds) for n in counts.values())
        assert chi_square < kinds - 1 + 5 * (2 * kinds) ** 0.5

    assert "none" not in operations
    check(operations, 7)
    assert operations.total() == draws * 16
    for (_, node), counts in pairs.items():
        check(counts, node * (node - 1) // 2)


def test_random_choices_of_source_and_operation_are_independent() -> None:
    """Every pair of operations on the two edges of the first node turns up."""
    generator = torch.Generator().manual_seed(1)
    found = replace(TINY, nodes=1, operations=("skip_connect", "max_pool_3x3"))
    seen = Counter(found.random_architecture(generator).cells[0].operations for _ in range(400))
    assert len(seen) == 4
    assert min(seen.values()) > 70  # 100 expected


def test_the_generator_moves_on() -> None:
    generator = torch.Generator().manual_seed(0)
    assert len({DartsCNN().random_architecture(generator) for _ in range(20)}) == 20


def test_a_supernet_holds_one_choice_an_edge() -> None:
    choices = [m for m in TINY.supernet().modules() if isinstance(m, Choice)]
    assert len(choices) == 3 * 5
