"""Comparisons as the page gets them: their tables are those of `archgrad.comparing`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import run_folders as folders
from archgrad.findings import tables
from archgrad.findings.results import Budget, Phase, Point, Results
from archgrad.findings.statistics import bands
from archgrad.reporting.document import document
from comparisons import COSTS, done, results

MADE = results({"darts": (0.9, 0.7), "random": (0.6, 0.8)})


def comparison(
    path: Path, found: Results | None = MADE, searches: int = 2, epochs: int = 3
) -> Path:
    compare = {"methods": "darts,random", "seeds": 2}
    folders.write(path / "comparison.yaml", {"compare": compare, "runs": [folders.config()]})
    folders.write(path / "environment.json", folders.environment())
    if found is not None:
        (path / "results.json").write_text(found.to_json())
    for method in ("darts", "random"):
        for seed in range(searches):
            place = path / "searches" / "0-digits" / method / f"seed-{seed}"
            folders.search(place, range(1, epochs + 1))
    return path


def read(path: Path) -> dict[str, Any]:
    made = document([path])
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    return made


def test_tables_points_and_checklist_are_those_of_the_comparison(tmp_path: Path) -> None:
    made = read(comparison(tmp_path))
    (found,) = made["comparisons"]
    assert (found["state"], found["problems"]) == ("finished", [])
    first, ranks = found["tables"]
    assert [first["header"], *first["rows"]] == tables.rows(MADE)
    assert ranks["header"][0] == "data"
    assert found["sentences"] == tables.notes(MADE)
    assert [(p["method"], p["seed"], p["test"]) for p in found["points"]] == [
        ("darts", 0, 0.9), ("darts", 1, 0.7), ("random", 0, 0.6), ("random", 1, 0.8),
    ]  # fmt: skip
    assert found["points"][0]["parameters"] == 2_000_000
    assert {item["done"] for item in found["checklist"]} == {True, False, None}
    assert dict(found["facts"])["searches done"] == "4 of 4"
    assert dict(found["facts"])["budget of a search"] == "1e+09 multiply-adds"


def test_its_searches_are_runs(tmp_path: Path) -> None:
    made = read(comparison(tmp_path / "both"))
    assert made["title"] == "both"
    assert [run["name"] for run in made["runs"]] == [
        "darts seed-0", "darts seed-1", "random seed-0", "random seed-1",
    ]  # fmt: skip
    assert made["comparisons"][0]["runs"] == [run["id"] for run in made["runs"]]
    assert made["runs"][0]["replay"]["alpha"]["normal"] is not None


def test_many_searches_keep_strength_alone_and_fewer_epochs(tmp_path: Path) -> None:
    runs = read(comparison(tmp_path, searches=50, epochs=20))["runs"]
    assert len(runs) == 100
    assert runs[10]["name"] == "darts seed-10", "in order of the numbers"
    assert all(run["replay"]["alpha"] == {"normal": None} for run in runs)
    assert all(len(run["replay"]["epochs"]) == 16 for run in runs)
    assert all(run["replay"]["strength"]["normal"] is not None for run in runs)


def test_curves_are_means_with_one_deviation_of_searches(tmp_path: Path) -> None:
    half, whole = Phase(spent=5e8, seconds=1), Phase(spent=1e9, seconds=2)
    entries = tuple(
        done("darts", seed, 0.5, curve=tuple(
            Point(spent=phase.spent, seconds=phase.seconds, value=value)
            for phase, value in zip((half, whole), values)
        ))
        for seed, values in enumerate([(0.2, 0.5), (0.4, 0.3)])
    )  # fmt: skip
    made = results({"darts": (0.5, 0.5)}).model_copy(update={"entries": entries})
    series = bands(made, "darts", "digits", points=4)
    assert series[0] == (2.5e8, None, None, None)
    assert series[1] == pytest.approx((5e8, 0.3, 0.3 - 0.02**0.5, 0.3 + 0.02**0.5))
    assert series[3] == pytest.approx((1e9, 0.45, 0.45 - 0.005**0.5, 0.45 + 0.005**0.5))
    (curve,) = read(comparison(tmp_path, made))["comparisons"][0]["curves"]
    assert (curve["unit"], curve["title"]) == (
        "multiply-adds", "best validation accuracy, % so far",
    )  # fmt: skip
    (drawn,) = curve["series"]
    assert drawn["method"] == "darts"
    assert drawn["mean"][9] == pytest.approx(0.3)
    assert len(drawn["spent"]) == len(drawn["low"]) == 20


def test_one_search_has_no_spread() -> None:
    made = results({"darts": (0.5,)}, budget=Budget(amount=COSTS.search.spent))
    assert bands(made, "darts", "digits", points=1) == [(1e9, 0.75, None, None)]


def test_an_unfinished_comparison_shows_its_searches(tmp_path: Path) -> None:
    made = read(comparison(tmp_path, found=None))
    (found,) = made["comparisons"]
    assert found["state"] == "unfinished"
    assert found["problems"] == [
        "results.json is missing: the comparison is not finished; not shown: its tables"
    ]
    assert (found["tables"], found["curves"]) == ([], [])
    assert len(made["runs"]) == 4
    assert found["reproduce"]["commands"][-1] == f"archgrad compare --resume {tmp_path}"


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "archgrad-comparison/7"}', "[" * 9999])
def test_damaged_results_are_said(content: str, tmp_path: Path) -> None:
    (comparison(tmp_path, searches=1) / "results.json").write_text(content)
    (found,) = read(tmp_path)["comparisons"]
    (told,) = found["problems"]
    assert told.startswith("results.json: ")
    assert "expected archgrad-comparison/1" in told
    assert found["tables"] == []
