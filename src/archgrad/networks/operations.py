"""The candidate operations of the cell spaces, one table each.

`OPERATIONS` are those of the DARTS convolutional space (arXiv:1806.09055, section 3.1),
`CANDIDATES` these and the noise of RobustDARTS S4 (arXiv:1909.09656), `NAS_BENCH_201` those of that
benchmark (arXiv:2001.00326). These tables are for images; `candidates` makes them for
signals and volumes, under the same names: what is called 3x3 has 3 taps in each dimension.

Every factory takes `(channels, stride, search)`. In search, BatchNorm has no affine parameters
(its scale would absorb the mixing weight) and pooling is followed by a BatchNorm (not in
NAS-Bench-201), so that the candidates of an edge compete at equal scale; in a derived network
BatchNorm is affine and pooling stands alone. Inputs and outputs: (B, channels, H, W) ->
(B, channels, ceil(H/stride), ceil(W/stride)), likewise in one and three dimensions. Convolutions
have no bias.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archgrad.kernels.branches import Branch, Pending, Raw, branches
from archgrad.kernels.duals import at_rest
from archgrad.tensors.dimensions import LAYERS, AvgPool, BatchNorm, Conv, MaxPool, every

Factory = Callable[[int, int, bool], nn.Module]  # (channels, stride, search)


class Branching(nn.Sequential):
    """A candidate whose first step can be computed with those of all others that see its input.

    Called as a module it computes the same, step by step.
    """

    def branch(self) -> tuple[Hashable, Branch]:
        """The first step; candidates of one state with the same key share it."""
        raise NotImplementedError

    def finish(self, raw: Raw) -> Pending:
        """What comes after it, up to the last normalization, which is left to the reader."""
        raise NotImplementedError


class Zero(nn.Module):
    """The operation `none`: zeros of the shape of its input, every dimension of it by `stride`.

    Put it among the candidates of a `Choice` to let a place have no operation: no gradient passes.

    >>> import archgrad, torch
    >>> archgrad.Zero(stride=2)(torch.ones(1, 3, 8, 8)).shape
    torch.Size([1, 3, 4, 4])
    """

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Zeros (B, C, ceil(H / stride), ceil(W / stride)) for an `x` (B, C, H, W)."""
        return x.mul(0) if self.stride == 1 else every(x, self.stride).mul(0)


