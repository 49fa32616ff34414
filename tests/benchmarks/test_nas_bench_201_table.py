"""Look-ups of a table of NAS-Bench-201: a made one, damaged ones, and the real one."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from archgrad.architecture import published
from archgrad.benchmarks import Table, nas_bench_201
from archgrad.benchmarks.numbering import CELLS, number, string
from archgrad.costing.cost import cost
from archgrad.errors import ArchgradError
from archgrad.spaces.nas_bench_201 import NasBench201, from_string

FIRST, SECOND, LAST = string(0), string(1), string(CELLS - 1)
HEADER = "arch,c10_test,c10_val_12ep,c10_params_M,c10_flops_M,lat_ms_cpu"
TEXT = f"{HEADER}\n{FIRST},10,20,0.5,7,3\n{SECOND},90,50,2,9,1\n{LAST},90,60,1,8,2\n"


def written(folder: Path, text: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def partial(folder: Path, text: str = TEXT) -> Table:
    return nas_bench_201(written(folder, text), partial=True)


def whole() -> str:
    """A table of all cells, whose accuracy is the number of the cell by 200."""
    return "arch,c10_test\n" + "".join(f"{string(n)},{n / 200}\n" for n in range(CELLS))


def test_numbers_follow_the_order_of_the_space() -> None:
    cells = list(islice(NasBench201().all_architectures(), 200))
    assert [number(cell) for cell in cells] == list(range(200))
    edges = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"
    names = product(NasBench201().groups[0].candidates[0], repeat=6)
    assert [string(n) for n in range(CELLS)] == [edges.format(*six) for six in names]


@given(some.integers(0, CELLS - 1))
def test_a_number_is_read_back_from_its_string_and_architecture(n: int) -> None:
    assert number(string(n)) == number(from_string(string(n))) == n


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a mark"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_row_by_columns_and_by_properties(tmp_path: Path, start: bytes, pack: type) -> None:
    table = nas_bench_201(written(tmp_path, pack(start + TEXT.encode())), partial=True)
    row = table[SECOND]
    assert row == table[from_string(SECOND)]
    assert row.arch == SECOND and row["lat_ms_cpu"] == 1
    assert (row.test_accuracy, row.validation_accuracy) == (90, 50)
    assert (row.parameters, row.flops, row.latencies) == (2e6, 9e6, {"lat_ms_cpu": 1})
    assert table.value(LAST, "c10_val_12ep") == 60
    assert table.columns == tuple(HEADER.split(",")[1:])
    with pytest.raises(ArchgradError, match='column "c10_tset" is not known; did you mean "c10_te'):
        row["c10_tset"]


def test_rank_best_and_regret(tmp_path: Path) -> None:
    table = partial(tmp_path)
    assert [table.rank(cell) for cell in (FIRST, SECOND, LAST)] == [3, 1, 1]
    assert [table.rank(cell, "c10_val_12ep") for cell in (FIRST, SECOND, LAST)] == [3, 2, 1]
    assert [table.rank(cell, "c10_params_M") for cell in (FIRST, SECOND, LAST)] == [1, 3, 2]
    assert table.best() == from_string(SECOND), "the first of two that are equal"
    assert table.best("c10_val_12ep") == from_string(LAST)
    assert table.best("lat_ms_cpu") == from_string(SECOND)
    assert (table.regret(FIRST), table.regret(LAST)) == (80, 0)
    assert table.regret(FIRST, "lat_ms_cpu") == 2
    with pytest.raises(ArchgradError, match='table.csv: column "best" is not known'):
        table.rank(FIRST, "best")


def test_iteration_and_membership_know_the_cells_that_are_there(tmp_path: Path) -> None:
    table = partial(tmp_path)
    assert len(table) == 3
    assert list(table) == [from_string(cell) for cell in (FIRST, SECOND, LAST)]
    assert list(table.rows()) == [table[cell] for cell in table]
    assert LAST in table and string(2) not in table


def test_a_table_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        partial(tmp_path).column("c10_test")[0] = 99


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (string(2), r"table.csv has no cell \|none~0\|.* among its 3; take a table that holds all"),
        (FIRST.replace("none", "nine", 1), 'operation "nine" is not known; did you mean "none"'),
        ("|none~0|", "found 1 nodes, expected 3"),
        (FIRST.replace("~1", "~0", 1), 'found "none~0", expected an operation and ~1'),
        (7, "found a int, expected an architecture of space nas-bench-201 or its string"),
        (published("DARTS_V2"), "nas-bench-201"),
    ],
)
def test_a_cell_that_is_not_there_is_named(tmp_path: Path, cell: object, message: str) -> None:
    table = partial(tmp_path)
    for ask in (table.__getitem__, table.rank, table.regret):
        with pytest.raises(ArchgradError, match=message):
            ask(cell)  # type: ignore[operator]


OTHER = string(2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"table.csv, line 1: found \[\], expected the names of columns, one of them arch"),
        ("index,cell\n0,x\n", r"line 1: found \['index', 'cell'\], expected .* arch; check"),
        ("arch\n" + FIRST, "found the columns arch; expected .* at least one other"),
        ("arch,a,a\n", "found the columns arch, a, a; expected .* each with a name of its own"),
        ("arch,,a\n", "found the columns arch, , a; expected"),
        (HEADER + "\n", "misses 15,625 of the 15,625 cells"),
        (TEXT + f"{FIRST},1,2,3,4,5\n", r"line 5: cell \|none.* stands there a second time; rem"),
        (TEXT + f"{OTHER},1,2,3,4,\n", "line 5: found '' in column lat_ms_cpu, expected a finite"),
        (TEXT + f"{OTHER},many,2,3,4,5\n", "line 5: found 'many' in column c10_test, expected a "),
        (TEXT + f"{OTHER},100.1,2,3,4,5\n", "'100.1' in column c10_test, expected a number from 0"),
        (TEXT + f"{OTHER},1,-1,3,4,5\n", "'-1' in column c10_val_12ep, expected .* 0 to 100; mend"),
        (TEXT + f"{OTHER},nan,2,3,4,5\n", "found 'nan' in column c10_test"),
        (TEXT + f"{OTHER},1,2,inf,4,5\n", "'inf' in column c10_params_M, expected a finite number"),
        (TEXT + f"{OTHER},1,2,3\n", "line 5: found 4 fields, expected 6 .*; the file may be cut"),
        (TEXT + f"{OTHER},1,2,3,4,5,6\n", "line 5: found 7 fields, expected 6"),
        (TEXT + "none,1,2,3,4,5\n", 'line 5: architecture string "none": found 1 .* mend or rem'),
        (TEXT + '"open', "cannot be read: unexpected end of data"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ArchgradError, match=message) as caught:
        partial(tmp_path, text)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_accuracy_may_be_0_or_100_and_a_cost_may_be_more(tmp_path: Path) -> None:
    row = partial(tmp_path, f"{HEADER}\n{FIRST},0,100,101,0,0\n")[FIRST]
    assert (row.test_accuracy, row.validation_accuracy, row.parameters) == (0, 100, 101e6)


def test_missing_cells_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    text = whole()
    assert len(nas_bench_201(written(tmp_path, text))) == CELLS
    cut = text[: text.rindex("\n", 0, -1) + 1]
    with pytest.raises(ArchgradError) as caught:
        nas_bench_201(written(tmp_path, cut))
    assert f"misses 1 of the 15,625 cells, the first is {LAST}; the file" in str(caught.value)
    assert len(nas_bench_201(written(tmp_path, cut), partial=True)) == CELLS - 1


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchgradError, match="none.csv cannot be read: .*No such file"):
        nas_bench_201(tmp_path / "none.csv")
    with pytest.raises(ArchgradError, match="cannot be read: .*s a directory"):
        nas_bench_201(tmp_path)
    packed = gzip.compress(TEXT.encode())
    for damaged in (packed[:-9], packed[:20] + b"\xff" * 20 + packed[40:], b"\x1f\x8bno gzip"):
        with pytest.raises(ArchgradError, match="cut.csv.gz cannot be read: .*; expected a whole"):
            nas_bench_201(written(tmp_path, damaged, "cut.csv.gz"), partial=True)
    with pytest.raises(ArchgradError, match="cannot be read.*utf-8"):
        nas_bench_201(written(tmp_path, TEXT.encode() + b"\xe9"), partial=True)


def test_all_cells_load_in_a_second_and_50_megabytes(tmp_path: Path) -> None:
    lines = whole().splitlines()
    wide = ",".join(f"c{k}_test" for k in range(7))
    text = "\n".join([f"{lines[0]},{wide}", *(line + ",93.21456" * 7 for line in lines[1:])])
    path = written(tmp_path, gzip.compress(text.encode()), "table.csv.gz")
    seconds = []
    for _ in range(2):
        start = time.process_time()
        table = nas_bench_201(path)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1
    tracemalloc.start()
    try:
        again = nas_bench_201(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50e6
    assert len(table) == len(again) == CELLS and len(again.columns) == 8


@pytest.fixture(scope="module")
def loaded() -> dict[Path, Table]:
    return {}


@pytest.fixture
def real(real_data: Path, loaded: dict[Path, Table]) -> Table:
    path = real_data / "nas-bench-201" / "nb201_cifar10.csv.gz"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    if path not in loaded:
        loaded[path] = nas_bench_201(path)
    return loaded[path]


def test_the_real_table_has_its_check_values(real: Table) -> None:
    assert len(real) == CELLS
    best = real.best()
    assert real[best].test_accuracy == pytest.approx(94.373, abs=1e-3)
    assert (real.rank(best), real.regret(best)) == (1, 0)
    skips = "|skip_connect~0|+|skip_connect~0|skip_connect~1|"
    collapsed = real[f"{skips}+|skip_connect~0|skip_connect~1|skip_connect~2|"]
    assert collapsed.test_accuracy == pytest.approx(54.297, abs=1e-3)
    ranks = np.array([real.rank(string(n)) for n in range(0, CELLS, 25)])
    accuracies = real.column("c10_test")[::25]
    assert (np.argsort(-accuracies, kind="stable") == np.argsort(ranks, kind="stable")).all()


def test_the_real_table_agrees_with_our_counts(real: Table) -> None:
    """Parameters and multiply-adds, of which the table counts the classifier's 10 biases too."""
    space = NasBench201()
    for cell in (real.best(), from_string(string(9005))):
        found, row = cost(space, cell), real[cell]
        assert found.parameters == pytest.approx(row.parameters, abs=5)
        assert found.multiply_adds + 10 == pytest.approx(row.flops, abs=5)
