"""Means over searches, differences to random search, rank correlations, values over spending.

Everything here follows from `archgrad.findings.results.Results` alone, whatever the order of its
entries. A value is an accuracy or a perplexity, as its measure says, which knows what is better.
The unit is the search: one value a seed, the mean over searches is the headline and never the best
of them. What cannot be computed is None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal, NamedTuple

import numpy as np

from archgrad import statistics
from archgrad.findings.results import Entry, Phase, Results
from archgrad.measure import Measure

RANDOM = "random"
EXACT = 16  # pairs; up to here all sign flips are enumerated
DRAWS = 9_999  # sign flips beyond that, from a fixed seed
ALPHA = 0.05
DIGITS = 12  # of differences of values: what is beyond is rounding, not spread

Test = Literal["paired", "welch"]


@dataclass(frozen=True)
class Difference:
    """Test value of a method minus that of random search, means over searches.

    `test` paired: over the `n` seeds that both have; the interval is the paired t interval,
    `p` that of the sign-flip permutation test, and `smallest` the least that n pairs can give.
    welch: where fewer than two pairs are; interval and p are Welch's t. None: too few searches for
    either. `holm`: p corrected for all methods of the data set (Holm 1979).
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    test: Test | None
    n: int
    smallest: float | None = None
    holm: float | None = None


@dataclass(frozen=True)
class Summary:
    """One method on one data set: a line of the table.

    `planned`, `done`, `failed`: searches; what is neither done nor failed was not run.
    `mean`, `deviation` (sample standard deviation) and the 95 % t interval from `low` to
    `high` are of the test value over searches. `selected`: the test value of the one search
    that validation after the short retraining selects (ties: the smallest seed).
    `parameters`, `multiply_adds` and `search` are means over the searches that are done,
    `total` is the sum over all phases of all searches, failed ones too.
    """

    data: str
    method: str
    planned: int
    done: int
    failed: int
    mean: float | None = None
    deviation: float | None = None
    low: float | None = None
    high: float | None = None
    difference: Difference | None = None
    selected: float | None = None
    parameters: float | None = None
    multiply_adds: float | None = None
    search: Phase | None = None
    total: Phase | None = None


class Correlation(NamedTuple):
    """Rank correlation of two values over `n` searches of a method, or of "all methods"."""

    data: str
    scope: str
    first: str
    second: str
    n: int
    tau: float | None
    rho: float | None


class Reached(NamedTuple):
    """The mean over `searches` of the best validation value so far, at what was `spent`."""

    data: str
    method: str
    spent: float
    value: float | None
    searches: int


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p-value of the paired permutation test on the mean (Fisher's randomization test).

    Under the hypothesis that method and reference are alike, each difference may as well have the
    other sign: p is the share of the 2^n sign flips, the one found among them, whose mean is as far
    from 0. Exact up to `EXACT` pairs; beyond, of `DRAWS` random flips and the one found.
    """
    values = np.array(sorted(differences, key=lambda value: (abs(value), value)))
    n = len(values)
    if n <= EXACT:
        flips = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.int8)
    else:
        drawn = np.random.default_rng(0).integers(0, 2, (DRAWS, n), dtype=np.int8)
        flips = np.concatenate([np.zeros((1, n), dtype=np.int8), drawn])
    sums = np.abs(values.sum() - 2 * (flips.astype(float) @ values))
    rounding = 1e-9 * np.abs(values).sum()
    return float(np.mean(sums >= abs(values.sum()) - rounding))


def smallest_p(n: int) -> float:
    """The least p-value that `sign_flip` can give for n pairs: 2/2^n, two-sided.

    >>> [smallest_p(n) for n in (1, 2, 3, 5, 6)]
    [1.0, 0.5, 0.25, 0.0625, 0.03125]
    """
    return 2.0 ** (1 - n) if n <= EXACT else 1 / (DRAWS + 1)


def pairs_needed(alpha: float = ALPHA) -> int:
    """How many pairs `sign_flip` needs to be able to reach `alpha`.

    >>> pairs_needed()
    6
    """
    return math.ceil(1 - math.log2(alpha))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of several p-values, in their order.

    >>> [round(p, 6) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted


def difference(found: Sequence[Entry], reference: Sequence[Entry]) -> Difference | None:
    """Of the test value, paired by seed where at least two seeds are on both sides."""
    mine, theirs = _tested(found), _tested(reference)
    if not mine or not theirs:
        return None
    both = sorted(mine.keys() & theirs.keys())
    if len(both) < 2:
        first, second = list(mine.values()), list(theirs.values())
        estimate = statistics.welch(first, second)
        low, high = _interval(estimate)
        test: Test | None = "welch" if min(len(first), len(second)) > 1 else None
        return Difference(estimate.value, low, high, _known(estimate.p_value()), test, len(both))
    gaps = [round(mine[seed] - theirs[seed], DIGITS) for seed in both]
    estimate, n = statistics.mean(gaps), len(both)
    low, high = _interval(estimate)
    return Difference(estimate.value, low, high, sign_flip(gaps), "paired", n, smallest_p(n))


def summaries(results: Results) -> list[Summary]:
    """A line for each method on each data set, in the order of the settings."""
    lines = []
    for data in results.settings.data:
        lines += _corrected([_summary(results, m, data) for m in results.settings.methods])
    return lines


def _summary(results: Results, method: str, data: str) -> Summary:
    done, failed = results.of(method, data), results.of(method, data, "failed")
    summary = Summary(data, method, len(results.settings.seeds), len(done), len(failed))
    if done or failed:
        total = sum((entry.costs.total for entry in (*done, *failed)), Phase())
        summary = replace(summary, total=total)
    if not done:
        return summary
    values = list(_tested(done).values())
    estimate = statistics.mean(values)
    low, high = _interval(estimate)
    search = sum((entry.costs.search for entry in done), Phase())
    return replace(
        summary,
        mean=estimate.value,
        deviation=_known(statistics.spread(values)),
        low=low,
        high=high,
        difference=None if method == RANDOM else difference(done, results.of(RANDOM, data)),
        selected=_selected(done, results.judge),
        parameters=fmean(entry.parameters or 0 for entry in done),
        multiply_adds=fmean(entry.multiply_adds or 0 for entry in done),
        search=Phase(spent=search.spent / len(done), seconds=search.seconds / len(done)),
    )


def _corrected(lines: list[Summary]) -> list[Summary]:
    """With Holm's correction over the lines that have a p-value."""
    p_values = {
        i: line.difference.p
        for i, line in enumerate(lines)
        if line.difference is not None and line.difference.p is not None
    }
    for i, adjusted in zip(p_values, holm(list(p_values.values()))):
        found = lines[i].difference
        assert found is not None
        lines[i] = replace(lines[i], difference=replace(found, holm=adjusted))
    return lines


def correlations(results: Results) -> list[Correlation]:
    """Kendall's tau-b and Spearman's rho between the values of the phases.

    Over the searches of all methods together and of each. Search-time values of different methods
    are of different things (a supernet, a child), so over all methods their ranks also tell methods
    apart. Both values are of one measure, so agreement is positive whichever direction is better.
    """
    found = []
    for data in results.settings.data:
        scopes = {method: results.of(method, data) for method in results.settings.methods}
        everything = [entry for entries in scopes.values() for entry in entries]
        for scope, entries in {"all methods": everything, **scopes}.items():
            found += [_correlation(data, scope, *pair, entries) for pair in PHASES]
    return found


PHASES = (("search", "test"), ("short", "test"), ("search", "short"))


def _correlation(
    data: str, scope: str, first: str, second: str, entries: Sequence[Entry]
) -> Correlation:
    values = [(getattr(e, f"{first}_value"), getattr(e, f"{second}_value")) for e in entries]
    known = [(x, y) for x, y in values if x is not None and y is not None]
    tau = rho = None
    if all(len(set(column)) > 1 for column in zip(*known)) and known:
        from scipy import stats  # half a second: not at import

        x, y = (np.array(column) for column in zip(*known))
        tau = float(stats.kendalltau(x, y, variant="b").statistic)
        rho = float(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])
    return Correlation(data, scope, first, second, len(known), tau, rho)


