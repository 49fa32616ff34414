r"""Relaxations: alpha -> mixing weights of the candidates, (edges, operations) a group.

Each is called as `relaxation(alpha, state)`. `strength(alpha, state)` gives what a discrete
architecture is read from: without noise, by group. With `state.sample` False the weights are the
most typical ones instead of random ones. `simplex`: the weights of an edge sum to one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.networks.mixing import Mixing, Paths
from archgrad.networks.supernet import Alpha
from archgrad.parts.architectures import alone, drawn
from archgrad.parts.discretization import StrongestEdges
from archgrad.parts.schedule import Linear, Number, extremes, now
from archgrad.parts.state import State

__all__ = [
    "Dirichlet",
    "EdgeNormalized",
    "Gates",
    "GumbelSoftmax",
    "Relaxation",
    "Sigmoid",
    "Softmax",
    "UniformPath",
]


class Relaxation(Protocol):
    """What the loop and the discretizations ask of a relaxation.

    Called with alpha it gives the mixing weights of a step, by group (edges, operations);
    `strength` gives what an architecture is read from, without noise. `simplex`: the weights of an
    edge sum to one. One of your own is a frozen dataclass with these three, as in
    examples/new_variant.py.
    """

    simplex: ClassVar[bool]

    def __call__(self, alpha: Alpha, state: State) -> Mixing: ...

    def strength(self, alpha: Alpha, state: State) -> dict[str, Tensor]:
        """The strength of each candidate, by group (edges, operations), without noise."""


def _softmax(alpha: Alpha) -> dict[str, Tensor]:
    return {name: logits.softmax(dim=-1) for name, logits in alpha.items()}


@dataclass(frozen=True)
class Softmax:
    """Softmax over the operations of each edge (arXiv:1806.09055, equation 2).

    >>> import torch
    >>> from archgrad.parts.relaxation import Softmax
    >>> from archgrad.parts.state import State
    >>> relaxation = Softmax()
    >>> relaxation({"cell": torch.zeros(1, 4)}, State(None, relaxation))["cell"]
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """

    simplex: ClassVar[bool] = True

    def __call__(self, alpha: Alpha, state: State) -> Mixing:
        return Mixing(_softmax(alpha))

    def strength(self, alpha: Alpha, state: State) -> dict[str, Tensor]:
        """The strength of each candidate, by group (edges, operations): softmax(alpha)."""
        return _softmax(alpha)


@dataclass(frozen=True)
class Sigmoid:
    """Each candidate by itself: sigmoid(alpha) (FairDARTS, arXiv:1911.12126).

    >>> import torch
    >>> from archgrad.parts.relaxation import Sigmoid
    >>> from archgrad.parts.state import State
    >>> relaxation = Sigmoid()
    >>> relaxation({"cell": torch.zeros(1, 4)}, State(None, relaxation))["cell"]
    tensor([[0.5000, 0.5000, 0.5000, 0.5000]])
    """

    simplex: ClassVar[bool] = False

    def __call__(self, alpha: Alpha, state: State) -> Mixing:
        return Mixing(self.strength(alpha, state))

    def strength(self, alpha: Alpha, state: State) -> dict[str, Tensor]:
        """The strength of each candidate, by group (edges, operations): sigmoid(alpha)."""
        return {name: logits.sigmoid() for name, logits in alpha.items()}


@dataclass(frozen=True)
class GumbelSoftmax:
    r"""A random point near a corner of the simplex: softmax((log p + G) / temperature).

    p = softmax(alpha), G ~ Gumbel(0, 1) (SNAS, arXiv:1812.09926). `hard`: the weights are the
    one-hot vector h of the largest entry, with the gradient of the soft ones, h - stop(q) + q, and
    that candidate alone is computed (GDAS, arXiv:1910.04465). Without sampling: p, or the one-hot
    vector of the largest p. `temperature`: a number or a schedule, above 0 throughout
    (`ArchgradError`).

    Differs from the first code of GDAS, which adds the scalar weights of the other candidates to
    the feature map (0 in value, but with a gradient); its later form does not, nor does this one.

    >>> import torch
    >>> from archgrad.parts.relaxation import GumbelSoftmax
    >>> from archgrad.parts.state import State
    >>> relaxation = GumbelSoftmax(temperature=1.0, hard=True)
    >>> mixing = relaxation({"cell": torch.zeros(3, 4)}, State(None, relaxation, seed=1))
    >>> mixing["cell"].sum(dim=-1), [len(computed) for computed in mixing.active["cell"]]
    (tensor([1., 1., 1.]), [1, 1, 1])
    """

    temperature: Number = Linear(10.0, 1.0)
    hard: bool = False
    simplex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if extremes(self.temperature)[0] <= 0:
            raise ArchgradError(
                f"Gumbel softmax: temperature is {self.temperature}, expected above 0 throughout"
            )

    def __call__(self, alpha: Alpha, state: State) -> Mixing:
        log = {name: logits.log_softmax(dim=-1) for name, logits in alpha.items()}
        if not state.sample:
            soft = {name: value.exp() for name, value in log.items()}
            return one_path(soft) if self.hard else Mixing(soft)
        generator = state.generator()
        temperature = now(self.temperature, state.progress)
        soft = {
            name: ((value + gumbel(value, generator)) / temperature).softmax(dim=-1)
            for name, value in log.items()
        }
        return one_path(soft) if self.hard else Mixing(soft)

    def strength(self, alpha: Alpha, state: State) -> dict[str, Tensor]:
        """The strength of each candidate, by group (edges, operations): softmax(alpha)."""
        return _softmax(alpha)


@dataclass(frozen=True)
class Gates:
    """Binary gates: one candidate an edge, drawn from p = softmax(alpha), alone in memory.

    ProxylessNAS (arXiv:1812.00332), section 3.2; alpha gets its gradient from
    `archgrad.parts.paths.TwoPaths`. Without sampling: the candidate of the largest p.

    >>> import torch
    >>> from archgrad.parts.relaxation import Gates
    >>> from archgrad.parts.state import State
    >>> relaxation = Gates()
    >>> alpha = {"cell": torch.tensor([[0.0, 2.0]])}
    >>> relaxation(alpha, State(None, relaxation, sample=False))["cell"]
    tensor([[0., 1.]])
    """

    simplex: ClassVar[bool] = True

    def __call__(self, alpha: Alpha, state: State) -> Mixing:
        chosen = {name: p.detach() for name, p in _softmax(alpha).items()}
        if not state.sample:
            return one_path(chosen)
        generator = state.generator()
        drawn = {
            name: torch.multinomial(p.cpu(), 1, generator=generator).squeeze(-1)
            for name, p in chosen.items()
        }
        return single(chosen, drawn)

    def strength(self, alpha: Alpha, state: State) -> dict[str, Tensor]:
        """The strength of each candidate, by group (edges, operations): softmax(alpha)."""
        return _softmax(alpha)


@dataclass(frozen=True)
class Dirichlet:
    """A draw from Dirichlet(ELU(alpha) + 1) an edge (DrNAS, arXiv:2006.10355).

    Differentiable by implicit reparameterization (of the gamma variables it is made of). Without
    sampling: its mean.

    >>> import torch
    >>> from archgrad.parts.relaxation import Dirichlet
    >>> from archgrad.parts.state import State
    >>> relaxation = Dirichlet()
    >>> relaxation({"cell": torch.zeros(1, 4)}, State(None, relaxation, sample=False))["cell"]
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """

    simplex: ClassVar[bool] = True

    def __call__(self, alpha: Alpha, state: State) -> Mixing:
        if not state.sample:
            return Mixing(self.strength(alpha, state))
        generator = state.generator()
        drawn = {}
        for name, logits in alpha.items():
            concentration = self.concentration(logits).cpu()
            gamma = torch._standard_gamma(concentration, generator=generator)
            gamma = gamma.clamp_min(torch.finfo(gamma.dtype).tiny).to(logits.device)
            drawn[name] = gamma / gamma.sum(dim=-1, keepdim=True)
        return Mixing(drawn)

    def strength(self, alpha: Alpha, state: State) -> dict[str, Tensor]:
        """The strength of each candidate, by group (edges, operations): the mean."""
        mass = {name: self.concentration(logits) for name, logits in alpha.items()}
        return {name: value / value.sum(dim=-1, keepdim=True) for name, value in mass.items()}

    @staticmethod
    def concentration(logits: Tensor) -> Tensor:
        """The parameters of the distribution, above 0 and 1 where alpha is 0."""
        return (F.elu(logits) + 1).clamp_min(torch.finfo(logits.dtype).eps)


@dataclass(frozen=True)
class UniformPath:
    """One architecture, alone computed, drawn uniformly and without regard to alpha.

    Weight-sharing random search (arXiv:1902.07638): see `archgrad.parts.architectures.drawn`.
    Without sampling: the architecture of the strongest alpha, which, since alpha never moves, is
    one that was drawn once.

    >>> import archgrad, torch
    >>> from archgrad.parts.relaxation import UniformPath
    >>> from archgrad.parts.state import State
    >>> relaxation, groups = UniformPath(), archgrad.space("nas-bench-201").groups
    >>> mixing = relaxation({"cell": torch.zeros(6, 5)}, State(None, relaxation, groups=groups))
    >>> [len(computed) for computed in mixing.active["cell"]]
    [1, 1, 1, 1, 1, 1]
    """

    simplex: ClassVar[bool] = True

    def __call__(self, alpha: Alpha, state: State) -> Mixing:
        strength = {group.name: alpha[group.name].detach() for group in state.groups}
        if state.sample:
            return alone(state.groups, drawn(state.groups, state.generator()), strength)
        rule = StrongestEdges()
        cells = [rule.cell(group, strength[group.name].tolist()) for group in state.groups]
        return alone(state.groups, cells, strength)

    def strength(self, alpha: Alpha, state: State) -> dict[str, Tensor]:
        """The strength of each candidate, by group (edges, operations): softmax(alpha)."""
        return _softmax(alpha)


@dataclass(frozen=True)
class EdgeNormalized:
    """Weights of edges beside those of operations: softmax over the edges that enter a node.

    PC-DARTS (arXiv:1907.05737), equation 4. `operations` weighs the candidates of an edge. The
    edge logits of a node are alpha["GROUP/NODE"]. An edge's strength is multiplied with its weight.
    `ArchgradError` for `operations` that are normalized themselves.

    >>> import archgrad
    >>> from archgrad.parts.relaxation import EdgeNormalized
    >>> EdgeNormalized().extra(archgrad.space("darts-cnn", nodes=2).groups[:1])
    {'normal/2': (2,), 'normal/3': (3,)}
    """

    operations: Relaxation = Softmax()
    simplex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.operations, EdgeNormalized):
            raise ArchgradError("edge normalization: found twice, expected once; take one out")

    def extra(self, groups: tuple[Group, ...]) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the edge logits: one tensor a node."""
        return {
            f"{group.name}/{node}": (sum(target == node for _, target in group.edges),)
            for group in groups
            for node in dict.fromkeys(target for _, target in group.edges)
        }

    def __call__(self, alpha: Alpha, state: State) -> Mixing:
        inner = self.operations(self._operations(alpha, state), state)
        return Mixing(inner, self._edges(alpha, state), inner.active, inner.watched)

    def strength(self, alpha: Alpha, state: State) -> dict[str, Tensor]:
        """The strength of each candidate, by group (edges, operations), times that of its edge."""
        inner = self.operations.strength(self._operations(alpha, state), state)
        edges = self._edges(alpha, state)
        return {name: value * edges[name].unsqueeze(-1) for name, value in inner.items()}

    def _operations(self, alpha: Alpha, state: State) -> Alpha:
        return {group.name: alpha[group.name] for group in state.groups}

    def _edges(self, alpha: Alpha, state: State) -> dict[str, Tensor]:
        found = {}
        for group in state.groups:
            nodes = [target for _, target in group.edges]
            weights = {n: alpha[f"{group.name}/{n}"].softmax(dim=-1).unbind() for n in {*nodes}}
            taken = {n: iter(values) for n, values in weights.items()}
            found[group.name] = torch.stack([next(taken[n]) for n in nodes])
        return found


