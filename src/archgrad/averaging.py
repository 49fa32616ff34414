"""An exponential moving average of a network over the steps of its training."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from archgrad.network import Classifier


class Average:
    """The moving average of a network's weights and running statistics.

    After t steps it is the sum over the steps s of decay^(t - s) w_s, divided by the sum of these
    factors: the weights before the first step do not count, so that a short training is not drawn
    towards them (as Adam corrects its moments, arXiv:1412.6980). Means and variances of batch
    normalization are averaged as the weights are; counters are those of the last step.
    """

    def __init__(self, network: Classifier, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.source, self.network = network, copy.deepcopy(network).eval()

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        share = (1 - self.decay) / (1 - self.decay**self.steps)
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
