"""Regularizers: terms added to the loss of alpha, scalars; `weight` may be a schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Dirichlet as DirichletDistribution
from torch.distributions import kl_divergence

from archgrad.errors import ArchgradError
from archgrad.networks.choice import NONE
from archgrad.networks.supernet import Alpha
from archgrad.parts.relaxation import Dirichlet
from archgrad.parts.schedule import Cosine, Linear, Number, now
from archgrad.parts.state import State

__all__ = ["BetaDecay", "DirichletAnchor", "Entropy", "ZeroOne"]


@dataclass(frozen=True)
class BetaDecay:
    r"""Beta decay: weight times the mean over edges of logsumexp(alpha).

    beta-DARTS (arXiv:2203.01665). Its gradient is weight p / E, with p = softmax(alpha) and E the
    number of edges of all groups: a decay of the mixing weights instead of alpha.

    >>> import archgrad, torch
    >>> from archgrad.parts.regularizer import BetaDecay
    >>> from archgrad.parts.relaxation import Softmax
    >>> from archgrad.parts.state import State
    >>> state = State(None, Softmax(), groups=archgrad.space("nas-bench-201").groups)
    >>> BetaDecay(1.0)({"cell": torch.zeros(6, 5)}, state)  # log 5
    tensor(1.6094)
    """

    weight: Number = Linear(0.0, 50.0)

    def __call__(self, alpha: Alpha, state: State) -> Tensor:
        rows = torch.cat([alpha[group.name].logsumexp(dim=-1) for group in state.groups])
        return now(self.weight, state.progress) * rows.mean()


@dataclass(frozen=True)
class ZeroOne:
    r"""The zero-one loss: pushes every sigmoid(alpha) to 0 or 1.

    FairDARTS (arXiv:1911.12126), equation 5: - weight / N sum_i |s_i - 0.5|^power over all N
    candidates of all groups; from - weight / 2^power to 0, with zero gradient at alpha = 0 for
    power 2. `power` 1 is the paper's alternative, and another an `ArchgradError`.

    >>> import archgrad, torch
    >>> from archgrad.parts.regularizer import ZeroOne
    >>> from archgrad.parts.relaxation import Softmax
    >>> from archgrad.parts.state import State
    >>> state = State(None, Softmax(), groups=archgrad.space("nas-bench-201").groups)
    >>> ZeroOne(weight=10.0)({"cell": torch.full((6, 5), 100.0)}, state)  # - 10 / 4
    tensor(-2.5000)
    """

    weight: Number = 10.0
    power: int = 2

    def __post_init__(self) -> None:
        if self.power not in (1, 2):
            raise ArchgradError(f"zero-one loss: power is {self.power}, expected 1 or 2")

    def __call__(self, alpha: Alpha, state: State) -> Tensor:
        distance = torch.cat([(alpha[g.name].sigmoid() - 0.5).flatten() for g in state.groups])
        return -now(self.weight, state.progress) * distance.abs().pow(self.power).mean()


@dataclass(frozen=True)
class Entropy:
    """Weight times the mean entropy over edges of the softmax without `none`, in bits.

    AER (Jing, Chen, Xu, Neural Networks 2023). A negative weight keeps the candidates open, a
    positive one makes an edge decide; the code goes from one to the other along half a cosine.

    >>> import archgrad, torch
    >>> from archgrad.parts.regularizer import Entropy
    >>> from archgrad.parts.relaxation import Softmax
    >>> from archgrad.parts.state import State
    >>> state = State(None, Softmax(), groups=archgrad.space("nas-bench-201").groups)
    >>> Entropy(1.0)({"cell": torch.zeros(6, 5)}, state)  # of four candidates, 2 bits
    tensor(2.)
    """

    weight: Number = Cosine(-0.2, 0.2)

    def __call__(self, alpha: Alpha, state: State) -> Tensor:
        entropies = []
        for group in state.groups:
            for logits, names in zip(alpha[group.name], group.candidates, strict=True):
                logs = logits[[i for i, n in enumerate(names) if n != NONE]].log_softmax(dim=-1)
                entropies.append(-(logs.exp() * logs).sum() / math.log(2))
        return now(self.weight, state.progress) * torch.stack(entropies).mean()


@dataclass(frozen=True)
class DirichletAnchor:
    """Weight times sum over edges of KL(Dirichlet(ELU(alpha) + 1) || Dirichlet(1)).

    DrNAS (arXiv:2006.10355), equation 7.

    >>> import archgrad, torch
    >>> from archgrad.parts.regularizer import DirichletAnchor
    >>> from archgrad.parts.relaxation import Softmax
    >>> from archgrad.parts.state import State
    >>> state = State(None, Softmax(), groups=archgrad.space("nas-bench-201").groups)
    >>> float(DirichletAnchor(1.0)({"cell": torch.zeros(6, 5)}, state))
    0.0
    """

    weight: Number = 1e-3

    def __call__(self, alpha: Alpha, state: State) -> Tensor:
        rows = [Dirichlet.concentration(alpha[group.name]) for group in state.groups]
        total = sum(
            kl_divergence(DirichletDistribution(row), DirichletDistribution(torch.ones_like(row)))
            .sum()
            for row in rows
        )  # fmt: skip
        assert isinstance(total, Tensor)
        return now(self.weight, state.progress) * total
