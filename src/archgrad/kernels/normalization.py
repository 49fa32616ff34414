r"""Batch normalization with a right and fast derivative of its gradient in forward mode.

Forward-mode differentiation of PyTorch's own is wrong in training mode (torch 2.13: its backward
takes mean and variance for constants). With means :math:`m(\cdot)` over batch and positions,
:math:`s = (var + \epsilon)^{-1/2}`, :math:`\hat x = s (x - m(x))`, the first derivative is

.. math:: J dy = s (dy - m(dy) - \hat x\, m(dy\, \hat x)),

symmetric, so it is also the tangent of the output for a tangent of the input. Where x itself moves
along v, J dy moves by

.. math:: -s^2 [ c (dy - m(dy)) + b (v - m(v)) + \hat x (A - 3 b c) ], \qquad
          b = m(dy\, \hat x), \; c = m(v\, \hat x), \; A = m(v\, dy) - m(v)\, m(dy).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.overrides import TorchFunctionMode

from archgrad.tensors.dimensions import wide
from archgrad.tensors.precision import full_type


class forward_differentiable(TorchFunctionMode):
    """Within this context the gradient of batch and instance normalization has right tangents.

    Values and gradients are PyTorch's. Normalization by running statistics is left as it is.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is F.batch_norm:
            function = batch_norm
        elif function is F.instance_norm:
            function = instance_norm
        return function(*arguments, **(options or {}))


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
    """`torch.nn.functional.batch_norm`: (B, C, ...) normalized over all but C.

    Tensors of 16 bits are normalized in float32.
    """
    if input.dtype != (kept := full_type(input.dtype)):
        given = running_mean, running_var, weight, bias, training, momentum, eps
        return batch_norm(input.to(kept), *given).to(input.dtype)
    count = input.numel() / input.shape[1]
    if not training or count < 2:  # a linear function, or PyTorch's own error
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    output, mean, scale = _Normalize.apply(input, eps)  # type: ignore[no-untyped-call]
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            variance = (scale.double().pow(-2) - eps) * count / (count - 1)
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_(variance.to(running_var), momentum)
    return affine(output, weight, bias)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.instance_norm`: (B, C, ...) normalized over all but B and C."""
    if not use_input_stats or running_mean is not None:
        given = weight, bias, use_input_stats, momentum, eps
        return F.instance_norm(input, running_mean, running_var, *given)
    flat = input.reshape(1, -1, *input.shape[2:])
    output = batch_norm(flat, None, None, training=True, eps=eps).view(input.shape)
    return affine(output, weight, bias)


def affine(output: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """(B, C, ...) scaled and shifted by (C,) each, where there is one."""
    output = output if weight is None else output * wide(weight, output)
    return output if bias is None else output + wide(bias, output)


class _Normalize(torch.autograd.Function):
    """x -> (x_hat, mean, s); the gradient of x_hat is `_Gradient`."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        output, mean, scale = torch.native_batch_norm(input, None, None, None, None, True, 0.0, eps)
        ctx.save_for_backward(input, mean, scale)
        ctx.save_for_forward(input, mean, scale)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, scale)
        return output, mean, scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *unused: Tensor) -> tuple[Tensor, None]:
        found: Tensor = _Gradient.apply(grad, *ctx.saved_tensors, ctx.eps)  # type: ignore[no-untyped-call]
        return found, None

    @staticmethod
    def jvp(ctx: Any, v: Tensor, unused: None) -> tuple[Tensor, None, None]:
        x, mean, s = map(_primal, ctx.saved_tensors)
        return _input_gradient(v, x, mean, s, ctx.eps), None, None


class _Gradient(torch.autograd.Function):
    """(dy, x) -> J(x) dy."""

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, input: Tensor, mean: Tensor, scale: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_forward(grad, input, mean, scale)
        ctx.set_materialize_grads(False)
        ctx.eps = eps
        return _input_gradient(grad, input, mean, scale, eps)

    @staticmethod
    def jvp(ctx: Any, to_grad: Tensor | None, v: Tensor | None, *unused: Any) -> Tensor | None:
        dy, x, mean, s = map(_primal, ctx.saved_tensors)
        moved = None if to_grad is None else _input_gradient(to_grad, x, mean, s, ctx.eps)
        if v is None:
            return moved
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        mean, s = mean.view(shape), s.view(shape)

        def average(value: Tensor) -> Tensor:
            return value.mean(axes, keepdim=True)

        centered = x - mean
        m_dy, m_v = average(dy), average(v)
        b, c = s * average(dy * centered), s * average(v * centered)
        a = average(v * dy) - m_v * m_dy
        bent = centered.mul_(s * (a - 3 * b * c))
        bent.addcmul_(c, dy).addcmul_(b, v).sub_(c * m_dy + b * m_v).mul_(-s.square())
        return bent if moved is None else moved.add_(bent)


def _primal(dual: Tensor) -> Tensor:
    primal: Tensor = unpack_dual(dual).primal
    return primal


def _input_gradient(grad: Tensor, input: Tensor, mean: Tensor, scale: Tensor, eps: float) -> Tensor:
    found: Tensor = torch.ops.aten.native_batch_norm_backward(
        grad, input, None, None, None, mean, scale, True, eps, [True, False, False]
    )[0]
    return found
