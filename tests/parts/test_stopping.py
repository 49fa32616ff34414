"""Stop rules against the authors' eigenvalue logs and against histories made by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgrad.errors import ArchgradError
from archgrad.parts.stopping import EigenvalueStop, SkipCount, StableRanking, Verdict, readings

# Eigenvalues of three searches in RobustDARTS' space S1 on CIFAR-10 (weight decay 3e-4), after
# epochs 0, 2, ..., 48, 49 counted from 0, which are 1, 3, ..., 49, 50 here.
PUBLISHED = {
    1: ".179 .148 .170 .146 .121 .249 .231 .360 .225 .386 .208 .430 .508 .229 .410 .502 .500 .250 "
    ".457 .517 .644 .459 .707 1.319 .527 .521",
    2: ".174 .147 .263 .193 .167 .221 .209 .151 .220 .290 .314 .474 .305 .362 .323 .361 .900 .243 "
    ".301 .629 .647 .517 .821 .395 .395 .394",
    3: ".146 .208 .316 .197 .213 .183 .347 .203 .250 .171 .310 .305 .253 .261 .407 .592 .596 .789 "
    ".733 .481 .365 .786 .913 .312 .880 1.064",
}


def published(seed: int) -> list[dict[str, Any]]:
    """Metrics of fifty epochs, the eigenvalue in every second one and the last."""
    values = [float(word) for word in PUBLISHED[seed].split()]
    lines: list[dict[str, Any]] = [{"epoch": epoch} for epoch in range(1, 51)]
    for epoch, value in zip([*range(1, 51, 2), 50], values, strict=True):
        lines[epoch - 1]["eigenvalue"] = value
    return lines


def curve(*values: float, every: int = 2) -> list[dict[str, Any]]:
    return [{"epoch": 1 + every * i, "eigenvalue": value} for i, value in enumerate(values)]


def first_verdict(rule: Any, history: list[dict[str, Any]]) -> tuple[int, Verdict] | None:
    """The epoch in which a rule that is asked after every epoch stops the search."""
    for done in range(len(history) + 1):
        verdict = rule(history[:done])
        if verdict is not None:
            return history[done - 1]["epoch"], verdict
    return None


@pytest.mark.parametrize("threshold", [1.3, 4 / 3])
@pytest.mark.parametrize(
    ("seed", "stops", "returns", "ratio"),
    [(1, 22, 10, 1.453), (2, 22, 10, 1.540), (3, 30, 18, 1.467)],
)
def test_published_eigenvalues(
    seed: int, stops: int, returns: int, ratio: float, threshold: float
) -> None:
    """Epochs counted from 0, as in the authors' logs."""
    found = first_verdict(EigenvalueStop(threshold), published(seed))
    assert found is not None
    assert (found[0] - 1, found[1].epoch - 1) == (stops, returns)
    just_below, just_above = ratio - 6e-4, ratio + 6e-4
    upto = published(seed)[: stops + 1]
    assert EigenvalueStop(just_below)(upto) is not None
    assert EigenvalueStop(just_above)(upto) is None


@given(st.lists(st.floats(1, 1.29), max_size=30))
def test_no_growth_beyond_the_threshold_never_stops(values: list[float]) -> None:
    """Means of values in [1, 1.3) have no ratio of 1.3."""
    assert first_verdict(EigenvalueStop(), curve(*values)) is None


@given(st.lists(st.floats(0.01, 100), min_size=9, max_size=30), st.floats(0.01, 100))
def test_the_rule_is_of_ratios(values: list[float], scale: float) -> None:
    rule = EigenvalueStop(threshold=2)
    one, two = rule(curve(*values)), rule(curve(*(scale * value for value in values)))
    assert (one and one.epoch) == (two and two.epoch)


def test_windows_by_hand() -> None:
    """Windows of three, two readings apart: (1, 1, 4) against (1, 1, 1), then (1, 4, 4)."""
    rule = EigenvalueStop(threshold=2.1, window=3, distance=2, first=0)
    assert rule(curve(1, 1, 1, 1, 4)) is None
    verdict = rule(curve(1, 1, 1, 1, 4, 4))
    assert verdict is not None
    assert verdict.epoch == 5
    assert "from 1 to 3 (means of 3 readings)" in verdict.reason


