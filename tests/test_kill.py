"""A real process, killed with SIGKILL at several points and resumed, repeats bit for bit."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from archgrad import cli
from archgrad.folder import load_checkpoint

SEARCH = (
    "search --subset 60 --channels 2 --cells 3 --nodes 1 --epochs 4 --batch-size 10 "
    "--method darts_2nd --guard off"
).split()


def start(*arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "archgrad", *arguments]
    # a shell's background job ignores Ctrl-C, and its children would inherit that
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, preexec_fn=heed)


def forked(*arguments: str) -> BaseProcess:
    """The same in a process of a server that has imported everything: it starts in no time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["archgrad.prepared", "archgrad.display", "sklearn.datasets", "torch._dynamo"]
    )
    process = context.Process(target=cli.main, args=(list(arguments),))
    process.start()
    return process


Child = subprocess.Popen[bytes] | BaseProcess


def status(process: Child) -> int | None:
    return process.exitcode if isinstance(process, BaseProcess) else process.poll()


def killed_when(process: Child, reached: Callable[[], bool]) -> bool:
    """Kill the process as soon as the condition holds; False if it ended before."""
    while status(process) is None:
        if reached():
            process.kill()
            break
        time.sleep(0.0005)
    while (found := status(process)) is None:
        time.sleep(0.001)
    assert found in (0, -signal.SIGKILL)
    return found != 0


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def content(path: Path) -> tuple[object, ...]:
    checkpoint = load_checkpoint(path / "checkpoints", torch.device("cpu"))
    metrics = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    stable = [{k: v for k, v in m.items() if k not in ("seconds", "memory_mb")} for m in metrics]
    texts = [(path / name).read_text() for name in ("alphas.jsonl", "architecture.json")]
    return flat(checkpoint), stable, texts


def flat(value: object) -> object:
    """Tensors as bytes, so that equality is that of every bit."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: flat(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [flat(item) for item in value]
    return value


@pytest.mark.timeout(240)
def test_sigkill_anywhere_then_resume_is_bit_identical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    whole = tmp_path / "whole"
    assert start(*SEARCH, "--out", str(whole)).wait() == 0
    run = tmp_path / "killed"
    checkpoint = run / "checkpoints" / "last.pt"
    begun = time.monotonic()
    points: list[Callable[[], bool]] = [
        lambda: (run / "config.yaml").exists(),  # nothing done yet
        lambda: lines(run / "metrics.jsonl") == 1,  # before the checkpoint of the first epoch
        lambda: checkpoint.exists() and lines(run / "metrics.jsonl") == 1,  # just after it
        lambda: time.monotonic() - begun > 0.4 and lines(run / "metrics.jsonl") == 2,
        lambda: lines(run / "alphas.jsonl") == 3,
        lambda: lines(run / "metrics.jsonl") == 4,
    ]
    kills = 0
    for reached in points:
        arguments = (
            ["search", "--resume", str(run)] if run.exists() else [*SEARCH, "--out", str(run)]
        )
        begun = time.monotonic()
        kills += killed_when(forked(*arguments), reached)
    assert kills >= 5
    assert start("search", "--resume", str(run)).wait() == 0
    assert content(run) == content(whole)
    assert not [path for path in run.rglob("*") if path.suffix == ".part" and path.stat().st_size]


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
    options = (
        "run --subset 100 --channels 2 --cells 3 --nodes 1 --epochs 1 --batch-size 20 --guard off "
        "--train-channels 2 --train-cells 3 --train-epochs 12 --train-batch-size 20 "
        "--train-jobs 2 --train-seeds 1 --random-cells 2"
    ).split()
    whole, run = tmp_path / "whole", tmp_path / "killed"
    assert start(*options, "--out", str(whole)).wait() == 0
    metrics = [
        run / "train" / label / "seed-0" / "metrics.jsonl" for label in ("found", "random-1")
    ]
    process = start(*options, "--out", str(run))
    assert killed_when(process, lambda: any(lines(path) >= 2 for path in metrics))
    time.sleep(1.0)
    before = [lines(path) for path in metrics]
    time.sleep(1.0)
    assert [lines(path) for path in metrics] == before  # no worker outlives its parent
    assert max(before) < 12
    assert start("run", "--resume", str(run)).wait() == 0
    assert results(run) == results(whole)
    assert (run / "alphas.jsonl").read_text() == (whole / "alphas.jsonl").read_text()
    assert [lines(path) for path in metrics] == [12, 12]


@pytest.mark.timeout(120)
def test_ctrl_c_in_retraining_ends_at_once(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    options = (
        "train DARTS_V1 --subset 400 --channels 2 --cells 3 --epochs 5000 --batch-size 20 "
        "--seeds 4 --jobs 2"
    ).split()
    process = start(*options, "--out", str(tmp_path / "run"))
    metrics = tmp_path / "run" / "found" / "seed-0" / "metrics.jsonl"
    request.addfinalizer(process.kill)
    while lines(metrics) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=15) == 130
    assert (tmp_path / "run" / "report.html").is_file()  # there is something to look at
