"""Rows of a file, checked one by one, become a table; CSV and JSON."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np

from archgrad.benchmarks.numbering import CELLS, number, string
from archgrad.benchmarks.table import Table
from archgrad.columns import ARCH, limit
from archgrad.errors import ArchgradError, shown
from archgrad.untrusted import limited

_UNREADABLE = (
    OSError, EOFError, zlib.error, csv.Error, RecursionError, ValueError,
)  # fmt: skip
ENCODING = "utf-8-sig"  # spreadsheets begin a file with a mark


class Line(NamedTuple):
    """One row of a file: where it stands there, the cell's string, and a value for each column."""

    where: str
    arch: object
    values: Sequence[Any]


def assemble(
    origin: str, columns: Sequence[str], lines: Iterable[Line], *, partial: bool = False
) -> Table:
    """The table of these rows; an error names the row, what was found and what to do."""
    _check_columns(origin, columns)
    held = np.full((len(columns), CELLS), np.nan)
    limits = [limit(column) for column in columns]
    for line in lines:
        index = _index(origin, line)
        if not np.isnan(held[0, index]):
            raise ArchgradError(
                f"{origin}, {line.where}: cell {line.arch} stands there a second time; remove one "
                "of the two"
            )
        held[:, index] = _numbers(origin, columns, limits, line)
    _check_cells(origin, held[0], partial)
    held.flags.writeable = False
    return Table(dict(zip(columns, held, strict=True)), origin)


def read_csv(path: Path, *, partial: bool = False) -> Table:
    """The table in a CSV file, plain or compressed, whose first line names the columns."""
    with readable(path) as file, io.TextIOWrapper(file, ENCODING, newline="") as text:
        reader = csv.reader(text, strict=True)
        header = next(reader, [])
        if ARCH not in header:
            raise ArchgradError(
                f"{path}, line 1: found {shown(header)}, expected the names of columns, one of "
                f"them {ARCH}; check that the file is a whole table, or convert it"
            )
        place = header.index(ARCH)
        columns = header[:place] + header[place + 1 :]
        return assemble(str(path), columns, _csv_lines(path, reader, header), partial=partial)


def read_json(path: Path, *, partial: bool = False) -> Table:
    """The table in a JSON file: a list of records with `arch`, or records by its value."""
    with readable(path) as file:
        content = json.loads(
            file.read().decode(ENCODING), object_pairs_hook=lambda pairs: _once(path, pairs)
        )
    if isinstance(content, dict):
        content = [
            {ARCH: arch, **record} if isinstance(record, dict) else record
            for arch, record in content.items()
        ]
    first = content[0] if isinstance(content, list) and content else None
    if not isinstance(first, dict) or ARCH not in first:
        raise ArchgradError(
            f"{path}: found {shown(first)}, expected a list of records with {ARCH}, or an "
            "object of records by the strings of the cells"
        )
    columns = [column for column in first if column != ARCH]
    lines = _json_lines(path, content, columns)
    return assemble(str(path), columns, lines, partial=partial)


@contextmanager
def readable(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed; all ways in which reading fails become one error."""
    try:
        with path.open("rb") as plain:
            start = plain.peek(3)
            if start.startswith(b"\x1f\x8b"):
                yield limited(cast(IO[bytes], gzip.GzipFile(fileobj=plain)), path)
            elif start.startswith(b"BZh"):
                yield limited(bz2.BZ2File(plain), path)
            else:
                yield plain
    except ArchgradError:
        raise
    except _UNREADABLE as error:
        raise ArchgradError(
            f"table {path} cannot be read: {error}; expected a whole file, so check the path or "
            "get the file again"
        ) from None


def _csv_lines(path: Path, reader: Any, header: Sequence[str]) -> Iterator[Line]:
    place = header.index(ARCH)
    for fields in reader:
        where = f"line {reader.line_num}"
        if fields and len(fields) != len(header):
            raise ArchgradError(
                f"{path}, {where}: found {len(fields)} fields, expected {len(header)} "
                f"({', '.join(header)}); the file may be cut, so get it again or mend the line"
            )
        if fields:
            yield Line(where, fields.pop(place), fields)


def _json_lines(path: Path, records: Sequence[Any], columns: Sequence[str]) -> Iterator[Line]:
    expected = {ARCH, *columns}
    for place, record in enumerate(records, start=1):
        where = f"record {place}"
        if not isinstance(record, dict) or record.keys() != expected:
            found = sorted(record) if isinstance(record, dict) else record
            raise ArchgradError(
                f"{path}, {where}: found {shown(found)}, expected the fields of the first "
                f"record: {', '.join(sorted(expected))}"
            )
        yield Line(where, record[ARCH], [record[column] for column in columns])


def _once(path: Path, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ArchgradError(f'{path}: "{twice}" stands twice in one object; remove one of the two')
    return found


def _check_columns(origin: str, columns: Sequence[str]) -> None:
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice or ARCH in columns or "" in columns or not columns:
        raise ArchgradError(
            f"{origin}: found the columns {', '.join([ARCH, *columns])}; expected one called "
            f"{ARCH} and at least one other, each with a name of its own"
        )


def _index(origin: str, line: Line) -> int:
    try:
        return number(line.arch)  # type: ignore[arg-type]  # which is checked there
    except ArchgradError as error:
        raise ArchgradError(f"{origin}, {line.where}: {error}; mend or remove the row") from None


def _numbers(
    origin: str, columns: Sequence[str], limits: Sequence[float], line: Line
) -> list[float]:
    found = []
    for column, top, value in zip(columns, limits, line.values, strict=True):
        try:
            found.append(float("bool" if isinstance(value, bool) else value))
        except (TypeError, ValueError, OverflowError):
            found.append(np.nan)
        if not 0 <= found[-1] <= top:
            expected = "a number from 0 to 100" if top == 100 else "a finite number from 0"
            raise ArchgradError(
                f"{origin}, {line.where}: found {shown(value)} in column {column}, expected "
                f"{expected}; mend the value or get the file again"
            )
    return found


def _check_cells(origin: str, held: np.ndarray[Any, np.dtype[np.float64]], partial: bool) -> None:
    missing = np.flatnonzero(np.isnan(held))
    if len(missing) == CELLS or (len(missing) and not partial):
        raise ArchgradError(
            f"{origin} misses {len(missing):,} of the {CELLS:,} cells, the first is "
            f"{string(int(missing[0]))}; the file may be cut, so get it again, or take it as it "
            "is with partial=True where it has some"
        )
