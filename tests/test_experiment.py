"""The main job's words and numbers: what may be claimed, and what may not."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from archgrad.costing.cost import Cost
from archgrad.errors import ArchgradError
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.statistics import compare
from archgrad.verbs.experiment import Report, as_json, clock, draw_random, rows, summary, verdict

IMAGES, TOKENS = ("accuracy", "test_images", 360), ("perplexity", "test_tokens", 82430)


def report(found: list[float], random: list[list[float]], judge: Any = IMAGES) -> Report:
    name, over, count = judge

    def scores(values: list[float]) -> list[dict[str, Any]]:
        return [{name: v, "seconds": 30.0, over: count, "seed": i} for i, v in enumerate(values)]

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
WRITTEN = """\
            test accuracy, %  over     parameters  madds, M  search  training
found       98.00 ± 1.00      3 seeds  1,000       1.00      2:05    1:30
random      70.67 ± 0.76      3 cells  3,000       3.00      -       3:00
  random-1  70.50 ± 0.71      2 seeds  2,000       2.00      -       1:00
  random-2  71.50 ± 0.71      2 seeds  3,000       3.00      -       1:00
  random-3  70.00 ± 0.00      2 seeds  4,000       4.00      -       1:00

found - random: +27.33 points, 95 % interval [+25.26, +29.41] (Welch's t; 3 seeds of the found \
cell, 3 random cells with 2 seeds each).
The found cell is better than the average random cell of this space.
This is about this one cell: one search says nothing about the method. The interval covers \
retraining seeds and the draw of random cells, not the draw of the test images (360, of which one \
is 0.28 points).
"""


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


def test_what_is_written_of_images_stays_byte_for_byte() -> None:
    assert summary(BETTER) == WRITTEN
    found = as_json(BETTER)
    assert list(found) == [
        "scores", "costs", "found_minus_random", "interval_95", "distinguishable",
        "search_seconds", "limit",
    ]  # fmt: skip
    assert found["scores"] == BETTER.scores
    assert found["found_minus_random"] == pytest.approx(0.98 - 2.12 / 3)


def test_of_text_less_perplexity_is_better() -> None:
    cells = [[63.0, 65.0], [66.0, 64.0], [64.5, 65.5]]  # means 64, 65, 65
    better = report([59.0, 60.0, 61.0], cells, TOKENS)
    assert rows(better)[0][1] == "test perplexity"
    assert rows(better)[1][1:3] == ["60.00 ± 1.00", "3 seeds"]
    assert rows(better)[2][1:3] == ["64.67 ± 0.58", "3 cells"]
    gap, claim, ending = verdict(better)
    low, high = better.comparison.low, better.comparison.high
    assert gap.startswith(
        f"found - random: -4.67 perplexity, 95 % interval [{low:+.2f}, {high:+.2f}] (Welch's t; "
        "3 seeds of the found cell, 3 random cells with 2 seeds each"
    )
    assert claim == "The found cell is better than the average random cell of this space."
    assert ending.endswith("not the draw of the test tokens (82,430).")
    worse = report([69.0, 70.0, 71.0], cells, TOKENS)
    assert verdict(worse)[1].startswith("The found cell is worse than the average random cell")
    same = report([64.0, 65.0, 66.0], cells, TOKENS)
    assert verdict(same)[1] == "The found cell cannot be told apart from random cells."


def test_json_of_text_holds_perplexities_as_they_are() -> None:
    found = as_json(report([60.0, 61.0], [[64.0], [65.0]], TOKENS))
    assert found["found_minus_random"] == -4.0
    assert json.loads(json.dumps(found))["scores"]["random-2"][0]["perplexity"] == 65.0


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
