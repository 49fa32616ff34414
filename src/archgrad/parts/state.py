"""What a part may look at: a frozen view of one moment of a search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group, Row
from archgrad.networks.mixing import Mixing
from archgrad.networks.supernet import Alpha, Weights
from archgrad.parts.derivatives import norm

__all__ = ["SGD", "Problem", "State"]


class Problem(Protocol):
    """The part of a supernet that hypergradients need; any bilevel problem can provide it.

    `weights`: parameter name -> tensor. `loss` is a scalar tensor at these mixing weights and
    weights, `metric` a number, higher is better. `archgrad.Supernet` is one; `Exact` shows a
    smaller one.
    """

    weights: dict[str, Tensor]

    def loss(
        self, mixing: Mixing | Sequence[Row], batch: Any, weights: Weights | None = None
    ) -> Tensor:
        """The loss of a batch at these mixing weights, and at the given weights; a scalar."""

    def metric(self, mixing: Mixing | Sequence[Row], batch: Any) -> float:
        """What a batch is judged by at these mixing weights; higher is better."""


@dataclass(frozen=True)
class SGD:
    """The weight optimizer's update as a pure function of the gradient.

    `step` is torch.optim.SGD's update without dampening or Nesterov, and without clipping:
    v' = momentum v + g + weight_decay w;  w' = w - learning_rate v'. The learning rate may be a
    scalar tensor. `clip`: what the norm of gradients is cut to by `clipped` (None: not at all).

    >>> import torch
    >>> from archgrad.parts.state import SGD
    >>> SGD(0.1).step({"w": torch.tensor(1.0)}, {"w": torch.tensor(2.0)})
    {'w': tensor(0.8000)}
    """

    learning_rate: float | Tensor
    momentum: float = 0.0
    weight_decay: float = 0.0
    velocity: Weights | None = None
    clip: float | None = None

    @classmethod
    def of(cls, optimizer: torch.optim.SGD, weights: Weights, clip: float | None = None) -> SGD:
        """The present view of an optimizer; velocity is zero before its first step.

        Raises `ArchgradError` for one with several parameter groups, Nesterov momentum or
        dampening.
        """
        group = optimizer.param_groups[0]
        if len(optimizer.param_groups) > 1 or group["nesterov"] or group["dampening"]:
            raise ArchgradError(
                "the virtual step knows torch.optim.SGD with one parameter group, without "
                "Nesterov momentum and dampening; use such a weight optimizer"
            )
        buffers = {n: optimizer.state[w].get("momentum_buffer") for n, w in weights.items()}
        velocity = {n: b for n, b in buffers.items() if b is not None}
        return cls(group["lr"], group["momentum"], group["weight_decay"], velocity, clip)

    def clipped(self, gradient: Weights) -> tuple[dict[str, Tensor], Tensor | float]:
        """The gradient times min(1, clip / its norm over all tensors), and that factor."""
        if self.clip is None:
            return dict(gradient), 1.0
        factor = (self.clip / (norm(gradient) + 1e-6)).clamp_max(1)
        return {name: factor * g for name, g in gradient.items()}, factor

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

    `progress`: fraction of the search done, in [0, 1]. `train` and `valid`: the batches of this
    step, from the half that trains the weights and the half that trains alpha. `groups`: what the
    rows and columns of alpha stand for. `seed`: of all that is random in this step, so that every
    pass of one estimate sees the same noise. `step`: its number in the epoch, from 0. `sample`:
    False where a relaxation shall give its most typical weights, not random ones. `memory`: what
    parts keep from step to step, by their own keys; numbers, texts, lists and tensors, for it is
    part of a checkpoint. `valid_gradient`: d L_val / d w by parameter name, where the hypergradient
    took it.

    >>> import torch
    >>> from archgrad.parts.relaxation import Softmax
    >>> from archgrad.parts.state import State
    >>> state = State(problem=None, relaxation=Softmax(), progress=0.5)
    >>> state.strength({"cell": torch.zeros(1, 2)})
    {'cell': tensor([[0.5000, 0.5000]])}
    """

    problem: Problem
    relaxation: Callable[[Alpha, State], Mixing]
    train: Any = None
    valid: Any = None
    optimizer: SGD = SGD(0.0)
    groups: tuple[Group, ...] = ()
    progress: float = 0.0
    seed: int = 0
    step: int = 0
    sample: bool = True
    memory: dict[str, Any] = field(default_factory=dict)
    valid_gradient: Weights | None = None

    def train_loss(self, alpha: Alpha, weights: Weights | None = None) -> Tensor:
        """L_train(w, alpha), a scalar."""
        return self.loss(self.relaxation(alpha, self), self.train, weights)

    def valid_loss(self, alpha: Alpha, weights: Weights | None = None) -> Tensor:
        """L_val(w, alpha), a scalar."""
        return self.loss(self.relaxation(alpha, self), self.valid, weights)

    def loss(
        self, mixing: Mixing | Sequence[Row], batch: Any, weights: Weights | None = None
    ) -> Tensor:
        """The loss at these mixing weights; dropout and the like are the same in every call."""
        with self._same_noise(mixing):
            return self.problem.loss(mixing, batch, weights)

    def metric(self, mixing: Mixing | Sequence[Row], batch: Any) -> float:
        """The task's metric on a batch, higher is better; the accuracy of a classifier."""
        with self._same_noise(mixing):
            return self.problem.metric(mixing, batch)

    @contextmanager
    def _same_noise(self, mixing: Mixing | Sequence[Row]) -> Iterator[None]:
        values = mixing.values() if isinstance(mixing, Mapping) else [r.weights for r in mixing]
        with torch.random.fork_rng({v.device for v in values if v.device.type == "cuda"}):
            torch.manual_seed(self.seed)
            yield

    def strength(self, alpha: Alpha) -> dict[str, Tensor]:
        """How strong each candidate is, by group (edges, operations): what is derived from."""
        found: dict[str, Tensor] = self.relaxation.strength(alpha, self)  # type: ignore[attr-defined]
        return found

    def generator(self) -> torch.Generator:
        """A new generator on the CPU, at the same point in every pass of this step."""
        return torch.Generator().manual_seed(self.seed)
