"""The command report: what it writes and prints, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import run_folders as folders
from archgrad.cli import main as cli


def run(*arguments: str | Path) -> int:
    """The status of the command."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", *map(str, arguments)])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_the_command_prints_the_page_and_its_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folders.search(tmp_path / "run")) == 0
    page = tmp_path / "run" / "report.html"
    size = page.stat().st_size
    assert capsys.readouterr().out == f"report   {page} ({size / 1e6:.2f} MB)\n"
    assert run(tmp_path / "run", "--json") == 0
    answer = {"path": str(page), "bytes": page.stat().st_size, "problems": []}
    assert json.loads(capsys.readouterr().out) == answer


def test_what_is_missing_is_told_beside_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, empty = folders.search(tmp_path / "runs" / "a"), tmp_path / "empty"
    empty.mkdir()
    assert run(tmp_path / "runs") == 0
    said = capsys.readouterr().err
    assert said.startswith(f"note     {tmp_path / 'runs'} holds nothing of a run; expected ")
    assert said.endswith(f"; there are runs in it, so give these, as {whole}\n")
    assert run(whole, empty, whole, "--out", tmp_path / "page.html", "--json") == 0
    told = capsys.readouterr()
    assert told.err.startswith(f"note     empty: {empty} holds nothing of a run")
    assert json.loads(told.out)["problems"] == [told.err.removeprefix("note     ").rstrip("\n")]


def test_of_many_problems_the_first_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [folders.metrics(1, **{f"other_{i}": math.nan for i in range(7)})]
    assert run(folders.search(tmp_path / "run", metrics=lines)) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 6 and "other_4" in said[4]
    assert said[5] == "note     2 more of these are on the page"


def test_several_folders_make_one_page(tmp_path: Path) -> None:
    runs = [folders.search(tmp_path / name) for name in ("a", "b")]
    assert run(*runs, "--out", tmp_path / "both.html") == 0
    assert (tmp_path / "both.html").is_file()
    assert not (tmp_path / "a" / "report.html").exists()


def test_a_folder_that_is_not_there_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "nowhere") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("archgrad: found nothing at ")
    assert len(told.err.splitlines()) == 1
