"""The budget of the diagnostics, in counted passes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgrad.errors import ArchgradError
from archgrad.searching.cadence import FORWARD, GRADIENT, HESSIAN_VECTOR, Diagnostic, cadence

DIAGNOSTICS = st.dictionaries(
    st.sampled_from(["eigenvalue", "discrete", "watch", "alignment", "cells"]),
    st.builds(Diagnostic, st.integers(0, 3000), st.integers(1, 20)),
)
SEARCH = {
    "epochs": st.integers(1, 60),
    "steps": st.integers(1, 400),
    "gradients": st.integers(1, 9),
}


@given(DIAGNOSTICS, st.fixed_dictionaries(SEARCH))
def test_the_budget_is_kept_or_start_middle_and_end_remain(
    diagnostics: dict[str, Diagnostic], search: dict[str, int]
) -> None:
    found = cadence(diagnostics, **search)
    epochs = search["epochs"]
    ends = {1, (1 + epochs) // 2, epochs}
    passes = 0.0
    for name, diagnostic in diagnostics.items():
        chosen = found.epochs[name]
        passes += len(chosen) * diagnostic.passes
        assert list(chosen) == sorted(set(chosen))
        assert {1, epochs} <= set(chosen) <= set(range(1, epochs + 1))
        assert len(chosen) >= len(ends)
        steps = {b - a for a, b in pairwise(chosen[:-1])}
        if set(chosen) != ends:
            assert len(steps) == 1 and min(steps) >= diagnostic.interval
    assert found.share == pytest.approx(
        passes / (epochs * search["steps"] * search["gradients"] * 3)
    )
    if found.share > 0.05 + 1e-12:
        assert all(set(found.epochs[n]) == ends for n, d in diagnostics.items() if d.passes)
    assert found == cadence(dict(reversed(diagnostics.items())), **search)


@given(DIAGNOSTICS, st.fixed_dictionaries(SEARCH))
def test_a_longer_epoch_measures_no_less(
    diagnostics: dict[str, Diagnostic], search: dict[str, int]
) -> None:
    few = cadence(diagnostics, **search)
    many = cadence(diagnostics, **{**search, "steps": 2 * search["steps"]})
    assert many.share <= max(few.share, 0.05 + 1e-12)
    total = 2 * search["epochs"] * search["steps"] * search["gradients"] * GRADIENT
    dense = cadence(diagnostics, **search, budget=1e9)
    if dense.share * total / 2 <= 0.05 * total:  # all of it fits
        assert many.epochs == dense.epochs


def test_the_papers_search_takes_the_eigenvalue_every_second_epoch() -> None:
    """391 steps on CIFAR-10, first order; ten products: 26 readings, 1.3 % of the search."""
    eigenvalue = Diagnostic(10 * HESSIAN_VECTOR, interval=2)
    found = cadence({"eigenvalue": eigenvalue}, epochs=50, steps=391, gradients=2)
    assert found.epochs["eigenvalue"] == (*range(1, 51, 2), 50)
    assert found.share == pytest.approx(26 * 60 / (50 * 391 * 6))


def test_a_short_search_takes_three_and_says_what_they_cost() -> None:
    diagnostics = {"eigenvalue": Diagnostic(10 * HESSIAN_VECTOR, 2), "skips": Diagnostic(0)}
    found = cadence(diagnostics, epochs=10, steps=11, gradients=2)
    assert found.epochs == {"eigenvalue": (1, 5, 10), "skips": tuple(range(1, 11))}
    assert found.share == pytest.approx(180 / 660)


def test_between_the_two_the_interval_grows() -> None:
    """5 % of 20 epochs are 60 passes: five measurements of 12."""
    found = cadence({"eigenvalue": Diagnostic(12)}, epochs=20, steps=10, gradients=2)
    assert found.epochs["eigenvalue"] == (1, 6, 11, 16, 20)
    assert found.share == pytest.approx(0.05)


def test_what_the_cheap_one_leaves_goes_to_the_other() -> None:
    alone = cadence({"costly": Diagnostic(12)}, epochs=20, steps=10, gradients=2)
    both = {"costly": Diagnostic(12), "cheap": Diagnostic(0.001)}
    found = cadence(both, epochs=20, steps=11, gradients=2)
    assert found.epochs["cheap"] == tuple(range(1, 21))
    assert found.epochs["costly"] == alone.epochs["costly"]


def test_equals_share_equally() -> None:
    """5 % of 20 epochs are 120 passes: five measurements of 12 each."""
    both = {"one": Diagnostic(12), "other": Diagnostic(12)}
    found = cadence(both, epochs=20, steps=20, gradients=2)
    assert found.epochs == dict.fromkeys(both, (1, 6, 11, 16, 20))
    assert found.share == pytest.approx(0.05)


@pytest.mark.parametrize(("epochs", "expected"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3))])
def test_searches_of_few_epochs(epochs: int, expected: tuple[int, ...]) -> None:
    found = cadence({"watch": Diagnostic(FORWARD, 9)}, epochs=epochs, steps=9, gradients=1)
    assert found.epochs["watch"] == expected


def test_nothing_to_measure_costs_nothing() -> None:
    found = cadence({}, epochs=3, steps=1, gradients=1)
    assert (found.epochs, found.share) == ({}, 0)


def test_numbers_without_meaning_are_refused() -> None:
    for passes, interval in [(-1, 1), (float("nan"), 1), (1, 0)]:
        with pytest.raises(ArchgradError, match="expected passes of 0 or more"):
            Diagnostic(passes, interval)
    for epochs, steps, gradients in [(0, 1, 1), (1, 0, 1), (1, 1, 0)]:
        with pytest.raises(ArchgradError, match=f"found {epochs} epochs of {steps} steps"):
            cadence({}, epochs=epochs, steps=steps, gradients=gradients)
