"""Statistics of a comparison against known answers, enumeration and scipy."""

from __future__ import annotations

import itertools
import math
import random
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from archgrad.findings.results import Budget, Phase, Point, Results
from archgrad.findings.statistics import (
    DRAWS,
    EXACT,
    anytime,
    correlations,
    difference,
    holm,
    pairs_needed,
    sign_flip,
    smallest_p,
    summaries,
)
from comparisons import CURVE, done, failed, results

ACCURACY = st.integers(0, 1000).map(lambda k: k / 1000)
MAYBE = st.none() | ACCURACY


def test_the_interval_of_the_mean_over_searches_by_hand() -> None:
    """90, 92, 94 %: mean 92, standard deviation 2, t(2) = 4.302653, half = t * 2 / sqrt(3)."""
    line = summaries(results({"random": [0.90, 0.92, 0.94]}))[0]
    half = 4.302653 * 0.02 / math.sqrt(3)
    assert (line.mean, line.deviation) == (pytest.approx(0.92), pytest.approx(0.02))
    assert (line.low, line.high) == (pytest.approx(0.92 - half), pytest.approx(0.92 + half))
    assert line.difference is None


def test_the_sleep_data_of_student() -> None:
    """Student 1908, ten pairs: paired t interval [0.7001, 2.4599] of 1.58, in R's t.test."""
    one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    two = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    scaled = {  # into 0 to 1
        "darts": [(value + 2) / 10 for value in two],
        "random": [(value + 2) / 10 for value in one],
    }
    found = summaries(results(scaled))[0].difference
    assert found is not None
    assert found.value == pytest.approx(0.158)
    assert (found.low, found.high) == pytest.approx((0.07001142, 0.24598858), rel=1e-6)
    assert (found.test, found.n, found.smallest) == ("paired", 10, 2 / 1024)
    # nine positive differences and a zero: only all signs alike are as far, for both signs of 0
    assert found.p == pytest.approx(4 / 1024)


def test_fishers_own_randomization_test_of_darwins_plants() -> None:
    """Fisher 1935, The Design of Experiments, section 21: 1,726 of 32,768 sign flips."""
    eighths = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert sign_flip(eighths) == 1726 / 32768


def _enumerated(values: list[float]) -> float:
    total = abs(math.fsum(values))
    signs = list(itertools.product((1, -1), repeat=len(values)))
    sums = [abs(math.fsum(s * v for s, v in zip(flip, values))) for flip in signs]
    return sum(found >= total - 1e-9 for found in sums) / len(signs)


@given(st.lists(st.integers(-50, 50).map(lambda k: k / 1000), min_size=1, max_size=8))
def test_the_permutation_test_is_the_enumeration(values: list[float]) -> None:
    p = sign_flip(values)
    assert p == _enumerated(values)
    assert smallest_p(len(values)) <= p <= 1
    assert sign_flip([-value for value in values]) == p
    assert sign_flip(values[::-1]) == p


@pytest.mark.parametrize("n", [2, 3, 5, EXACT, EXACT + 20])
def test_all_differences_of_one_sign_give_the_smallest_p(n: int) -> None:
    assert sign_flip([0.01 * (i + 1) for i in range(n)]) == smallest_p(n)


def test_many_pairs_are_drawn_and_repeat() -> None:
    values = list(np.random.default_rng(3).normal(0.3, 1.0, 40))
    shuffled = random.Random(0).sample(values, len(values))
    assert sign_flip(values) == sign_flip(shuffled)
    near = stats.ttest_1samp(values, 0).pvalue
    assert sign_flip(values) == pytest.approx(near, abs=0.02)
    assert 1 / (DRAWS + 1) <= sign_flip(values) <= 1


def test_rounding_is_no_difference() -> None:
    """0.3 - 0.2 and 0.2 - 0.1 are not the same number, but the same difference."""
    found = summaries(results({"darts": [0.3, 0.2], "random": [0.2, 0.1]}))[0].difference
    assert found is not None
    assert (found.value, found.low, found.high) == (pytest.approx(0.1), None, None)
    assert found.p == 0.5


