r"""The expected cost of an architecture, differentiable in alpha, and how a search minds it.

.. math:: E(\alpha) = \text{fixed} + \sum_{edges} s_e \sum_o p_{e,o}\, F_{e,o}

(ProxylessNAS, arXiv:1812.00332, equation 6) with F from a `archgrad.costs.CostTable`, p the weights
of the candidates without noise, and s the share of a derived network in which an edge is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from archgrad.choice import Group
from archgrad.costs import CostTable
from archgrad.errors import ArchgradError
from archgrad.parts.derivatives import gradient
from archgrad.parts.hypergradient import Estimate
from archgrad.parts.schedule import Number, now
from archgrad.parts.state import State
from archgrad.supernet import Alpha


@dataclass(frozen=True, eq=False)
class ExpectedCost:
    """The expected cost, a scalar in the unit of the table.

    The candidates of an edge count by their strength among those that can be derived; where an
    edge's weights sum to one, the k edges that a derived node keeps are shared among those that
    enter it by their strength. Independent weights (sigmoids) count as they are.
    """

    table: CostTable
    _known: dict[object, _Constants] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, alpha: Alpha, state: State) -> Tensor:
        strength = state.strength(alpha)
        simplex = bool(getattr(state.relaxation, "simplex", True))
        costs = [self._expected(g, strength[g.name], simplex) for g in state.groups]
        return self.table.fixed + torch.stack(costs).sum()

    def _expected(self, group: Group, strength: Tensor, simplex: bool) -> Tensor:
        known = self._constants(group, strength)
        weights = strength * known.derivable
        if simplex:
            tiny = torch.finfo(weights.dtype).tiny
            weights = weights / weights.sum(dim=-1, keepdim=True).clamp_min(tiny)
        costs = (weights * known.costs).sum(dim=-1)
        if group.edges_per_node is None:
            return group.picks * costs.sum()
        totals = strength.sum(dim=-1) if simplex else torch.ones_like(costs)
        return (group.edges_per_node * totals / (known.same_node @ totals) * costs).sum()

    def _constants(self, group: Group, like: Tensor) -> _Constants:
        key = (group, like.device, like.dtype)
        if key not in self._known:
            rows, nodes = group.candidates, [node for _, node in group.edges]
            self._known[key] = _Constants(
                like.new_tensor(self.table.rows(group)),
                like.new_tensor([[group.keep_none or n != "none" for n in row] for row in rows]),
                like.new_tensor([[a == b for b in nodes] for a in nodes]),
            )
        return self._known[key]


class _Constants(NamedTuple):
    """Of a group: ``costs`` and whether it can be ``derivable``, both (edges, operations).

    ``same_node``: (edges, edges), 1 where two edges enter the same node.
    """

    costs: Tensor
    derivable: Tensor
    same_node: Tensor


@dataclass(frozen=True, eq=False)
class CostPenalty:
    r"""A term of alpha's loss: weight (E - reference) / reference.

    ProxylessNAS's ``add#linear``, whose weight is 0.1. ``above``: only while E is above the
    reference, 0 below: the positive part of the absolute reward of TuNAS (arXiv:2008.06120).
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
    r"""Alpha's loss times scale (log E / log reference)^exponent: ProxylessNAS's ``mul#log``.

    It is a hypergradient around another one: with L its loss and f the factor, the gradient is
    f dL + L df. ``scale`` 0.2 and ``exponent`` 0.3 are those of the original code, where E is in
    ms. E and the reference must be above 1.
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
        """scale (log E / log reference)^exponent."""
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
