"""The twice differentiable batch normalization equals PyTorch's own, to the second derivative."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.kernels.convolution import twice_differentiable


def derivatives(layer: nn.Module, x: Tensor, inside: bool) -> list[Tensor]:
    """Output, first derivatives, those of a product with the first, running statistics."""
    leaves = [x.clone().requires_grad_(), *layer.parameters()]
    if inside:
        with twice_differentiable():
            output = layer(leaves[0])
    else:
        output = layer(leaves[0])
    scale = torch.linspace(0.5, 1.5, output.numel(), dtype=x.dtype).view_as(output)
    first = torch.autograd.grad((output.pow(3) * scale).sum(), leaves, create_graph=True)
    vectors = [torch.linspace(-1, 2, g.numel(), dtype=g.dtype).view_as(g).cos() for g in first]
    second = torch.autograd.grad(first, leaves, vectors)
    return [output, *first, *second, *layer.buffers()]


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
def test_values_derivatives_and_statistics_equal_torchs(
    batch: int, channels: int, size: tuple[int, int], affine: bool, track: bool, last: bool,
    eps: float, offset: float,
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64) + offset
    if last:
        x = x.contiguous(memory_format=torch.channels_last)

    def layer() -> nn.Module:
        torch.manual_seed(1)
        made = nn.BatchNorm2d(channels, eps, affine=affine, track_running_stats=track).double()
        for parameter in made.parameters():
            nn.init.uniform_(parameter, 0.5, 1.5)
        return made

    for mine, its in zip(
        derivatives(layer(), x, True), derivatives(layer(), x, False), strict=True
    ):
        torch.testing.assert_close(mine, its, rtol=1e-8, atol=1e-8)


def test_numerical_second_derivatives() -> None:
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    layer = nn.BatchNorm2d(2, affine=False, track_running_stats=False)

    def ours(x: Tensor) -> Tensor:
        with twice_differentiable():
            output: Tensor = layer(x)
            return output

    assert torch.autograd.gradgradcheck(ours, (x,))


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm2d(3).eval(), nn.BatchNorm1d(3), nn.InstanceNorm2d(3)]
)
def test_other_forms_pass(layer: Any) -> None:
    x = torch.randn(4, 3) if isinstance(layer, nn.BatchNorm1d) else torch.randn(4, 3, 5, 5)
    with twice_differentiable():
        output = layer(x)
    layer = type(layer)(3).train(layer.training)
    torch.testing.assert_close(output, layer(x))


def test_one_value_a_channel_is_the_same_error() -> None:
    layer, x = nn.BatchNorm2d(3), torch.randn(1, 3, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel") as expected:
        layer(x)
    assert not isinstance(expected.value, ArchgradError)
    with twice_differentiable(), pytest.raises(ValueError, match="more than 1 value per channel"):
        layer(x)


def test_it_is_in_use_within_the_context() -> None:
    """Equality alone would hold if PyTorch's own were called."""
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    with twice_differentiable():
        output = nn.BatchNorm2d(3, affine=False)(x)
    assert "_Normalize" in type(output.grad_fn).__name__
