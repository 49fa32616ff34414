"""The command report: what it writes and prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import run_folders as folders
from archgrad import cli


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
    assert json.loads(capsys.readouterr().out) == {"path": str(page), "bytes": size}


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
