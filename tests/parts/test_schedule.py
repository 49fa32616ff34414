"""Numbers that change: known values at the ends, in the middle and between."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgrad.parts.schedule import Cosine, Fading, Linear, extremes, now

NUMBER = st.floats(-100, 100)


@given(NUMBER, NUMBER, st.floats(0, 1))
def test_linear_and_cosine_go_from_start_to_end(start: float, end: float, t: float) -> None:
    for schedule in (Linear(start, end), Cosine(start, end)):
        assert schedule(0.0) == pytest.approx(start, abs=1e-12)
        assert schedule(1.0) == pytest.approx(end, abs=1e-12)
        assert schedule(0.5) == pytest.approx((start + end) / 2, abs=1e-12)
        assert min(start, end) - 1e-9 <= schedule(t) <= max(start, end) + 1e-9
        assert schedule(t) + schedule(1 - t) == pytest.approx(start + end, abs=1e-9)


def test_known_values() -> None:
    assert Linear(10.0, 1.0)(0.1) == pytest.approx(9.1)
    assert Cosine(1.0, 0.0)(1 / 3) == pytest.approx(0.75)
    assert Cosine(-0.2, 0.2)(0.25) == pytest.approx(-0.2 * math.sqrt(0.5))


def test_dropout_of_p_darts_fades() -> None:
    """25 epochs a stage: a line for ten, then exp(-0.2 an epoch)."""
    fading = Fading(0.7)
    assert [fading(e / 25) for e in (0, 5)] == pytest.approx([0.7, 0.7 * 0.8])
    assert fading(10 / 25) == pytest.approx(0.7)
    assert [fading(e / 25) for e in (11, 24)] == pytest.approx(
        [0.7 * math.exp(-0.2), 0.7 * math.exp(-0.2 * 14)]
    )
    assert Fading(1.0, bend=0.5, rate=2.0)(0.49) == pytest.approx(0.51)
    assert Fading(1.0, bend=0.5, rate=2.0)(1.0) == pytest.approx(math.exp(-1))


def test_a_number_may_be_a_schedule() -> None:
    assert now(0.3, 0.9) == 0.3
    assert now(Linear(0.0, 1.0), 0.9) == 0.9
    assert now(lambda t: t * t, 0.5) == 0.25


def test_extremes_see_the_ends_and_the_middle() -> None:
    assert extremes(2.5) == (2.5, 2.5)
    assert extremes(Linear(3.0, -1.0)) == (-1.0, 3.0)
    assert extremes(lambda t: t * (1 - t)) == (0.0, 0.25)