def test_the_first_epochs_are_no_place_to_return_to() -> None:
    history = curve(*[1] * 5, *[9] * 5)
    for first, epoch in [(6, 7), (7, None)]:
        verdict = EigenvalueStop(first=first)(history)
        assert (verdict and verdict.epoch) == epoch


def test_an_early_window_is_cut_off() -> None:
    """Of the window around the first reading, the two before it are missing."""
    verdict = EigenvalueStop(threshold=1, first=0)(curve(2, 3, 4, 5, 6, 7, 8))
    assert verdict is not None
    assert verdict.epoch == 1
    assert "from 3 to 6 " in verdict.reason


def test_epochs_without_a_reading_do_not_matter() -> None:
    with_gaps = published(1)
    dense = [line for line in with_gaps if "eigenvalue" in line]
    assert EigenvalueStop()(with_gaps) == EigenvalueStop()(dense)
    broken = [*with_gaps[:8], {"epoch": 9, "eigenvalue": math.nan}, {"epoch": 9.5}, *with_gaps[8:]]
    assert EigenvalueStop()(broken) == EigenvalueStop()(with_gaps)
    assert readings([{"epoch": 1, "x": None}, {"epoch": 2}, {"epoch": 3, "x": 0}], "x") == [(3, 0)]


def test_no_verdict_without_readings_or_curvature() -> None:
    assert EigenvalueStop()([]) is None
    assert EigenvalueStop()([{"epoch": 1}]) is None
    assert EigenvalueStop(first=0)(curve(*[-1.0] * 9, *[-9.0] * 9)) is None
    assert EigenvalueStop(first=0)(curve(*[0.0] * 20)) is None


def skips(*counts: int) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "skips": {"normal": count, "reduce": 8}}
        for epoch, count in enumerate(counts, start=1)
    ]


def test_two_skips_in_the_normal_cell_stop() -> None:
    found = first_verdict(SkipCount(), skips(0, 1, 1, 3, 1, 2))
    assert found == (4, Verdict("the normal cell has 3 skip connections, 2 or more", 4))
    assert first_verdict(SkipCount(), skips(0, 1, 1, 1)) is None
    assert first_verdict(SkipCount(skips=4), skips(0, 1, 3, 4)) is not None
    assert SkipCount(cell="reduce")(skips(0)) is not None
    assert SkipCount()([{"epoch": 1}]) is None
    assert SkipCount()([*skips(2), {"epoch": 2}]) == SkipCount()(skips(2))


def test_a_cell_without_counts_is_named() -> None:
    with pytest.raises(ArchgradError, match="no cell cell; choose one of normal, reduce"):
        SkipCount(cell="cell")(skips(0))


def ranked(word: str) -> list[dict[str, Any]]:
    """One epoch a letter; a dot is an epoch without the ranking."""
    return [
        {"epoch": epoch} if letter == "." else {"epoch": epoch, "ranking": {"normal": [[letter]]}}
        for epoch, letter in enumerate(word, start=1)
    ]


@pytest.mark.parametrize(
    ("word", "stops"),
    [
        ("aaaa", 4),
        ("abbbb", 5),
        ("abababab", None),
        ("aaabaaab", None),
        ("aaabaaaaa", 8),
        ("a..a", 4),
        ("a.b.a", None),
        ("", None),
        ("....", None),
    ],
)
def test_a_ranking_that_stays_for_three_epochs_stops(word: str, stops: int | None) -> None:
    found = first_verdict(StableRanking(epochs=3), ranked(word))
    assert (found and found[0]) == stops
    assert found is None or found[1].epoch == stops


def test_ten_epochs_are_the_papers() -> None:
    assert first_verdict(StableRanking(), ranked("b" + 20 * "a")) == (
        12,
        Verdict("the ranking of the operations with parameters has not changed since epoch 2", 12),
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: EigenvalueStop(threshold=0), "threshold 0"),
        (lambda: EigenvalueStop(window=0), "window 0"),
        (lambda: EigenvalueStop(distance=0), "distance 0"),
        (lambda: SkipCount(skips=0), "skips is 0"),
        (lambda: StableRanking(epochs=0), "epochs is 0"),
    ],
)
def test_numbers_without_meaning_are_refused(make: Any, said: str) -> None:
    with pytest.raises(ArchgradError, match=said):
        make()
