"""From CSV, JSON and the official file's structure to the small table file."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from archgrad.benchmarks.official import read_official
from archgrad.benchmarks.reading import ENCODING, read_csv, read_json, readable
from archgrad.benchmarks.table import Table
from archgrad.columns import ARCH
from archgrad.errors import ArchgradError
from archgrad.storage.files import write


class Conversion(NamedTuple):
    """What `convert` wrote; print it for a line.

    `table`: as it was written; `left_out`: column -> how many cells have it, where not all do.
    """

    table: Table
    left_out: Mapping[str, int]

    def __str__(self) -> str:
        text = f"{len(self.table):,} cells, columns {', '.join(self.table.columns)}"
        left = ", ".join(f"{name} ({count:,} cells)" for name, count in self.left_out.items())
        return f"{text}; left out, since not all cells have them: {left}" if left else text


def convert(source: str | Path, destination: str | Path, *, partial: bool = False) -> Conversion:
    r"""Write a table as CSV, gzipped where the name of `destination` ends with .csv.gz.

    `source`: CSV; JSON, a list of records with `arch` or an object of records by the cell's
    string; or a file with the structure of the official NAS-Bench-201-v1_x or NATS-tss, see
    `archgrad.benchmarks.official`, which was tried on small files of that structure, not on the
    originals. Each may be compressed; which it is, its content says. Rows are checked and sorted by
    the number of the cell. All cells have to be there, unless `partial`. Raises `ArchgradError`
    as `nas_bench_201` does, and where `destination` exists.

    >>> import archgrad
    >>> from pathlib import Path
    >>> cell = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    >>> lines = ["arch,c10_test,c10_val_12ep", f"{cell},70.5,65.25"]
    >>> size = Path("small.csv").write_text("\n".join(lines))
    >>> print(archgrad.benchmarks.convert("small.csv", "packed.csv.gz", partial=True))
    1 cells, columns c10_test, c10_val_12ep
    """
    source, destination = Path(source), Path(destination)
    if not destination.name.endswith((".csv", ".csv.gz")):
        raise ArchgradError(f"{destination}: expected a name that ends with .csv or .csv.gz")
    if destination.exists():
        raise ArchgradError(f"{destination} exists; choose another name, or remove it")
    conversion = _read(source, partial)
    content = _csv(conversion.table).encode()
    packed = gzip.compress(content, mtime=0) if destination.suffix == ".gz" else content
    try:
        write(destination, packed)
    except OSError as error:
        raise ArchgradError(f"{destination} cannot be written: {error}; choose another") from None
    return conversion


def _read(source: Path, partial: bool) -> Conversion:
    with readable(source) as file:
        start = file.read(512)
    if start.startswith((b"\x80", b"PK")):
        return Conversion(*read_official(source, partial=partial))
    if start.decode(ENCODING, errors="replace").lstrip().startswith(("[", "{")):
        return Conversion(read_json(source, partial=partial), {})
    return Conversion(read_csv(source, partial=partial), {})


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([ARCH, *table.columns])
    writer.writerows([row.arch, *row.values.values()] for row in table.rows())
    return text.getvalue()