class Noise(nn.Module):
    """The operation `noise`: N(0, 1) in place of the input, fresh in every forward pass.

    Drawn from torch's global generator; no gradient passes.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.randn_like(every(x.detach(), self.stride))


class FactorizedReduce(nn.Module):
    """Halve every side: ReLU, two strided 1x1 convolutions, one shifted, BatchNorm.

    The shift is by one in every dimension. An odd side is first padded by one row of zeros, so that
    both halves agree (the original stops with a shape error there).
    """

    def __init__(self, inputs: int, outputs: int, affine: bool, dims: int = 2) -> None:
        super().__init__()
        layers = LAYERS[dims]
        self.conv1 = layers.conv(inputs, outputs // 2, 1, bias=False)
        self.conv2 = layers.conv(inputs, outputs - outputs // 2, 1, bias=False)
        self.norm = layers.norm(outputs, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        odd = [side % 2 for side in reversed(x.shape[2:])]
        if any(odd):
            x = F.pad(x, [*chain(*((0, more) for more in odd))])
        # Taking every second pixel first is the same function as a stride of 2. The weight gradient
        # of a strided 1x1 convolution writes out of bounds in torch 2.13 on a CPU (channels_last,
        # few channels, 56 pixels or more a side).
        halves = self.conv1(every(x, 2)), self.conv2(every(x, 2, 1))
        out: Tensor = self.norm(torch.cat(halves, dim=1))
        return out


def relu_conv_norm(
    inputs: int, outputs: int, affine: bool, kernel: int = 1, stride: int = 1, dims: int = 2
) -> nn.Sequential:
    """ReLU, convolution, BatchNorm; with a kernel of 1 the preprocessing of a cell's input."""
    layers = LAYERS[dims]
    return nn.Sequential(
        nn.ReLU(),
        layers.conv(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        layers.norm(outputs, affine=affine),
    )


_passing: ContextVar[bool] = ContextVar("_passing", default=False)


@contextmanager
def statistics(kept: bool) -> Iterator[None]:
    """Unless `kept`, nobody reads the running statistics, and `pending` leaves them alone."""
    token = _passing.set(not kept)
    try:
        yield
    finally:
        _passing.reset(token)


def pending(norm: nn.Module, raw: Raw) -> Pending:
    """What the batch normalization `norm` makes of a raw tensor; running statistics are kept."""
    assert isinstance(norm, BatchNorm)
    if not norm.training and norm.running_mean is not None and norm.running_var is not None:
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        return Pending(raw.value, norm.running_mean.double(), scale)
    count = raw.over
    if count == 1:
        raise ValueError(
            "Expected more than 1 value per channel when training, got input size "
            f"{raw.value.shape}"
        )
    kept = norm.training and not _passing.get()
    if kept and norm.running_mean is not None and norm.running_var is not None:
        assert norm.num_batches_tracked is not None and norm.momentum is not None
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            mean, var = at_rest(raw.mean), at_rest(raw.var) * (count / (count - 1))
            norm.running_mean.lerp_(mean.to(norm.running_mean), norm.momentum)
            norm.running_var.lerp_(var.to(norm.running_var), norm.momentum)
    return Pending(raw.value, raw.mean, (raw.var + norm.eps).rsqrt())


class SeparableConv(Branching):
    """ReLU, depthwise, pointwise, BatchNorm; once or more times. In search without affine."""

    def branch(self) -> tuple[Hashable, Branch]:
        return self, self._branch(0)

    def finish(self, raw: Raw) -> Pending:
        found = pending(self[3], raw)
        for start in range(4, len(self), 4):
            (raw,) = branches(found, [self._branch(start)])
            found = pending(self[start + 3], raw)
        return found

    def _branch(self, start: int) -> Branch:
        depthwise, pointwise = self[start + 1], self[start + 2]
        assert isinstance(depthwise, Conv) and isinstance(pointwise, Conv)
        stride, dilation = depthwise.stride[0], depthwise.dilation[0]
        return Branch("separable", stride, dilation, depthwise.weight, pointwise.weight)


class NormalizedPool(Branching):
    """A 3x3 pool and a BatchNorm, as in search."""

    def branch(self) -> tuple[Hashable, Branch]:
        pool = self[0]
        assert isinstance(pool, MaxPool | AvgPool)
        kind = "max_pool" if isinstance(pool, MaxPool) else "avg_pool"
        stride = pool.stride[0] if isinstance(pool.stride, tuple) else int(pool.stride)
        return (kind, stride), Branch(kind, stride)

    def finish(self, raw: Raw) -> Pending:
        return pending(self[1], raw)


def _depthwise_separable(
    dims: int, channels: int, kernel: int, stride: int, dilation: int, affine: bool
) -> list[nn.Module]:
    padding, layers = dilation * (kernel - 1) // 2, LAYERS[dims]
    return [
        nn.ReLU(),
        layers.conv(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        ),
        layers.conv(channels, channels, 1, bias=False),
        layers.norm(channels, affine=affine),
    ]


def _sep_conv(dims: int, kernel: int) -> Factory:
    def build(channels: int, stride: int, search: bool) -> nn.Module:
        first = _depthwise_separable(dims, channels, kernel, stride, 1, affine=not search)
        second = _depthwise_separable(dims, channels, kernel, 1, 1, affine=not search)
        return (SeparableConv if search else nn.Sequential)(*first, *second)

    return build


def _dil_conv(dims: int, kernel: int) -> Factory:
    def build(channels: int, stride: int, search: bool) -> nn.Module:
        parts = _depthwise_separable(dims, channels, kernel, stride, 2, affine=not search)
        return (SeparableConv if search else nn.Sequential)(*parts)

    return build


def _nor_conv(kernel: int) -> Factory:
    def build(channels: int, stride: int, search: bool) -> nn.Module:
        return relu_conv_norm(channels, channels, not search, kernel, stride)

    return build


def _maximum(dims: int, stride: int) -> nn.Module:
    return LAYERS[dims].max_pool(3, stride, padding=1)


def _average(dims: int, stride: int) -> nn.Module:
    return LAYERS[dims].avg_pool(3, stride, padding=1)


def _pool(dims: int, pool: Callable[[int, int], nn.Module]) -> Factory:
    def build(channels: int, stride: int, search: bool) -> nn.Module:
        if not search:
            return pool(dims, stride)
        return NormalizedPool(pool(dims, stride), LAYERS[dims].norm(channels, affine=False))

    return build


def _skip(dims: int) -> Factory:
    def build(channels: int, stride: int, search: bool) -> nn.Module:
        if stride == 1:
            return nn.Identity()
        return FactorizedReduce(channels, channels, affine=not search, dims=dims)

    return build


@cache
def candidates(dims: int) -> Mapping[str, Factory]:
    """`CANDIDATES` for signals (1), images (2) or volumes (3)."""
    return {
        "none": lambda channels, stride, search: Zero(stride),
        "max_pool_3x3": _pool(dims, _maximum),
        "avg_pool_3x3": _pool(dims, _average),
        "skip_connect": _skip(dims),
        "sep_conv_3x3": _sep_conv(dims, 3),
        "sep_conv_5x5": _sep_conv(dims, 5),
        "dil_conv_3x3": _dil_conv(dims, 3),
        "dil_conv_5x5": _dil_conv(dims, 5),
        "noise": lambda channels, stride, search: Noise(stride),
    }


CANDIDATES = candidates(2)

OPERATIONS = {name: factory for name, factory in CANDIDATES.items() if name != "noise"}

NAS_BENCH_201: dict[str, Factory] = {
    "none": CANDIDATES["none"],
    "skip_connect": CANDIDATES["skip_connect"],
    "nor_conv_1x1": _nor_conv(1),
    "nor_conv_3x3": _nor_conv(3),
    "avg_pool_3x3": lambda channels, stride, search: _average(2, stride),
}
