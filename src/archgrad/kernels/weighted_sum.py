r"""The sum that enters a node: :math:`\sum_k w_k \, \hat x_k` over the outputs of its candidates.

Terms that are still to be normalized (`Pending`) are normalized within the sum: neither normalized
nor weighted tensors are ever stored. Scalars w_k and statistics join to one factor a channel, so
the sum is :math:`\sum_k f_k (x_k - m_k)` and bilinear in f and (x, m): its derivatives are
sums of the same form.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from archgrad.kernels import native
from archgrad.kernels.branches import Pending
from archgrad.kernels.duals import primal
from archgrad.tensors.dimensions import others, wide
from archgrad.tensors.precision import full_type, lowered


class Term(NamedTuple):
    """A weight, a scalar, and what it weighs: (B, C, H, W), or a tensor still to be normalized."""

    weight: Tensor
    value: Tensor | Pending


def weighted_sum(terms: Sequence[Term]) -> Tensor:
    """The sum of the terms, whose values are of one shape; under `torch.autocast` of its type."""
    some = terms[0].value
    some = some.value if isinstance(some, Pending) else some
    if (low := lowered(some)) is not None:
        with torch.autocast(some.device.type, enabled=False):
            return weighted_sum([Term(w, _cast(v, low)) for w, v in terms])
    pending = [(w, v) for w, v in terms if isinstance(v, Pending)]
    plain = [(w, v) for w, v in terms if not isinstance(v, Pending)]
    if not pending and len(plain) == 1:
        return plain[0][0] * plain[0][1]
    values = [*(v.value for _, v in pending), *(v for _, v in plain)]
    first = values[0]
    alone = not pending and (first.ndim != 4 or _in_rows(first))
    if alone or any(v.shape != first.shape for v in values):
        weighted = [w * (v.tensor() if isinstance(v, Pending) else v) for w, v in terms]
        total: Tensor = sum(weighted[1:], start=weighted[0])
        return total
    factors, means = [], []
    if pending:
        scales = torch.stack([v.scale for _, v in pending]).double()  # as all that is (C,)
        factors.append(torch.stack([w for w, _ in pending]).unsqueeze(1) * scales)
        means.append(torch.stack([v.mean for _, v in pending]).double())
    if plain:
        weights = torch.stack([w for w, _ in plain]).unsqueeze(1)
        factors.append(weights.expand(-1, first.shape[1]).double())
        means.append(torch.zeros_like(factors[-1]))
    found: Tensor = _Sum.apply(torch.cat(factors), torch.cat(means), *values)  # type: ignore[no-untyped-call]
    return found


def _in_rows(value: Tensor) -> bool:
    """Whether it is laid out channel by channel, as a user's own model may need it."""
    return value.is_contiguous() and not value.is_contiguous(memory_format=torch.channels_last)


