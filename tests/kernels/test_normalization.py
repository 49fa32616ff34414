"""Batch normalization in forward mode: the change of its gradient equals double backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import forward_ad

from archgrad.errors import ArchgradError
from archgrad.kernels.normalization import forward_differentiable
from archgrad.parts.derivatives import dual


def objective(layer: nn.Module, x: Tensor) -> Tensor:
    output = layer(x)
    scale = torch.linspace(0.5, 1.5, output.numel(), dtype=output.dtype).view_as(output)
    loss: Tensor = (output.pow(3) * scale).sum()
    return loss


def waves(values: list[Tensor]) -> list[Tensor]:
    return [torch.linspace(-1, 2, v.numel(), dtype=v.dtype).view_as(v).cos() for v in values]


def in_forward_mode(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Loss, gradients and how both move with the input and the parameters, and buffers."""
    leaves = [x.clone().requires_grad_(), *layer.parameters()]
    names = [name for name, _ in layer.named_parameters()]
    with forward_ad.dual_level(), forward_differentiable():
        moving = [dual(v, t) for v, t in zip(leaves, waves(leaves), strict=True)]
        for name, value in zip(names, moving[1:], strict=True):
            delattr(layer, name)
            setattr(layer, name, value)
        loss = objective(layer, moving[0])
        gradients = torch.autograd.grad(loss, leaves)
        pairs = [forward_ad.unpack_dual(v) for v in (loss, *gradients)]
        return [v for pair in pairs for v in pair] + list(layer.buffers())


def by_double_backward(layer: nn.Module, x: Tensor) -> list[Tensor]:
    leaves = [x.clone().requires_grad_(), *layer.parameters()]
    loss = objective(layer, leaves[0])
    gradients = torch.autograd.grad(loss, leaves, create_graph=True)
    slope = sum((g * v).sum() for g, v in zip(gradients, waves(leaves), strict=True))
    moved = torch.autograd.grad(slope, leaves)
    pairs = zip((loss, *gradients), (slope, *moved), strict=True)
    return [v for pair in pairs for v in pair] + list(layer.buffers())


def assert_equal(make: Callable[[], nn.Module], x: Tensor) -> None:
    def layer() -> nn.Module:
        torch.manual_seed(1)
        made = make().double()
        for parameter in made.parameters():
            nn.init.uniform_(parameter, 0.5, 1.5)
        return made

    mine, its = in_forward_mode(layer(), x), by_double_backward(layer(), x)
    for one, other in zip(mine, its, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@given(
    batch=st.integers(2, 5),
    channels=st.integers(1, 4),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    affine=st.booleans(),
    track=st.booleans(),
    last=st.booleans(),
    eps=st.sampled_from([1e-5, 0.3]),
    offset=st.sampled_from([0.0, 100.0]),
)
def test_gradients_their_tangents_and_statistics(
    batch: int, channels: int, size: tuple[int, int], affine: bool, track: bool, last: bool,
    eps: float, offset: float,
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64) + offset
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    assert_equal(lambda: nn.BatchNorm2d(channels, eps, affine=affine, track_running_stats=track), x)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.BatchNorm1d(3), (4, 3)),
        (lambda: nn.BatchNorm1d(3), (4, 3, 5)),
        (lambda: nn.BatchNorm3d(3), (4, 3, 2, 2, 2)),
        (lambda: nn.BatchNorm2d(3).eval(), (4, 3, 5, 5)),
        (lambda: nn.InstanceNorm2d(3), (4, 3, 5, 5)),
        (lambda: nn.InstanceNorm1d(3, affine=True), (4, 3, 5)),
        (lambda: nn.InstanceNorm2d(3, track_running_stats=True).eval(), (4, 3, 5, 5)),
    ],
)
def test_every_form_of_the_layer(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    assert_equal(make, torch.randn(shape, generator=generator, dtype=torch.float64))


def test_only_the_input_or_only_the_gradient_moves() -> None:
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    layer = nn.BatchNorm2d(2, affine=False).double()
    factor = torch.randn(3, 2, 2, 2, dtype=torch.float64)
    with forward_ad.dual_level(), forward_differentiable():
        moving = dual(factor, torch.ones_like(factor) * factor.cos())
        (gradient,) = torch.autograd.grad((layer(x) * moving).sum(), x)
        found = forward_ad.unpack_dual(gradient).tangent
    (expected,) = torch.autograd.grad((layer(x) * factor.cos()).sum(), x)
    torch.testing.assert_close(found, expected)


def test_one_value_a_channel_is_the_same_error() -> None:
    layer, x = nn.BatchNorm2d(3), torch.randn(1, 3, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel") as expected:
        layer(x)
    assert not isinstance(expected.value, ArchgradError)
    with (
        forward_differentiable(),
        pytest.raises(ValueError, match="more than 1 value per channel"),
    ):
        layer(x)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_it_is_in_use_within_the_context(kind: Any) -> None:
    """Equality alone would hold where PyTorch's own is right."""
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    with forward_differentiable():
        output = kind(3, affine=False)(x)
    node = output.grad_fn
    while "_Normalize" not in type(node).__name__:
        node = node.next_functions[0][0]
