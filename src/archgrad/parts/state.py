"""What a part may look at: a frozen view of one moment of a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from archgrad.choice import Group
from archgrad.errors import ArchgradError
from archgrad.supernet import Alpha, Mixing, Weights


class Problem(Protocol):
    """The part of a supernet that hypergradients need; any bilevel problem can provide it."""

    weights: dict[str, Tensor]

    def loss(self, mixing: Mixing, batch: Any, weights: Weights | None = None) -> Tensor: ...


@dataclass(frozen=True)
class SGD:
    """The weight optimizer's update as a pure function of the gradient.

    ``step`` is torch.optim.SGD's update without dampening or Nesterov, and without clipping:
    v' = momentum v + g + weight_decay w;  w' = w - learning_rate v'.
    """

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    velocity: Weights | None = None

    @classmethod
    def of(cls, optimizer: torch.optim.SGD, weights: Weights) -> SGD:
        """The present view of an optimizer; velocity is zero before its first step."""
        group = optimizer.param_groups[0]
        if len(optimizer.param_groups) > 1 or group["nesterov"] or group["dampening"]:
            raise ArchgradError(
                "the virtual step knows torch.optim.SGD with one parameter group, without "
                "Nesterov momentum and dampening; use such a weight optimizer"
            )
        buffers = {n: optimizer.state[w].get("momentum_buffer") for n, w in weights.items()}
        velocity = {n: b for n, b in buffers.items() if b is not None}
        return cls(group["lr"], group["momentum"], group["weight_decay"], velocity)

    def step(self, weights: Weights, gradient: Weights) -> dict[str, Tensor]:
        """The weights after one step: the virtual step of arXiv:1806.09055, equation 5."""
        velocity = self.velocity or {}
        return {
            name: weight
            - self.learning_rate
            * (
                gradient[name]
                + self.weight_decay * weight
                + (self.momentum * velocity[name] if name in velocity else 0.0)
            )
            for name, weight in weights.items()
        }


@dataclass(frozen=True)
class State:
    """One moment of a search, handed to every part; a part ignores what it does not need.

    ``progress``: fraction of the search done, in [0, 1]. ``train`` and ``valid``: the batches of
    this step, from the half that trains the weights and the half that trains alpha. ``groups``:
    what the rows and columns of alpha stand for.
    """

    problem: Problem
    relaxation: Callable[[Alpha, State], Mixing]
    train: Any = None
    valid: Any = None
    optimizer: SGD = SGD(0.0)
    groups: tuple[Group, ...] = ()
    progress: float = 0.0

    def train_loss(self, alpha: Alpha, weights: Weights | None = None) -> Tensor:
        """L_train(w, alpha), a scalar."""
        return self.problem.loss(self.relaxation(alpha, self), self.train, weights)

    def valid_loss(self, alpha: Alpha, weights: Weights | None = None) -> Tensor:
        """L_val(w, alpha), a scalar."""
        return self.problem.loss(self.relaxation(alpha, self), self.valid, weights)
