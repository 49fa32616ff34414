"""Means, spreads and the honest comparison of one found cell with random cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Comparison:
    """Found minus random in accuracy, with its 95 % interval (both in [-1, 1])."""

    difference: float
    low: float
    high: float

    @property
    def distinguishable(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def spread(values: Sequence[float]) -> float:
    """Sample standard deviation; nan for a single value."""
    return stdev(values) if len(values) > 1 else math.nan


def compare(
    found: Sequence[float], random: Sequence[Sequence[float]], confidence: float = 0.95
) -> Comparison:
    """Welch's t interval for the found cell's mean minus the mean over random cells.

    ``found``: accuracies of one cell, one a seed. ``random``: for each random cell, one a seed.
    The unit of the random side is the cell: its seeds are averaged first. The interval covers the
    seeds of the found cell's retraining and the draw of random cells, so it supports a claim about
    this cell, not about the method that found it. Needs two values on either side; without any
    spread on both, no interval can be given: it is infinite.
    """
    cells = [fmean(seeds) for seeds in random]
    difference = fmean(found) - fmean(cells)
    if len(found) < 2 or len(cells) < 2:
        return Comparison(difference, -math.inf, math.inf)
    parts = [(stdev(group) ** 2 / len(group), len(group) - 1) for group in (found, cells)]
    variance = sum(part for part, _ in parts)
    if variance == 0.0:
        return Comparison(difference, -math.inf, math.inf)
    freedom = variance**2 / sum(part**2 / df for part, df in parts)
    from scipy import stats  # half a second: not at import

    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(variance)
    return Comparison(difference, difference - half, difference + half)
