"""The Shapley value of each candidate (arXiv:2206.09811), in place of a gradient of alpha."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.networks.mixing import Mixing
from archgrad.networks.supernet import Alpha
from archgrad.parts.hypergradient import Estimate
from archgrad.parts.state import State

__all__ = ["Shapley"]


@dataclass(frozen=True)
class Shapley:
    r"""Shapley-NAS (CVPR 2022, arXiv:2206.09811): candidates as players, accuracy as their worth.

    In each of the first `samples` steps of an epoch one random order of all candidates of all
    edges: they are removed one by one (their mixing weight set to 0), and each is credited with the
    accuracy that its removal cost on this step's validation batch, until less than `truncation`
    of the full one is left. After `samples` orders the score of a candidate is mean -
    standard deviation of its credits, standardized within its group; s <- momentum s + (1 -
    momentum) score; and -s is returned as the gradient of alpha (None otherwise: alpha moves once
    an epoch, more rarely where an epoch has fewer steps).

    Differs from the original code, which takes all orders before the first step of an epoch.

    `ArchgradError` for numbers out of range.

    >>> import archgrad
    >>> from archgrad.parts.shapley import Shapley
    >>> archgrad.Method(hypergradient=Shapley(samples=5)).filled()
    {'hypergradient': 'Shapley(samples=5)'}
    """

    samples: int = 10
    truncation: float = 0.5
    momentum: float = 0.8

    def __post_init__(self) -> None:
        if self.samples < 2 or not (0 <= self.truncation <= 1 and 0 <= self.momentum < 1):
            raise ArchgradError(
                f"Shapley value: samples {self.samples} must be at least 2, truncation "
                f"{self.truncation} from 0 to 1, momentum {self.momentum} from 0 to below 1"
            )

    @torch.no_grad()
    def __call__(self, alpha: Alpha, state: State) -> Estimate | None:
        if state.step >= self.samples:
            return None
        kept = state.memory.setdefault("shapley", {"credits": [], "score": {}})
        mixing = state.relaxation(alpha, state)
        kept["credits"].append(self._credits(mixing, state))
        if len(kept["credits"]) < self.samples:
            return None
        gradient = {name: torch.zeros_like(value) for name, value in alpha.items()}
        for group in state.groups:
            name = group.name
            credits = torch.stack([sample[name] for sample in kept["credits"]])
            score = credits.mean(0) - credits.std(0)
            score = (score - score.mean()) / score.std().clamp_min(1e-8)
            before = kept["score"].get(name, torch.zeros_like(score))
            kept["score"][name] = self.momentum * before + (1 - self.momentum) * score
            gradient[name] = -kept["score"][name]
        kept["credits"] = []
        loss = state.loss(mixing, state.valid)
        return Estimate(gradient, loss)

    def _credits(self, mixing: Mixing, state: State) -> dict[str, Tensor]:
        """What each removal cost, for one random order."""
        players = [
            (g.name, row, column)
            for g in state.groups
            for row in range(g.shape[0])
            for column in range(g.shape[1])
        ]
        order = torch.randperm(len(players), generator=state.generator()).tolist()
        left = {name: value.clone() for name, value in mixing.items()}
        credits = {name: torch.zeros_like(value) for name, value in mixing.items()}
        full = before = state.metric(mixing, state.valid)
        for index in order:
            name, row, column = players[index]
            left[name][row, column] = 0
            after = state.metric(mixing.replaced(left), state.valid)
            credits[name][row, column] = before - after
            before = after
            if after < full - (1 - self.truncation) * abs(full):  # a metric may be below 0
                break
        return credits