class _Sum(torch.autograd.Function):
    """(f, m, x_1, ...) -> sum over k of f_k (x_k - m_k); f and m: (terms, C)."""

    @staticmethod
    def forward(ctx: Any, factor: Tensor, mean: Tensor, *values: Tensor) -> Tensor:
        ctx.save_for_backward(factor, mean, *values)
        ctx.save_for_forward(factor, mean, *values)
        return _sum(factor, mean, values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        wanted = tuple(ctx.needs_input_grad[2:])
        found: tuple[Tensor | None, ...] = _Gradients.apply(  # type: ignore[no-untyped-call]
            wanted, grad, *ctx.saved_tensors
        )
        return found

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        factor, mean, *values = map(primal, ctx.saved_tensors)
        to_factor, to_mean, *to_values = _or_zeros(tangents, [factor, mean, *values])
        return _sum(to_factor, mean, values) + _sum(factor, to_mean, to_values)


class _Gradients(torch.autograd.Function):
    """(grad, f, m, x_1, ...) -> the gradients for (f, m, x_1, ...); bilinear as well."""

    @staticmethod
    def forward(ctx: Any, wanted: Any, grad: Tensor, *given: Tensor) -> tuple[Tensor | None, ...]:
        ctx.wanted = wanted
        ctx.save_for_backward(grad, *given)
        ctx.save_for_forward(grad, *given)
        return _gradients(wanted, grad, *given)

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        grad, *given = map(primal, ctx.saved_tensors)
        to_grad, *to_given = _or_zeros(tangents, [grad, *given])
        one = _gradients(ctx.wanted, to_grad, *given)
        two = _gradients(ctx.wanted, grad, *to_given)
        pairs = zip(one, two, strict=True)
        return tuple(None if a is None or b is None else a + b for a, b in pairs)

    @staticmethod
    def backward(ctx: Any, *second: Tensor | None) -> tuple[Any, ...]:
        given = [t.detach().requires_grad_() for t in ctx.saved_tensors]
        with torch.enable_grad():
            first = _plain_gradients([True] * (len(given) - 3), *given)
            pairs = [(f, s) for f, s in zip(first, second) if f is not None and s is not None]
            found = torch.autograd.grad(
                [f for f, _ in pairs], given, [s for _, s in pairs], materialize_grads=True
            )
        return None, *found


def _cast(value: Tensor | Pending, dtype: torch.dtype) -> Tensor | Pending:
    if isinstance(value, Pending):
        return value._replace(value=value.value.to(dtype))
    return value.to(dtype)


def _or_zeros(tangents: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(v) if t is None else t for t, v in zip(tangents, like, strict=True)]


def _sum(factor: Tensor, mean: Tensor, values: Sequence[Tensor]) -> Tensor:
    if native.library(*values) is None:
        accurate = full_type(values[0].dtype)
        total = torch.zeros_like(values[0], dtype=accurate)
        for f, m, value in zip(factor.to(accurate), mean.to(accurate), values, strict=True):
            total.addcmul_(wide(f, value), value - wide(m, value))
        return total.to(values[0].dtype)
    out = torch.empty_like(values[0], memory_format=torch.channels_last)
    _call(out, None, factor, mean, values, [None] * len(values), None, back=False)
    return out


def _gradients(
    wanted: Sequence[bool], grad: Tensor, factor: Tensor, mean: Tensor, *values: Tensor
) -> tuple[Tensor | None, ...]:
    if native.library(grad, *values) is None:
        return _plain_gradients(wanted, grad, factor, mean, *values)
    rounded = factor.to(grad.dtype)  # what x gets and what m gets must be of one factor
    back = [
        torch.empty_like(v, memory_format=torch.channels_last) if want else None
        for v, want in zip(values, wanted)
    ]
    to_factor, total = torch.empty_like(factor), torch.empty_like(factor[0])
    _call(native.laid_out(grad), total, factor, mean, values, back, to_factor, back=True)
    return to_factor, -rounded * total, *back


def _plain_gradients(
    wanted: Sequence[bool], grad: Tensor, factor: Tensor, mean: Tensor, *values: Tensor
) -> tuple[Tensor | None, ...]:
    """In plain operations of PyTorch, which know their derivatives."""
    full = full_type(grad.dtype)
    rounded = factor.to(full)  # what x gets and what m gets must be of one factor
    pairs = zip(values, mean.to(full), strict=True)
    to_factor = [(grad * (v - wide(m, v))).sum(others(v)).double() for v, m in pairs]
    total = grad.sum(others(grad), dtype=torch.float64)
    both = zip(rounded, wanted, strict=True)
    back = [(wide(f, grad) * grad).to(grad.dtype) if want else None for f, want in both]
    return torch.stack(to_factor), -rounded * total, *back


def _call(
    out: Any,
    total: Tensor | None,
    factor: Tensor,
    mean: Tensor,
    values: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    to_factor: Tensor | None,
    back: bool,
) -> None:
    """Lay out the terms for the native code: x, f, m, and where their gradients go."""
    images, channels, height, width = values[0].shape
    laid = [native.laid_out(v) for v in values]
    factor, mean = factor.contiguous(), mean.contiguous()
    table: list[int] = []
    for k, (value, gradient) in enumerate(zip(laid, gradients, strict=True)):
        slope = None if to_factor is None else to_factor[k]
        table += map(native.address, (value, factor[k], mean[k], gradient, slope))
    terms = native.array(table)
    head = [images, height * width, channels, len(values), torch.get_num_threads()]
    head += [native.address(out), native.address(total), ctypes.addressof(terms)]
    native.call("weighted_sum", head, values[0].dtype, back)