def test_how_many_pairs_are_needed() -> None:
    assert smallest_p(pairs_needed()) <= 0.05 < smallest_p(pairs_needed() - 1)
    assert pairs_needed(0.01) == 8


def test_holm_of_a_known_example() -> None:
    """0.01, 0.04, 0.03, 0.005 times 3, 1, 2, 4, then never less than the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.randoms())
def test_holm_only_raises_and_follows_the_order(
    p_values: list[float], chance: random.Random
) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted))
    assert max(adjusted) <= min(1.0, len(p_values) * max(p_values))
    assert min(adjusted) == min(1.0, len(p_values) * min(p_values))
    order = chance.sample(range(len(p_values)), len(p_values))
    assert holm([p_values[i] for i in order]) == [adjusted[i] for i in order]


def test_holm_is_taken_over_the_methods_but_not_random() -> None:
    found = results({
        "darts": [0.9, 0.92, 0.95], "random": [0.8, 0.81, 0.83], "drnas": [0.85, 0.87, 0.8],
    })  # fmt: skip
    darts, alone, drnas = summaries(found)
    assert alone.difference is None
    assert darts.difference and drnas.difference
    assert (darts.difference.p, drnas.difference.p) == (0.25, 0.5)
    assert (darts.difference.holm, drnas.difference.holm) == (0.5, 0.5)


@given(st.lists(st.tuples(MAYBE, MAYBE), min_size=1, max_size=7))
def test_pairs_where_there_are_two_otherwise_welch(
    pairs: list[tuple[float | None, float | None]],
) -> None:
    mine, theirs = zip(*pairs)
    found = summaries(results({"darts": mine, "random": theirs}))[0].difference
    first, second = ([v for v in column if v is not None] for column in (mine, theirs))
    both = [round(a - b, 12) for a, b in pairs if a is not None and b is not None]
    if not first or not second:
        assert found is None
        return
    assert found is not None
    assert found.n == len(both)
    if len(both) >= 2:
        assert found.test == "paired"
        assert found.value == pytest.approx(fmean(both))
        assert found.p is not None
        assert found.smallest is not None
        assert found.smallest <= found.p <= 1
        if len(set(both)) > 1:
            low, high = stats.ttest_1samp(both, 0).confidence_interval(0.95)
            assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    else:
        assert found.value == pytest.approx(fmean(first) - fmean(second))
        assert found.smallest is None


def test_welch_where_pairs_lack() -> None:
    """Seeds 0 and 1 against 2 and 3: scipy's test of unequal variances."""
    mine, theirs = [0.9, 0.93], [0.8, 0.85]
    found = difference(
        [done("darts", seed, a) for seed, a in enumerate(mine)],
        [done("random", seed, a) for seed, a in enumerate(theirs, start=2)],
    )
    assert found is not None
    told = stats.ttest_ind(mine, theirs, equal_var=False)
    assert (found.test, found.n) == ("welch", 0)
    assert found.p == pytest.approx(told.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(told.confidence_interval(0.95)))


def test_one_search_on_a_side_gives_a_difference_and_no_test() -> None:
    found = difference([done("darts", 0, 0.9)], [done("random", 0, 0.8)])
    assert found is not None
    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high, found.p, found.test) == (None, None, None, None)


def test_selected_is_by_validation_not_by_test() -> None:
    accuracies = {"random": [0.9, 0.95, 0.8]}
    by_validation = results(accuracies, short={"random": [0.7, 0.6, 0.8]})
    assert summaries(by_validation)[0].selected == 0.8
    tied = results(accuracies, short={"random": [0.7, 0.8, 0.8]})
    assert summaries(tied)[0].selected == 0.95
    assert summaries(results(accuracies))[0].selected is None


def test_a_failed_search_counts_as_failed_and_its_costs_stay() -> None:
    line = summaries(results({"darts": [0.9, None], "random": [0.8]}, seeds=3))[0]
    assert (line.planned, line.done, line.failed) == (3, 1, 1)
    assert line.mean == 0.9
    assert (line.deviation, line.low, line.high) == (None, None, None)
    assert line.search == Phase(spent=1e9, seconds=10.0)
    assert line.total == Phase(spent=7.1e9 + 5e8, seconds=71.0 + 5.0)
    nothing = summaries(results({"darts": [None, None]}))[0]
    assert (nothing.done, nothing.failed, nothing.mean) == (0, 2, None)
    assert nothing.total == Phase(spent=1e9, seconds=10.0)


