"""Searches whose options vary: the grid, the table, failures, killed workers and drivers."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import archgrad
from archgrad.cli import main as cli
from archgrad.errors import ArchgradError
from archgrad.sweeping import grid
from archgrad.sweeping.engine import Sweep, begun, opened
from archgrad.sweeping.table import Swept
from archgrad.workers import LocalCrew, made
from pool_calls import searched_and_killed
from small import data
from test_workers import with_ray

OPTIONS: dict[str, Any] = {
    "space": "s2", "channels": 2, "cells": 3, "nodes": 1, "epochs": 3, "batch_size": 6,
    "guard": "off", "kernel": "torch", "device": "cpu",
}  # fmt: skip
VARY = {"seed": [0, 1], "learning_rate": [0.01, 0.1]}
FLAGS = [p for n, v in OPTIONS.items() for p in ("--" + n.replace("_", "-"), str(v))]


def points(vary: grid.Vary, count: int | None = None, seed: int = 0, **search: Any) -> list[Any]:
    made = grid.trials({"data": {}, "search": search}, vary, count, seed)
    return [tuple(grid.value(config, name) for name in vary) for config in made]


def test_the_grid_and_a_random_part_of_it() -> None:
    whole = [(0, 0.01), (0, 0.1), (1, 0.01), (1, 0.1)]
    assert points(VARY) == whole
    assert points({"seed": ["0", "1"], "learning_rate": ["1e-2", ".1"]}) == whole
    drawn = points({"seed": range(100), **{"cells": [3, 4]}}, 20)
    assert len(set(drawn)) == 20
    assert drawn == sorted(drawn) == points({"seed": range(100), "cells": [3, 4]}, 20)
    assert drawn != points({"seed": range(100), "cells": [3, 4]}, 20, seed=1)
    assert points({"method_options.order": [1, 2]}, method="darts_2nd") == [(1,), (2,)]


def test_texts_of_the_command_line() -> None:
    assert grid.parsed(["seed=0, 1", "--learning-rate=0.1"]) == {
        "seed": ["0", "1"],
        "learning_rate": ["0.1"],
    }
    for wrong in (["seed"], ["seed="], ["=1"], ["seed=1,,2"], ["seed=1", "seed=2"]):
        with pytest.raises(ArchgradError, match="--vary: found"):
            grid.parsed(wrong)


@pytest.mark.parametrize(
    ("vary", "count", "message"),
    [
        ({}, None, "found nothing that varies"),
        ({"sed": [1]}, None, 'option to vary "sed" is not known; did you mean "seed"'),
        ({"budget_epochs": [1]}, None, "is not known"),
        ({"seed": [0, "x"]}, None, "field search.seed: found 'x'"),
        ({"learning_rate": [-1]}, None, "field search.learning_rate: found -1, expected greater"),
        ({"seed": [1, 1]}, None, "a value of seed twice"),
        ({"seed": "01"}, None, "found seed = '01', expected a list"),
        ({"cells": [3, 4]}, None, "found cells among the options and in vary"),
        ({"seed": [0, 1]}, 3, "found trials 3, and the grid has 2"),
        ({"seed": range(10_001)}, None, "found 10001 trials, expected at most 10000"),
    ],
)
def test_wrong_grids_are_refused(vary: Any, count: int | None, message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        points(vary, count, cells=3)


def test_what_a_search_would_refuse_is_refused_before_there_is_a_folder(tmp_path: Path) -> None:
    for vary in ({"method": ["darts", "dart"]}, {"batch_size": [6, 5000]}):
        given = {name: value for name, value in OPTIONS.items() if name not in vary}
        with pytest.raises(ArchgradError, match="dart|batch"):
            archgrad.sweep(vary, "digits", out=tmp_path / "s", **given)
    with pytest.raises(ArchgradError, match="found data or a method from Python, which stay"):
        archgrad.sweep({"seed": [0]}, data(), out=tmp_path / "s", pool="processes", **OPTIONS)
    assert not (tmp_path / "s").exists()


def swept(folder: Path, vary: grid.Vary = VARY, **options: Any) -> Swept:
    given = {n: v for n, v in {**OPTIONS, **options}.items() if n not in vary}
    return archgrad.sweep(vary, data(), out=folder, **given)


def content(folder: Path) -> dict[str, Any]:
    """What has to be the same whatever happened on the way."""
    kept = {p.parent.name: p.read_bytes() for p in folder.glob("trials/*/alphas.jsonl")}
    rows = [
        {k: v for k, v in row.items() if k != "seconds"}
        for row in json.loads((folder / "sweep.json").read_text())["trials"]
    ]
    return {"alphas": kept, "rows": rows}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "whole"
    swept(folder)
    return folder


def test_every_trial_is_a_run_folder_and_the_table_is_sorted(whole: Path) -> None:
    value = json.loads((whole / "sweep.json").read_text())
    rows = value["trials"]
    assert (value["chosen_by"], value["test_reads"], value["vary"]) == ("validation", 0, [*VARY])
    assert {tuple(row["options"].values()) for row in rows} == set(points(VARY))
    seen = [row["validation"] for row in rows]
    assert seen == sorted(seen, reverse=True)
    for row in rows:
        folder = whole / row["trial"]
        last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
        assert (row["validation"], row["spent"]) == (last["valid_accuracy"], last["spent"])
        assert archgrad.derive(folder) == archgrad.Architecture.load(folder / "architecture.json")
    with (whole / "sweep.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["trial"] for line in lines] == [row["trial"] for row in rows]
    assert float(lines[0]["validation"]) == seen[0]
    differ = {(whole / f"trials/{n}/alphas.jsonl").read_bytes() for n in range(4)}
    assert len(differ) == 4


def test_the_table_says_what_it_is_not() -> None:
    rows = [
        {"trial": "trials/0", "options": {"method": "gdas"}, "status": "open"},
        {"trial": "trials/1", "options": {"method": "darts"}, "status": "done", "measure":
         "perplexity", "validation": 90.0, "parameters": 1234, "multiply_adds": 10, "spent": 5},
        {"trial": "trials/2", "options": {"method": "a"}, "status": "done", "measure": "perplexity",
         "validation": 80.0, "parameters": 1, "multiply_adds": 10, "spent": 5},
        {"trial": "trials/3", "options": {"method": "b"}, "status": "failed", "error": "too hot"},
    ]  # fmt: skip
    found = Swept.of(("method",), rows)
    assert [row["trial"][-1] for row in found.rows] == ["2", "1", "0", "3"]  # less is better
    assert found.failed == 1
    header, _, second, *_ = str(found).splitlines()
    assert header.split("  ")[0] == "trial"
    assert second.split() == ["1", "darts", "90.00", "1,234", "0.00", "5", "done"]
    told = " ".join(found.notes(4)).replace("\n", " ")
    for words in (
        "validation, which chose", "best of many is optimistic", "test part was not read",
        "not a comparison", "archgrad compare", "trials/3: too hot",
    ):  # fmt: skip
        assert words in told
    assert "comparison" not in " ".join(found.notes(1))


def test_what_failed_is_marked_and_tried_again(whole: Path, tmp_path: Path) -> None:
    vary = {"learning_rate": [0.1, 1e30]}
    found = swept(tmp_path / "s", vary, final_learning_rate=0.0)
    assert [row["status"] for row in found.rows] == ["done", "failed"]
    assert "infinite or not a number" in found.rows[1]["error"]
    config = tmp_path / "s" / "trials" / "1" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 5"))
    again = archgrad.sweep(data=data(), resume=tmp_path / "s")
    assert "other options than the sweep" in again.rows[1]["error"]
    with pytest.raises(ArchgradError, match="keeps its options; leave out vary, epochs"):
        archgrad.sweep({"seed": [1]}, resume=tmp_path / "s", epochs=3)


def searches(folder: Path, *options: str) -> list[str]:
    """Of the command line, so that workers and drivers can be killed."""
    flags = [*FLAGS, "--subset", "60", "--vary", "seed=0,1,2", "--quiet"]
    return ["sweep", *flags, *options, "--out", str(folder)]


def test_a_killed_worker_loses_the_epoch_it_was_in_and_nothing_else(tmp_path: Path) -> None:
    given = {n: v for n, v in OPTIONS.items() if n != "seed"}
    sections = {"data": {"subset": 60}, "search": given}
    one, other = (begun(sections, {"seed": [3]}, out=tmp_path / n).trials[0] for n in "ab")
    log = tmp_path / "log"
    (result,) = made(LocalCrew(), searched_and_killed, [(one, log)], 1, retries=1)
    assert result[1].exception() is None
    told = log.read_text().split()
    epochs = [word for word in told if word.startswith("epoch")]
    assert epochs == ["epoch-1", "epoch-2", "epoch-3"]  # none that had ended was repeated
    at = told.index("killed")
    assert told[at - 2 : at] == ["1.1", "1.2"]
    assert "epoch-1" in told[:at] and "epoch-2" in told[at:]
    assert len(json.loads((one.folder / "environment.json").read_text())) == 2  # processes
    (undisturbed,) = list(Sweep(opened(tmp_path / "b").config, tmp_path / "b").run().rows)
    assert {**one.ended(), "seconds": 0} == {**other.ended(), "seconds": 0}
    assert undisturbed["status"] == "done"
    for name in ("alphas.jsonl", "architecture.json"):
        assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes()


def test_a_worker_killed_too_often_is_a_failed_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        from archgrad.workers.calls import _killed, failed

        yield 0, failed(_killed(3))

    monkeypatch.setattr("archgrad.sweeping.engine.made", gone)
    options = {**OPTIONS, "subset": 60, "pool": "processes"}
    found = archgrad.sweep({"seed": [0]}, "digits", out=tmp_path / "s", **options)
    assert "its worker process was killed 3 times" in found.rows[0]["error"]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def killed(arguments: list[str], when: Path) -> None:
    """A driver that is killed as soon as there is such a file."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "archgrad", *arguments], env=environment)
    while not when.exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_driver_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one process: what it had not begun, what it had, and what it had done."""
    killed(
        searches(tmp_path / "killed", "--parallel", "1"),
        tmp_path / "killed" / "trials" / "1" / "checkpoints" / "last.pt",
    )
    before = (tmp_path / "killed" / "trials" / "0" / "trial.json").read_bytes()
    assert not (tmp_path / "killed" / "trials" / "2" / "trial.json").exists()
    assert run("sweep", "--resume", str(tmp_path / "killed"), "--parallel", "1", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert [row["status"] for row in value["trials"]] == ["done"] * 3
    assert (tmp_path / "killed" / "trials" / "0" / "trial.json").read_bytes() == before
    assert run(*searches(tmp_path / "whole", "--parallel", "1")) == 0
    assert "best of many is optimistic" in capsys.readouterr().out
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("pool", ["processes", pytest.param("ray", marks=with_ray)])
def test_workers_and_drivers_are_killed_and_all_is_as_if_nothing_was(
    pool: str, tmp_path: Path
) -> None:
    """Of a sweep in a pool: a worker, then the driver, then it is resumed."""
    folder = tmp_path / "killed"
    assert run(*searches(tmp_path / "whole", "--parallel", "1", "--epochs", "25")) == 0
    options = ["--pool", pool, "--parallel", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "archgrad", *searches(folder, *options, "--epochs", "25")]
    driver = subprocess.Popen(command, env=environment)
    first = folder / "trials" / "0"

    def wait_for(epochs: int) -> None:
        while epochs_of(first) < epochs:
            assert driver.poll() is None
            time.sleep(0.005)

    wait_for(2)
    worker = json.loads((first / "environment.json").read_text())[-1]["process"]
    before = epochs_of(first)
    os.kill(worker, signal.SIGKILL)
    wait_for(before + 2)
    processes = json.loads((first / "environment.json").read_text())
    assert len({one["process"] for one in processes}) == 2
    driver.kill()
    driver.wait()
    time.sleep(5)
    assert run("sweep", "--resume", str(folder), *options) == 0
    assert content(folder) == content(tmp_path / "whole")


def epochs_of(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0
