"""A real process, killed with SIGKILL at several points and resumed, repeats bit for bit."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import Child, begin, ended, outliving, status
from faults_files import damaged, result

SEARCH = (
    "search --subset 40 --channels 2 --cells 3 --nodes 1 --epochs 4 --batch-size 10 --guard off"
).split()


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def whole(arguments: list[str], err: Path) -> None:
    """The command, undisturbed."""
    process = begin(arguments, err, new=False)
    assert ended(process, 200) is not None
    assert status(process) == 0, err.read_text()


def killed_when(process: Child, reached: Callable[[], bool]) -> bool:
    """Kill the process as soon as the condition holds; False if it ended before."""
    while status(process) is None:
        if reached():
            process.kill()
            break
        time.sleep(0.0005)
    assert ended(process, 10) is not None
    assert status(process) in (0, -signal.SIGKILL)
    return status(process) != 0


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.timeout(240)
def test_sigkill_anywhere_then_resume_is_bit_identical(tmp_path: Path) -> None:
    err, run = tmp_path / "err", tmp_path / "killed"
    whole([*SEARCH, "--out", str(tmp_path / "whole")], err)
    checkpoint = run / "checkpoints" / "last.pt"
    points: list[Callable[[], bool]] = [
        lambda: (run / "config.yaml").exists(),  # nothing done yet
        lambda: lines(run / "metrics.jsonl") == 1,  # before the checkpoint of the first epoch
        lambda: checkpoint.exists() and lines(run / "metrics.jsonl") == 1,  # just after it
        lambda: lines(run / "alphas.jsonl") == 3,
        lambda: lines(run / "metrics.jsonl") == 4,
    ]
    kills, again = 0, ["search", "--resume", str(run)]
    for reached in points:
        arguments = again if run.exists() else [*SEARCH, "--out", str(run)]
        kills += killed_when(begin(arguments, err, new=False), reached)
        assert not list(damaged(run))
    assert kills >= 4
    whole(again, err)
    assert result(run) == result(tmp_path / "whole")
    assert not list(run.rglob("*.part"))


def results(path: Path) -> object:
    found = json.loads((path / "results.json").read_text())
    del found["search_seconds"]
    for scores in found["scores"].values():
        for score in scores:
            del score["seconds"]
    return found


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_main_job_killed_in_retraining_leaves_no_worker_and_goes_on(tmp_path: Path) -> None:
    err = tmp_path / "err"
    options = (
        "run --subset 100 --channels 2 --cells 3 --nodes 1 --epochs 1 --batch-size 20 --guard off "
        "--train-channels 2 --train-cells 3 --train-epochs 12 --train-batch-size 20 "
        "--train-jobs 2 --train-seeds 1 --random-cells 2"
    ).split()
    run = tmp_path / "killed"
    whole([*options, "--out", str(tmp_path / "whole")], err)
    metrics = [
        run / "train" / label / "seed-0" / "metrics.jsonl" for label in ("found", "random-1")
    ]
    process = begin([*options, "--out", str(run)], err, new=True)
    assert killed_when(process, lambda: any(lines(path) >= 2 for path in metrics))
    time.sleep(1.0)
    before = [lines(path) for path in metrics]
    time.sleep(1.0)
    assert [lines(path) for path in metrics] == before  # no worker outlives its parent
    assert max(before) < 12
    whole(["run", "--resume", str(run)], err)
    assert results(run) == results(tmp_path / "whole")
    alphas = tmp_path / "whole" / "alphas.jsonl"
    assert (run / "alphas.jsonl").read_text() == alphas.read_text()
    assert [lines(path) for path in metrics] == [12, 12]


@pytest.mark.timeout(120)
def test_ctrl_c_while_worker_processes_start_ends_them_all(tmp_path: Path) -> None:
    options = (
        "train DARTS_V1 --subset 40 --channels 2 --cells 3 --epochs 99 --batch-size 20 --seeds 2 "
        "--jobs 2"
    )
    err, run = tmp_path / "err", tmp_path / "run"
    process = begin([*options.split(), "--out", str(run)], err, new=False)
    while len(outliving(err)) < 2:  # the tracker of resources, and a worker
        assert status(process) is None
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    seconds = ended(process, 30)
    assert seconds is not None and seconds < 5  # 2 s where nothing else goes on
    assert status(process) == 130
    again = f"archgrad: interrupted; continue with: archgrad train --resume {run}"
    told = err.read_text().splitlines()
    assert [line for line in told if "Traceback" in line or line.startswith("archgrad: ")] == [
        again
    ]
    until = time.monotonic() + 10
    while outliving(err):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_what_is_half_written_is_found(tmp_path: Path) -> None:
    for name, content in [("a.json", "{"), ("b.jsonl", "{}\n{\n"), ("c.html", "<html>")]:
        (tmp_path / name).write_text(content)
    (tmp_path / "d.jsonl").write_text('{}\n{"epoch": ')  # half a line at the end is no line
    (tmp_path / "e.pt").write_bytes(b"PK\x03\x04")
    assert [text[:2] for text in damaged(tmp_path)] == ["a.", "b.", "c.", "e."]
