"""Averages of a network over the steps of its training, and when one of them is to begin."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """The moving average of a network's weights and running statistics.

    After t steps it is the sum over the steps s of decay^(t - s) w_s, divided by the sum of these
    factors: the weights before the first step do not count, so that a short training is not drawn
    towards them (as Adam corrects its moments, arXiv:1412.6980). Means and variances of batch
    normalization are averaged as the weights are; counters are those of the last step.

    A decay of 1 gives the plain mean of the weights after every step since the average was made:
    averaged SGD. Of the ASGD that the code of DARTS uses, with t0 and lambd of 0, it differs in the
    first of these steps, which that leaves out of its mean.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.source, self.network = network, copy.deepcopy(network).eval()

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        passed = 1 - self.decay**self.steps
        share = (1 - self.decay) / passed if passed else 1 / self.steps
        kept, new = [], []
        for average, value in self._pairs():
            if average.is_floating_point():
                kept.append(average)
                new.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(kept, new, share)

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        for part in ("parameters", "buffers"):
            yield from zip(getattr(self.network, part)(), getattr(self.source, part)(), strict=True)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {"steps": self.steps, "network": self.network.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.steps = int(state["steps"])
        self.network.load_state_dict(state["network"])


def stalled(losses: Sequence[float], loss: float, epochs: int) -> bool:
    """Whether a validation loss is above the smallest of all before but the last `epochs`.

    The non-monotone trigger of arXiv:1708.02182. `losses`: of the epochs before this one; never
    true while there are no more than `epochs` of them.
    """
    return len(losses) > epochs and loss > min(losses[:-epochs])
