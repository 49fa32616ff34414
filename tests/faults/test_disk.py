"""A disk that is full or read-only: one line, whole files, and the same result after a resume."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import archgrad
from archgrad.cli import main as cli
from archgrad.errors import stored
from archgrad.searching.callbacks import EpochEnd
from archgrad.storage.files import append, read_lines, write
from archgrad.storage.folder import load_checkpoint
from breaking import SEARCH, TRAIN, full_disk, kept, searched
from helpers import same
from small import OPTIONS, arrays

FLAGS = [part for name, value in SEARCH.items() for part in (f"--{name}", str(value))]
COMMAND = ["search", "--subset", "40", "--quiet", *(flag.replace("_", "-") for flag in FLAGS)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an uninterrupted search leaves."""
    path = tmp_path_factory.mktemp("whole") / "run"
    searched(path)
    return kept(path)


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("metrics.jsonl", 2),
        ("alphas.jsonl", 1),
        ("last.pt", 1),
        ("last.pt", 2),
        ("architecture.json", 1),
    ],
)
def test_a_search_on_a_full_disk_names_the_file_and_resumes_to_the_same(
    name: str, times: int, whole: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "run"
    with full_disk(name, times), pytest.raises(OSError, match="No space left") as told:
        searched(path)
    assert Path(str(told.value.filename)).name == name
    assert not list(path.rglob("*.part"))
    searched(path)
    assert same(kept(path), whole)


def test_a_run_that_could_not_be_begun_leaves_no_run(tmp_path: Path) -> None:
    with full_disk("config.yaml"), pytest.raises(OSError, match="config.yaml"):
        searched(tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_the_command_line_says_what_to_do_and_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    with full_disk("last.pt", 2), pytest.raises(SystemExit) as ended:
        cli.main([*COMMAND, "--out", str(path)])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"archgrad: No space left on device: {path}/checkpoints/last.pt; make room on that disk; "
        f"what was finished is kept, so then go on with: archgrad search --resume {path}"
    )


def test_a_drawing_or_a_page_that_cannot_be_written_costs_no_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    told = pytest.warns(UserWarning, match=r"cells.svg and .*No space left")
    with full_disk("cells.svg"), told, pytest.raises(SystemExit) as ended:
        cli.main([*COMMAND, "--epochs", "1", "--out", str(path), "--json"])
    out, err = capsys.readouterr()
    assert ended.value.code == 0
    assert json.loads(out)["architecture"] and json.loads(out)["report"] is None
    assert "report   not written (" in err and f"archgrad report {path}" in err
    assert (path / "architecture.json").is_file() and not (path / "cells.svg").exists()


def test_tensorboard_that_cannot_write_is_left_out(tmp_path: Path) -> None:
    class Board(archgrad.Callback):
        def epoch_end(self, event: EpochEnd) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "events.out")

    with pytest.warns(UserWarning, match="Board failed and is left out.*No space left"):
        found = searched(tmp_path / "run", Board())
    assert len(found.metrics) == SEARCH["epochs"]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _scores(tmp_path_factory.mktemp("whole") / "run")


def _scores(path: Path) -> str:
    data = tuple(arrays().values())
    if path.exists():
        archgrad.run(data, resume=path)
    else:
        options = {**SEARCH, "epochs": 1, **TRAIN}
        archgrad.run(data, out=path, random_cells=2, **options)
    scores = json.loads((path / "results.json").read_bytes())["scores"]
    return json.dumps([{**s, "seconds": 0} for each in scores.values() for s in each])


def test_a_main_job_on_a_full_disk_resumes_to_the_same(whole_run: str, tmp_path: Path) -> None:
    with (
        full_disk(name := "weights.safetensors", 2),
        pytest.raises(OSError, match="No space left") as told,
    ):
        _scores(tmp_path / "run")
    assert Path(str(told.value.filename)).name == name
    assert _scores(tmp_path / "run") == whole_run


def test_an_export_that_cannot_be_written_costs_no_result(tmp_path: Path) -> None:
    with full_disk("model.", lasting=False):
        _scores(tmp_path / "run")
    assert "No model.py: No space left" in (tmp_path / "run" / "summary.txt").read_text()


def test_a_comparison_on_a_full_disk_is_no_failure_of_a_method(tmp_path: Path) -> None:
    data, folder = tuple(arrays().values()), tmp_path / "compared"
    with full_disk("metrics.jsonl", lasting=False), pytest.raises(OSError, match="No space left"):
        archgrad.compare(["darts"], data, out=folder, **{**OPTIONS, "epochs": 1})
    assert not list(folder.rglob("failed.json"))
    resumed = archgrad.compare(data=data, resume=folder)
    assert [entry.status for entry in resumed.entries] == ["done"]


def test_a_line_that_was_written_in_half_goes_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append(path, {"epoch": 1})
    with full_disk("metrics"), pytest.raises(OSError, match="No space left"):
        append(path, {"epoch": 2})
    assert path.read_bytes() == b'{"epoch": 1}\n{"epoc'
    append(path, {"epoch": 3})
    assert read_lines(path) == [{"epoch": 1}, {"epoch": 3}]


def test_what_the_system_refuses_is_told_with_a_remedy() -> None:
    def error(number: int) -> OSError:
        return OSError(number, os.strerror(number), "a/b")

    assert stored(error(errno.ENOSPC)) == "No space left on device: a/b; make room on that disk"
    assert stored(error(errno.EDQUOT)).endswith("a/b; make room on that disk")
    assert stored(error(errno.EROFS)) == "Read-only file system: a/b; make it writable"
    assert stored(error(errno.ENOENT)) == "No such file or directory: a/b"
    assert stored(OSError("so")) == "so"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted disk of 160 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "none", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip("disks may not be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_on_a_disk_that_is_full_and_then_read_only(small_disk: Path, whole: dict[str, Any]) -> None:
    path = small_disk / "run"
    with pytest.raises(OSError, match="No space left"):
        searched(path)
    checkpoint = load_checkpoint(path / "checkpoints", torch.device("cpu"))
    assert checkpoint is not None and checkpoint["epoch"] == 1
    assert not list(path.rglob("*.part"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match="Read-only file system") as told:
        searched(path)
    assert stored(told.value) == f"Read-only file system: {path}/classes.json; make it writable"
    subprocess.run(["mount", "-o", "remount,rw,size=8m", str(small_disk)], check=True)
    searched(path)
    assert same(kept(path), whole)


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "old")
    with full_disk("a.json"), pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a.json", "a new and longer text")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
