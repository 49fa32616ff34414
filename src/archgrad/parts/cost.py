r"""The expected cost of an architecture, differentiable in alpha, and how a search minds it.

.. math:: E(\alpha) = \text{fixed} + \sum_{edges} s_e \sum_o p_{e,o}\, F_{e,o}

(ProxylessNAS, arXiv:1812.00332, equation 6) with F from a `archgrad.costing.costs.CostTable`, p the
weights of the candidates without noise, and s the share of a derived network in which an edge is
kept. What is inside candidates of other choices counts with the product of the weights of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from archgrad.costing.costs import CostTable
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.networks.nesting import Path
from archgrad.networks.supernet import Alpha
from archgrad.parts.derivatives import gradient
from archgrad.parts.hypergradient import Estimate
from archgrad.parts.schedule import Number, now
from archgrad.parts.state import State

__all__ = ["CostPenalty", "CostRatio", "ExpectedCost"]


@dataclass(frozen=True, eq=False)
class ExpectedCost:
    """The expected cost, a scalar in the unit of the table.

    The candidates of an edge count by their strength among those that can be derived; where an
    edge's weights sum to one, the k edges that a derived node keeps are shared among those that
    enter it by their strength. Independent weights (sigmoids) count as they are.

    >>> import archgrad, torch
    >>> from archgrad.parts.cost import ExpectedCost
    >>> from archgrad.parts.relaxation import Softmax
    >>> from archgrad.parts.state import State
    >>> from archgrad.spaces.own import OwnModel
    >>> block = {"linear": torch.nn.Linear(4, 4), "skip": torch.nn.Identity()}
    >>> model = torch.nn.Sequential(archgrad.Choice(block, "block"), torch.nn.Linear(4, 2))
    >>> table = archgrad.cost_table(model, "parameters", example=torch.zeros(2, 4))
    >>> space = OwnModel(model)
    >>> state = State(None, Softmax(), groups=space.groups)
    >>> alpha = {"block": torch.zeros(1, 2)}
    >>> ExpectedCost(table)(alpha, state)  # 10 + 20 / 2
    tensor(20.)
    """

    table: CostTable
    _known: dict[object, _Constants] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, alpha: Alpha, state: State) -> Tensor:
        strength = state.strength(alpha)
        simplex = bool(getattr(state.relaxation, "simplex", True))
        weights = {g.name: self._weights(g, strength[g.name], simplex) for g in state.groups}
        chances = {
            (group.name, name): group.picks * chance
            for group in state.groups
            for name, chance in zip(group.candidates[0], weights[group.name][0], strict=True)
        }
        costs = []
        for group in state.groups:
            known = self._constants(group, strength[group.name])
            each = (weights[group.name] * _where(chances, known)).sum(dim=-1)
            costs.append(_kept(group, known, each, strength[group.name], simplex))
        return self.table.fixed + torch.stack(costs).sum()

    def _weights(self, group: Group, strength: Tensor, simplex: bool) -> Tensor:
        """Of the candidates that can be derived."""
        weights = strength * self._constants(group, strength).derivable
        if not simplex:
            return weights
        tiny = torch.finfo(weights.dtype).tiny
        return weights / weights.sum(dim=-1, keepdim=True).clamp_min(tiny)

    def _constants(self, group: Group, like: Tensor) -> _Constants:
        key = (group, like.device, like.dtype)
        if key not in self._known:
            nodes = [node for _, node in group.edges]
            derivable = like.new_zeros(group.shape)
            for row in range(len(derivable)):
                derivable[row, group.derivable(row)] = 1
            self._known[key] = _Constants(
                {path: like.new_tensor(c) for path, c in self.table.rows_by_path(group).items()},
                derivable,
                like.new_tensor([[a == b for b in nodes] for a in nodes]),
            )
        return self._known[key]


class _Constants(NamedTuple):
    """Of a group: `costs` and whether it can be `derivable`, both (edges, operations).

    `costs` by the candidates that hold the group's places, () for none;
    `same_node`: (edges, edges), 1 where two edges enter the same node.
    """

    costs: dict[Path, Tensor]
    derivable: Tensor
    same_node: Tensor


def _where(chances: Mapping[tuple[str, str], Tensor], known: _Constants) -> Tensor:
    """Costs (edges, operations) times the chance that the candidates that hold them are chosen."""
    found = torch.zeros_like(known.derivable)
    for path, costs in known.costs.items():
        if all(holding in chances for holding in path):
            found = found + math.prod([chances[h] for h in dict.fromkeys(path)], start=costs)
    return found


def _kept(
    group: Group, known: _Constants, costs: Tensor, strength: Tensor, simplex: bool
) -> Tensor:
    """The cost of a group from those of its edges, as many as derived nodes keep."""
    if group.edges_per_node is None:
        return group.picks * costs.sum()
    totals = strength.sum(dim=-1) if simplex else torch.ones_like(costs)
    return (group.edges_per_node * totals / (known.same_node @ totals) * costs).sum()


@dataclass(frozen=True, eq=False)
class CostPenalty:
    r"""A term of alpha's loss: weight (E - reference) / reference.

    ProxylessNAS's `add#linear`, whose weight is 0.1. `above`: only while E is above the reference,
    0 below: the positive part of the absolute reward of TuNAS (arXiv:2008.06120). `weight`: a
    number or a schedule; `reference`: in the unit of the cost.

    >>> import archgrad, torch
    >>> from archgrad.parts.cost import CostPenalty, ExpectedCost
    >>> from archgrad.parts.relaxation import Softmax
    >>> from archgrad.parts.state import State
    >>> from archgrad.spaces.own import OwnModel
    >>> block = {"linear": torch.nn.Linear(4, 4), "skip": torch.nn.Identity()}
    >>> model = torch.nn.Sequential(archgrad.Choice(block, "block"), torch.nn.Linear(4, 2))
    >>> table = archgrad.cost_table(model, "parameters", example=torch.zeros(2, 4))
    >>> space = OwnModel(model)
    >>> state = State(None, Softmax(), groups=space.groups)
    >>> alpha = {"block": torch.zeros(1, 2)}
    >>> CostPenalty(ExpectedCost(table), reference=16.0)(alpha, state)  # 0.1 (20 - 16) / 16
    tensor(0.0250)
    """

    cost: ExpectedCost
    reference: float
    weight: Number = 0.1
    above: bool = False

    def __call__(self, alpha: Alpha, state: State) -> Tensor:
        excess = self.cost(alpha, state) / self.reference - 1
        return now(self.weight, state.progress) * (excess.relu() if self.above else excess)


@dataclass(frozen=True, eq=False)
class CostRatio:
    r"""Alpha's loss times scale (log E / log reference)^exponent: ProxylessNAS's `mul#log`.

    It is a hypergradient around another one: with L its loss and f the factor, the gradient is
    f dL + L df. `scale` 0.2 and `exponent` 0.3 are those of the original code, where E is in
    ms. E and the reference must be above 1 (`ArchgradError` for the latter).
    """

    inner: Callable[[Alpha, State], Estimate | None]
    cost: ExpectedCost
    reference: float
    scale: float = 0.2
    exponent: float = 0.3

    def __post_init__(self) -> None:
        if not self.reference > 1:
            raise ArchgradError(
                f"cost ratio: the reference is {self.reference:g} {self.cost.table.kind}, expected "
                "above 1, for its logarithm must be above 0; use the penalty form"
            )

    def factor(self, alpha: Alpha, state: State) -> Tensor:
        """The factor of the loss: scale (log E / log reference)^exponent."""
        log = self.cost(alpha, state).log().clamp_min(1e-6)  # of E above 1
        return self.scale * (log / math.log(self.reference)) ** self.exponent

    def __call__(self, alpha: Alpha, state: State) -> Estimate | None:
        estimate = self.inner(alpha, state)
        if estimate is None:
            return None
        factor = self.factor(alpha, state)
        pull, level = gradient(factor, alpha), factor.detach()
        found = {n: level * g + estimate.loss * pull[n] for n, g in estimate.gradient.items()}
        return estimate._replace(gradient=found)
