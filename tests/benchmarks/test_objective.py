"""What a search sees of a table: validation alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from archgrad.benchmarks import Table, TableObjective, nas_bench_201
from archgrad.benchmarks.numbering import string
from archgrad.errors import ArchgradError
from archgrad.spaces.nas_bench_201 import from_string

GOOD, BAD = from_string(string(1)), from_string(string(2))
COLUMNS = "c10_test,c10_val_12ep,c10_test_12ep,c10_valid_test,c10_params_M,c100_valid,train_acc"
COLUMNS += ",latest_val,val_loss,C10-Test-Val"


@pytest.fixture
def table(tmp_path: Path) -> Table:
    path = tmp_path / "table.csv"
    good, bad = "94,80,1,1,1,30,1,1,1,1", "50,60,1,1,1,70,1,1,1,1"
    path.write_text(f"arch,{COLUMNS}\n{string(1)},{good}\n{string(2)},{bad}\n")
    return nas_bench_201(path, partial=True)


def test_a_call_gives_the_validation_accuracy_as_a_fraction(table: Table) -> None:
    objective = TableObjective(table)
    assert (objective(GOOD), objective(BAD)) == (0.8, 0.6)
    assert (objective.reported(GOOD), objective.reported(BAD)) == (0.94, 0.5)


def test_the_columns_are_chosen(table: Table) -> None:
    objective = TableObjective(table, score="c100_valid", report="c10_val_12ep")
    assert objective(BAD) > objective(GOOD)
    assert objective.reported(GOOD) == 0.8


def test_scores_do_not_depend_on_the_test_column(table: Table) -> None:
    """With the test results made void, a search sees the same numbers."""
    arrays = {name: table.column(name) for name in table.columns if "test" not in name.lower()}
    blind = Table({**arrays, "c10_test": table.column("c10_params_M")})
    assert [TableObjective(blind)(cell) for cell in table] == [0.8, 0.6]
    assert TableObjective(blind).reported(GOOD) == 0.01


@pytest.mark.parametrize(
    "score",
    ["c10_test", "c10_test_12ep", "c10_valid_test", "C10-Test-Val", "c10_params_M", "train_acc",
     "latest_val", "val_loss"],
)  # fmt: skip
def test_a_score_that_is_no_validation_accuracy_is_refused(table: Table, score: str) -> None:
    message = f'score "{score}" .* is not a validation .*; take one of: c10_val_12ep, c100_valid$'
    with pytest.raises(ArchgradError, match=message):
        TableObjective(table, score=score)


def test_unknown_columns_and_costs_as_results_are_refused(table: Table) -> None:
    with pytest.raises(ArchgradError, match='table.csv: column "c10_val" is not known; did you me'):
        TableObjective(table, score="c10_val")
    with pytest.raises(ArchgradError, match='column "test" is not known'):
        TableObjective(table, report="test")
    with pytest.raises(ArchgradError, match='report "c10_params_M" .* is no accuracy; take one of'):
        TableObjective(table, report="c10_params_M")
