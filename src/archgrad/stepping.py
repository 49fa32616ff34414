"""A language model as one step in time: what formats hold that know no loop over a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

STEPS = 4  # of a text that is compared


class Step(nn.Module):
    """One token of each of B texts: (B,) int64, state (B, H) -> logits (B, V), next state (B, H).

    The state of a text begins with zeros and is carried from step to step.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        logits, state = self.model(tokens.unsqueeze(0), state)
        return logits.squeeze(0), state


def over_time(step: Callable[..., Any], words: int) -> Callable[..., tuple[Tensor, Tensor]]:
    """The same over several steps of a text that begins with ``tokens``: (STEPS, B, V), (B, H)."""

    def compute(tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        found = []
        for later in range(STEPS):
            logits, state = step(tokens=(tokens + later) % words, state=state)
            found.append(logits)
        return torch.stack(found), state

    return compute
