"""What a trained network is judged by: its name, its direction, and how it is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """A number of a score under ``name``; ``higher``: whether more is better.

    ``factor`` and ``unit``: it is shown times this, in that; ``points``: what a difference of what
    is shown is called.
    """

    name: str
    higher: bool
    factor: float
    unit: str
    points: str

    @property
    def title(self) -> str:
        """Name and unit, for a table."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    def shown(self, value: float) -> str:
        """The number without its unit."""
        return f"{self.factor * value:.2f}"

    def better(self, one: float, other: float) -> bool:
        """Whether one is better than the other."""
        return one > other if self.higher else one < other


ACCURACY = Measure("accuracy", higher=True, factor=100, unit="%", points="points")
PERPLEXITY = Measure("perplexity", higher=False, factor=1, unit="", points="")


def of(score: Mapping[str, Any]) -> Measure:
    """That of a score."""
    return PERPLEXITY if PERPLEXITY.name in score else ACCURACY


def perplexity(loss: float) -> float:
    """exp of the mean cross-entropy in nats a token; infinite where that is too large."""
    return math.exp(loss) if loss < 700 else math.inf
