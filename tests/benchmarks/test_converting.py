"""Conversions to the small table file: CSV, JSON and the command."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from archgrad.benchmarks import Table, convert, nas_bench_201
from archgrad.benchmarks.__main__ import main
from archgrad.benchmarks.numbering import CELLS, string
from archgrad.errors import ArchgradError

RECORDS = [
    {"arch": string(3), "c10_test": 0.1 + 0.2, "c10_params_M": 1e-7},
    {"arch": string(1), "c10_test": 94.37333, "c10_params_M": 2},
]
CSV = f"c10_test,arch,c10_params_M\n{0.1 + 0.2!r},{string(3)},1e-7\n94.37333,{string(1)},2\n"
LIST = json.dumps(RECORDS)
DICT = json.dumps({r["arch"]: {k: v for k, v in r.items() if k != "arch"} for r in RECORDS})


def source(folder: Path, text: str | bytes, name: str = "source") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def equal(first: Table, second: Table) -> bool:
    return first.columns == second.columns and all(
        np.array_equal(first.column(name), second.column(name), equal_nan=True)
        for name in first.columns
    )


@pytest.mark.parametrize("form", [CSV, LIST, " \n" + LIST, DICT, gzip.compress(LIST.encode())])
@pytest.mark.parametrize("name", ["small.csv", "small.csv.gz"])
def test_every_form_gives_the_same_file(tmp_path: Path, form: str | bytes, name: str) -> None:
    found = convert(source(tmp_path, form), tmp_path / name, partial=True)
    expected = convert(source(tmp_path, CSV), tmp_path / f"expected-{name}", partial=True)
    packed = (tmp_path / name).read_bytes()
    assert packed == (tmp_path / f"expected-{name}").read_bytes()
    assert packed.startswith(b"\x1f\x8b") == name.endswith(".gz")
    read = nas_bench_201(tmp_path / name, partial=True)
    assert equal(read, found.table) and equal(found.table, expected.table)
    assert read.value(string(3), "c10_test") == 0.1 + 0.2, "to the last bit"
    assert str(found) == "2 cells, columns c10_test, c10_params_M"


def test_a_source_with_missing_cells_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ArchgradError, match="source misses 15,623 of the 15,625 cells"):
        convert(source(tmp_path, LIST), tmp_path / "small.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_all_cells_of_a_json_file(tmp_path: Path) -> None:
    content = {string(n): {"c10_test": n / 200} for n in range(CELLS)}
    convert(source(tmp_path, json.dumps(content)), tmp_path / "small.csv.gz")
    table = nas_bench_201(tmp_path / "small.csv.gz")
    assert table.column("c10_test").tolist() == [n / 200 for n in range(CELLS)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "found None, expected a list of records with arch, or an object"),
        ("{}", "found None, expected a list"),
        ("[1]", "found 1, expected a list"),
        ('{"a": 1}', "found 1, expected a list"),
        ('[{"c10_test": 1}]', "found {'c10_test': 1}, expected"),
        (LIST[:-1], "source cannot be read: Expecting ',' delimiter: line 1"),
        ("[" * 100_000, "source cannot be read: .*recursion"),
        (LIST.replace("94.37333", "true"), "record 2: found True in column c10_test, expected a n"),
        (LIST.replace("94.37333", "null"), "record 2: found None in column c10_test"),
        (LIST.replace("94.37333", "NaN"), "record 2: found nan in column c10_test"),
        (LIST.replace("94.37333", "9" * 400), "record 2: found 99.* in column c10_test"),
        (LIST.replace("94.37333", "[1]"), r"record 2: found \[1\] in column c10_test"),
        (LIST.replace(string(1), string(3)), r"record 2: cell .* stands there a second time"),
        (LIST.replace(json.dumps(string(1)), "4"), "record 2: found a int, expected an architect"),
        (LIST.replace("94.37333", '1, "extra": 2'), r"record 2: found \['arch', .*'extra'\], expe"),
        (DICT.replace(string(1), string(3)), '"|none.* stands twice in one object; remove one'),
        ('[{"arch": 1, "a": 2}, 3]', "record 1: found a int"),
        (
            LIST[:-1] + ", 3]",
            "record 3: found 3, expected the fields of the first record: arch, c1",
        ),
        ("<html>", r"source, line 1: found \['<html>'\], expected the names of columns"),
        ("", r"source, line 1: found \[\], expected"),
    ],
)
def test_a_wrong_source_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        convert(source(tmp_path, text), tmp_path / "small.csv", partial=True)
    assert not (tmp_path / "small.csv").exists()


def test_a_destination_has_a_known_ending_and_is_not_overwritten(tmp_path: Path) -> None:
    path = source(tmp_path, CSV, "source.csv")
    with pytest.raises(ArchgradError, match="small.json: expected a name that ends with .csv or"):
        convert(path, tmp_path / "small.json", partial=True)
    with pytest.raises(ArchgradError, match="source.csv exists; choose another name, or remove"):
        convert(path, path, partial=True)
    assert path.read_text() == CSV
    with pytest.raises(ArchgradError, match="cannot be written: .*; choose another"):
        convert(path, path / "small.csv", partial=True)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["convert", str(source(tmp_path, LIST)), str(tmp_path / "small.csv")]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/source misses 15,623")
    assert main([*arguments, "--partial"]) == 0
    assert capsys.readouterr().out == "2 cells, columns c10_test, c10_params_M\n"
    assert len(nas_bench_201(tmp_path / "small.csv", partial=True)) == 2
