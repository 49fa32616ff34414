"""REINFORCE: the gradient of a policy over the decisions of a space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from archgrad.baselines.decisions import Decisions, Draw
from archgrad.baselines.value import Proposal, Search, Strategy
from archgrad.errors import ArchgradError
from archgrad.spaces import SearchSpace


@dataclass(frozen=True)
class Reinforce:
    """See `reinforce`."""

    learning_rate: float
    momentum: float

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ArchgradError(
                f"option learning_rate of reinforce: found {self.learning_rate}, expected above 0"
            )
        if not 0 < self.momentum < 1:
            raise ArchgradError(
                f"option momentum of reinforce: found {self.momentum}, expected above 0 and below 1"
            )

    def __call__(self, space: SearchSpace, generator: torch.Generator) -> Search:
        decisions = Decisions.of(space)
        logits = torch.zeros(decisions.size, dtype=torch.float64)
        optimizer = torch.optim.Adam([logits], lr=self.learning_rate)
        total, weight, worst = 0.0, 0.0, math.inf
        while True:
            draw = decisions.draw(logits, generator)
            score = yield Proposal(draw.architecture)
            worst = min(worst, score) if math.isfinite(score) else worst
            reward = max(score, worst)  # what failed was as bad as the worst
            if not math.isfinite(reward):
                continue  # there is nothing yet that a failure could be compared with
            total = self.momentum * total + (1 - self.momentum) * reward
            weight = self.momentum * weight + (1 - self.momentum)
            logits.grad = -(reward - total / weight) * score_function(decisions, logits, draw)
            optimizer.step()


def score_function(decisions: Decisions, logits: Tensor, draw: Draw) -> Tensor:
    """The gradient of the log probability of a draw by the logits, (size,)."""
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(decisions.log_probability(leaf, draw), leaf)
    return gradient


def reinforce(*, learning_rate: float = 0.01, momentum: float = 0.9) -> Strategy:
    r"""REINFORCE (Williams, Machine Learning 1992) over independent decisions.

    .. math:: \theta \leftarrow Adam(\theta, -(R - b) \nabla_\theta \log p_\theta(a)), \quad
              b_t = \frac{\sum_i m^{t-i} R_i}{\sum_i m^{t-i}}

    one architecture a step, its validation score the reward R; the baseline b is the moving average
    of the rewards with `momentum` m, corrected for its start and with the present reward in it:
    that shrinks R - b by a factor that no draw changes, and keeps its mean direction. The policy is
    `Decisions.draw`. It never ends, and may propose an architecture again. A training that failed
    has the worst reward so far; before there is one, it teaches nothing.

    Differs from the code of NAS-Bench-201: logits begin at 0, the uniform policy, not at 0.001 N(0,
    1); the learning rate is that of NATS-Bench (0.001 there).
    """
    return Reinforce(learning_rate, momentum)
