"""The command `archgrad convert`: output, files, and that nothing is overwritten or run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from archgrad.architecture import Architecture, published
from archgrad.conversion import FORMS, WRITTEN
from other_tools import darts_log, errors_json, genotype
from test_cli_json import run


def test_it_prints_our_json_and_their_text(tmp_path: Path) -> None:
    out, err = run("convert", genotype("DARTS_V1"))
    assert (Architecture.from_json(out), err) == (published("DARTS_V1"), "")
    assert run("convert", "DARTS_V1", "--to", "genotype")[0] == genotype("DARTS_V1") + "\n"
    indices = ["convert", "[2, 2, 0, 2, 2, 3]", "--from", "naslib", "--to", "nas-bench-201"]
    assert run(*indices)[0].startswith("|nor_conv_3x3~0|+|nor_conv_3x3~0|")


def test_the_help_names_every_form() -> None:
    told = " ".join(run("convert", "--help")[0].split())
    assert all(form in told for form in (*FORMS, *WRITTEN))


def test_it_writes_what_a_log_says(tmp_path: Path) -> None:
    log, out, table = (tmp_path / name for name in ("log.txt", "cell.json", "epochs.csv"))
    log.write_text(darts_log(["DARTS_V1", "DARTS_V2"]))
    told, _ = run("convert", log, "--epoch", "0", "--out", out, "--table", table)
    assert Architecture.load(out) == published("DARTS_V1")
    assert told == f"{published('DARTS_V1')}\ntable    {table}\n"
    with table.open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1"]
    text = tmp_path / "text"
    run("convert", out, "--to", "genotype", "--out", text)
    assert text.read_text() == genotype("DARTS_V1") + "\n"


def test_numbers_alone_make_a_table(tmp_path: Path) -> None:
    path, table = tmp_path / "errors.json", tmp_path / "epochs.csv"
    path.write_text(errors_json())
    assert "and no architecture" in run("convert", path, status=2)[1]
    both = ["--table", table, "--out", tmp_path / "a.json"]
    assert "and no architecture" in run("convert", path, *both, status=2)[1]
    value = json.loads(run("convert", path, "--table", table, "--json")[0])
    assert (value["architecture"], value["text"], len(value["metrics"])) == (None, None, 3)
    assert table.read_text().startswith("epoch,train_accuracy,valid_accuracy")


@pytest.mark.parametrize("option", ["--out", "--table"])
def test_files_are_not_overwritten(option: str, tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("kept")
    _, err = run("convert", "DARTS_V2", option, path, status=2)
    assert f"file {path} already exists; choose another name" in err
    assert path.read_text() == "kept"


def test_nothing_is_written_where_something_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    both = ["convert", "DARTS_V2", "--out", path, "--table"]
    assert "choose two names" in run(*both, path, status=2)[1]
    assert "no epochs, so no table" in run(*both, tmp_path / "epochs.csv", status=2)[1]
    wrong = run("convert", "DARTS_V2", "--space", "s9", "--out", path, status=2)[1]
    assert 'space of these cells "s9" is not known; Known: darts-cnn' in wrong
    assert not [*tmp_path.iterdir()]


def test_nothing_of_a_text_is_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    for call in (f"__import__('os').mkdir('{made}')", f"(lambda: mkdir('{made}'))()", "open(0)"):
        text = f"Genotype(normal={call}, normal_concat=[2], reduce=[], reduce_concat=[2])"
        for source in (text, f"{{'normal': {call}}}", f"[{call}]"):
            _, err = run("convert", source, status=2)
            assert err.startswith("archgrad: ") and err.count("\n") == 1
    assert not made.exists()
