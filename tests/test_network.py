"""The network: drop path, cells, stems, auxiliary head, against hand-written ones."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from archgrad.networks.network import AuxiliaryHead, Cell, DropPath, Network, Nodes, reductions
from archgrad.networks.operations import FactorizedReduce


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Times(nn.Module):
    """An edge that multiplies, and remembers how it was made."""

    def __init__(self, factor: float, channels: int, stride: int) -> None:
        super().__init__()
        self.factor, self.channels, self.stride = factor, channels, stride

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x[..., :: self.stride, :: self.stride]


WIRING = [[(0, partial(Times, 2.0)), (1, partial(Times, 3.0))], [(2, partial(Times, 5.0))]]


def small(**changes: object) -> Network:
    options = {
        "in_channels": 3,
        "classes": 4,
        "channels": 2,
        "cells": 4,
        "wirings": {"normal": WIRING, "reduce": WIRING},
        "outputs": {"normal": (2, 3), "reduce": (3,)},
        "affine": True,
    }
    return Network(**{**options, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cells", "expected"), [(8, (2, 5)), (14, (4, 9)), (20, (6, 13)), (3, (1, 2)), (5, (1, 3))]
)
def test_reductions_stand_at_thirds(cells: int, expected: tuple[int, int]) -> None:
    assert reductions(cells) == expected


# --- drop path ---------------------------------------------------------------------------------


def test_drop_path_drops_whole_images_and_scales_the_kept() -> None:
    torch.manual_seed(0)
    path = DropPath().train()
    path.rate = 0.2
    out = path(torch.ones(4000, 2, 3, 3)).flatten(1)
    kept = out[:, 0] > 0
    assert torch.equal(out[kept], torch.full_like(out[kept], 1 / 0.8))
    assert not out[~kept].any()
    assert abs(float(kept.float().mean()) - 0.8) < 0.02  # three standard deviations
    assert abs(float(out.mean()) - 1) < 0.03


def test_drop_path_is_off_in_evaluation_and_at_rate_zero() -> None:
    path, x = DropPath(), images(3, 2, 4, 4)
    assert path.train()(x) is x
    path.rate = 0.9
    assert path.eval()(x) is x
    torch.manual_seed(1)
    assert not torch.equal(path.train()(x), x)


# --- cell --------------------------------------------------------------------------------------


def cell(reduction: bool, after_reduction: bool, output: tuple[int, ...] = (2, 3)) -> Cell:
    return Cell(
        (3, 4),
        6,
        WIRING,
        output,
        reduction=reduction,
        after_reduction=after_reduction,
        affine=True,
    ).eval()


@pytest.mark.parametrize("reduction", [True, False])
def test_a_cell_sums_its_edges_and_concatenates_its_output(reduction: bool) -> None:
    torch.manual_seed(0)
    found = cell(reduction, after_reduction=False)
    x, y = images(2, 3, 8, 8), images(2, 4, 8, 8)
    s0, s1 = found.preprocess0(x), found.preprocess1(y)
    step = 2 if reduction else 1
    node2 = 2 * s0[..., ::step, ::step] + 3 * s1[..., ::step, ::step]
    torch.testing.assert_close(found(x, y), torch.cat([node2, 5 * node2], dim=1))


def test_strides_stand_on_the_edges_from_the_inputs_of_reduction_cells() -> None:
    assert [edge.stride for edge in cell(True, False).edges] == [2, 2, 1]
    assert [edge.stride for edge in cell(False, False).edges] == [1, 1, 1]
    assert {edge.channels for edge in cell(True, False).edges} == {6}


def test_output_lists_the_nodes_that_are_concatenated() -> None:
    x, y = images(2, 3, 8, 8), images(2, 4, 8, 8)
    torch.manual_seed(0)
    both = cell(False, False)(x, y)
    torch.manual_seed(0)
    last = cell(False, False, output=(3,))(x, y)
    assert last.shape == (2, 6, 8, 8)
    assert torch.equal(both[:, 6:], last)


def test_after_a_reduction_the_older_input_is_halved() -> None:
    found = cell(False, after_reduction=True)
    assert isinstance(found.preprocess0, FactorizedReduce)
    assert not isinstance(found.preprocess1, FactorizedReduce)
    assert found(images(2, 3, 8, 8), images(2, 4, 4, 4)).shape == (2, 12, 4, 4)


def test_a_node_without_edges_is_not_computed() -> None:
    """Node 3 is isolated; node 4 takes node 2."""
    wiring = [[(1, partial(Times, 2.0))], [], [(2, partial(Times, 3.0)), (0, partial(Times, 5.0))]]
    found = Nodes([nn.Identity(), nn.Identity()], 6, wiring, (2, 4))
    x, y = images(2, 6, 4, 4), 1 + images(2, 6, 4, 4)
    torch.testing.assert_close(found(x, y), torch.cat([2 * y, 6 * y + 5 * x], dim=1))
    assert len(found.edges) == 3


def test_nodes_of_one_input_give_the_last() -> None:
    wiring = [[(0, partial(Times, 2.0))], [(0, partial(Times, 3.0)), (1, partial(Times, 5.0))]]
    x = images(2, 6, 4, 4)
    torch.testing.assert_close(Nodes([nn.ReLU()], 6, wiring, (2,))(x), 13 * x.relu())


# --- auxiliary head ----------------------------------------------------------------------------


@pytest.mark.parametrize(("imagenet", "smallest", "norms"), [(False, 8, 2), (True, 7, 1)])
def test_auxiliary_head_forms(imagenet: bool, smallest: int, norms: int) -> None:
    head = AuxiliaryHead(3, 5, imagenet).eval()
    assert sum(isinstance(module, nn.BatchNorm2d) for module in head.modules()) == norms
    assert head(images(2, 3, smallest, smallest)).shape == (2, 5)
    assert head(images(2, 3, smallest + 6, smallest)).shape == (2, 5)
    with pytest.raises(RuntimeError):
        head(images(2, 3, smallest - 1, smallest))


@pytest.mark.parametrize("imagenet", [False, True])
def test_auxiliary_head_equals_its_definition(imagenet: bool) -> None:
    torch.manual_seed(0)
    head = AuxiliaryHead(3, 5, imagenet)
    x = images(4, 3, 8, 8)
    small, large = (m.weight for m in head.modules() if isinstance(m, nn.Conv2d))
    y = F.avg_pool2d(x.relu(), 5, 2 if imagenet else 3, count_include_pad=False)
    y = F.batch_norm(F.conv2d(y, small), None, None, training=True).relu()
    y = F.conv2d(y, large)
    assert y.shape == (4, 768, 1, 1)
    if not imagenet:
        y = F.batch_norm(y, None, None, training=True)
    expected = F.linear(y.relu().flatten(1), head.classifier.weight, head.classifier.bias)
    torch.testing.assert_close(head(x), expected, rtol=1e-4, atol=1e-4)


def test_the_auxiliary_head_reads_the_second_reduction_and_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    network = small(auxiliary=True)
    x = images(2, 3, 32, 32)
    seen: list[Tensor] = []
    network.cells[2].register_forward_hook(lambda module, inputs, output: seen.append(output))
    assert network.auxiliary is not None
    network.auxiliary.register_forward_pre_hook(lambda module, inputs: seen.append(*inputs))
    logits, extra = network.train().forward_with_auxiliary(x)
    assert seen[0] is seen[1]
    assert extra is not None
    assert logits.shape == extra.shape == (2, 4)
    assert network.eval().forward_with_auxiliary(x)[1] is None
    assert small().train().forward_with_auxiliary(x)[1] is None


# --- network -----------------------------------------------------------------------------------


def test_channels_double_at_reductions_and_follow_the_outputs() -> None:
    """Normal cells give two nodes, reductions one; channels 2, then 4, then 8."""
    network = small()
    assert [cell.edges[0].channels for cell in network.cells] == [2, 4, 8, 8]
    inputs = [
        [next(part.parameters()).shape[1] for part in (cell.preprocess0, cell.preprocess1)]
        for cell in network.cells
    ]
    assert inputs == [[6, 6], [6, 4], [4, 4], [4, 8]]
    assert network.classifier.in_features == 16


def test_preprocessing_halves_after_each_reduction_alone() -> None:
    halved = [isinstance(cell.preprocess0, FactorizedReduce) for cell in small(cells=8).cells]
    assert [index for index, is_halved in enumerate(halved) if is_halved] == [3, 6]


def test_the_stem_feeds_both_inputs_and_its_norm_is_always_affine() -> None:
    network = small(affine=False)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m.affine]
    assert norms == [network.stem0[1]]
    assert isinstance(network.stem1, nn.Identity)
    assert network.stem0[0].weight.shape == (6, 3, 3, 3)
    assert not any(isinstance(module, nn.ReLU) for module in network.stem0)


def test_the_imagenet_stems_divide_by_four_and_by_eight() -> None:
    network = small(channels=6, imagenet=True).eval()
    x = network.stem0(images(1, 3, 64, 40))
    assert x.shape == (1, 6, 16, 10)
    assert network.stem1(x).shape == (1, 6, 8, 5)
    assert network.stem0[0].out_channels == 3
    assert isinstance(network.cells[0].preprocess0, FactorizedReduce)
    assert not isinstance(network.cells[1].preprocess0, FactorizedReduce)


def test_the_head_averages_and_classifies() -> None:
    torch.manual_seed(0)
    network, x = small().eval(), images(2, 3, 8, 12)
    seen: list[Tensor] = []
    network.cells[-1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = network(x)
    assert seen[0].shape == (2, 16, 2, 3)
    torch.testing.assert_close(logits, network.classifier(seen[0].mean(dim=(2, 3))))


@given(st.integers(1, 3), st.integers(3, 20), st.integers(3, 20), st.integers(1, 3))
def test_any_image_gives_one_row_of_logits(batch: int, height: int, width: int, rgb: int) -> None:
    network = small(in_channels=rgb).eval()
    assert network(torch.zeros(batch, rgb, height, width)).shape == (batch, 4)
