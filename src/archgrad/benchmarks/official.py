"""The official file of NAS-Bench-201 (arXiv:2001.00326), or NATS-Bench's, read without running it.

Its structure: `meta_archs`, the strings of the cells; `arch2infos`, for each number of a cell
the trainings of 12 epochs (`less`; `12` in NATS-Bench, arXiv:2009.00437) and of 200 (`full`;
`200`), each with `all_results` by (data set, seed): `epochs`, `eval_acc1es` by
"part@epoch" in percent, `params` and `flop` in millions, `latency` in seconds. Not tried on
the original files, which take gigabytes: they are held in memory as a whole while being read.
"""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import IO, Any, NamedTuple

from archgrad import columns
from archgrad.benchmarks.reading import Line, assemble, readable
from archgrad.benchmarks.table import Table
from archgrad.errors import ArchgradError, shown
from archgrad.storage.plain_pickle import DATA, Reader, nothing
from archgrad.untrusted import most_unpacked

SHORT, FULL = ("less", "12"), ("full", "200")
_STEPS = 2**22  # of the pickle of a small file; of a large one four a byte
_ZIP = b"PK\x03\x04"  # files of torch since 1.6
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # the first of four pickles in files of torch before 1.6


class Source(NamedTuple):
    """Where a column comes from: a length of training, a data set, and a part of it or a cost."""

    length: tuple[str, ...]
    data: str
    what: str


SOURCES = {
    columns.TEST: Source(FULL, "cifar10", "ori-test"),
    "c10_val": Source(FULL, "cifar10-valid", "x-valid"),
    columns.VALIDATION: Source(SHORT, "cifar10-valid", "x-valid"),
    "c10_test_12ep": Source(SHORT, "cifar10", "ori-test"),
    "c100_val": Source(FULL, "cifar100", "x-valid"),
    "c100_test": Source(FULL, "cifar100", "x-test"),
    "in16_val": Source(FULL, "ImageNet16-120", "x-valid"),
    "in16_test": Source(FULL, "ImageNet16-120", "x-test"),
    columns.PARAMETERS: Source(FULL, "cifar10", "params"),
    columns.FLOPS: Source(FULL, "cifar10", "flop"),
    columns.LATENCY: Source(FULL, "cifar10", "latency"),
}
_COSTS = {"params", "flop", "latency"}


def read_official(path: Path, *, partial: bool = False) -> tuple[Table, dict[str, int]]:
    """The table of an official file, and how many cells have each column that not all have.

    Values are means over the seeds that have them. A column comes into the table where all cells
    of the file have it. The file is a pickle, plain, gzipped or with bzip2, or what `torch.save`
    wrote, in its form of today or before torch 1.6. Raises `ArchgradError` for a pickle that asks
    for more than plain data (none of it is run), and for another structure.
    """
    with readable(path) as file:
        content = _load(file, path)
    found = dict(_cells(content, path))
    held = Counter(column for _, values in found.values() for column in values)
    whole = [column for column in SOURCES if found and held[column] == len(found)]
    lines = (
        Line(where, arch, [values[column] for column in whole])
        for where, (arch, values) in found.items()
    )
    table = assemble(str(path), whole, lines, partial=partial)
    return table, {column: count for column, count in held.items() if column not in whole}


def _load(file: IO[bytes], path: Path) -> Any:
    packed = os.path.getsize(path)
    names, steps = {**DATA, **_WEIGHTS}, _STEPS + 4 * packed
    try:
        if file.read(len(_ZIP)) == _ZIP:
            with zipfile.ZipFile(file) as archive:
                (entry,) = (e for e in archive.infolist() if e.filename.endswith("data.pkl"))
                if entry.file_size > most_unpacked(packed):
                    raise ValueError(f"it says that it unpacks to {entry.file_size:,} bytes")
                with archive.open(entry) as pickled:
                    return Reader(pickled, names, "a table", most=steps).load()
        file.seek(0)
        reader = Reader(file, names, "a table", most=steps)
        first = reader.load()
        if first != _TORCH_MAGIC:
            return first
        _version, _system, content = (reader.load() for _ in range(3))
        return content
    except ArchgradError as error:
        raise ArchgradError(f"{path}: {error}") from None
    except Exception as error:  # broken pickles raise errors of almost every type
        raise ArchgradError(
            f"{path} cannot be read: {error}; expected a whole official file of NAS-Bench-201, "
            "so get it again"
        ) from error


def _cells(content: Any, path: Path) -> Iterator[tuple[str, tuple[str, dict[str, float]]]]:
    strings = _entry(content, "meta_archs", path, str(path))
    infos = _entry(content, "arch2infos", path, str(path))
    if not isinstance(strings, Sequence) or not isinstance(infos, Mapping):
        raise _wrong(path, "meta_archs and arch2infos", content, "a list and a dict")
    for index, trainings in infos.items():
        where = f"arch2infos[{index!r}]"
        if not isinstance(index, int) or not 0 <= index < len(strings):
            raise _wrong(path, where, index, f"a number below {len(strings)}, as meta_archs has")
        yield where, (strings[index], _values(trainings, path, where))


def _values(trainings: Any, path: Path, where: str) -> dict[str, float]:
    found = {}
    for column, source in SOURCES.items():
        values = list(_trials(trainings, source, path, where))
        if values:
            found[column] = fmean(values)
    return found


def _trials(trainings: Any, source: Source, path: Path, where: str) -> Iterator[float]:
    """The value of every seed that has one, in the unit of the column."""
    if not isinstance(trainings, Mapping):
        raise _wrong(path, where, trainings, "a dict of trainings")
    length = next((name for name in source.length if name in trainings), None)
    if length is None:
        return
    place = f"{where}[{length!r}]"
    results = _entry(trainings[length], "all_results", path, place)
    if not isinstance(results, Mapping):
        raise _wrong(path, f"{place}['all_results']", results, "a dict by (data set, seed)")
    for key, result in results.items():
        if isinstance(key, tuple) and key[:1] == (source.data,):
            yield from _value(result, source.what, path, f"{place}['all_results'][{key!r}]")


def _value(result: Any, what: str, path: Path, where: str) -> Iterator[float]:
    try:
        if what == "latency":
            measured = [float(one) for one in result[what] or () if one > 0]
            yield from [1000 * fmean(measured)] if measured else []
        elif what in _COSTS:
            yield float(result[what])
        else:
            accuracies = result["eval_acc1es"]
            last = f"{what}@{result['epochs'] - 1}"
            yield from [float(accuracies[last])] if last in accuracies else []
    except (KeyError, TypeError, ValueError) as error:
        expected = "the results of a training, with numbers in it"
        raise _wrong(path, f"{where}, {what}", error, expected) from None


def _entry(content: Any, key: str, path: Path, where: str) -> Any:
    if not isinstance(content, Mapping) or key not in content:
        found = list(content) if isinstance(content, Mapping) else content
        raise _wrong(path, where, found, f"a dict with {key}")
    return content[key]


def _wrong(path: Path, where: str, found: object, expected: str) -> ArchgradError:
    return ArchgradError(
        f"{path}: {where} holds {shown(found)}, expected {expected}; take an official file of "
        "NAS-Bench-201 or of the topologies of NATS-Bench"
    )


_WEIGHTS = {
    "torch._utils._rebuild_tensor": nothing,
    "torch._utils._rebuild_tensor_v2": nothing,
    "torch._utils._rebuild_parameter": nothing,
    **{
        f"torch.{kind}Storage": nothing
        for kind in ("Float", "Double", "Half", "Long", "Int", "Short", "Byte", "Char", "Bool")
    },
}
