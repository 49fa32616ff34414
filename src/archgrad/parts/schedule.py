"""Schedules: numbers of a part that change in the course of a search, by its progress in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Cosine", "Fading", "Linear", "now"]


@dataclass(frozen=True)
class Linear:
    """From `start` at progress 0 to `end` at progress 1, in a straight line.

    >>> from archgrad.parts.schedule import Linear
    >>> Linear(10.0, 1.0)(0.5)
    5.5
    """

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        return self.start + (self.end - self.start) * progress


@dataclass(frozen=True)
class Cosine:
    """From `start` at progress 0 to `end` at progress 1, along half a cosine.

    >>> from archgrad.parts.schedule import Cosine
    >>> Cosine(-0.2, 0.2)(0.0), Cosine(-0.2, 0.2)(1.0)
    (-0.2, 0.2)
    """

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class Fading:
    """A line, then an exponential.

    start (1 - t) until t = `bend`, then start exp(-rate (t - bend)).

    The dropout of skip connections in P-DARTS (arXiv:1904.12760): of the 25 epochs of a stage the
    first 10 are the line, and the rate is 0.2 an epoch.

    Differs from the original code: it falls with every step; there with every epoch, and the line
    begins an epoch further down.

    >>> from archgrad.parts.schedule import Fading
    >>> Fading(0.4)(0.0), Fading(0.4)(0.25)
    (0.4, 0.30000000000000004)
    """

    start: float
    bend: float = 0.4
    rate: float = 5.0

    def __call__(self, progress: float) -> float:
        if progress < self.bend:
            return self.start * (1 - progress)
        return self.start * math.exp(-self.rate * (progress - self.bend))


Schedule = Callable[[float], float]
Number = float | Schedule  # any number of a part may be a schedule


def now(number: Number, progress: float) -> float:
    """The value of a number or a schedule at this progress in [0, 1].

    >>> from archgrad.parts.schedule import Linear, now
    >>> now(Linear(10.0, 1.0), 0.5), now(3.0, 0.5)
    (5.5, 3.0)
    """
    return number(progress) if callable(number) else number


def extremes(number: Number) -> tuple[float, float]:
    """The least and the largest of its values at the start, the middle and the end."""
    values = [now(number, progress) for progress in (0.0, 0.5, 1.0)]
    return min(values), max(values)