class Band(NamedTuple):
    """A mean over searches at what was `spent`, and one sample standard deviation around it."""

    spent: float
    mean: float | None
    low: float | None
    high: float | None


def bands(results: Results, method: str, data: str, points: int = 20) -> list[Band]:
    """`anytime` of a method with its spread over searches; one search has no spread."""
    found = []
    for spent in _grid(results, points):
        best = _best_so_far(results, method, data, spent)
        if not best or len(best) < len(results.of(method, data)):
            found.append(Band(spent, None, None, None))
            continue
        mean, spread = fmean(best), _known(statistics.spread(best))
        around = (None, None) if spread is None else (mean - spread, mean + spread)
        found.append(Band(spent, mean, *around))
    return found


def _grid(results: Results, points: int) -> list[float]:
    """Evenly spaced amounts of spending."""
    most = max((entry.costs.search.spent for entry in results.entries), default=0.0)
    top = results.budget.amount or most
    return [top * step / points for step in range(1, points + 1)]


def anytime(results: Results, points: int = 20) -> list[Reached]:
    """Values over spending: the mean of the best validation value so far, on a grid.

    `points` evenly spaced amounts up to the budget, or to the most that a search spent where the
    budget is in seconds. Only searches that are done count; an amount at which not all of them have
    a first value has None, so that a mean is always over the same searches.
    """
    return [
        _reached(results, method, data, spent)
        for data in results.settings.data
        for method in results.settings.methods
        for spent in _grid(results, points)
    ]


def _reached(results: Results, method: str, data: str, spent: float) -> Reached:
    best = _best_so_far(results, method, data, spent)
    whole = len(best) == len(results.of(method, data)) > 0
    return Reached(data, method, spent, fmean(best) if whole else None, len(best))


def _best_so_far(results: Results, method: str, data: str, spent: float) -> list[float]:
    """Of each search that is done and has a value by then."""
    return [
        results.judge.best(so_far)
        for entry in results.of(method, data)
        if (so_far := [point.value for point in entry.curve if point.spent <= spent])
    ]


def _tested(entries: Sequence[Entry]) -> dict[int, float]:
    """Test value by seed."""
    return {e.seed: e.test_value for e in entries if e.test_value is not None}


def _selected(done: Sequence[Entry], judge: Measure) -> float | None:
    """The test value of what validation selects; None where one has no validation."""
    known = [
        (judge.order(entry.short_value), entry.seed, entry.test_value)
        for entry in done
        if entry.short_value is not None
    ]
    return min(known)[-1] if len(known) == len(done) else None


def _interval(estimate: statistics.Estimate) -> tuple[float | None, float | None]:
    low, high = estimate.interval()
    return _known(low), _known(high)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
