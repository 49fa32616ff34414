"""Activation checkpointing: the same numbers for less memory."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import archgrad
from archgrad import methods, spaces
from archgrad.errors import ArchgradError
from archgrad.kernels.normalization import forward_differentiable
from archgrad.networks.mixing import Mixing
from archgrad.networks.recompute import Recomputable
from archgrad.networks.supernet import Supernet
from archgrad.parts.derivatives import dual, gradient, hessian_vector, leaves
from archgrad.parts.edge import EdgeDropPath


def supernet(space: str = "darts-cnn", edges: tuple[Any, ...] = (), recompute: bool = True) -> Any:
    torch.manual_seed(0)
    cells = 1 if space == "mbconv" else 3
    made = spaces.space(space, channels=4, cells=cells, image_size=(9, 9))
    model = made.supernet(edges).double()
    for module in model.modules():
        if isinstance(module, Recomputable):
            module.recompute = recompute
    return Supernet(model, made.groups)


def inputs(net: Supernet) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    alpha = {n: torch.randn_like(a, dtype=torch.float64) for n, a in net.alpha.items()}
    return leaves(alpha), (torch.randn(4, 3, 9, 9, dtype=torch.float64), torch.arange(4))


def loss(net: Supernet, alpha: Any, batch: Any, weights: Any = None) -> Tensor:
    torch.manual_seed(2)
    return net.loss(Mixing({n: a.softmax(-1) for n, a in alpha.items()}), batch, weights)


def close(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("space", "edges"),
    [
        ("darts-cnn", ()),
        ("nas-bench-201", ()),
        ("mbconv", ()),
        ("s4", ()),
        ("s4", (EdgeDropPath(0.5),)),
    ],
)
def test_values_gradients_and_second_derivatives_are_the_same(space: str, edges: Any) -> None:
    """Also where there is noise and drop path, and at other weights than the model's own."""
    found = []
    for recompute in (False, True):
        net = supernet(space, edges, recompute)
        alpha, batch = inputs(net)
        for module in net.model.modules():
            if hasattr(module, "progress"):
                module.progress = 0.5
        weights = leaves({n: 1.1 * w for n, w in net.weights.items()})
        value = loss(net, alpha, batch, weights)
        slopes = gradient(value, {**alpha, **weights})
        vector = {n: w.detach().sin() for n, w in weights.items()}
        at = partial(loss, net, alpha, batch)
        curved = hessian_vector(at, weights, vector, by=alpha)
        found.append(({"value": value.detach()}, slopes, curved))
    for one, two in zip(*found, strict=True):
        close(one, two)


def test_running_statistics_move_once() -> None:
    found = []
    for recompute in (False, True):
        net = supernet(recompute=recompute)
        alpha, (x, _) = inputs(net)
        mixing = Mixing({n: a.softmax(-1) for n, a in alpha.items()})
        net.forward(mixing, x, update_statistics=True).sum().backward()
        found.append(dict(net.model.named_buffers()))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert any(b.any() for n, b in found[0].items() if "running_mean" in n)


def test_less_is_kept() -> None:
    def kept(recompute: bool) -> int:
        net = supernet(recompute=recompute)
        alpha, batch = inputs(net)
        held: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss(net, alpha, batch)
        own = {w.untyped_storage().data_ptr() for w in net.weights.values()}
        return sum(size for place, size in held.items() if place not in own)

    assert kept(True) < kept(False) / 5


def test_a_model_at_rest_is_as_before() -> None:
    net = supernet()
    alpha, batch = inputs(net)
    loss(net, alpha, batch).backward()
    assert all(choice.mixing is None for choice in net.choices)
    assert all(m.recompute for m in net.model.modules() if isinstance(m, Recomputable))


def test_a_gradient_of_a_gradient_in_reverse_is_refused() -> None:
    net = supernet()
    alpha, batch = inputs(net)
    (slope,) = torch.autograd.grad(loss(net, alpha, batch), [alpha["normal"]], create_graph=True)
    with pytest.raises(ArchgradError, match="set recompute to off"):
        slope.sum().backward()


@pytest.mark.parametrize("method", ["darts", "darts_2nd"])
def test_a_search_finds_the_same(method: str) -> None:
    def alphas(recompute: str) -> Any:
        return archgrad.search(
            "darts-cnn", "digits", method=methods.method(method), guard="off", subset=60, epochs=1,
            channels=2, cells=3, nodes=1, batch_size=20, recompute=recompute,
        ).alpha  # fmt: skip

    one, two = alphas("off"), alphas("cells")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-7)


class Kept:
    """A tensor that a graph keeps."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def test_no_graph_is_kept_behind_a_tangent() -> None:
    """The exact second order: a graph within the forward mode would keep all of every cell."""
    kept = []
    for recompute in (False, True):
        net = supernet(recompute=recompute)
        alpha, batch = inputs(net)
        alive: weakref.WeakSet[Kept] = weakref.WeakSet()

        def pack(tensor: Tensor, alive: Any = alive) -> Kept:
            found = Kept(tensor)
            alive.add(found)
            return found

        with forward_ad.dual_level(), forward_differentiable():
            weights = {
                name: dual(weight.detach().requires_grad_(), torch.ones_like(weight))
                for name, weight in net.weights.items()
            }
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one.tensor):
                value = loss(net, alpha, batch, weights)
            kept.append(len(alive))
            assert value.requires_grad
    assert kept[1] < kept[0] / 4
