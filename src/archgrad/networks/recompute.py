"""Activation checkpointing of cells: keep their inputs, compute them again in the backward pass.

Training deep nets with sublinear memory cost, arXiv:1604.06174. The second time a cell runs with
the weights and mixing weights of the first, which by then may be in place no longer (losses are
functional), from the same random state, and leaves running statistics as they are. Values and
gradients are the same numbers. Unlike `torch.utils.checkpoint`, it can be differentiated in forward
mode, as the exact second order does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from archgrad.errors import ArchgradError
from archgrad.kernels.division import computing, present
from archgrad.networks.choice import Choice, Row
from archgrad.system.loops import random_state, restore_random_state

Run = Callable[..., Tensor]
Grad = Tensor | None


class Recomputable(nn.Module):
    """A module that, where `recompute` is set, keeps only its inputs for the backward pass."""

    recompute = False

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return _recomputed(self, inputs)
        return self.compute(*inputs)

    def compute(self, *inputs: Tensor) -> Tensor:
        """The output for these inputs."""
        raise NotImplementedError


def _recomputed(module: Recomputable, inputs: Sequence[Tensor]) -> Tensor:
    choices = [m for m in module.modules() if isinstance(m, Choice)]
    rows = [choice.mixing for choice in choices]
    names = [name for name, _ in module.named_parameters()]
    device = inputs[0].device
    random, division = random_state(device), present()

    def run(*tensors: Any) -> Tensor:
        """The module as a function of all that it depends on."""
        left = iter(tensors)
        x = [next(left) for _ in inputs]
        weights = {name: next(left) for name in names}
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        mixed = [row and row._replace(weights=next(left), edge=next(left)) for row in rows]
        devices = [device] if device.type == "cuda" else []
        as_before = _as_before(module, choices, mixed), torch.random.fork_rng(devices)
        with as_before[0], as_before[1], computing(division):
            restore_random_state(random, device)
            output: Tensor = functional_call(module, {**weights, **buffers}, tuple(x))
        return output

    mixing = [value for row in rows if row is not None for value in (row.weights, row.edge)]
    given = (*inputs, *module.parameters(), *mixing)
    found: Tensor = _Recomputed.apply(run, lambda: module.compute(*inputs), *given)  # type: ignore[no-untyped-call]
    return found


@contextmanager
def _as_before(
    module: Recomputable, choices: Sequence[Choice], rows: Sequence[Row | None]
) -> Iterator[None]:
    """The choices have these mixing weights, and the module computes without keeping less."""
    now = [choice.mixing for choice in choices]
    module.recompute = False
    try:
        for choice, row in zip(choices, rows, strict=True):
            choice.mixing = row
        yield
    finally:
        module.recompute = True
        for choice, row in zip(choices, now, strict=True):
            choice.mixing = row


class _Recomputed(torch.autograd.Function):
    """(tensors) -> run(tensors); `first` computes it the first time."""

    @staticmethod
    def forward(ctx: Any, run: Run, first: Callable[[], Tensor], *tensors: Grad) -> Tensor:
        ctx.run = run
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)
        return first()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        wanted = ctx.needs_input_grad[2:]
        given = (ctx.run, wanted, grad, *ctx.saved_tensors)
        found: tuple[Grad, ...] = _Backward.apply(*given)  # type: ignore[no-untyped-call]
        return None, None, *found

    @staticmethod
    def jvp(ctx: Any, _run: None, _first: None, *tangents: Grad) -> Grad:
        with torch.no_grad(), forward_ad._set_fwd_grad_enabled(True):  # a graph would be kept
            moving = _dual(ctx.saved_tensors, tangents)
            found: Grad = forward_ad.unpack_dual(ctx.run(*moving)).tangent
        return found


class _Backward(torch.autograd.Function):
    """(grad, tensors) -> the gradients of <grad, run(tensors)>."""

    @staticmethod
    def forward(ctx: Any, run: Run, wanted: Sequence[bool], grad: Tensor, *tensors: Grad) -> Any:
        ctx.run, ctx.wanted = run, wanted
        ctx.save_for_forward(grad, *tensors)
        return tuple(_gradients(run, wanted, grad, tensors))

    @staticmethod
    def jvp(ctx: Any, _run: None, _wanted: None, *tangents: Grad) -> tuple[Grad, ...]:
        grad, *tensors = ctx.saved_tensors
        with forward_ad._set_fwd_grad_enabled(True):
            moving = _dual([grad], tangents[:1])[0]
            found = _gradients(ctx.run, ctx.wanted, moving, tensors, tangents[1:])
            return tuple(None if g is None else forward_ad.unpack_dual(g).tangent for g in found)

    @staticmethod
    def backward(ctx: Any, *second: Grad) -> Any:
        raise ArchgradError(
            "a gradient through recomputed cells can be differentiated in forward mode only, and "
            "some operation here has no forward mode; set recompute to off"
        )


def _gradients(
    run: Run,
    wanted: Sequence[bool],
    grad: Any,
    tensors: Sequence[Grad],
    tangents: Sequence[Grad] | None = None,
) -> list[Grad]:
    with torch.enable_grad():
        leaves: list[Any] = [
            None if t is None else _primal(t).detach().requires_grad_(w)
            for t, w in zip(tensors, wanted, strict=True)
        ]
        moving = leaves if tangents is None else _dual(leaves, tangents)
        asked = [leaf for leaf, w in zip(leaves, wanted, strict=True) if w]
        found = iter(torch.autograd.grad(run(*moving), asked, grad, materialize_grads=True))
    return [next(found) if w else None for w in wanted]


def _dual(tensors: Sequence[Grad], tangents: Sequence[Grad]) -> list[Grad]:
    return [
        v if v is None or t is None else forward_ad.make_dual(_primal(v), t)
        for v, t in zip(tensors, tangents, strict=True)
    ]


def _primal(tensor: Tensor) -> Tensor:
    found: Tensor = forward_ad.unpack_dual(tensor).primal
    return found
