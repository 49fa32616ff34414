"""Tables and statistics of values of which less is better, and files from before these."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from archgrad.errors import ArchgradError
from archgrad.findings import tables
from archgrad.findings.checklist import checklist
from archgrad.findings.results import Point, Results
from archgrad.findings.statistics import anytime, correlations, summaries
from archgrad.findings.writing import files, report
from comparisons import results

KEPT = Path(__file__).parents[2] / "benchmarks" / "results" / "compare-digits"
CURVE = tuple(
    Point(spent=spent, seconds=spent / 1e9, value=value)
    for spent, value in ((2e8, 400.0), (4e8, 150.5), (1e9, 180.0))
)
SHORT = {"darts": [70.0, 64.0, 66.0], "gdas": [75.0, 72.0, 71.0], "random": [73.0, 72.5, 74.0]}
FOUND = results(
    {"darts": [58.0, 56.0, 57.0], "gdas": [62.0, None, 61.0], "random": [60.0, 59.0, 60.5]},
    short=SHORT,
    measure="perplexity",
    curve=CURVE,
)


def test_the_table_shows_them_as_they_are() -> None:
    lines = tables.text(FOUND).splitlines()
    assert [re.split("  +", line) for line in lines[:4]] == [
        ["data", "method", "searches", "test perplexity", "95 % interval",
         "minus random, perplexity", "p", "p (Holm)", "selected"],
        ["digits", "darts", "3 of 3", "57.00 ± 1.00", "[54.52, 59.48]", "-2.83 [-4.73, -0.94]",
         "0.25", "0.5", "56.00"],
        ["digits", "gdas", "2 of 3 (1 failed)", "61.50 ± 0.71", "[55.15, 67.85]",
         "+1.25 [-8.28, +10.78]", "0.5", "0.5", "61.00"],
        ["digits", "random", "3 of 3", "59.83 ± 0.76", "[57.94, 61.73]", "-", "-", "-", "59.00"],
    ]  # fmt: skip
    said = "\n".join(tables.notes(FOUND))
    assert "Test perplexity: mean" in said
    assert "Less perplexity is better: a method that is better than random has less than 0" in said
    assert "Less" not in "\n".join(tables.notes(results({"random": [0.5]})))


def test_validation_selects_the_least() -> None:
    """As accuracies these would select another search of each method."""
    selected = [line.selected for line in summaries(FOUND)]
    assert selected == [56.0, 61.0, 59.0]
    tie = results({"random": [60.0, 59.0]}, short={"random": [70.0, 70.0]}, measure="perplexity",
                  curve=CURVE)  # fmt: skip
    assert summaries(tie)[0].selected == 60.0, "the smallest seed"


def test_the_least_so_far_over_what_was_spent() -> None:
    told = [r.value for r in anytime(FOUND, points=5) if r.method == "random"]
    assert told == [400.0, 150.5, 150.5, 150.5, 150.5]
    rows = list(csv.DictReader(io.StringIO(tables.anytime_csv(FOUND, points=5))))
    assert [row["perplexity"] for row in rows][:2] == ["400.0", "150.5"]
    shown = tables.anytime_text(FOUND)
    assert "Best validation perplexity so far, over multiply-adds spent" in shown
    assert shown.splitlines()[1].split() == ["digits", "darts", "400.00", *4 * ["150.50"]]


def test_agreement_of_two_phases_is_positive() -> None:
    """Both are perplexities: what validation ranks first the test does too."""
    (of_darts,) = [
        c for c in correlations(FOUND) if (c.scope, c.first, c.second) == ("darts", "short", "test")
    ]
    assert (of_darts.tau, of_darts.rho) == (1.0, 1.0)


def test_the_report_speaks_of_perplexity_alone() -> None:
    said = report(FOUND)
    assert "Rank correlations of perplexities:" in said
    assert "accurac" not in said and "%, " not in said
    assert any(item.practice == "perplexity over what was spent (7)" for item in checklist(FOUND))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"measure": "perplexity"', '"measure": "accuracy"'), "the accuracy 70; expected 0 to 1"),
        (('"measure": "perplexity"', '"measure": "bits"'), "expected accuracy or perplexity"),
        (('"test_value": 58.0', '"test_value": 0.5'), "has the perplexity 0.5; expected 1 to inf"),
        (('"value": 400.0', '"value": -1.0'), "darts on digits, seed 0 has the perplexity -1"),
    ],
)  # fmt: skip
def test_values_of_another_measure_are_refused(change: tuple[str, str], message: str) -> None:
    text = FOUND.to_json()
    assert change[0] in text
    assert Results.from_json(text) == FOUND
    with pytest.raises(ArchgradError, match=message):
        Results.from_json(text.replace(*change, 1))


def test_older_files_are_read_and_give_the_tables_they_gave() -> None:
    """Which say nothing of a measure, and call every value an accuracy."""
    text = (KEPT / "results.json").read_text(encoding="utf-8")
    assert '"measure"' not in text and '"test_accuracy"' in text and '"test_value"' not in text
    found = Results.from_json(text)
    made = files(found)
    for name in ("table.md", "anytime.csv"):
        assert made[name] == (KEPT / name).read_text(encoding="utf-8")
    kept = (KEPT / "report.txt").read_text(encoding="utf-8")
    upto = "Checklist of best practices"
    assert made["report.txt"].partition(upto)[0] == kept.partition(upto)[0]
    assert Results.from_json(found.to_json()) == found
