"""Edges: what is around the candidates of a choice. Inputs and outputs: (B, channels, ...)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Around, Parts, State, Summand, term, total
from archgrad.networks.network import DropPath
from archgrad.networks.operations import FactorizedReduce
from archgrad.parts.schedule import Linear, Number, extremes, now
from archgrad.tensors.dimensions import functions

__all__ = ["AuxiliarySkip", "EdgeDropPath", "PartialChannels", "Plain", "SkipDropout"]


class Plain:
    """An edge part that changes nothing; the others say what they change.

    One of your own is derived from it: a frozen dataclass, see `archgrad.networks.choice.Edge` for
    what each method is asked.

    >>> from torch import nn
    >>> from archgrad.parts.edge import Plain
    >>> class Quiet(Plain):
    ...     def candidate(self, name, module):
    ...         return nn.Sequential(module, nn.Dropout(0.1))
    >>> len(Quiet().candidate("skip_connect", nn.Identity()))
    2
    """

    @property
    def bypasses(self) -> bool:
        """Whether some of the input passes by the candidates: no."""
        return False

    def width(self, channels: int) -> int:
        """Channels of what is inside, for an edge of so many `channels`: as many."""
        return channels

    def candidate(self, name: str, module: nn.Module) -> nn.Module:
        """The candidate, as it is."""
        return module

    def around(self, channels: int, stride: int, dims: int) -> Around | None:
        """What stands around the mixed operation: nothing."""
        return None


@dataclass(frozen=True)
class PartialChannels(Plain):
    """One of `k` parts of the channels goes through the candidates, the rest around them.

    PC-DARTS (arXiv:1907.05737), equation 2: the first channels / k channels are mixed, the others
    pass (max-pooled 2x2 where the stride is 2), and a channel shuffle of k groups spreads them.
    `ArchgradError` for channels that are no multiple of `k`, or fewer than 2 `k`.

    >>> from archgrad.parts.edge import PartialChannels
    >>> PartialChannels(k=4).width(16)
    4
    """

    k: int = 4

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ArchgradError(f"partial channels: k is {self.k}, expected at least 1")

    @property
    def bypasses(self) -> bool:
        return self.k > 1

    def width(self, channels: int) -> int:
        """A part of the `channels`; `ArchgradError` where they cannot be parted."""
        if channels % self.k or channels // self.k < 2:
            raise ArchgradError(
                f"partial channels: {channels} channels in {self.k} parts; expected a multiple of "
                f"{self.k}, at least {2 * self.k}: use other channels or a smaller k"
            )
        return channels // self.k

    def around(self, channels: int, stride: int, dims: int) -> Around | None:
        return None if self.k == 1 else _Partial(self.width(channels), self.k, stride)


class _Partial(Around):
    """Of a state both parts are taken once, and a node joins them once, whatever its edges."""

    def __init__(self, width: int, k: int, stride: int) -> None:
        super().__init__()
        self.width, self.k, self.stride = width, k, stride

    def inside(self, state: State) -> State:
        return state.derived(("part", self.width), lambda: self._parts(state)[0])

    def outside(self, state: State, terms: list[Summand]) -> list[Summand]:
        rest = state.once(("rest", self.width, self.stride), lambda: self._rest(state))
        mixed = [t for t in terms if not isinstance(t, Parts)]
        if len(mixed) < len(terms):  # parts of parts
            mixed = [term(total(terms))]
        return [Parts(Shuffled(self.k), (mixed, [term(rest)]))]

    def _parts(self, state: State) -> Sequence[Tensor]:
        x, width = state.x, self.width
        return state.once(("parts", width), lambda: split(x, width))

    def _rest(self, state: State) -> Tensor:
        rest = self._parts(state)[1]
        if self.stride == 1:
            return rest
        return functions(rest).max_pool(rest, 2, stride=2, ceil_mode=True)


@dataclass(frozen=True)
class Shuffled:
    """Joins parts of the channels and shuffles them in `groups`."""

    groups: int

    def __call__(self, parts: Sequence[Tensor]) -> Tensor:
        return shuffle(torch.cat(list(parts), dim=1), self.groups)


# Both work on (B, ..., C), so that in memory images and their gradients stay in that order.


def split(x: Tensor, width: int) -> list[Tensor]:
    """The first `width` channels and the others."""
    parts = x.movedim(1, -1).split([width, x.shape[1] - width], dim=-1)
    return [part.contiguous().movedim(-1, 1) for part in parts]


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel c of group g moves to place c * groups + g."""
    pixels = x.movedim(1, -1).unflatten(-1, (groups, -1))
    found: Tensor = pixels.transpose(-1, -2).flatten(-2)
    return found.movedim(-1, 1)


