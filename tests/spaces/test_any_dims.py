"""The DARTS space in one and three dimensions: networks, their sizes, exact derivatives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archgrad.architecture import Architecture, Cell, published
from archgrad.costing.cost import cost, count_parameters
from archgrad.errors import ArchgradError
from archgrad.networks import recompute
from archgrad.networks.choice import Edge
from archgrad.networks.mixing import Mixing
from archgrad.networks.operations import OPERATIONS
from archgrad.networks.supernet import Supernet
from archgrad.parts import derivatives
from archgrad.parts.edge import EdgeDropPath, PartialChannels
from archgrad.parts.hypergradient import Exact, first_order
from archgrad.parts.relaxation import Softmax
from archgrad.parts.state import SGD, State
from archgrad.spaces import space
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.system.loops import placed
from archgrad.tensors.dimensions import FUNCTIONS, LAYERS

NAMES = tuple(OPERATIONS)
SINGLE = [name for name in NAMES if "pool" not in name and name != "none"]  # no BatchNorm is added
SIZES = {1: (9,), 2: (5, 6), 3: (5, 3, 4)}
OTHERS = (1, 3)


def small(dims: int, **changes: Any) -> DartsCNN:
    values = {"channels": 3, "cells": 3, "nodes": 2, "in_channels": 2, "classes": 3}
    return DartsCNN(**{**values, "dims": dims, "image_size": SIZES[dims], **changes})


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def supernet(made: DartsCNN, edges: tuple[Edge, ...] = ()) -> Supernet:
    torch.manual_seed(0)
    net = Supernet(made.supernet(edges).double(), made.groups)
    net.alpha = {
        name: (random(*a.shape, seed=i) / 2).requires_grad_()
        for i, (name, a) in enumerate(net.alpha.items())
    }
    return net


@pytest.mark.parametrize("dims", LAYERS)
def test_parameters_of_a_supernet_follow_their_formula(dims: int) -> None:
    made, channels, total = small(dims, cells=5, nodes=3), 3, 0
    total += 2 * 9 * 3**dims + 2 * 9  # the stem, whose norm is affine
    before = previous = 9
    for index in range(5):
        reduction = index in (1, 3)
        channels *= 2 if reduction else 1
        total += (before + previous) * channels
        edge = sum(
            n * (channels * k**dims + channels**2) for n, k in ((2, 3), (2, 5), (1, 3), (1, 5))
        )
        total += 9 * edge + (6 * channels**2 if reduction else 0)  # strided skips
        before, previous = previous, 3 * channels
    total += 3 * previous + 3
    assert count_parameters(made.supernet()) == total


def test_multiply_adds_of_a_derived_network_follow_their_formula() -> None:
    """A stem and skips: 1x1 convolutions alone behind it, on 8, 4 and 2 positions a side."""
    nodes = ((("skip_connect", 0),),)
    cells = tuple(Cell(name=n, inputs=2, nodes=nodes, output=(2,)) for n in ("normal", "reduce"))
    for dims in LAYERS:
        made = small(dims, nodes=1, channels=2, image_size=(8,) * dims)
        positions = [side**dims for side in (8, 4, 2)]
        total = positions[0] * 2 * 6 * 3**dims  # stem
        total += positions[0] * (6 + 6) * 2  # normal cell
        total += positions[0] * (6 + 2) * 4 + positions[1] * 4 * 4  # reduction with its skip
        total += positions[1] * (2 + 4) * 8 + positions[2] * 8 * 8
        found = cost(made, Architecture(space="darts-cnn", cells=cells)).multiply_adds
        assert found == total + 8 * 3


def test_edges_that_leave_a_state_share_their_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def pool(*given: Any, **options: Any) -> Tensor:
        calls.append(1)
        return F.max_pool1d(*given, **options)

    monkeypatch.setitem(FUNCTIONS, 1, FUNCTIONS[1]._replace(max_pool=pool))
    made = small(1, nodes=3, cells=3, operations=("max_pool_3x3", "skip_connect"))
    net = supernet(made)
    net.forward(Softmax()(net.alpha, None), random(2, *made.input_shape))
    states = 3 * 4  # of each cell two inputs, two nodes that an edge leaves
    assert len(calls) == states


def embedded(narrow: nn.Module, wide: nn.Module) -> None:
    """Give ``wide``, of one dimension more, the weights of ``narrow``, amid its kernels."""
    theirs = narrow.state_dict()
    for name, tensor in wide.state_dict().items():
        source = theirs[name]
        if source.ndim < tensor.ndim:
            tensor.zero_()
            tensor.select(2, tensor.shape[2] // 2).copy_(source)
        else:
            tensor.copy_(source)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("imagenet", [False, True])
def test_images_of_equal_rows_are_as_their_signals(dims: int, imagenet: bool) -> None:
    """All operations, pools too: equal rows, of even number at every halving, stay equal rows.

    So the logits of the supernet in one dimension more, and alpha's gradient, are the same numbers.
    """
    size, rows = ((21,), 32) if imagenet else ((9,), 4)
    size = size * dims if not imagenet else (21,) if dims == 1 else (17, 18)
    made = small(dims, image_size=size, imagenet=imagenet, channels=4)
    more = small(dims + 1, image_size=(rows, *size), imagenet=imagenet, channels=4)
    one, two = supernet(made), supernet(more)
    embedded(one.model, two.model)
    x = random(3, *made.input_shape)
    found = []
    for net, given in ((one, x), (two, x.unsqueeze(2).expand(-1, -1, rows, *size))):
        logits = net.forward(Softmax()(net.alpha, None), given)
        gradient = torch.autograd.grad((logits * random(3, 3)).sum(), list(net.alpha.values()))
        found.append([logits, *gradient])
    for narrow, wide in zip(*found, strict=True):
        torch.testing.assert_close(wide, narrow, rtol=1e-7, atol=1e-9)
    assert float(found[0][1].abs().max()) > 1e-4


@pytest.mark.parametrize("dims", OTHERS)
def test_one_hot_weights_give_the_derived_network_with_copied_weights(dims: int) -> None:
    made = small(dims)
    net = supernet(made)
    names = made.groups[0].candidates[0]
    picks = {group.name: [*range(len(group.edges))] for group in made.groups}
    weights = {
        name: F.one_hot(
            torch.tensor([names.index(SINGLE[(i + shift) % len(SINGLE)]) for i in rows]), len(names)
        ).double()
        for shift, (name, rows) in enumerate(picks.items())
    }
    cells = []
    for group in made.groups:
        chosen = [names[int(row.argmax())] for row in weights[group.name]]
        nodes = [
            tuple((n, s) for n, (s, to) in zip(chosen, group.edges, strict=True) if to == node)
            for node in (2, 3)
        ]
        cells.append(Cell(name=group.name, inputs=2, nodes=tuple(nodes), output=(2, 3)))
    derived = made.derive(Architecture(space="darts-cnn", cells=tuple(cells))).double()
    derived.load_state_dict(net.model.state_dict(), strict=False)
    for cell, theirs in zip(derived.cells, net.model.cells, strict=True):
        for edge, found in zip(cell.edges, theirs.edges, strict=True):
            candidate = found.candidates[int(weights[found.group][found.row].argmax())]
            if not isinstance(edge, nn.Identity):
                edge[0].load_state_dict(candidate.state_dict(), strict=False)
    x = random(3, *made.input_shape)
    expected = derived.train()(x)
    torch.testing.assert_close(net.forward(Mixing(weights), x), expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    "size", [(3,), (8,), (9,), (40,), (3, 3, 3), (4, 4, 4), (5, 3, 6), (3, 7, 4)]
)
def test_any_size_goes_forward_and_back(size: tuple[int, ...]) -> None:
    made = small(len(size), image_size=size)
    net = supernet(made)
    logits = net.forward(Softmax()(net.alpha, None), random(2, *made.input_shape))
    assert logits.shape == (2, 3)
    for gradient in torch.autograd.grad(logits.square().sum(), [*net.weights.values()]):
        assert gradient.isfinite().all()
    architecture = made.random_architecture(torch.Generator().manual_seed(0))
    assert made.derive(architecture).double().eval()(random(1, *made.input_shape)).shape == (1, 3)


@pytest.mark.parametrize("dims", LAYERS)
@pytest.mark.parametrize("imagenet", [False, True])
def test_exactly_the_smallest_size_works_with_the_auxiliary_head(dims: int, imagenet: bool) -> None:
    made = small(dims, image_size=(250,) * dims, imagenet=imagenet, channels=2)
    side = made.smallest_auxiliary_image
    exact, less = (replace(made, image_size=(side - by,) * dims) for by in (0, 1))
    architecture = made.random_architecture(torch.Generator().manual_seed(0))
    with torch.device("meta"):
        network = exact.derive(architecture, auxiliary=True).train()
        logits, extra = network.forward_with_auxiliary(torch.empty(2, *exact.input_shape))
    assert extra is not None
    assert extra.shape == logits.shape == (2, 3)
    shown = "x".join([str(side - 1)] * dims)
    with pytest.raises(ArchgradError, match=rf"at least {side} pixels a side.*found {shown};"):
        less.derive(architecture, auxiliary=True)


def test_a_published_cell_can_be_built_in_any_dimensions() -> None:
    for dims in LAYERS:
        network = small(dims, channels=4).derive(published("DARTS_V2")).eval()
        assert network(torch.zeros(1, 2, *SIZES[dims])).shape == (1, 3)


def test_the_small_spaces_have_dims_too() -> None:
    for name in ("s1", "s2", "s3", "s4"):
        made = space(name, dims=1, image_size=(9,), channels=2, cells=3)
        assert made.supernet() is not None and made.input_shape == (3, 9)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("darts-cnn", {"dims": 1}, r"image_size is \(32, 32\), expected 1 number for dims 1; give"),
        ("darts-cnn", {"image_size": (9,)}, r"image_size is \(9,\), expected 2 numbers for dims 2"),
        ("s2", {"dims": 3, "image_size": (8, 8)}, r"\(8, 8\), expected 3 numbers for dims 3"),
        ("darts-cnn", {"dims": 4}, "dims is 4, expected 1 or 2 or 3; use that"),
        ("darts-cnn", {"dims": 0}, "dims is 0, expected 1 or 2 or 3; use that"),
        ("darts-cnn", {"dims": 1, "image_size": (2,)}, "an image of 2 pixels would .* at least 3"),
        (
            "darts-cnn",
            {"dims": 3, "image_size": (9, 2, 9)},
            "an image of 9x2x9 pixels would shrink",
        ),
        (
            "nas-bench-201",
            {"dims": 1, "image_size": (32,)},
            "space nas-bench-201: dims is 1, expected 2; use that, or another space",
        ),
    ],
)
def test_sizes_that_make_no_sense_are_named(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArchgradError, match=message):
        space(name, **options)


@pytest.mark.parametrize("dims", OTHERS)
def test_the_order_in_memory_changes_nothing(dims: int) -> None:
    x, found = random(4, 2, *SIZES[dims]), []
    for place in (False, True):
        net = supernet(small(dims, channels=8))
        if place:
            placed(net.model, torch.device("cpu"))
            last = [p.is_contiguous(memory_format=torch.channels_last_3d)
                    for p in net.model.parameters() if p.ndim == 5]  # fmt: skip
            assert all(last) and len(last) == (0 if dims == 1 else len(net.weights) - 4)
        logits = net.forward(Softmax()(net.alpha, None), x)
        gradient = torch.autograd.grad(logits.square().sum(), list(net.weights.values()))
        found.append([logits, *gradient])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dims", OTHERS)
def test_cells_that_are_computed_again_give_the_same_gradients(dims: int) -> None:
    made = small(dims, channels=4)
    found = []
    for again in (False, True):
        net = supernet(made, (PartialChannels(2), EdgeDropPath(0.0)))
        for module in net.model.modules():
            if isinstance(module, recompute.Recomputable):
                module.recompute = again
        loss = net.forward(Softmax()(net.alpha, None), random(3, *made.input_shape)).square().sum()
        found.append(torch.autograd.grad(loss, [*net.alpha.values(), *net.weights.values()]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dims", OTHERS)
def test_exact_equals_central_differences(dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole of L_val(w'(alpha), alpha) with train-mode BatchNorm, in forward mode alone."""
    made = small(dims)
    net = supernet(made)
    target = torch.arange(6) % 3
    batches = [(random(6, *made.input_shape, seed=seed), target) for seed in (1, 2)]
    velocity = {n: 0.1 * random(*w.shape, seed=4) for n, w in net.weights.items()}
    state = State(net, Softmax(), *batches, SGD(0.1, 0.9, 3e-2, velocity))
    monkeypatch.setattr(derivatives, "_double_backward", None)
    exact = Exact()(net.alpha, state).gradient

    def value(alpha: dict[str, Tensor]) -> Tensor:
        weights = {name: w.detach().requires_grad_() for name, w in net.weights.items()}
        loss = state.train_loss(alpha, weights)
        slopes = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        with torch.no_grad():
            virtual = state.optimizer.step(net.weights, dict(zip(weights, slopes)))
            return state.valid_loss(alpha, virtual)

    plain, step = {name: alpha.detach() for name, alpha in net.alpha.items()}, 1e-6
    along = {name: random(*alpha.shape, seed=7) for name, alpha in plain.items()}
    ends = [value({n: a + sign * step * along[n] for n, a in plain.items()}) for sign in (1, -1)]
    measured = (ends[0] - ends[1]) / (2 * step)
    expected = sum((exact[name] * along[name]).sum() for name in plain)
    torch.testing.assert_close(measured, expected, rtol=1e-5, atol=0.0)
    direct = first_order(net.alpha, state).gradient
    without = sum((direct[name] * along[name]).sum() for name in plain)
    assert abs(float(without / expected) - 1) > 0.02  # the second-order term is there
