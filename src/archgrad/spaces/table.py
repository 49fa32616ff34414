"""Measured results of every cell of NAS-Bench-201, read from a table on disk (arXiv:2001.00326)."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from archgrad.architecture import Architecture
from archgrad.errors import ArchgradError
from archgrad.spaces.nas_bench_201 import to_string


@dataclass(frozen=True)
class Table:
    """What a benchmark measured: ``table[architecture]`` gives the columns of its row by name.

    ``rows``: architecture string -> column -> value, in the units of the file (NAS-Bench-201 gives
    accuracies in percent). Isomorphic cells keep a row each: they were trained apart. Columns of
    test accuracy are for reports: a search that looks at them has seen the test images.
    """

    rows: Mapping[str, Mapping[str, float]]
    origin: str = "table"

    @classmethod
    def load(cls, path: str | Path) -> Table:
        """Read a CSV file, plain or gzipped: the strings in the column ``arch``, else numbers."""
        try:
            opened = gzip.open if str(path).endswith(".gz") else open
            with opened(path, "rt", encoding="utf-8", newline="") as file:
                rows = dict(_rows(csv.DictReader(file, strict=True), str(path)))
        except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
            raise ArchgradError(
                f"table {path} cannot be read: {error}; expected a CSV file with a column arch"
            ) from None
        return cls(rows, str(path))

    def __getitem__(self, architecture: Architecture) -> Mapping[str, float]:
        key = to_string(architecture)
        if key not in self.rows:
            raise ArchgradError(
                f"table {self.origin} has no cell {key} among its {len(self.rows)}; "
                "take a table that holds all cells"
            )
        return self.rows[key]

    def __len__(self) -> int:
        return len(self.rows)


def _rows(reader: csv.DictReader[str], origin: str) -> Iterator[tuple[str, dict[str, float]]]:
    if "arch" not in (reader.fieldnames or ()):
        raise ArchgradError(
            f"table {origin} has the columns {reader.fieldnames}, expected one called arch"
        )
    seen = set()
    for row in reader:
        arch = row.pop("arch")
        where = f"table {origin}, line {reader.line_num}"
        if arch in seen:
            raise ArchgradError(f"{where}: cell {arch} stands there a second time; remove one")
        seen.add(arch)
        try:
            yield arch, {column: float(value) for column, value in row.items()}
        except (TypeError, ValueError):
            raise ArchgradError(
                f"{where}: found {list(row.values())}, expected a number in each of the columns "
                f"{list(row)}"
            ) from None
