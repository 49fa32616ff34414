"""The benchmark's table: the real one, a small made one, and damaged ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from archgrad.cost import cost
from archgrad.errors import ArchgradError
from archgrad.spaces.nas_bench_201 import NasBench201, from_string
from archgrad.spaces.table import Table

ONE = "|skip_connect~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
SAME = "|none~0|+|skip_connect~0|none~1|+|none~0|none~1|skip_connect~2|"  # isomorphic to ONE
OTHER = ONE.replace("skip_connect", "nor_conv_1x1")
TEXT = f"index,arch,test\n0,{ONE},54.5\n1,{SAME},55\n"


def written(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_isomorphic_cells_have_rows_of_their_own(tmp_path: Path, name: str) -> None:
    table = Table.load(written(tmp_path, TEXT, name))
    assert len(table) == 2
    assert table[from_string(ONE)] == {"index": 0, "test": 54.5}
    assert table[from_string(SAME)]["test"] == 55


def test_a_cell_that_is_missing_is_named(tmp_path: Path) -> None:
    table = Table.load(written(tmp_path, TEXT))
    with pytest.raises(ArchgradError, match=r"table.csv has no cell \|nor_conv_1x1~0.* its 2;"):
        table[from_string(OTHER)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns None, expected one called arch"),
        ("index,cell\n0,x\n", r"has the columns \['index', 'cell'\], expected one called arch"),
        (TEXT + f"2,{ONE},1\n", r"line 4: cell \|skip.* stands there a second time"),
        (TEXT + f"2,{OTHER},many\n", r"line 4: found \['2', 'many'\], expected a number"),
        (TEXT + f"2,{OTHER}\n", r"line 4: found \['2', None\], expected a number"),
        (TEXT + f"2,{OTHER},1,2\n", r"line 4: found .*, expected a number"),
        (TEXT + '2,"open', "cannot be read: unexpected end of data"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ArchgradError, match=message) as caught:
        Table.load(written(tmp_path, text))
    assert str(tmp_path) in str(caught.value)


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchgradError, match="none.csv cannot be read: .*No such file.* a CSV file"):
        Table.load(tmp_path / "none.csv")
    path = written(tmp_path, TEXT, "cut.csv.gz")
    whole = path.read_bytes()
    for damaged in (whole[:-9], b"no gzip", whole[:20] + b"\xff" * 20 + whole[40:]):
        path.write_bytes(damaged)
        with pytest.raises(ArchgradError, match="cut.csv.gz cannot be read"):
            Table.load(path)
    (tmp_path / "latin.csv").write_bytes(TEXT.encode() + b"\xe9")
    with pytest.raises(ArchgradError, match="latin.csv cannot be read.*utf-8"):
        Table.load(tmp_path / "latin.csv")


def test_the_real_table_agrees_with_our_counts(real_data: Path) -> None:
    """Parameters and multiply-adds, of which the table counts the classifier's 10 biases too."""
    path = real_data / "nas-bench-201" / "nb201_cifar10.csv.gz"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    table, space = Table.load(path), NasBench201()
    cells = list(space.all_architectures())
    assert len(table) == len(cells) == 15_625
    results = [table[cell]["c10_test"] for cell in cells]
    assert max(results) == pytest.approx(94.373, abs=1e-3)
    skips = space.without(set(space.groups[0].candidates[0]) - {"skip_connect"})
    (collapsed,) = skips.all_architectures()
    assert table[collapsed]["c10_test"] == pytest.approx(54.297, abs=1e-3)
    best = cells[results.index(max(results))]
    for cell in (best, collapsed, *cells[5::4000]):
        found, row = cost(space, cell), table[cell]
        assert found.parameters == pytest.approx(1e6 * row["c10_params_M"], abs=5)
        assert found.multiply_adds + 10 == pytest.approx(1e6 * row["c10_flops_M"], abs=5)
