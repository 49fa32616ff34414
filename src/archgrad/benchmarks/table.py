"""A benchmark table: accuracy, cost, rank and regret of a cell by its number, a column an array."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from archgrad import columns
from archgrad.architecture import Architecture
from archgrad.benchmarks.numbering import number, string
from archgrad.columns import TEST, is_accuracy
from archgrad.errors import ArchgradError, unknown
from archgrad.spaces.nas_bench_201 import from_string

Column: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


@dataclass(frozen=True)
class Row:
    """What a table holds of one cell: `row["c10_test"]`, or by the properties.

    `arch`: the string of the cell; `values`: by column. Raises `ArchgradError` for a column that
    the table does not have.
    """

    arch: str
    values: Mapping[str, float]

    def __getitem__(self, column: str) -> float:
        if column not in self.values:
            raise unknown("column", column, self.values)
        return self.values[column]

    @property
    def test_accuracy(self) -> float:
        """Percent of the test images after 200 epochs, mean over seeds (`c10_test`)."""
        return self[columns.TEST]

    @property
    def validation_accuracy(self) -> float:
        """Percent of the validation images after 12 epochs (`c10_val_12ep`)."""
        return self[columns.VALIDATION]

    @property
    def parameters(self) -> float:
        """How many the network has (`c10_params_M`, which is in millions)."""
        return 1e6 * self[columns.PARAMETERS]

    @property
    def flops(self) -> float:
        """Of one image, in the benchmark's own count (`c10_flops_M`, which is in millions)."""
        return 1e6 * self[columns.FLOPS]

    @property
    def latencies(self) -> dict[str, float]:
        """Milliseconds by column (`lat_ms_...`), one a device."""
        return {c: value for c, value in self.values.items() if c.startswith(columns.LATENCY)}


@dataclass(frozen=True, eq=False)
class Table:
    """A benchmark's table: look-ups of what every cell reached and costs.

    `arrays`: by column, the values of all cells by their numbers, NaN where a cell is missing.
    `table[cell]` is its `Row`, for an `Architecture` of the space nas-bench-201 or its string;
    iteration gives the architectures, in the order of `NasBench201.all_architectures`. Accuracies
    are in percent. Isomorphic cells have rows of their own: they were trained apart. Columns of
    test accuracy are for reports: a search asks by `TableObjective`, which refuses them.
    Raises `ArchgradError` for a column or a cell that is not there, or that is none.
    """

    arrays: Mapping[str, Column]
    origin: str = "table"

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, as the file has them."""
        return tuple(self.arrays)

    def column(self, name: str) -> Column:
        """All values of a column, by the numbers of the cells.

        Raises `ArchgradError` for a column that is not there.
        """
        if name not in self.arrays:
            raise ArchgradError(f"table {self.origin}: {unknown('column', name, self.arrays)}")
        return self.arrays[name]

    def value(self, cell: Architecture | str, column: str) -> float:
        """One value of one cell."""
        return float(self.column(column)[self._present(cell)])

    def rank(self, cell: Architecture | str, column: str = TEST) -> int:
        """From 1, the best: the largest accuracy, the least cost. Equal values share a rank."""
        goodness = self._goodness(column)
        return 1 + int(np.count_nonzero(goodness > goodness[self._present(cell)]))

    def best(self, column: str = TEST) -> Architecture:
        """The cell of rank 1, of several the first."""
        return from_string(string(int(np.nanargmax(self._goodness(column)))))

    def regret(self, cell: Architecture | str, column: str = TEST) -> float:
        """By how much the cell is behind the best, in the unit of the column; 0 of the best."""
        goodness = self._goodness(column)
        return float(np.nanmax(goodness) - goodness[self._present(cell)])

    def rows(self) -> Iterator[Row]:
        """What is held of every cell, in the order of iteration, without building architectures."""
        return (self._row(int(index)) for index in np.flatnonzero(self._known))

    def __getitem__(self, cell: Architecture | str) -> Row:
        return self._row(self._present(cell))

    def __contains__(self, cell: Architecture | str) -> bool:
        return bool(self._known[number(cell)])

    def __iter__(self) -> Iterator[Architecture]:
        return (from_string(row.arch) for row in self.rows())

    def __len__(self) -> int:
        return int(np.count_nonzero(self._known))

    @property
    def _known(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return ~np.isnan(next(iter(self.arrays.values())))

    def _row(self, index: int) -> Row:
        return Row(string(index), {name: float(held[index]) for name, held in self.arrays.items()})

    def _goodness(self, column: str) -> Column:
        found = self.column(column)
        return found if is_accuracy(column) else -found

    def _present(self, cell: Architecture | str) -> int:
        index = number(cell)
        if not self._known[index]:
            raise ArchgradError(
                f"table {self.origin} has no cell {string(index)} among its {len(self)}; take a "
                "table that holds all cells"
            )
        return index
