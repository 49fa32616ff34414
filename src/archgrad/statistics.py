"""Means, spreads and the honest comparison of one found cell with random cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of means, with its standard `error` and degrees of `freedom`.

    The error is 0 where there was no spread and nan where there were too few values; then no
    interval and no p-value can be given.
    """

    value: float
    error: float
    freedom: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The t interval; infinite where none can be given."""
        if not self.error > 0:
            return -math.inf, math.inf
        from scipy import stats  # half a second: not at import

        half = float(stats.t.ppf((1 + confidence) / 2, self.freedom)) * self.error
        return self.value - half, self.value + half

    def p_value(self) -> float:
        """Two-sided, of the hypothesis that the true value is 0; nan where none can be given."""
        if not self.error > 0:
            return math.nan
        from scipy import stats

        return float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom))


def mean(values: Sequence[float]) -> Estimate:
    """The mean of independent values."""
    return Estimate(fmean(values), spread(values) / math.sqrt(len(values)), len(values) - 1)


def welch(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """The mean of `first` minus that of `second`, independent and of unequal variances."""
    difference = fmean(first) - fmean(second)
    if len(first) < 2 or len(second) < 2:
        return Estimate(difference, math.nan, math.nan)
    parts = [(stdev(group) ** 2 / len(group), len(group) - 1) for group in (first, second)]
    variance = sum(part for part, _ in parts)
    if variance == 0.0:
        return Estimate(difference, 0.0, math.nan)
    freedom = variance**2 / sum(part**2 / df for part, df in parts)
    return Estimate(difference, math.sqrt(variance), freedom)


@dataclass(frozen=True)
class Comparison:
    """Found minus random, with its 95 % interval, in the unit of what was compared."""

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

    `found`: accuracies or perplexities of one cell, one a seed. `random`: for each random cell,
    one a seed.
    The unit of the random side is the cell: its seeds are averaged first. The interval covers the
    seeds of the found cell's retraining and the draw of random cells, so it supports a claim about
    this cell, not about the method that found it. Needs two values on either side; without any
    spread on both, no interval can be given: it is infinite.
    """
    cells = [fmean(seeds) for seeds in random]
    estimate = welch(found, cells)
    return Comparison(estimate.value, *estimate.interval(confidence))
