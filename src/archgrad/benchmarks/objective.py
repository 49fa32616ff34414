"""What a search may ask of a table, and what is read once when it is over."""

from __future__ import annotations

from dataclasses import dataclass

from archgrad.architecture import Architecture
from archgrad.benchmarks.table import Table
from archgrad.columns import TEST, VALIDATION, is_accuracy, is_validation
from archgrad.errors import ArchgradError


@dataclass(frozen=True)
class TableObjective:
    r"""The validation accuracy of an architecture, looked up: in [0, 1], higher is better.

    `score`: the column that a call reads, of validation accuracy; one of the test, or one whose
    name does not say val, is refused. `report`: the column of the accuracy that `reported` gives
    once, of the architecture that the search chose. Raises `ArchgradError` for a column that is not
    there, or of another kind.

    >>> import archgrad
    >>> from pathlib import Path
    >>> cell = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    >>> lines = ["arch,c10_test,c10_val_12ep", f"{cell},70.5,65.25"]
    >>> size = Path("small.csv").write_text("\n".join(lines))
    >>> table = archgrad.benchmarks.nas_bench_201("small.csv", partial=True)
    >>> objective = archgrad.benchmarks.TableObjective(table)
    >>> objective(cell), objective.reported(cell)
    (0.6525, 0.705)
    """

    table: Table
    score: str = VALIDATION
    report: str = TEST

    def __post_init__(self) -> None:
        for column in (self.score, self.report):
            self.table.column(column)
        if not is_validation(self.score):
            usable = ", ".join(filter(is_validation, self.table.columns)) or "none in this table"
            raise ArchgradError(
                f'score "{self.score}" of table {self.table.origin} is not a validation accuracy: '
                f"a search that sees test results selects by them; take one of: {usable}"
            )
        if not is_accuracy(self.report):
            usable = ", ".join(filter(is_accuracy, self.table.columns))
            raise ArchgradError(
                f'report "{self.report}" of table {self.table.origin} is no accuracy; take one '
                f"of: {usable}"
            )

    def __call__(self, architecture: Architecture | str) -> float:
        """The score that a search is sent, a fraction as all accuracies of the library."""
        return self.table.value(architecture, self.score) / 100

    def reported(self, architecture: Architecture | str) -> float:
        """The result of a search that is over, a fraction; nothing may be chosen by it."""
        return self.table.value(architecture, self.report) / 100
