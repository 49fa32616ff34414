"""Files removed or cut off under a running search, locks, and clocks that go backwards."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import archgrad
from archgrad.comparing.jobs import JOB
from archgrad.comparing.watching import Watching
from archgrad.errors import ArchgradError
from archgrad.searching.result import SearchResult
from archgrad.searching.timeleft import Outlook, SearchTime
from archgrad.storage.folder import Run, held
from breaking import SEARCH, At, searched
from helpers import digits, same


@pytest.fixture(scope="module")
def whole() -> SearchResult:
    return archgrad.search(data=digits(), **SEARCH)


def cut(path: Path) -> None:
    """Leave the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def removed(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("fault", "names", "told"),
    [
        (removed, ("config.yaml", ".lock", "checkpoints/last.pt"), None),
        (cut, ("checkpoints/last.pt",), None),
        (removed, ("metrics.jsonl",), "metrics.jsonl has lines of 1 epochs, expected 2; was it"),
        (cut, ("alphas.jsonl",), "alphas.jsonl has lines of 1 epochs, expected 2; was it"),
        (removed, ("",), "alphas.jsonl has lines of 1 epochs, expected 2; was it"),
    ],
)
def test_a_search_survives_what_happens_to_its_files(
    fault: Callable[[Path], None],
    names: tuple[str, ...],
    told: str | None,
    whole: SearchResult,
    tmp_path: Path,
) -> None:
    path = tmp_path / "run"
    found = searched(path, At(1, lambda: [fault(path / name) for name in names]))
    assert same(found.alpha, whole.alpha) and found.architecture == whole.architecture
    assert (path / "config.yaml").is_file() and (path / "architecture.json").is_file()
    if told is None:
        resumed = searched(path)
    else:
        with pytest.warns(UserWarning) as said:
            resumed = searched(path)
        assert any(f"{path}/{told}" in str(each.message) for each in said)
    assert same(resumed.alpha, whole.alpha) and resumed.architecture == whole.architecture


def test_lines_that_are_damaged_do_not_cost_the_result(whole: SearchResult, tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.warns(UserWarning, match="alphas.jsonl is damaged.*no replay"):
        found = searched(path, At(2, lambda: (path / "alphas.jsonl").write_text("{}}\n")))
    assert same(found.alpha, whole.alpha) and found.replay == []
    with pytest.raises(ArchgradError, match="alphas.jsonl is damaged.*restore it"):
        searched(path)


def test_a_search_without_checkpoints_says_that_it_begins_again(
    whole: SearchResult, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    searched(path)
    removed(path / "checkpoints")
    with pytest.warns(UserWarning, match="lines of 2 epochs and no checkpoint.*begins again"):
        assert same(searched(path).alpha, whole.alpha)
    removed(path / "config.yaml")
    with pytest.raises(ArchgradError, match=r"no config\.yaml\).*restore its config\.yaml"):
        Run.open(path)


def refused(path: Path) -> None:
    with pytest.raises(ArchgradError, match="another process is working in"), held(path, "cpu"):
        pass


def test_a_held_folder_is_refused_although_its_lock_file_is_gone(tmp_path: Path) -> None:
    with held(tmp_path, "cpu"):
        (tmp_path / ".lock").unlink()
        refused(tmp_path)
    with held(tmp_path, "cpu"):
        pass


def test_a_folder_is_held_where_folders_cannot_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = archgrad.storage.folder.fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(9, "Bad file descriptor")
        real(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", flock)
    with held(tmp_path, "cpu"):
        refused(tmp_path)


def test_a_forked_process_does_not_keep_the_lock_of_its_dead_parent(tmp_path: Path) -> None:
    """As a process that reads images and hangs."""
    read, write = os.pipe()
    parent = os.fork()
    if not parent:
        with held(tmp_path, "cpu"):
            if not os.fork():  # what a fork begins with is done by then
                os.write(write, str(os.getpid()).encode())
            time.sleep(60)
        os._exit(0)
    child = int(os.read(read, 20))
    try:
        refused(tmp_path)
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        with held(tmp_path, "cpu"):
            os.kill(child, 0)  # which lives on
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(read)
        os.close(write)


def test_time_left_is_never_negative_where_a_clock_goes_back() -> None:
    clock = iter([10.0, 8.0, 9.0, 3.0, 2.0, 1.0, 0.5, 0.4])
    time_left = SearchTime(Outlook((0, 3)), lambda: next(clock))
    for epoch in range(2):
        for step in (1, 2):
            time_left.step(epoch, step, 2)
        time_left.epoch_end(epoch)
    left = time_left.left()
    assert left.low >= 0 and left.high >= left.low


def test_a_watched_comparison_forgives_a_clock_that_goes_back(tmp_path: Path) -> None:
    job = SimpleNamespace(folder=tmp_path, name="a", kind="a", done=False)
    comparison: Any = SimpleNamespace(jobs=[job], place=SimpleNamespace(at_a_time=1))
    now = time.time() + 3600  # the clock is set back by an hour once the comparison has begun
    watching = Watching(comparison, quiet=True, now=lambda: now)
    (tmp_path / JOB).touch()
    now -= 3600
    assert watching.left().low == 0
    job.done = True
    watching.ended(cast("Any", job), 1, 1)
    assert watching.took == {"a": [0.0]}


def test_durations_are_not_taken_from_the_clock_on_the_wall() -> None:
    """Others never go back."""
    package = Path(archgrad.__file__).parent
    users = {p.name for p in package.rglob("*.py") if "time.time" in p.read_text("utf-8")}
    assert users == {"watching.py"}
