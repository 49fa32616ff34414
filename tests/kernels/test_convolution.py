"""The twice differentiable convolution equals PyTorch's own, to the second derivative."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archgrad.kernels.convolution import twice_differentiable


def derivatives(convolution: Any, x: Tensor, w: Tensor, b: Tensor | None) -> list[Tensor]:
    """The output, its first derivatives, and those of a product with the first derivatives."""
    leaves = [value.clone().requires_grad_() for value in (x, w)] + ([b] if b is not None else [])
    output = convolution(*leaves)
    scale = torch.linspace(0.5, 1.5, output.numel(), dtype=output.dtype).view_as(output)
    first = torch.autograd.grad((output.square() * scale).sum(), leaves[:2], create_graph=True)
    vectors = [torch.linspace(-1, 2, g.numel(), dtype=g.dtype).view_as(g).cos() for g in first]
    second = torch.autograd.grad(first, leaves[:2], vectors)
    return [output, *first, *second]


@settings(max_examples=30, deadline=None)
@given(
    groups=st.integers(1, 4),
    inputs=st.integers(1, 2),
    outputs=st.integers(1, 2),
    size=st.tuples(st.integers(5, 8), st.integers(5, 8)),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    padding=st.integers(2, 4),
    bias=st.booleans(),
)
def test_values_and_both_derivatives_equal_torchs(
    groups: int, inputs: int, outputs: int, size: tuple[int, int], kernel: int, stride: int,
    dilation: int, padding: int, bias: bool,
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, w = normal(2, groups * inputs, *size), normal(groups * outputs, inputs, kernel, kernel)
    b = normal(groups * outputs) if bias else None

    def convolution(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        return F.conv2d(x, w, b, stride, padding, dilation, groups)

    def ours(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        with twice_differentiable():
            return convolution(x, w, b)

    expected = derivatives(convolution, x, w, b)
    for mine, its in zip(derivatives(ours, x, w, b), expected, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-11, atol=1e-11)


def test_numerical_second_derivatives() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    w = torch.randn(2, 1, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)

    def ours(x: Tensor, w: Tensor) -> Tensor:
        with twice_differentiable():
            return F.conv2d(x, w, None, 2, 1, 1, 2)

    assert torch.autograd.gradcheck(ours, (x, w))
    assert torch.autograd.gradgradcheck(ours, (x, w))


class Count(TorchDispatchMode):
    """Counts the convolutions that are run, gradients included."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.calls += "convolution" in str(function)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("fast", [True, False])
def test_the_second_derivative_needs_no_loop_over_the_groups(fast: bool) -> None:
    calls = []
    for channels in (4, 16):
        x, w = torch.randn(2, channels, 6, 6), torch.randn(channels, 1, 3, 3)

        def convolution(x: Tensor, w: Tensor, groups: int = channels) -> Tensor:
            if not fast:
                return F.conv2d(x, w, None, 1, 1, 1, groups)
            with twice_differentiable():
                return F.conv2d(x, w, None, 1, 1, 1, groups)

        with Count() as count:
            derivatives(convolution, x, w, None)
        calls.append(count.calls)
    assert (calls[0] == calls[1]) is fast  # PyTorch's own grows with the groups


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 3, 3, padding="same"),
        nn.Conv2d(2, 3, (3, 1), padding=(1, 0), stride=(1, 2)),
        nn.Conv1d(2, 3, 3),
    ],
)
def test_every_form_of_the_layer_passes(layer: nn.Module) -> None:
    x = torch.randn(2, 2, 6) if isinstance(layer, nn.Conv1d) else torch.randn(2, 2, 6, 6)
    with twice_differentiable():
        output = layer(x)
    torch.testing.assert_close(output, layer(x))


def test_only_what_is_needed_is_computed() -> None:
    x, w = torch.randn(1, 2, 4, 4), torch.randn(2, 2, 3, 3, requires_grad=True)
    with twice_differentiable():
        output = F.conv2d(x, w)
    (gradient,) = torch.autograd.grad(output.sum(), [w])
    torch.testing.assert_close(gradient, torch.autograd.grad(F.conv2d(x, w).sum(), [w])[0])
