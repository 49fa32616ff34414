"""Welch's interval against scipy's, and the honesty of the comparison."""

from __future__ import annotations

import math
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from archgrad.statistics import Comparison, compare, spread

ACCURACY = st.integers(0, 1000).map(lambda value: value / 1000)
SEEDS = st.lists(ACCURACY, min_size=2, max_size=5, unique=True)
CELLS = st.lists(st.lists(ACCURACY, min_size=1, max_size=4), min_size=2, max_size=5).filter(
    lambda cells: max(map(fmean, cells)) - min(map(fmean, cells)) > 1e-3
)


def test_spread_is_the_sample_standard_deviation() -> None:
    assert spread([1.0, 2.0, 3.0]) == 1.0
    assert spread([0.5, 0.5]) == 0.0
    assert math.isnan(spread([1.0]))


@given(SEEDS, CELLS, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_is_scipys_on_the_means_of_the_cells(
    found: list[float], cells: list[list[float]], confidence: float
) -> None:
    mine = compare(found, cells, confidence)
    test = stats.ttest_ind(found, [fmean(seeds) for seeds in cells], equal_var=False)
    low, high = test.confidence_interval(confidence)
    assert mine.low == pytest.approx(low, rel=1e-6, abs=1e-9)
    assert mine.high == pytest.approx(high, rel=1e-6, abs=1e-9)
    assert mine.difference == pytest.approx(fmean(found) - fmean(map(fmean, cells)))
    assert mine.low < mine.difference < mine.high


def test_a_known_interval() -> None:
    """Two and two values: variance 2e-4 + 2e-4, two degrees of freedom, t = 4.302653."""
    found, cells = [0.89, 0.93], [[0.79], [0.83]]
    half = 4.302653 * math.sqrt(8e-4)
    mine = compare(found, cells)
    assert mine.difference == pytest.approx(0.1)
    assert (mine.low, mine.high) == pytest.approx((0.1 - half, 0.1 + half), rel=1e-6)


def test_the_interval_is_in_the_unit_of_what_is_compared() -> None:
    """Perplexities are 1 at least and have no end: the same formula, a hundred times as wide."""
    found, cells = [89.0, 93.0], [[79.0], [83.0]]
    mine, small = compare(found, cells), compare([0.89, 0.93], [[0.79], [0.83]])
    assert mine.difference == pytest.approx(100 * small.difference)
    assert (mine.low, mine.high) == pytest.approx((100 * small.low, 100 * small.high), rel=1e-6)
    assert mine.distinguishable == small.distinguishable


def test_more_confidence_is_a_wider_interval_around_the_same_difference() -> None:
    found, cells = [0.8, 0.81, 0.82], [[0.7], [0.73]]
    narrow, usual, wide = (compare(found, cells, c) for c in (0.5, 0.95, 0.99))
    assert narrow.difference == usual.difference == wide.difference
    assert wide.low < usual.low < narrow.low < narrow.high < usual.high < wide.high
    assert usual == compare(found, cells)


@pytest.mark.parametrize(
    ("found", "cells"),
    [
        ([0.9], [[0.1], [0.2], [0.3]]),
        ([0.9, 0.91, 0.92], [[0.1, 0.2, 0.3]]),
        ([0.9], [[0.1]]),
        ([0.9, 0.9], [[0.1, 0.1], [0.1]]),
    ],
)
def test_one_value_or_no_spread_supports_no_claim(
    found: list[float], cells: list[list[float]]
) -> None:
    mine = compare(found, cells)
    assert (mine.low, mine.high) == (-math.inf, math.inf)
    assert not mine.distinguishable
    assert mine.difference == pytest.approx(fmean(found) - fmean(map(fmean, cells)))


def test_spread_on_one_side_is_enough() -> None:
    mine = compare([0.9, 0.9], [[0.1], [0.2]])
    half = 12.706205 * math.sqrt(0.005 / 2)  # one degree of freedom
    assert (mine.low, mine.high) == pytest.approx((0.75 - half, 0.75 + half), rel=1e-6)


@given(SEEDS, CELLS)
def test_the_other_way_round_the_interval_is_mirrored(
    found: list[float], cells: list[list[float]]
) -> None:
    mine = compare(found, cells)
    other = compare([fmean(seeds) for seeds in cells], [[value] for value in found])
    assert other.difference == pytest.approx(-mine.difference, abs=1e-12)
    assert (other.low, other.high) == pytest.approx((-mine.high, -mine.low), abs=1e-9)


def test_distinguishable_both_ways() -> None:
    high, low = [0.90, 0.91, 0.92], [0.70, 0.71, 0.72]
    better = compare(high, [[value] for value in low])
    worse = compare(low, [[value] for value in high])
    assert better.low > 0
    assert better.distinguishable
    assert worse.high < 0
    assert worse.distinguishable
    assert not compare([0.8, 0.9, 0.7], [[0.78], [0.83], [0.79]]).distinguishable


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 1.0, False), (-1.0, 0.0, False), (-1.0, 1.0, False), (1e-9, 1.0, True)],
)
def test_an_interval_that_holds_zero_is_not_distinguishable(
    low: float, high: float, expected: bool
) -> None:
    assert Comparison(0.1, low, high).distinguishable is expected


@given(SEEDS, CELLS, st.integers(1, 4), st.integers(0, 4))
def test_more_seeds_of_a_random_cell_with_its_mean_change_nothing(
    found: list[float], cells: list[list[float]], more: int, which: int
) -> None:
    """Seeds are nested in cells: they are no further draws of cells."""
    index = which % len(cells)
    extended = [list(seeds) for seeds in cells]
    extended[index] += [fmean(cells[index])] * more
    mine, other = compare(found, cells), compare(found, extended)
    assert other.difference == pytest.approx(mine.difference, abs=1e-12)
    assert (other.low, other.high) == pytest.approx((mine.low, mine.high), rel=1e-6, abs=1e-9)


def test_a_further_random_cell_does_change_the_interval() -> None:
    found, cells = [0.8, 0.82], [[0.7], [0.72]]
    wide, narrow = compare(found, cells), compare(found, [*cells, [0.71]])
    assert narrow.high - narrow.low < wide.high - wide.low
