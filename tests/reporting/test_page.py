"""The page as a file: where it goes, what it replaces, and what stands in it."""

from __future__ import annotations

import base64
import gzip
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import archgrad
import run_folders as folders
from archgrad.architecture import Architecture
from archgrad.errors import ArchgradError
from archgrad.reporting.document import document
from archgrad.reporting.ending import leave_report
from archgrad.reporting.page import MARK, page, report
from small import OPTIONS


def held(path: Path) -> dict[str, Any]:
    """The document in a page."""
    text = path.read_bytes().partition(MARK)[2].partition(b"</script>")[0]
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(text)))
    return found


def test_the_page_of_a_run_is_in_its_folder(tmp_path: Path) -> None:
    path = report(folders.search(tmp_path / "run"))
    assert path == tmp_path / "run" / "report.html"
    assert path.stat().st_size < 2e6
    found = held(path)
    assert found["runs"][0]["method"] == "darts"
    assert not found["live"]
    assert archgrad.report(str(tmp_path / "run")) == path, "its own page is replaced"


def test_the_page_of_several_is_where_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [folders.search(tmp_path / name) for name in ("a", "b")]
    assert report(runs) == Path("report.html")
    assert [run["name"] for run in held(tmp_path / "report.html")["runs"]] == ["a", "b"]
    assert report(runs, out="deep/er/page.html") == Path("deep/er/page.html")


@pytest.mark.parametrize(
    ("given", "out", "message"),
    [
        ("nowhere", None, "found nothing at .*nowhere, expected the folder of a run; give one"),
        ("run/config.yaml", None, "found a file at .*config.yaml, expected the folder of a run"),
        ("run", "run", "found a folder at .*run, expected a file; give --out .*run/report.html"),
        ("run", "run/config.yaml", "is no report of archgrad, so it is not replaced; give another"),
    ],
)
def test_wrong_places_are_refused(
    given: str, out: str | None, message: str, tmp_path: Path
) -> None:
    folders.search(tmp_path / "run")
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    with pytest.raises(ArchgradError, match=message):
        report(tmp_path / given, None if out is None else tmp_path / out)
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before
    with pytest.raises(ArchgradError, match="found no folder"):
        report([])


@pytest.mark.parametrize("given", [None, 3, [None]])
def test_what_is_no_folder_at_all_is_refused(given: Any) -> None:
    with pytest.raises(ArchgradError, match=r"found a \w+, expected the folder of a run .*path"):
        report(given)


def test_a_folder_that_is_given_twice_is_shown_once(tmp_path: Path) -> None:
    run = folders.search(tmp_path / "run")
    assert len(held(report([run, tmp_path / "run" / ".." / "run"]))["runs"]) == 1


def test_an_empty_file_is_replaced_and_a_device_is_not(tmp_path: Path) -> None:
    run = folders.search(tmp_path / "run")
    (run / "report.html").touch()
    assert held(report(run))["runs"]
    with pytest.raises(ArchgradError, match="/dev/null exists and is no report"):
        report(run, "/dev/null")


def test_nothing_of_the_data_is_markup(tmp_path: Path) -> None:
    name = "<script>alert(1)&"
    folders.search(tmp_path / name, metrics=[folders.metrics(1, warnings=["</script><b>x"])])
    made = page(document([tmp_path / name]))
    assert made.count("alert(1)") == made.count("&lt;script&gt;alert(1)&amp;") == 1
    assert "</script><b>x" not in made
    hashes = re.findall(r"sha256-[\w+/=]+", made)
    assert len(hashes) == made.count("<script>"), "what is not named by its hash does not run"


def test_a_command_leaves_a_page(tmp_path: Path) -> None:
    told: list[str] = []
    assert leave_report(folders.search(tmp_path), told.append) == tmp_path / "report.html"
    assert (tmp_path / "report.html").is_file()
    assert not told


def test_a_page_that_cannot_be_written_fails_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders.search(tmp_path) / "report.html").write_text("my own")
    told: list[str] = []
    assert leave_report(tmp_path, told.append) is None
    (line,) = told
    assert line.startswith("report   not written (")
    assert line.endswith(f"try again with: archgrad report {tmp_path}")
    with pytest.warns(UserWarning, match="report   not written .* is no report of archgrad"):
        leave_report(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        leave_report(tmp_path)
    assert "report   not written" in capsys.readouterr().err
    assert (tmp_path / "report.html").read_text() == "my own"


def test_a_search_in_python_leaves_its_page(tmp_path: Path, two_digits: Any) -> None:
    names = ("space", "channels", "cells", "nodes", "batch_size", "kernel", "device")
    options = {name: OPTIONS[name] for name in names}
    result = archgrad.search(data=two_digits, out=tmp_path / "run", epochs=2, **options)
    (run,) = held(tmp_path / "run" / "report.html")["runs"]
    assert (run["state"], run["problems"], run["space"]) == ("finished", [], "s2")
    assert run["epochs"]["columns"]["epoch"] == run["replay"]["epochs"] == [1, 2]
    found = {"format": "archgrad-architecture/1", **run["found"]}
    assert Architecture.from_json(json.dumps(found)) == result.architecture
    assert run["replay"]["at"][-1] == run["replay"]["architectures"].index(run["found"])
    assert run["reproduce"]["commands"][1:] == [], "data from Python are not in the folder"
