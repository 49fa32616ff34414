"""S1 to S4: what stands on every edge, and that cells of every kind can be built."""

from __future__ import annotations

from collections import Counter
from math import prod

import pytest
import torch

from archgrad.architecture import Architecture, Cell
from archgrad.errors import ArchgradError
from archgrad.networks.operations import Noise
from archgrad.networks.supernet import Supernet
from archgrad.parts.relaxation import Softmax
from archgrad.spaces import space
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.robust import s1, s2, s3, s4

TINY = {"channels": 2, "cells": 3, "in_channels": 1, "image_size": (8, 8), "classes": 3}
NAMES = ("s1", "s2", "s3", "s4")


@pytest.mark.parametrize(("name", "size"), [("s1", 56), ("s2", 56), ("s3", 84), ("s4", 56)])
def test_sizes_of_alpha(name: str, size: int) -> None:
    found = space(name)
    assert isinstance(found, DartsCNN)
    assert found.name == name
    assert sum(prod(group.shape) for group in found.groups) == size


def test_the_edges_of_s1() -> None:
    """arXiv:1909.09656: counts over both cells and a few edges, by hand from its code."""
    normal, reduce = s1().groups
    counts = Counter(name for names in normal.candidates for name in names)
    assert counts == {
        "skip_connect": 12, "max_pool_3x3": 2, "sep_conv_3x3": 4, "dil_conv_3x3": 6,
        "dil_conv_5x5": 4,
    }  # fmt: skip
    counts = Counter(name for names in reduce.candidates for name in names)
    assert counts == {
        "skip_connect": 6, "max_pool_3x3": 8, "avg_pool_3x3": 6, "sep_conv_3x3": 1,
        "dil_conv_3x3": 2, "dil_conv_5x5": 5,
    }  # fmt: skip
    edges = dict(zip(normal.edges, normal.candidates))
    assert edges[0, 2] == ("skip_connect", "dil_conv_3x3")
    assert edges[0, 4] == ("max_pool_3x3", "skip_connect")
    assert edges[3, 5] == edges[4, 5] == ("dil_conv_3x3", "dil_conv_5x5")
    edges = dict(zip(reduce.edges, reduce.candidates))
    assert edges[1, 2] == ("max_pool_3x3", "dil_conv_3x3")
    assert edges[1, 4] == ("max_pool_3x3", "sep_conv_3x3")


def test_the_operations_of_s2_s3_and_s4() -> None:
    assert s2().operations == ("skip_connect", "sep_conv_3x3")
    assert s3().operations == ("none", "skip_connect", "sep_conv_3x3")
    assert s4().operations == ("noise", "sep_conv_3x3")


@pytest.mark.parametrize("name", NAMES)
def test_supernets_and_random_cells_run(name: str) -> None:
    found = space(name, **TINY)
    net = Supernet(found.supernet(), found.groups)
    x = torch.randn(4, *found.input_shape)
    assert net.forward(Softmax()(net.alpha, None), x).isfinite().all()
    generator = torch.Generator().manual_seed(0)
    seen: set[str] = set()
    for _ in range(5):
        architecture = found.random_architecture(generator)
        found.validate(architecture)
        seen |= {operation for cell in architecture.cells for operation in cell.operations}
    assert seen == {n for g in found.groups for names in g.candidates for n in names} - {"none"}
    assert found.derive(architecture).eval()(x).shape == (4, 3)


def test_noise_is_kept_in_derived_networks() -> None:
    nodes = ((("noise", 0), ("sep_conv_3x3", 1)),)
    cells = tuple(Cell(name=n, inputs=2, nodes=nodes, output=(2,)) for n in ("normal", "reduce"))
    network = s4(**TINY).derive(Architecture(space="s4", cells=cells)).eval()
    assert sum(isinstance(module, Noise) for module in network.modules()) == 3
    x = torch.zeros(1, 1, 8, 8)
    assert not torch.equal(network(x), network(x))


def test_random_cells_of_s1_take_what_each_edge_offers() -> None:
    found, generator = s1(), torch.Generator().manual_seed(1)
    groups = {group.name: dict(zip(group.edges, group.candidates)) for group in found.groups}
    counts: Counter[str] = Counter()
    for _ in range(200):
        for cell in found.random_architecture(generator).cells:
            for node, edges in enumerate(cell.nodes, start=2):
                assert all(name in groups[cell.name][source, node] for name, source in edges)
                if (cell.name, node) == ("normal", 2):
                    counts[edges[0][0]] += 1
    assert set(counts) == {"skip_connect", "dil_conv_3x3"}
    assert abs(counts["skip_connect"] - 100) < 36  # five standard deviations


def test_an_operation_is_valid_on_the_edges_alone_that_offer_it() -> None:
    def architecture(operation: str, source: int) -> Architecture:
        nodes = (((operation, source),),)
        skip = Cell(name="reduce", inputs=2, nodes=((("max_pool_3x3", 0),),), output=(2,))
        return Architecture(
            space="s1", cells=(Cell(name="normal", inputs=2, nodes=nodes, output=(2,)), skip)
        )

    s1().validate(architecture("dil_conv_3x3", 0))
    with pytest.raises(
        ArchgradError,
        match=r'"dil_conv_3x3" cannot be built on the edge 1 to 2 .* skip_connect, dil_conv_5x5$',
    ):
        s1().validate(architecture("dil_conv_3x3", 1))


def test_s1_has_four_nodes() -> None:
    with pytest.raises(ArchgradError, match="space s1, .* for 14 edges, expected 5"):
        s1(nodes=2)
    assert s2(nodes=2).groups[0].shape == (5, 2)
    five = Architecture.model_validate(
        {
            "space": "s1",
            "cells": tuple(
                Cell(name=n, inputs=2, nodes=((("skip_connect", 0),),) * 5, output=(6,))
                for n in ("normal", "reduce")
            ),
        }
    )
    with pytest.raises(ArchgradError, match="cannot be built on the edge 0 to"):
        s1().validate(five)
