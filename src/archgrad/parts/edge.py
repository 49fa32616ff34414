"""Edges: what is around the candidates of a choice. Inputs and outputs: (B, channels, H, W)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.network import DropPath
from archgrad.operations import FactorizedReduce
from archgrad.parts.schedule import Linear, Number, extremes, now

Mix = Callable[[Tensor], Tensor]


class Plain:
    """An edge part that changes nothing; the others say what they change."""

    def width(self, channels: int) -> int:
        return channels

    def candidate(self, name: str, module: nn.Module) -> nn.Module:
        return module

    def around(self, channels: int, stride: int) -> nn.Module | None:
        return None


@dataclass(frozen=True)
class PartialChannels(Plain):
    """One of ``k`` parts of the channels goes through the candidates, the rest around them.

    PC-DARTS (arXiv:1907.05737), equation 2: the first channels / k channels are mixed, the others
    pass (max-pooled 2x2 where the stride is 2), and a channel shuffle of k groups spreads them.
    """

    k: int = 4

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ArchgradError(f"partial channels: k is {self.k}, expected at least 1")

    def width(self, channels: int) -> int:
        if channels % self.k or channels // self.k < 2:
            raise ArchgradError(
                f"partial channels: {channels} channels in {self.k} parts; expected a multiple of "
                f"{self.k}, at least {2 * self.k}: use other channels or a smaller k"
            )
        return channels // self.k

    def around(self, channels: int, stride: int) -> nn.Module | None:
        return None if self.k == 1 else _Partial(self.width(channels), self.k, stride)


class _Partial(nn.Module):
    def __init__(self, width: int, k: int, stride: int) -> None:
        super().__init__()
        self.width, self.k = width, k
        self.pool = nn.MaxPool2d(2, stride=2, ceil_mode=True) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor, mix: Mix) -> Tensor:
        rest = self.pool(x[:, self.width :])
        return shuffle(torch.cat([mix(x[:, : self.width]), rest], dim=1), self.k)


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel c of group g moves to place c * groups + g."""
    grouped: Tensor = x.unflatten(1, (groups, x.shape[1] // groups))
    return grouped.transpose(1, 2).flatten(1, 2)


@dataclass(frozen=True)
class AuxiliarySkip(Plain):
    """A skip connection of weight beta beside the mixed operation, without an alpha.

    DARTS- (arXiv:2009.01027): out = beta x + sum_o p_o o(x); beta falls to 0, so nothing of it is
    left in the derived cell. At stride 2 it is a factorized reduction.
    """

    weight: Number = Linear(1.0, 0.0)

    def __post_init__(self) -> None:
        least, most = extremes(self.weight)
        if not 0 <= least <= most < inf:
            raise ArchgradError(
                f"auxiliary skip: weight is {self.weight}, expected finite and not negative"
            )

    def around(self, channels: int, stride: int) -> nn.Module | None:
        return _Auxiliary(self.weight, channels, stride)


class _Auxiliary(nn.Module):
    def __init__(self, weight: Number, channels: int, stride: int) -> None:
        super().__init__()
        self.weight, self.progress = weight, 0.0
        self.skip = nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, False)

    def forward(self, x: Tensor, mix: Mix) -> Tensor:
        weight = now(self.weight, self.progress)
        if not weight:
            return mix(x)
        skipped: Tensor = self.skip(x)
        return mix(x) + weight * skipped


@dataclass(frozen=True)
class EdgeDropPath(Plain):
    """Drop path on every mixed edge in the search, per image (RobustDARTS, arXiv:1909.09656)."""

    rate: Number = Linear(0.0, 0.2)

    def __post_init__(self) -> None:
        least, most = extremes(self.rate)
        if not 0 <= least <= most < 1:
            raise ArchgradError(f"drop path: rate is {self.rate}, expected from 0 to below 1")

    def around(self, channels: int, stride: int) -> nn.Module | None:
        return _Dropped(self.rate)


class _Dropped(nn.Module):
    def __init__(self, rate: Number) -> None:
        super().__init__()
        self.rate, self.progress = rate, 0.0
        self.drop = DropPath()

    def forward(self, x: Tensor, mix: Mix) -> Tensor:
        self.drop.rate = now(self.rate, self.progress)
        output: Tensor = self.drop(mix(x))
        return output


@dataclass(frozen=True)
class SkipDropout(Plain):
    """Dropout behind skip connections of stride 1 (P-DARTS, arXiv:1904.12760, section 3.3)."""

    rate: Number = 0.0

    def __post_init__(self) -> None:
        least, most = extremes(self.rate)
        if not 0 <= least <= most < 1:
            raise ArchgradError(f"skip dropout: rate is {self.rate}, expected from 0 to below 1")

    def candidate(self, name: str, module: nn.Module) -> nn.Module:
        return _Dropout(self.rate) if isinstance(module, nn.Identity) else module


class _Dropout(nn.Dropout):
    def __init__(self, rate: Number) -> None:
        super().__init__(0.0)
        self.rate, self.progress = rate, 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.p = now(self.rate, self.progress)
        return super().forward(x)