@dataclass(frozen=True)
class AuxiliarySkip(Plain):
    """A skip connection of weight beta beside the mixed operation, without an alpha.

    DARTS- (arXiv:2009.01027): out = beta x + sum_o p_o o(x); beta falls to 0, so nothing of it is
    left in the derived cell. At stride 2 it is a factorized reduction. `weight`: beta, a number or
    a schedule, finite and not negative (`ArchgradError`).

    >>> import archgrad
    >>> from archgrad.parts.edge import AuxiliarySkip
    >>> from archgrad.parts.schedule import Linear
    >>> archgrad.Method(edges=(AuxiliarySkip(Linear(0.5, 0.0)),)).filled()
    {'edges': 'AuxiliarySkip(weight=Linear(start=0.5, end=0))'}
    """

    weight: Number = Linear(1.0, 0.0)

    def __post_init__(self) -> None:
        least, most = extremes(self.weight)
        if not 0 <= least <= most < inf:
            raise ArchgradError(
                f"auxiliary skip: weight is {self.weight}, expected finite and not negative"
            )

    @property
    def bypasses(self) -> bool:
        return True

    def around(self, channels: int, stride: int, dims: int) -> Around | None:
        return _Auxiliary(self.weight, channels, stride, dims)


class _Auxiliary(Around):
    def __init__(self, weight: Number, channels: int, stride: int, dims: int) -> None:
        super().__init__()
        self.weight, self.progress = weight, 0.0
        self.skip = (
            nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, False, dims)
        )

    def outside(self, state: State, terms: list[Summand]) -> list[Summand]:
        weight = now(self.weight, self.progress)
        return [*terms, term(self.skip(state.x), weight)] if weight else terms


@dataclass(frozen=True)
class EdgeDropPath(Plain):
    """Drop path on every mixed edge in the search, per image (RobustDARTS, arXiv:1909.09656).

    `rate`: the probability, a number or a schedule, from 0 to below 1 (`ArchgradError`).

    >>> import archgrad
    >>> from archgrad.parts.edge import EdgeDropPath
    >>> archgrad.Method(edges=(EdgeDropPath(0.2),)).filled()
    {'edges': 'EdgeDropPath(rate=0.2)'}
    """

    rate: Number = Linear(0.0, 0.2)

    def __post_init__(self) -> None:
        least, most = extremes(self.rate)
        if not 0 <= least <= most < 1:
            raise ArchgradError(f"drop path: rate is {self.rate}, expected from 0 to below 1")

    def around(self, channels: int, stride: int, dims: int) -> Around | None:
        return _Dropped(self.rate)


class _Dropped(Around):
    def __init__(self, rate: Number) -> None:
        super().__init__()
        self.rate, self.progress = rate, 0.0
        self.drop = DropPath()

    def outside(self, state: State, terms: list[Summand]) -> list[Summand]:
        self.drop.rate = now(self.rate, self.progress)
        return [term(self.drop(total(terms)))]


@dataclass(frozen=True)
class SkipDropout(Plain):
    """Dropout behind skip connections of stride 1 (P-DARTS, arXiv:1904.12760, section 3.3).

    `rate`: the probability, a number or a schedule, from 0 to below 1 (`ArchgradError`).

    >>> from torch import nn
    >>> from archgrad.parts.edge import SkipDropout
    >>> type(SkipDropout(0.5).candidate("conv", nn.Conv2d(4, 4, 3))).__name__
    'Conv2d'
    """

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
