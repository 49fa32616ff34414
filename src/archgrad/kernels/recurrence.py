r"""A recurrent cell of DARTS over all time steps of a segment, as one function of its weights.

With the previous state :math:`h`, the projected input :math:`x_t` and a fixed mask :math:`m`
(arXiv:1806.09055, section 3.2 and appendix A.1.2; :math:`[c|a]` are the halves of a product):

.. math:: [c|a] = x_t + (m h) U, \quad s_0 = N(h + \sigma(c) (\tanh(a) - h))

.. math:: [c|a]_j = (m s_j) W_i, \quad
          s_i = N\Big(\sum_j \sum_o p_{ijo} \big(s_j + \sigma(c_j) (o(a_j) - s_j)\big)\Big)

and the next state is the mean of all nodes but the first. :math:`N` is batch normalization without
scale and shift in a search, the identity in a derived cell, where each node has one edge and one
operation. One product of matrices a node; what follows it is one pass over its result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from archgrad.kernels import native
from archgrad.kernels.division import present
from archgrad.tensors.precision import lowered

EPS = 1e-5  # of batch normalization
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}
NAMES = tuple(ACTIVATIONS)


@dataclass(frozen=True)
class Node:
    """An intermediate node: its sources are `start` to `stop` - 1, state 0 being the first.

    `active`: for each operation of `ACTIVATIONS` whether any edge may have it.
    """

    start: int
    stop: int
    active: tuple[bool, ...] = (True,) * len(NAMES)


@dataclass(frozen=True)
class Plan:
    """What a cell computes: its nodes, and whether states are normalized."""

    nodes: tuple[Node, ...]
    normalized: bool


def recurrence(
    plan: Plan,
    projected: Tensor,
    state: Tensor,
    mask: Tensor | None,
    recurrent: Tensor,
    weights: Sequence[Tensor],
    mixing: Sequence[Tensor],
) -> Tensor:
    """The outputs (T, B, H) of all time steps; the last one is the next state.

    `projected`: (T, B, 2H), the inputs times their part of the first matrix; `state`: (B, H);
    `mask`: (B, H), what multiplies states before a product; `recurrent`: (H, 2H); `weights`:
    a node, (H, 2H); `mixing`: a node, (edges, 4), the weights of `ACTIVATIONS`.

    Under autocast, where a module is traced, and where processes that divide a batch normalize by
    its statistics, plain operations compute it, as they do a second derivative. That goes backward
    twice: there is no forward mode, which takes twice as long here.
    """
    given = (projected, state, recurrent, *weights, *mixing)
    together = plan.normalized and present() is not None
    if state.is_meta or torch.compiler.is_compiling() or lowered(state) is not None or together:
        return _plain(plan, mask, given)
    found: Tensor = _Recurrence.apply(plan, mask, *given)  # type: ignore[no-untyped-call]
    return found


def _plain(plan: Plan, mask: Tensor | None, given: Sequence[Tensor]) -> Tensor:
    """In operations of PyTorch, each of which knows all its derivatives."""
    projected, state, recurrent, weights, mixing = _split(plan, given)
    outputs = []
    for step in projected.unbind():
        gate, candidate = (step + _masked(state, mask) @ recurrent).chunk(2, dim=-1)
        first = state + gate.sigmoid() * (candidate.tanh() - state)
        states = [_normalized(plan, first)]
        for node, weight, mixed in zip(plan.nodes, weights, mixing, strict=True):
            sources = torch.stack(states[node.start : node.stop])
            product = _masked(sources, mask) @ weight
            states.append(_normalized(plan, _sum(node, product, sources, mixed.to(product.dtype))))
        state = torch.stack(states[1:]).mean(dim=0)
        outputs.append(state)
    return torch.stack(outputs)


def _masked(states: Tensor, mask: Tensor | None) -> Tensor:
    return states if mask is None else states * mask


def _normalized(plan: Plan, state: Tensor) -> Tensor:
    if not plan.normalized:
        return state
    if (division := present()) is None:
        away = state - state.mean(dim=0)
        return away * (away.square().mean(dim=0) + EPS).rsqrt()
    var, mean = torch.var_mean(state, dim=0, correction=0)
    mean, var = division.statistics([mean.double()], [var.double()])
    return (state - mean.to(state.dtype)) * (var + EPS).rsqrt().to(state.dtype)


def _sum(node: Node, product: Tensor, sources: Tensor, mixing: Tensor) -> Tensor:
    gate, candidate = product.chunk(2, dim=-1)
    columns = [
        (weight, activation)
        for weight, activation, active in zip(_columns(mixing), ACTIVATIONS.values(), node.active)
        if active
    ]
    kept = mixing.sum(dim=1).view(-1, 1, 1) * sources
    mixed = -kept
    for weight, activation in columns:
        mixed = mixed + weight * activation(candidate)
    total: Tensor = (kept + gate.sigmoid() * mixed).sum(dim=0)
    return total


def _columns(mixing: Tensor) -> list[Tensor]:
    return [column.view(-1, 1, 1) for column in mixing.unbind(dim=1)]


class _Recurrence(torch.autograd.Function):
    """The same in one node of the graph: states and products are kept, nothing else."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, mask: Tensor | None, *given: Tensor) -> Tensor:
        projected, state, recurrent, weights, mixing = _split(plan, given)
        steps, batch, double = projected.shape
        count, hidden = len(plan.nodes), double // 2
        states = projected.new_empty(steps, count + 1, batch, hidden)
        masked = states if mask is None else torch.empty_like(states)
        scales = projected.new_empty(steps, count + 1, hidden) if plan.normalized else None
        first = torch.empty_like(projected)
        products = [projected.new_empty(steps, n.stop - n.start, batch, double) for n in plan.nodes]
        hiddens = projected.new_empty(steps + 1, batch, hidden)
        hiddens[0] = state

        for t in range(steps):
            h = hiddens[t]
            torch.addmm(projected[t], _masked(h, mask), recurrent, out=first[t])
            gate, candidate = first[t].chunk(2, dim=-1)
            total = torch.addcmul(h, gate.sigmoid(), candidate.tanh() - h)
            for i in range(count + 1):
                if i > 0:
                    node, product = plan.nodes[i - 1], products[i - 1][t]
                    sources = masked[t, node.start : node.stop].view(-1, hidden)
                    torch.mm(sources, weights[i - 1], out=product.view(-1, double))
                    sources = states[t, node.start : node.stop]
                    total = _forward(node, product, sources, mixing[i - 1])
                _keep(total, states[t, i], None if scales is None else scales[t, i])
                if mask is not None:
                    torch.mul(states[t, i], mask, out=masked[t, i])
            torch.mean(states[t, 1:], dim=0, out=hiddens[t + 1])

        ctx.plan, ctx.given = plan, len(given)
        ctx.save_for_backward(*given, mask, states, masked, scales, first, hiddens, *products)
        outputs: Tensor = hiddens[1:]
        return outputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        plan, wanted = ctx.plan, ctx.needs_input_grad[2:]
        given, (mask, *kept) = ctx.saved_tensors[: ctx.given], ctx.saved_tensors[ctx.given :]
        if torch.is_grad_enabled():  # the gradient itself is to be differentiated
            return None, None, *_differentiable(plan, mask, given, wanted, grad)
        return None, None, *_backward(plan, mask, given, kept, wanted, grad)


