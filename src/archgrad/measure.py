"""What a trained network is judged by: its name, its direction, and how it is shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """A number of a score under `name`; `higher`: whether more is better.

    `bounds`: the least and the most that it can be. `factor` and `unit`: it is shown times
    this, in that; `points`: what a difference of what is shown is called; `over`: what it is a
    mean over, whose number is in a score of a test under "test_images" or "test_tokens".
    """

    name: str
    plural: str
    higher: bool
    bounds: tuple[float, float]
    factor: float
    unit: str
    points: str
    over: str

    @property
    def title(self) -> str:
        """Name and unit, for a table."""
        return self.with_unit(self.name)

    def with_unit(self, header: str) -> str:
        """The header of a column of such numbers, with their unit."""
        return f"{header}, {self.unit}" if self.unit else header

    def shown(self, value: float) -> str:
        """The number without its unit."""
        return f"{self.factor * value:.2f}"

    def whole(self, value: float) -> str:
        """The number with its unit."""
        return f"{self.shown(value)} {self.unit}" if self.unit else self.shown(value)

    def brief(self, value: float) -> str:
        """The number for a line of progress, with its unit or its name."""
        number = f"{self.factor * value:.1f}"
        return f"{number} {self.unit}" if self.unit else f"{self.name} {number}"

    def gap(self, difference: float) -> str:
        """A difference without what it is called."""
        return f"{self.factor * difference:+z.2f}"

    def better(self, one: float, other: float) -> bool:
        """Whether one is better than the other."""
        return one > other if self.higher else one < other

    def order(self, value: float) -> float:
        """The less, the better: what to sort by."""
        return -value if self.higher else value

    def best(self, values: Iterable[float]) -> float:
        """The best of one or more."""
        return min(values, key=self.order)

    def tested(self, score: Mapping[str, Any]) -> int:
        """How many images or tokens the test had."""
        return int(score[f"test_{self.over}"])


ACCURACY = Measure(
    "accuracy", "accuracies", higher=True, bounds=(0, 1), factor=100, unit="%", points="points",
    over="images",
)  # fmt: skip
PERPLEXITY = Measure(
    "perplexity", "perplexities", higher=False, bounds=(1, math.inf), factor=1, unit="",
    points="perplexity", over="tokens",
)  # fmt: skip
MEASURES = {each.name: each for each in (ACCURACY, PERPLEXITY)}


def of(score: Mapping[str, Any], prefix: str = "") -> Measure:
    """That of a score, or of a line whose key has this `prefix`."""
    return PERPLEXITY if prefix + PERPLEXITY.name in score else ACCURACY


def values(scores: Sequence[Mapping[str, Any]]) -> list[float]:
    """That of each of these scores."""
    return [float(score[of(score).name]) for score in scores]


def perplexity(loss: float) -> float:
    """exp of the mean cross-entropy in nats a token; infinite where that is too large."""
    return math.exp(loss) if loss < 700 else math.inf
