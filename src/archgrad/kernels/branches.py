r"""Everything that leaves a state of a cell, computed at once.

A branch is a depthwise separable convolution behind a ReLU, :math:`y = W\,(k * relu(\hat x))`, or a
3x3 pool of x; with it come the mean and the biased variance of y over batch and positions, which
the batch normalization behind it needs. The normalization itself is left to the reader of y
(`Pending`): in front of another branch it is done on the fly, at a node it is part of the weighted
sum. So of a candidate only y is kept, and all else is computed again in the backward pass.

The work is done by native code, which knows (B, C, H, W), or by PyTorch; both give the same
function, its gradient, its second derivative, and its derivatives in forward mode. Under
`torch.autocast` tensors and convolutions have its type; statistics are float64, and sums over
pixels float32, as ever.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from archgrad.kernels import native
from archgrad.kernels.division import present
from archgrad.kernels.duals import moves, primal
from archgrad.tensors.dimensions import functions, others, wide
from archgrad.tensors.precision import full_type, lowered

Grad = Tensor | None


class Branch(NamedTuple):
    """A separable convolution of `taps` (C, 1, K, K) and `matrix` (C, C, 1, 1), or a 3x3 pool.

    `kind`: separable, max_pool or avg_pool (zeros of the border not counted).
    """

    kind: str
    stride: int
    dilation: int = 1
    taps: Tensor | None = None
    matrix: Tensor | None = None


class Raw(NamedTuple):
    """The output of a branch (B, C, H, W), with its mean and biased variance (C,), in float64.

    `over`: of how many values of a channel these are.
    """

    value: Tensor
    mean: Tensor
    var: Tensor
    over: int


class Pending(NamedTuple):
    """A tensor (B, C, H, W) that is still to be normalized: (value - mean) * scale.

    Mean and scale (C,) are float64: rounded, they would be the largest error of a gradient.
    """

    value: Tensor
    mean: Tensor
    scale: Tensor

    def tensor(self) -> Tensor:
        """The normalized tensor."""
        dtype = self.value.dtype
        mean, scale = (wide(t, self.value).to(dtype) for t in (self.mean, self.scale))
        return (self.value - mean) * scale


def branches(x: Tensor | Pending, wanted: Sequence[Branch]) -> list[Raw]:
    """The outputs of all branches of x; pools take x as it is, so they want no `Pending`."""
    value, mean, scale = (
        (x.value, x.mean.double(), x.scale.double()) if isinstance(x, Pending) else (x, None, None)
    )
    if (low := lowered(value)) is not None:
        value = value.to(low)
        x = x._replace(value=value) if isinstance(x, Pending) else value
        wanted = [b._replace(taps=_to(b.taps, low), matrix=_to(b.matrix, low)) for b in wanted]
        with torch.autocast(value.device.type, enabled=False):
            return branches(x, wanted)
    parameters = [p for b in wanted for p in (b.taps, b.matrix) if p is not None]
    shape = _Shape(tuple(_Kind.of(b) for b in wanted))
    given = [value, mean, scale, *parameters]
    if not shape.native_for(value) and any(moves(t) for t in given):
        found = composite(shape, given)
    else:
        found = _Branches.apply(shape, *given)  # type: ignore[no-untyped-call]
    return _raws(found)


def _raws(found: Sequence[Tensor]) -> list[Raw]:
    """With the statistics of the whole batch, also where the pass over it is divided."""
    values, means, variances = found[::3], found[1::3], found[2::3]
    counts = [value.numel() // value.shape[1] for value in values]
    if (division := present()) is not None:
        both = iter(division.statistics(means, variances))
        means, variances = ([next(both) for _ in values] for _ in range(2))
        counts = [count // division.mine * division.examples for count in counts]
    return [Raw(*one) for one in zip(values, means, variances, counts, strict=True)]


@dataclass(frozen=True)
class _Kind:
    kind: str
    size: int
    stride: int
    dilation: int

    @staticmethod
    def of(branch: Branch) -> _Kind:
        size = 3 if branch.taps is None else branch.taps.shape[-1]
        return _Kind(branch.kind, size, branch.stride, branch.dilation)

    @property
    def pad(self) -> int:
        return self.dilation * (self.size - 1) // 2

    def pool(self, x: Tensor) -> Tensor:
        if self.kind == "max_pool":
            return functions(x).max_pool(x, 3, self.stride, padding=1)
        return functions(x).avg_pool(x, 3, self.stride, padding=1)

    def depthwise(self, x: Tensor, taps: Tensor) -> Tensor:
        given = self.stride, self.pad, self.dilation, len(taps)
        return functions(x).conv(x, taps, None, *given)


@dataclass(frozen=True)
class _Shape:
    """What is computed, without the tensors: those come as (x, mean, scale, taps, matrix, ...)."""

    kinds: tuple[_Kind, ...]

    def native_for(self, x: Tensor) -> bool:
        sizes = all(k.kind != "separable" or k.size in (3, 5) for k in self.kinds)
        return sizes and x.numel() > 0 and native.library(x) is not None

    def split(self, parameters: Sequence[Any]) -> list[tuple[Any, Any]]:
        """(taps, matrix) of each branch; (None, None) of a pool."""
        left = iter(parameters)
        return [
            (next(left), next(left)) if k.kind == "separable" else (None, None) for k in self.kinds
        ]


def composite(shape: _Shape, given: Sequence[Any]) -> list[Tensor]:
    """The same in plain operations of PyTorch, which know their derivatives."""
    found: list[Tensor] = []
    for y in _outputs(shape, given):
        var, mean = torch.var_mean(y.to(full_type(y.dtype)), others(y), correction=0)
        found += [y, mean.double(), var.double()]
    return found


def _outputs(shape: _Shape, given: Sequence[Any]) -> Iterator[Tensor]:
    x, mean, scale, *parameters = given
    active = F.relu(x if scale is None else Pending(x, mean, scale).tensor())
    conv = functions(x).conv
    for kind, (taps, matrix) in zip(shape.kinds, shape.split(parameters), strict=True):
        yield kind.pool(x) if taps is None else conv(kind.depthwise(active, taps), matrix)


class _Branches(torch.autograd.Function):
    """(x, mean, scale, taps, matrix, ...) -> (y, mean, var) of each branch."""

    @staticmethod
    def forward(ctx: Any, shape: _Shape, *given: Any) -> tuple[Tensor, ...]:
        ctx.shape, ctx.native = shape, shape.native_for(given[0])
        found = (_native if ctx.native else _torch)(shape, given)
        ctx.save_for_backward(*given, *found)
        ctx.save_for_forward(*given)
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        wanted = any(ctx.needs_input_grad[4:])
        found: tuple[Any, ...] = _Backward.apply(  # type: ignore[no-untyped-call]
            ctx.shape, ctx.native, wanted, *ctx.saved_tensors, *grads
        )
        return None, *found

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Grad) -> tuple[Tensor, ...]:
        given = [primal(t) for t in ctx.saved_tensors[: len(tangents)]]
        return tuple(_native(ctx.shape, given, tangents))


class _Backward(torch.autograd.Function):
    """The gradients of `_Branches` for (x, mean, scale, taps, matrix, ...)."""

    @staticmethod
    def forward(ctx: Any, shape: _Shape, by_native: bool, wanted: bool, *given: Any) -> Any:
        ctx.shape, ctx.wanted = shape, wanted
        ctx.save_for_backward(*given)
        ctx.save_for_forward(*given)
        ctx.set_materialize_grads(False)
        run = _native_backward if by_native else _torch_backward
        return tuple(run(shape, wanted, given))

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Grad, ...]:
        given = [primal(t) for t in ctx.saved_tensors]
        return tuple(_native_backward(ctx.shape, ctx.wanted, given, tangents[3:]))

    @staticmethod
    def backward(ctx: Any, *second: Grad) -> tuple[Any, ...]:
        """By plain operations: only what differentiates a gradient in reverse mode comes here."""
        outputs = 3 * len(ctx.shape.kinds)
        inputs = len(ctx.saved_tensors) - 2 * outputs
        given = [_leaf(t) for t in ctx.saved_tensors[:inputs]]
        incoming: list[Any] = [_leaf(t) for t in ctx.saved_tensors[inputs + outputs :]]
        with torch.enable_grad():
            leaves = [t for t in given if t is not None]
            first = torch.autograd.grad(
                composite(ctx.shape, given), leaves, incoming, create_graph=True
            )
            pairs = [
                (f, s)
                for f, s in zip(first, (s for s, t in zip(second, given) if t is not None))
                if s is not None and f.requires_grad
            ]
            found = iter(
                torch.autograd.grad(
                    [f for f, _ in pairs],
                    [*leaves, *incoming],
                    [s for _, s in pairs],
                    materialize_grads=True,
                )
            )
        back = [None if t is None else next(found) for t in given]
        return None, None, None, *back, *([None] * outputs), *found


# --- by PyTorch ----------------------------------------------------------------------------------


def _torch(shape: _Shape, given: Sequence[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for y in _outputs(shape, given):
        # Batch normalization finds the statistics several times faster than `torch.var_mean` does.
        given = y.to(full_type(y.dtype)), None, None, None, None, True, 0.0, 0.0
        _, mean, scale = torch.native_batch_norm(*given)
        var = torch.where(scale == 0, 0.0, scale.double().pow(-2))  # 0 stands for no variance
        found += [y, mean.double(), var]
    return found


def _torch_backward(shape: _Shape, wanted: bool, given: Sequence[Any]) -> list[Grad]:
    outputs = 3 * len(shape.kinds)
    inputs = len(given) - 2 * outputs
    x, mean, scale, *parameters = given[:inputs]
    made, grads = given[inputs:-outputs], given[-outputs:]
    hat = x if scale is None else Pending(x, mean, scale).tensor()
    active = F.relu(hat)
    to_x, to_active, to_parameters = None, torch.zeros_like(active), list[Grad]()
    for i, (kind, (taps, matrix)) in enumerate(
        zip(shape.kinds, shape.split(parameters), strict=True)
    ):
        y, average, _ = made[3 * i : 3 * i + 3]
        g, g_mean, g_var = grads[3 * i : 3 * i + 3]
        count, accurate = y.numel() / y.shape[1], full_type(y.dtype)
        shift, slope = g_mean / count, g_var * (2 / count)
        shift, slope, average = (wide(t, y).to(accurate) for t in (shift, slope, average))
        centered = y.to(accurate) - average
        g = centered.mul_(slope).add_(shift).add_(g).to(y.dtype)
        if taps is None:
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                (back,) = torch.autograd.grad(kind.pool(leaf), leaf, g)
            to_x = back if to_x is None else to_x.add_(back)
            continue
        g_taps = g_matrix = None
        if wanted:
            u = kind.depthwise(active, taps)
            g_u, g_matrix = _conv_gradients(g, u, matrix, 1, 0, 1, 1, (True, True))
            place = (kind.stride, kind.pad, kind.dilation, len(taps))
            g_taps = _conv_gradients(g_u, active, taps, *place, (False, True))[1]
        else:
            g_u = functions(g).conv(g, matrix.transpose(0, 1))
        if kind.stride == 1:  # the transposed convolution; PyTorch's own is slow where dilated
            to_active += kind.depthwise(g_u, taps.flip(others(taps)[1:]))
        else:
            place = (kind.stride, kind.pad, kind.dilation, len(taps))
            to_active += _conv_gradients(g_u, active, taps, *place, (True, False))[0]
        to_parameters += [g_taps, g_matrix]
    to_hat = to_active.mul_(active > 0)
    if scale is None:
        return [to_hat if to_x is None else to_hat.add_(to_x), None, None, *to_parameters]
    accurate = full_type(x.dtype)
    centered = x.to(accurate) - wide(mean, x).to(accurate)
    to_scale = (centered * to_hat).sum(others(x)).double()
    to_value = to_hat.mul_(wide(scale, x).to(x.dtype))
    to_mean = -to_value.sum(others(x), dtype=accurate).double()
    return [to_value, to_mean, to_scale, *to_parameters]


def _conv_gradients(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: int,
    pad: int,
    dilation: int,
    groups: int,
    mask: tuple[bool, bool],
) -> tuple[Any, Any]:
    sides = x.ndim - 2
    place = [stride] * sides, [pad] * sides, [dilation] * sides, False, [0] * sides
    found = torch.ops.aten.convolution_backward(g, x, weight, None, *place, groups, [*mask, False])
    return found[0], found[1]


# --- by native code ------------------------------------------------------------------------------

# The layout of a branch in memory: four integers, then value and tangent of each of these.
FIELDS = ("taps", "matrix", "y", "mean", "var", "dy", "dmean", "dvar", "dtaps", "dmatrix")
KINDS = ("separable", "max_pool", "avg_pool")
Two = tuple[Grad, Grad]  # value and tangent


def _native(
    shape: _Shape, given: Sequence[Grad], tangents: Sequence[Grad] | None = None
) -> list[Tensor]:
    """The outputs, or their tangents."""
    dual = tangents is not None
    x, mean, scale, *parameters = _pairs(given, tangents)
    value = x[0]
    assert value is not None
    images, channels, height, width = value.shape
    found: list[Tensor] = []
    rows = []
    for kind, (taps, matrix) in zip(shape.kinds, shape.split(parameters), strict=True):
        size = (images, channels, -(-height // kind.stride), -(-width // kind.stride))
        y = torch.empty(size, dtype=value.dtype, memory_format=torch.channels_last)
        outputs = [y, *(torch.empty(channels, dtype=torch.float64) for _ in range(2))]
        row = {n: (o, o) for n, o in zip(("y", "mean", "var"), outputs)}
        rows.append({"taps": taps, "matrix": matrix, **row})
        found += outputs
    _call(shape, x, mean, scale, rows, back=False, dual=dual)
    return found


def _native_backward(
    shape: _Shape, wanted: bool, given: Sequence[Any], tangents: Sequence[Grad] | None = None
) -> list[Grad]:
    """The gradients, or their tangents."""
    dual = tangents is not None
    outputs = 3 * len(shape.kinds)
    inputs = len(given) - 2 * outputs
    pairs = _pairs(given, tangents)
    x, mean, scale, *parameters = pairs[:inputs]
    assert x[0] is not None
    dx = torch.empty_like(x[0], memory_format=torch.channels_last)
    dmean = dscale = None
    if scale[0] is not None:
        dmean, dscale = torch.empty_like(scale[0]), torch.empty_like(scale[0])
    rows, found = [], list[Grad]()
    for i, (taps, matrix) in enumerate(shape.split(parameters)):
        names = ("y", "mean", "var"), ("dy", "dmean", "dvar")
        row = dict(zip(names[0], pairs[inputs + 3 * i :])) | dict(
            zip(names[1], pairs[inputs + outputs + 3 * i :])
        )
        if taps is not None:
            row |= {"taps": taps, "matrix": matrix}
            new = [torch.empty_like(t[0]) if wanted else None for t in (taps, matrix)]
            row |= {"dtaps": (new[0], new[0]), "dmatrix": (new[1], new[1])}
            found += new
        rows.append(row)
    gradients = {"dx": (dx, dx), "dmean": (dmean, dmean), "dscale": (dscale, dscale)}
    _call(shape, x, mean, scale, rows, back=True, dual=dual, **gradients)
    return [dx, dmean, dscale, *found]


def _call(
    shape: _Shape, x: Two, mean: Two, scale: Two, rows: Any, back: bool, dual: bool, **more: Two
) -> None:
    value = x[0]
    assert value is not None
    images, channels, height, width = value.shape
    none = (None, None)
    table: list[int] = []
    for kind, row in zip(shape.kinds, rows, strict=True):
        table += [KINDS.index(kind.kind), kind.size, kind.dilation, kind.stride]
        for name in FIELDS:
            table += map(native.address, row.get(name) or none)
    laid = native.array(table)
    head = [images, height, width, channels, len(rows), torch.get_num_threads()]
    for pair in (x, mean, scale, *(more.get(n, none) for n in ("dx", "dmean", "dscale"))):
        head += map(native.address, pair)
    native.call("branches", [*head, ctypes.addressof(laid)], value.dtype, back, dual)


def _pairs(given: Sequence[Any], tangents: Sequence[Grad] | None) -> list[Two]:
    """Values with their tangents, laid out as the native code expects them."""
    return [
        (native.laid_out(v), native.laid_out(t))
        for v, t in zip(given, tangents or [None] * len(given))
    ]


# --- small things --------------------------------------------------------------------------------


def _to(tensor: Grad, dtype: torch.dtype) -> Grad:
    return None if tensor is None else tensor.to(dtype)


def _leaf(tensor: Grad) -> Grad:
    return None if tensor is None else tensor.detach().requires_grad_()