def _split(plan: Plan, given: Sequence[Tensor]) -> tuple[Any, ...]:
    count = len(plan.nodes)
    return *given[:3], given[3 : 3 + count], given[3 + count :]


def _keep(total: Tensor, state: Tensor, scale: Tensor | None) -> None:
    """Write a state, normalized where it has a scale, and its scale."""
    if scale is None:
        state.copy_(total)
        return
    away = total.sub_(total.mean(dim=0))  # several times faster than var_mean
    torch.rsqrt(away.square().mean(dim=0).add_(EPS), out=scale)
    torch.mul(away, scale, out=state)


def _differentiable(
    plan: Plan,
    mask: Tensor | None,
    given: Sequence[Tensor],
    wanted: Sequence[bool],
    grad: Tensor,
) -> list[Tensor | None]:
    """The gradients with a graph: the plain form once more."""
    given = [tensor.view_as(tensor) for tensor in given]  # by themselves: one may depend on another
    output = _plain(plan, mask, given)
    inputs = [tensor for tensor, want in zip(given, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(output, inputs, grad, create_graph=True))
    return [next(found) if want else None for want in wanted]


def _backward(
    plan: Plan,
    mask: Tensor | None,
    given: Sequence[Tensor],
    kept: Sequence[Tensor],
    wanted: Sequence[bool],
    grad: Tensor,
) -> list[Tensor | None]:
    """Back through time; gradients of matrices are added up where they lie."""
    _, _, recurrent, weights, mixing = _split(plan, given)
    states, masked, scales, first, hiddens, *products = kept
    steps, count, batch, hidden = states.shape
    back = [torch.zeros_like(tensor) if want else None for tensor, want in zip(given, wanted)]
    to_recurrent, count = back[2], count - 1
    to_weights, to_mixing = back[3 : 3 + count], back[3 + count :]
    to_first = torch.empty_like(first)
    slopes = [torch.zeros(p.shape, dtype=torch.float64, device=p.device) for p in mixing]
    to_states, to_hidden = torch.empty_like(states[0]), torch.zeros_like(hiddens[0])
    buffers = [torch.empty_like(product[0]) for product in products]

    for t in reversed(range(steps)):
        to_hidden = to_hidden + grad[t]
        to_states[0] = 0
        to_states[1:] = to_hidden / count
        for i in reversed(range(count + 1)):
            slope = _through(to_states[i], states[t, i], None if scales is None else scales[t, i])
            if i == 0:
                break
            node, buffer = plan.nodes[i - 1], buffers[i - 1]
            span = slice(node.start, node.stop)
            _gradients(
                node, slope, products[i - 1][t], states[t, span], mixing[i - 1],
                buffer, to_states[span], slopes[i - 1],
            )  # fmt: skip
            flat = buffer.view(-1, 2 * hidden)
            if mask is None:
                to_states[span].view(-1, hidden).addmm_(flat, weights[i - 1].t())
            else:
                to_sources = (flat @ weights[i - 1].t()).view(-1, batch, hidden)
                to_states[span].addcmul_(to_sources, mask)
            if (to_weight := to_weights[i - 1]) is not None:
                to_weight.addmm_(masked[t, span].reshape(-1, hidden).t(), flat)
        gate, candidate = first[t].chunk(2, dim=-1)
        gate, candidate, h = gate.sigmoid(), candidate.tanh(), hiddens[t]
        gated = slope * gate
        torch.mul((candidate - h) * gated, 1 - gate, out=to_first[t, :, :hidden])
        torch.mul(gated, 1 - candidate.square(), out=to_first[t, :, hidden:])
        to_hidden = slope - gated + _masked(to_first[t] @ recurrent.t(), mask)

    if to_recurrent is not None:
        before = _masked(hiddens[:-1], mask).reshape(-1, hidden)
        torch.mm(before.t(), to_first.view(-1, 2 * hidden), out=to_recurrent)
    for to_mixed, found in zip(to_mixing, slopes, strict=True):
        if to_mixed is not None:
            to_mixed.copy_(found)
    return [to_first if wanted[0] else None, to_hidden if wanted[1] else None, *back[2:]]


def _through(grad: Tensor, state: Tensor, scale: Tensor | None) -> Tensor:
    """The gradient before normalization."""
    if scale is None:
        return grad
    return scale * (grad - grad.mean(dim=0) - state * (grad * state).mean(dim=0))


# --- what follows the product of a node, in one pass where there is native code -------------------


def _forward(node: Node, product: Tensor, sources: Tensor, mixing: Tensor) -> Tensor:
    """The sum over edges and operations, (B, H)."""
    if not _native(product):
        return _sum(node, product, sources, mixing)
    out = torch.empty_like(sources[0])
    mixing = mixing.contiguous()
    addresses = [product, sources, mixing, out, None, None, None]
    native.call("recurrence", [*sources.shape, *map(native.address, addresses)], out.dtype, False)
    return out


def _gradients(
    node: Node,
    slope: Tensor,
    product: Tensor,
    sources: Tensor,
    mixing: Tensor,
    to_product: Tensor,
    to_sources: Tensor,
    to_mixing: Tensor,
) -> None:
    """Write the gradient of the product; add those of the sources and of the mixing weights."""
    if _native(product):
        slope, mixing = slope.contiguous(), mixing.contiguous()
        addresses = [product, sources, mixing, slope, to_product, to_sources, to_mixing]
        table = [*sources.shape, *map(native.address, addresses)]
        native.call("recurrence", table, product.dtype, True)
        return
    hidden = sources.shape[-1]
    gate, candidate = product.chunk(2, dim=-1)
    gate = gate.sigmoid()
    weights, kept = _columns(mixing), mixing.sum(dim=1).view(-1, 1, 1)
    gated = slope * gate
    passed = ((slope - gated) * sources).sum(dim=(1, 2))
    mixed, rise = -kept * sources, torch.zeros_like(candidate)
    for k, name in enumerate(NAMES):
        if not node.active[k]:
            continue
        value = ACTIVATIONS[name](candidate)
        mixed.addcmul_(weights[k], value)
        rise.addcmul_(weights[k], _slope(name, value))
        to_mixing[:, k] += passed + (gated * value).sum(dim=(1, 2))
    torch.mul(mixed * gated, 1 - gate, out=to_product[..., :hidden])
    torch.mul(gated, rise, out=to_product[..., hidden:])
    to_sources.addcmul_(slope - gated, kept)


def _slope(name: str, value: Tensor) -> Tensor:
    """The derivative of an activation, from its value."""
    if name == "tanh":
        return 1 - value.square()
    if name == "sigmoid":
        return value * (1 - value)
    return torch.ones_like(value) if name == "identity" else (value > 0).to(value.dtype)


def _native(tensor: Tensor) -> bool:
    """Whether the native code is to be used: on one thread of a CPU, as it works on one."""
    return torch.get_num_threads() == 1 and native.usable(tensor) is not None
