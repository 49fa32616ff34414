r"""Batch normalization whose second derivative is one short formula instead of some thirty kernels.

With means :math:`m(\cdot)` over batch and positions, :math:`s = (var + \epsilon)^{-1/2}`,
:math:`\hat x = s (x - m(x))`, the first derivative is
:math:`dx = s (dy - m(dy) - \hat x\, m(dy\, \hat x))`, which is linear and symmetric in dy. For a
cotangent v of dx, with :math:`b = m(dy\, \hat x)`, :math:`c = m(v\, \hat x)` and
:math:`A = m(v\, dy) - m(v)\, m(dy)`,

.. math:: \partial_{dy} \langle v, dx \rangle = s (v - m(v) - \hat x\, c), \qquad
          \partial_x \langle v, dx \rangle =
          -s^2 [ c (dy - m(dy)) + b (v - m(v)) + \hat x (A - 3 b c) ].
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm`: (B, C, ...) normalized over all but C."""
    count = input.numel() / input.shape[1]
    if not training or count < 2:  # nothing to differentiate fast, or PyTorch's own error
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    output, mean, scale = _Normalize.apply(input, eps)  # type: ignore[no-untyped-call]
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            variance = (scale.double().pow(-2) - eps) * count / (count - 1)
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_(variance.to(running_var), momentum)
    shape = [1, -1] + [1] * (input.ndim - 2)
    output = output if weight is None else output * weight.view(shape)
    normalized: Tensor = output if bias is None else output + bias.view(shape)
    return normalized


class _Normalize(torch.autograd.Function):
    """x -> (x_hat, mean, s); the gradient of x_hat is `_Gradient`."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        output, mean, scale = torch.native_batch_norm(input, None, None, None, None, True, 0.0, eps)
        ctx.save_for_backward(input, mean, scale)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, scale)
        return output, mean, scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *unused: Tensor) -> tuple[Tensor, None]:
        input, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _Gradient.apply(grad, input, mean, scale, ctx.eps), None  # type: ignore[no-untyped-call]
        return _input_gradient(grad, input, mean, scale, ctx.eps), None


class _Gradient(torch.autograd.Function):
    """(dy, x) -> dx."""

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, input: Tensor, mean: Tensor, scale: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(grad, input, mean, scale)
        ctx.eps = eps
        return _input_gradient(grad, input, mean, scale, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        dy, x, mean, s = ctx.saved_tensors
        to_grad = to_input = None
        if ctx.needs_input_grad[0]:
            to_grad = _input_gradient(v, x, mean, s, ctx.eps)
        if ctx.needs_input_grad[1]:
            axes = [axis for axis in range(x.ndim) if axis != 1]
            shape = [1, -1] + [1] * (x.ndim - 2)
            mean, s = mean.view(shape), s.view(shape)

            def average(value: Tensor) -> Tensor:
                return value.mean(axes, keepdim=True)

            centered = x - mean
            m_dy, m_v = average(dy), average(v)
            b, c = s * average(dy * centered), s * average(v * centered)
            a = average(v * dy) - m_v * m_dy
            to_input = centered.mul_(s * (a - 3 * b * c))
            to_input.addcmul_(c, dy).addcmul_(b, v).sub_(c * m_dy + b * m_v).mul_(-s.square())
        return to_grad, to_input, None, None, None


def _input_gradient(grad: Tensor, input: Tensor, mean: Tensor, scale: Tensor, eps: float) -> Tensor:
    found: Tensor = torch.ops.aten.native_batch_norm_backward(
        grad, input, None, None, None, mean, scale, True, eps, [True, False, False]
    )[0]
    return found
