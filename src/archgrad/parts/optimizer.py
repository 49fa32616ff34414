"""Optimizers of alpha: each makes a torch optimizer for the tensors of alpha.

`simplex`: it takes alpha for the logits of weights that sum to one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from archgrad.errors import ArchgradError

__all__ = ["Adam", "Descent", "ExponentiatedGradient"]


@dataclass(frozen=True)
class Adam:
    """Adam with the constants of the original code: 3e-4, betas (0.5, 0.999), decay 1e-3.

    `ArchgradError` for rates that are negative or not finite, and for betas that are not from 0 to
    below 1.

    >>> import torch
    >>> from archgrad.parts.optimizer import Adam
    >>> optimizer = Adam(learning_rate=1e-3)([torch.zeros(14, 8, requires_grad=True)])
    >>> optimizer.defaults["lr"], optimizer.defaults["betas"]
    (0.001, (0.5, 0.999))
    """

    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        if not (0 <= self.learning_rate < inf and 0 <= self.weight_decay < inf):
            raise ArchgradError(
                f"architecture optimizer: learning rate {self.learning_rate} and weight decay "
                f"{self.weight_decay} must be finite and not negative"
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ArchgradError(
                f"architecture optimizer: betas {self.betas}, expected from 0 to below 1"
            )

    def __call__(self, alpha: Iterable[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            list(alpha), self.learning_rate, self.betas, weight_decay=self.weight_decay
        )


@dataclass(frozen=True)
class Descent:
    """Plain gradient descent: alpha <- alpha - learning_rate d L / d alpha.

    `ArchgradError` for a rate that is negative or not finite.

    >>> import torch
    >>> from archgrad.parts.optimizer import Descent
    >>> Descent(0.1)([torch.zeros(14, 8, requires_grad=True)]).defaults["momentum"]
    0
    """

    learning_rate: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.learning_rate < inf:
            raise ArchgradError(
                f"gradient descent: learning rate {self.learning_rate} must be finite and not "
                "negative"
            )

    def __call__(self, alpha: Iterable[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(list(alpha), self.learning_rate)


@dataclass(frozen=True)
class ExponentiatedGradient:
    r"""Mirror descent on the simplex: theta <- theta exp(-rate d L / d theta), normalized.

    GAEA (arXiv:2004.07802). Alpha holds log theta, its softmax is theta; since :math:`\partial L /
    \partial \alpha = \theta (\partial_\theta L - c)` with one c a row, the same update of the
    logits is :math:`\alpha \leftarrow \alpha - rate\, \partial_\alpha L / \theta`. Rows are the
    last dimension, so edge logits of a node are a row too. `floor`: no theta is smaller before it
    is normalized (the code's 1e-5). `ArchgradError` for a rate that is negative or not finite, and
    for a `floor` that is not between 0 and 0.01.

    >>> import torch
    >>> from archgrad.parts.optimizer import ExponentiatedGradient
    >>> alpha = torch.zeros(1, 2, requires_grad=True)
    >>> optimizer = ExponentiatedGradient(0.1)([alpha])
    >>> alpha.softmax(-1)[0, 0].backward()  # the loss is the first weight
    >>> optimizer.step()
    >>> bool(alpha[0, 0] < alpha[0, 1])
    True
    """

    learning_rate: float = 0.1
    floor: float = 1e-5

    def __post_init__(self) -> None:
        if not (0 <= self.learning_rate < inf and 0 < self.floor < 0.01):
            raise ArchgradError(
                f"exponentiated gradient: learning rate {self.learning_rate} must be finite and "
                f"not negative, floor {self.floor} between 0 and 0.01"
            )

    def __call__(self, alpha: Iterable[Tensor]) -> torch.optim.Optimizer:
        return _Exponentiated(alpha, self.learning_rate, self.floor)


class _Exponentiated(torch.optim.Optimizer):
    def __init__(self, alpha: Iterable[Tensor], lr: float, floor: float) -> None:
        super().__init__(list(alpha), {"lr": lr, "floor": floor})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for logits in group["params"]:
                if logits.grad is None:
                    continue
                theta = logits.softmax(dim=-1).clamp_min(torch.finfo(logits.dtype).tiny)
                moved = logits - group["lr"] * logits.grad / theta
                logits.copy_(moved.log_softmax(dim=-1).clamp_min(math.log(group["floor"])))