@given(
    st.dictionaries(
        st.sampled_from(["darts", "random", "evolution"]),
        st.lists(MAYBE, min_size=4, max_size=4),
        min_size=1,
    ),
    st.randoms(),
)
def test_the_order_of_the_entries_changes_nothing(
    accuracies: dict[str, list[float | None]], chance: random.Random
) -> None:
    found = results(accuracies)
    mixed = chance.sample(found.entries, len(found.entries))
    other = found.model_copy(update={"entries": tuple(mixed)})
    assert summaries(other) == summaries(found)
    assert correlations(other) == correlations(found)
    assert anytime(other) == anytime(found)


def _ranked(search: list[float | None], test: list[float]) -> Results:
    found = results({"darts": test})
    entries = tuple(
        entry.model_copy(update={"search_value": value})
        for entry, value in zip(found.entries, search)
    )
    return found.model_copy(update={"entries": entries})


def test_kendall_and_spearman_of_a_known_ranking() -> None:
    """1 2 3 4 5 against 3 1 2 5 4: seven pairs agree, three do not; sum of squares 8."""
    found = _ranked([0.1, 0.2, 0.3, 0.4, 0.5], [0.3, 0.1, 0.2, 0.5, 0.4])
    told = {(c.scope, c.first, c.second): c for c in correlations(found)}
    for scope in ("all methods", "darts"):
        between = told[scope, "search", "test"]
        assert between.n == 5
        assert between.tau == pytest.approx((7 - 3) / 10)
        assert between.rho == pytest.approx(1 - 6 * 8 / (5 * 24))
        assert told[scope, "short", "test"][4:] == (0, None, None)


def test_tau_b_corrects_for_ties() -> None:
    """Ranks 1 1 2 against 1 2 3: two pairs agree, one is tied: 2 / sqrt(2 * 3)."""
    found = correlations(_ranked([0.1, 0.1, 0.2], [0.1, 0.2, 0.3]))[0]
    assert found.tau == pytest.approx(2 / math.sqrt(6))


@pytest.mark.parametrize("search", [[0.5, 0.5, 0.5], [0.5, None, None], [None, None, None]])
def test_no_correlation_without_two_different_values(search: list[float | None]) -> None:
    found = correlations(_ranked(search, [0.1, 0.2, 0.3]))[0]
    assert (found.tau, found.rho) == (None, None)
    assert found.n == sum(value is not None for value in search)


def _curve(*points: tuple[float, float]) -> tuple[Point, ...]:
    return tuple(Point(spent=s, seconds=s, value=a) for s, a in points)


def test_anytime_is_the_mean_of_the_best_so_far() -> None:
    curves = [_curve((1, 0.5), (2, 0.4), (4, 0.9)), _curve((2, 0.7), (3, 0.8))]
    found = results({"darts": [0.9, 0.9]}, budget=Budget(amount=4))
    entries = tuple(e.model_copy(update={"curve": c}) for e, c in zip(found.entries, curves))
    lost = failed("random", 0)
    found = Results(
        settings=found.settings.model_copy(update={"methods": ("darts", "random")}),
        budget=found.budget,
        entries=(*entries, lost),
    )
    told = [r for r in anytime(found, points=4) if r.method == "darts"]
    assert [(r.spent, r.searches) for r in told] == [(1, 1), (2, 2), (3, 2), (4, 2)]
    assert [r.value for r in told] == [None, *map(pytest.approx, (0.6, 0.65, 0.85))]
    assert {r.value for r in anytime(found) if r.method == "random"} == {None}


def test_without_a_counted_budget_the_grid_ends_at_the_most_spent() -> None:
    found = results({"darts": [0.9]}, budget=Budget(seconds=60))
    told = anytime(found, points=2)
    assert [r.spent for r in told] == [5e8, 1e9]
    assert [r.value for r in told] == [point.value for point in CURVE]
