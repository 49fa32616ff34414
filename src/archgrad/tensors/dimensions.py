"""One, two and three dimensions: what of PyTorch serves signals, images and volumes.

Tensors: signals (B, C, L), images (B, C, H, W), volumes (B, C, D, H, W).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

Conv: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d
BatchNorm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
MaxPool: TypeAlias = nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d
AvgPool: TypeAlias = nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d


class Layers(NamedTuple):
    """The modules of one number of dimensions; averages leave out the padding."""

    conv: Callable[..., Conv]
    norm: Callable[..., BatchNorm]
    max_pool: Callable[..., MaxPool]
    avg_pool: Callable[..., AvgPool]
    adaptive_pool: Callable[..., nn.Module]


class Functions(NamedTuple):
    """The functions of one number of dimensions; averages leave out the padding."""

    conv: Callable[..., Tensor]
    max_pool: Callable[..., Tensor]
    avg_pool: Callable[..., Tensor]
    adaptive_pool: Callable[..., Tensor]


def avg_pool3d(x: Tensor, size: int, stride: int, padding: int = 0) -> Tensor:
    """The average without padding, first over (H, W), then over D.

    `F.avg_pool3d` refuses sides smaller than the window, and bfloat16 on a CPU (torch 2.13).
    """
    planes = _average2d(x.flatten(0, 1), size, stride, padding)
    lines = _average2d(planes.flatten(2), (size, 1), (stride, 1), (padding, 0))
    found: Tensor = lines.unflatten(0, x.shape[:2]).unflatten(3, planes.shape[2:])
    return found


class MeanPool3d(nn.AvgPool3d):
    """`avg_pool3d` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool3d(x, self.kernel_size, self.stride, self.padding)  # type: ignore[arg-type]


_average1d = partial(F.avg_pool1d, count_include_pad=False)
_average2d = partial(F.avg_pool2d, count_include_pad=False)
_mean1d = partial(nn.AvgPool1d, count_include_pad=False)
_mean2d = partial(nn.AvgPool2d, count_include_pad=False)

LAYERS = {
    1: Layers(nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, _mean1d, nn.AdaptiveAvgPool1d),
    2: Layers(nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, _mean2d, nn.AdaptiveAvgPool2d),
    3: Layers(nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, MeanPool3d, nn.AdaptiveAvgPool3d),
}
FUNCTIONS = {
    1: Functions(F.conv1d, F.max_pool1d, _average1d, F.adaptive_avg_pool1d),
    2: Functions(F.conv2d, F.max_pool2d, _average2d, F.adaptive_avg_pool2d),
    3: Functions(F.conv3d, F.max_pool3d, avg_pool3d, F.adaptive_avg_pool3d),
}
SIDES = {1: "L", 2: "H, W", 3: "D, H, W"}


def functions(x: Tensor) -> Functions:
    """The functions for a tensor (B, C, ...)."""
    return FUNCTIONS[x.ndim - 2]


def wide(channels: Tensor, like: Tensor) -> Tensor:
    """(C,) as (1, C, 1, ...), with as many dimensions as `like`."""
    return channels.view(1, -1, *[1] * (like.ndim - 2))


def others(x: Tensor) -> list[int]:
    """All dimensions of a tensor (B, C, ...) but that of the channels."""
    return [0, *range(2, x.ndim)]


def every(x: Tensor, stride: int, start: int = 0) -> Tensor:
    """Of a tensor (B, C, ...) each `stride`-th position in every dimension, from `start`."""
    return x[(slice(None),) * 2 + (slice(start, None, stride),) * (x.ndim - 2)]


def shown(size: tuple[int, ...]) -> str:
    """A size for a message, as 32x32."""
    return "x".join(map(str, size))