ALONE = 2.0  # in a mask


@dataclass(frozen=True, eq=False)
class Masked:
    """Another relaxation without some candidates: their weight is 0, the others keep theirs.

    `mask`: by group (edges, operations), 1 or 0; `ALONE` for the candidate that an edge was
    discretized to: its weight is 1.
    """

    inner: Relaxation
    mask: Mapping[str, Tensor]
    simplex: ClassVar[bool] = False

    def __call__(self, alpha: Alpha, state: State) -> Mixing:
        found = self.inner(alpha, state)
        return found.replaced(self._masked(found))

    def strength(self, alpha: Alpha, state: State) -> dict[str, Tensor]:
        """The strength of each candidate that the mask leaves, by group (edges, operations)."""
        return self._masked(self.inner.strength(alpha, state))

    def _masked(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: torch.where(
                self.mask[name] == ALONE, torch.ones_like(value), value * self.mask[name]
            )
            for name, value in weights.items()
        }


def gumbel(like: Tensor, generator: torch.Generator) -> Tensor:
    """Independent Gumbel(0, 1) variables; drawn on the CPU, so the same on every device."""
    uniform = torch.rand(like.shape, generator=generator, dtype=torch.float64)
    tiny = torch.finfo(torch.float64).tiny
    return -(-uniform.clamp_min(tiny).log()).clamp_min(tiny).log().to(like)


def one_path(soft: Mapping[str, Tensor]) -> Mixing:
    """One-hot at the largest entry, with the gradient of `soft`."""
    largest = {name: value.detach().argmax(dim=-1) for name, value in soft.items()}
    hard = single(soft, largest)
    return hard.replaced({name: hard[name] - q.detach() + q for name, q in soft.items()})


def single(like: Mapping[str, Tensor], chosen: Mapping[str, Tensor]) -> Mixing:
    """One-hot at the chosen candidates, which alone are computed."""
    active: Paths = {name: [[i] for i in index.tolist()] for name, index in chosen.items()}
    weights = {
        name: F.one_hot(chosen[name].to(value.device), value.shape[-1]).to(value.dtype)
        for name, value in like.items()
    }
    return Mixing(weights, active=active)
