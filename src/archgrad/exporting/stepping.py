"""A language model as one step in time: what formats hold that know no loop over a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

STEPS = 4  # of a text that is compared
ONE_STEP = (
    "it is one step in time: tokens (B,) and state (B, H), zeros at first, give logits (B, V) and "
    "the next state"
)


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


def over_time(
    step: Callable[..., Any], network: Step, words: int
) -> Callable[[Tensor, Tensor], list[Tensor]]:
    """The logits and states of a few steps of a text that begins with `tokens`.

    Each step begins with the state that `network` carries, so that rounding does not add up.
    """

    def compute(tokens: Tensor, state: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for later in range(STEPS):
            given = {"tokens": (tokens + later) % words, "state": state}
            found += step(**given)
            _, state = network(**given)
        return found

    return compute
