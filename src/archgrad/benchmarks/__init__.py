"""Tables of benchmarks: what the architectures of a space reached, looked up, not trained."""

from __future__ import annotations

from pathlib import Path

from archgrad.benchmarks.converting import Conversion, convert
from archgrad.benchmarks.objective import TableObjective
from archgrad.benchmarks.reading import read_csv
from archgrad.benchmarks.table import Row, Table

__all__ = ["Conversion", "Row", "Table", "TableObjective", "convert", "nas_bench_201"]


def nas_bench_201(path: str | Path, *, partial: bool = False) -> Table:
    r"""The table of NAS-Bench-201 (arXiv:2001.00326) in a CSV file, plain or gzipped.

    The column `arch` holds the strings of the cells, every other column a number: accuracies in
    percent where the name has the word val or test, as `c10_test`, otherwise what the name says
    (`c10_params_M`, `c10_flops_M`, `lat_ms_...`). Other forms are turned into this one by
    `convert`. All 15,625 cells have to be there, unless `partial`. Raises `ArchgradError`, with
    the line, for a file that is empty, cut or damaged, for missing or repeated cells or columns,
    and for values that are no number or out of range.

    >>> import archgrad
    >>> from pathlib import Path
    >>> cell = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    >>> lines = ["arch,c10_test,c10_val_12ep", f"{cell},70.5,65.25"]
    >>> size = Path("small.csv").write_text("\n".join(lines))
    >>> table = archgrad.benchmarks.nas_bench_201("small.csv", partial=True)
    >>> len(table), table[cell].test_accuracy, table.rank(cell)
    (1, 70.5, 1)
    """
    return read_csv(Path(path), partial=partial)
