"""Optimizers of alpha: each makes a torch optimizer for the tensors of alpha."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from archgrad.errors import ArchgradError


@dataclass(frozen=True)
class Adam:
    """Adam with the constants of the original code: 3e-4, betas (0.5, 0.999), decay 1e-3."""

    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        if not (0 <= self.learning_rate < inf and 0 <= self.weight_decay < inf):
            raise ArchgradError(
                f"architecture optimizer: learning rate {self.learning_rate} and weight decay "
                f"{self.weight_decay} must be finite and not negative"
            )

    def __call__(self, alpha: Iterable[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            list(alpha), self.learning_rate, self.betas, weight_decay=self.weight_decay
        )
