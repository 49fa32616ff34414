"""Stages: where they begin, and which candidates go on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.parts.stage import Stage, boundaries, shrink

NAMES = ("none", "a", "b", "c")
GROUP = Group("g", 1, ((0, 1), (0, 2), (1, 2)), (NAMES,) * 3, 1)


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=5), st.integers(1, 600))
def test_stages_share_all_epochs_in_order(shares: list[float], epochs: int) -> None:
    stages = [Stage(share) for share in shares]
    try:
        found = boundaries(stages, epochs)
    except ArchgradError:
        assert min(shares) / sum(shares) * epochs <= 1
        return
    assert (found[0], found[-1], len(found)) == (0, epochs, len(stages) + 1)
    for share, first, last in zip(shares, found, found[1:]):
        assert first < last
        assert abs((last - first) - epochs * share / sum(shares)) <= 1.0 + 1e-9


def test_known_boundaries() -> None:
    assert boundaries([Stage(1 / 3)] * 3, 75) == [0, 25, 50, 75]
    assert boundaries([Stage(0.5), Stage(0.5)], 7) == [0, 4, 7]
    assert boundaries([Stage(1.0)], 1) == [0, 1]
    with pytest.raises(ArchgradError, match="3 stages needs at least an epoch for each; found 2"):
        boundaries([Stage(1 / 3)] * 3, 2)


def test_the_strongest_candidates_go_on_in_their_own_order() -> None:
    strength = [[0.1, 0.2, 0.3, 0.4], [0.4, 0.1, 0.3, 0.2], [0.25] * 4]
    assert shrink([GROUP], {"g": strength}, 2) == {
        "g": (("b", "c"), ("none", "b"), ("none", "a")),
    }


def test_none_does_not_go_on_alone() -> None:
    strength = [[0.7, 0.1, 0.2, 0.0]] * 3
    assert shrink([GROUP], {"g": strength}, 1) == {"g": (("b",),) * 3}
    kept = replace(GROUP, keep_none=True)
    assert shrink([kept], {"g": strength}, 1) == {"g": (("none",),) * 3}


ROW = st.lists(st.floats(0, 1), min_size=4, max_size=4)


@given(st.lists(ROW, min_size=3, max_size=3), st.integers(1, 6), st.booleans())
def test_what_is_left_is_stronger_than_what_goes(
    strength: list[list[float]], keep: int, keep_none: bool
) -> None:
    group = replace(GROUP, keep_none=keep_none)
    for row, names in zip(strength, shrink([group], {"g": strength}, keep)["g"]):
        assert len(names) == min(keep, 4)
        assert sorted(names, key=NAMES.index) == list(names)
        assert keep_none or names != ("none",)
        value = dict(zip(NAMES, row))
        gone = [value[name] for name in NAMES if name not in names]
        if keep > 1 or keep_none or max(row[1:]) >= row[0]:
            assert all(value[name] >= other for name in names for other in gone)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"share": 0.0}, "share 0.0 must be above 0"),
    ({"share": 1.5}, "share 1.5 must be above 0 and at most 1"),
    ({"share": 0.5, "candidates": 0}, "candidates 0 at least 1"),
    ({"share": 0.5, "more_cells": -1}, "more_cells -1 at least 0"),
]


@pytest.mark.parametrize(("knobs", "message"), REFUSED)
def test_values_out_of_range_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        Stage(**knobs)


def test_a_deeper_stage_cannot_inherit() -> None:
    with pytest.raises(ArchgradError, match="leave out inherit or more_cells"):
        Stage(0.5, more_cells=1, inherit=True)
