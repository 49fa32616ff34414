"""The main job's words and numbers: what may be claimed, and what may not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from archgrad.cost import Cost
from archgrad.errors import ArchgradError
from archgrad.experiment import Report, as_json, clock, draw_random, rows, verdict
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.statistics import compare


def report(found: list[float], random: list[list[float]]) -> Report:
    def scores(values: list[float]) -> list[dict[str, Any]]:
        return [
            {"accuracy": v, "seconds": 30.0, "test_images": 360, "seed": i}
            for i, v in enumerate(values)
        ]

    labels = {f"random-{i}": scores(values) for i, values in enumerate(random, start=1)}
    return Report(
        search=None,  # type: ignore[arg-type]
        scores={"found": scores(found), **labels},
        costs={label: Cost(1000 * i, 10**6 * i) for i, label in enumerate(["found", *labels], 1)},
        comparison=compare(found, random),
        search_seconds=125.0,
    )


SAME = report([0.97, 0.98, 0.99], [[0.98, 0.98], [0.97, 0.97], [0.99, 0.99]])
BETTER = report([0.97, 0.98, 0.99], [[0.70, 0.71], [0.72, 0.71], [0.70, 0.70]])
WORSE = report([0.60, 0.61, 0.62], [[0.90, 0.91], [0.92, 0.91], [0.90, 0.90]])
FLAT = report([0.9, 0.9], [[0.9, 0.9], [0.9, 0.9]])


@pytest.mark.parametrize(
    ("case", "claim"),
    [
        (SAME, "cannot be told apart from random cells"),
        (BETTER, "The found cell is better than the average random cell"),
        (WORSE, "The found cell is worse than the average random cell"),
        (FLAT, "cannot be told apart from random cells"),
    ],
)
def test_the_claim_follows_the_interval(case: Report, claim: str) -> None:
    text = " ".join(verdict(case))
    assert claim in text
    assert "one search says nothing about the method" in text
    assert "360, of which one is 0.28 points" in text


def test_the_sentence_names_its_basis() -> None:
    text = verdict(BETTER)[0]
    assert "found - random: +27.33 points" in text
    assert "3 seeds of the found cell, 3 random cells with 2 seeds each" in text
    assert "no interval can be given" in verdict(FLAT)[0]


def test_the_table_holds_means_spreads_costs_and_times() -> None:
    table = rows(SAME)
    assert table[1] == ["found", "98.00 ± 1.00", "3 seeds", "1,000", "1.00", "2:05", "1:30"]
    assert table[2] == ["random", "98.00 ± 1.00", "3 cells", "3,000", "3.00", "-", "3:00"]
    assert table[3][:3] == ["  random-1", "98.00 ± 0.00", "2 seeds"]
    assert {len(row) for row in table} == {7}
    widths = [max(len(row[i]) for row in table) for i in range(7)]
    assert sum(widths) + 2 * 6 <= 80  # fits a terminal


def test_a_single_seed_has_no_spread() -> None:
    single = report([0.9], [[0.8], [0.7]])
    assert rows(single)[1][1] == "90.00"
    assert as_json(single)["interval_95"] is None
    assert not single.comparison.distinguishable


def test_json_holds_the_interval() -> None:
    low, high = as_json(BETTER)["interval_95"]  # type: ignore[misc]
    assert 0 < low < BETTER.comparison.difference < high < math.inf  # type: ignore[has-type]


def test_random_cells_are_different_and_repeat_with_the_seed() -> None:
    space = DartsCNN(nodes=2)
    cells = draw_random(space, 0, 20)
    assert len(set(cells)) == 20
    assert draw_random(space, 0, 20) == cells
    assert draw_random(space, 1, 20) != cells
    small = DartsCNN(nodes=1, edges_per_node=1, operations=("none", "skip_connect"))
    with pytest.raises(ArchgradError, match="does not have 5 different cells"):
        draw_random(small, 0, 5)


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.9, 60, 3661)] == ["0:00", "0:59", "1:00", "61:01"]
