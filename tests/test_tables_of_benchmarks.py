"""The scripts that set our figures beside published ones: tabular.py, recipe.py, published.py."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

import archgrad
import published
import recipe
import tabular
from archgrad.benchmarks import Table, TableObjective
from archgrad.benchmarks.numbering import CELLS, number, string
from archgrad.errors import ArchgradError


def table(seed: int = 0) -> Table:
    """Validation and costs from seed 0, the test from the seed given."""
    drawn = np.random.default_rng(0).uniform(10, 90, (2, CELLS))
    test = np.random.default_rng(seed).uniform(10, 90, CELLS)
    columns = ("c10_val_12ep", "c10_flops_M", "c10_test", "c10_test_12ep")
    return Table(dict(zip(columns, (*drawn, test, test), strict=True)))


@pytest.mark.parametrize("name", tabular.PUBLISHED)
def test_a_search_chooses_by_validation_alone(name: str) -> None:
    space = archgrad.space("nas-bench-201")
    objectives = [TableObjective(table(seed)) for seed in (1, 2)]
    (cell, curve), other = (tabular.searched(name, 3, 20, space, one) for one in objectives)
    assert other == (cell, curve)
    assert len(curve) == 20 and curve == sorted(curve) and len(set(curve)) > 1
    assert curve[-1] == objectives[0](cell)


def test_runs_are_told_apart_by_seed_and_the_test_is_that_of_the_chosen_cell() -> None:
    made, space = table(1), archgrad.space("nas-bench-201")
    options = argparse.Namespace(runs=3, evaluations=5)
    found = tabular.of_method("random", options, space, TableObjective(made))
    assert len(set(found["cells"])) == 3
    assert found["test"] == [
        round(made.value(string(cell), "c10_test"), 4) for cell in found["cells"]
    ]
    assert len(found["curve"]) == 5


def test_cells_are_the_best_of_each_part_of_the_cheap_ones() -> None:
    made = table()
    cheap = np.flatnonzero(made.column("c10_flops_M") <= 30)
    ranked = sorted(cheap, key=lambda cell: -made.column("c10_val_12ep")[cell])
    cells = [number(cell) for cell in recipe.chosen(made, 30, 3)]
    assert cells == [ranked[0], ranked[len(ranked) // 3], ranked[2 * len(ranked) // 3]]
    assert cells == [number(cell) for cell in recipe.chosen(table(5), 30, 3)]
    with pytest.raises(ArchgradError, match="0 cells have at most 1 million FLOPs"):
        recipe.chosen(made, 1, 3)


def test_what_was_not_run_says_so(tmp_path: Path) -> None:
    text = published.report(tmp_path, "cuda")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == 11 and all("not measured" in row for row in rows)


def test_what_was_run_stands_beside_the_published_figure(tmp_path: Path) -> None:
    cell = archgrad.architecture.published("DARTS_V2").to_json()
    run = {"epochs": 50, "train": 0.99, "valid": 0.9, "seconds": 1.0, "architecture": cell}
    tests = {"darts": [54.0, 56.0], "drnas": [94.36]}
    runs = [
        {**run, "method": name, "seed": seed, "test": test}
        for name, each in tests.items()
        for seed, test in enumerate(each)
    ]
    runs.append({**run, "method": "pc_darts", "seed": 0, "architecture": None})  # not over
    runs.append({**run, "method": "darts_2nd", "seed": 0, "epochs": 2, "test": 90.0})  # too short
    environment = {"device": "a GPU", "commit": "0123456789", "started": "2030-01-02T03:04"}
    content = {"environment": environment, "runs": runs}
    (tmp_path / "nas201-cuda.json").write_text(json.dumps(content))
    trained = [{"seed": seed, "epochs": 600, "train": 1.0, "test": 97.0 + seed} for seed in (0, 1)]
    trained.append({"seed": 2, "epochs": 7, "train": 0.5, "test": None})
    content = {"environment": environment, "runs": trained}
    (tmp_path / "evaluate-cuda.json").write_text(json.dumps(content))
    text = published.report(tmp_path, "cuda")
    assert "| `DARTS_V2`, retrained | 2.63 (arXiv:1806.09055) | 2.50 ± 0.71 |" in text
    assert "seed 2: 7 epochs done, 50.00 % of" in text and "seed 1" not in text
    assert "| `darts_2nd` | 54.30 ± 0.00 (arXiv:2001.00326) | not measured |" in text
    assert "| `darts` | 54.30 ± 0.00 (arXiv:2001.00326) | 55.00 ± 1.41 | +0.70 | 2 |" in text
    assert "| `drnas` | 94.36 ± 0.00 (arXiv:2006.10355) | 94.36 | +0.00 | 1 |" in text
    assert (
        "| `pc_darts` | 93.41 ± 0.30 (arXiv:2006.10355) | not measured | - | not measured" in text
    )
    assert "`nas201`: a GPU, commit 0123456, 2030-01-02." in text
