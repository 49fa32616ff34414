"""Convolutions whose second derivative is as fast as their first, for any model.

PyTorch differentiates a grouped convolution twice by a loop over the groups: a depthwise one of 64
channels becomes 64 small convolutions. A convolution is bilinear in input and weight, so its second
derivative is made of the same three operations as the first: forward, input gradient, weight
gradient. Here they are called directly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from archgrad.kernels.normalization import batch_norm

Settings = tuple[list[int], list[int], list[int], int]  # stride, padding, dilation, groups


class twice_differentiable(TorchFunctionMode):
    """Within this context convolutions and batch normalization are fast to differentiate twice.

    Values and derivatives are PyTorch's up to rounding; tested in float64. Convolutions with a
    named padding ("same") and normalization by running statistics are left as they are.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(options or {})
        if function is torch.conv2d:
            return _conv2d(*arguments, **given)
        if function is F.batch_norm:
            return batch_norm(*arguments, **given)
        return function(*arguments, **given)


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    if isinstance(padding, str) or input.ndim != 4:
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    settings = _pair(stride), _pair(padding), _pair(dilation), groups
    output: Tensor = _Convolution.apply(input, weight, settings)  # type: ignore[no-untyped-call]
    return output if bias is None else output + bias.view(1, -1, 1, 1)


def _pair(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


class _Convolution(torch.autograd.Function):
    """y = conv(x, w); its gradient is `_Gradient`, which can be differentiated once more."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, settings: Settings) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.settings = settings
        return _forward(input, weight, settings)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        input, weight = ctx.saved_tensors
        given = grad, input, weight, ctx.settings, ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            return *_Gradient.apply(*given), None  # type: ignore[no-untyped-call]
        return *_gradients(*given), None


class _Gradient(torch.autograd.Function):
    """(dy, x, w) -> (dx, dw), both linear in dy; dx also in w, dw also in x."""

    @staticmethod
    def forward(
        ctx: Any,
        grad: Tensor,
        input: Tensor,
        weight: Tensor,
        settings: Settings,
        needed: tuple[bool, bool],
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(grad, input, weight)
        ctx.settings = settings
        ctx.set_materialize_grads(False)
        return _gradients(grad, input, weight, settings, needed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_input: Tensor | None, d_weight: Tensor | None) -> tuple[Any, ...]:
        grad, input, weight = ctx.saved_tensors
        terms, to_input, to_weight = [], None, None
        if d_input is not None:
            terms.append(_forward(d_input, weight, ctx.settings))
            if ctx.needs_input_grad[2]:
                to_weight = _gradients(grad, d_input, weight, ctx.settings, (False, True))[1]
        if d_weight is not None:
            terms.append(_forward(input, d_weight, ctx.settings))
            if ctx.needs_input_grad[1]:
                to_input = _gradients(grad, input, d_weight, ctx.settings, (True, False))[0]
        to_grad = sum(terms[1:], start=terms[0]) if terms and ctx.needs_input_grad[0] else None
        return to_grad, to_input, to_weight, None, None


def _forward(input: Tensor, weight: Tensor, settings: Settings) -> Tensor:
    stride, padding, dilation, groups = settings
    output: Tensor = torch.ops.aten.convolution(
        input, weight, None, stride, padding, dilation, False, [0, 0], groups
    )
    return output


def _gradients(
    grad: Tensor, input: Tensor, weight: Tensor, settings: Settings, needed: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    stride, padding, dilation, groups = settings
    mask = [*needed, False]
    to_input, to_weight, _ = torch.ops.aten.convolution_backward(
        grad, input, weight, None, stride, padding, dilation, False, [0, 0], groups, mask
    )
    return to_input, to_weight
