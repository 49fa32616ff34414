"""Run folders as the page gets them: what they hold, and what is said where it is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import run_folders as folders
from archgrad.reporting import facts
from archgrad.reporting.reading import read_run
from archgrad.searching import decided, guard, monitor


def read(path: Path) -> dict[str, Any]:
    found = read_run(path, "run-0")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def one_problem(path: Path) -> str:
    (problem,) = read(path)["problems"]
    assert "\n" not in problem
    return str(problem)


def test_a_finished_search_is_read_whole(tmp_path: Path) -> None:
    run = read(folders.search(tmp_path / "mine"))
    assert (run["kind"], run["state"], run["problems"]) == ("search", "finished", [])
    assert (run["name"], run["space"], run["method"], run["seed"]) == (
        "mine", "darts-cnn", "darts", 5,
    )  # fmt: skip
    assert run["data"] == "digits"
    assert run["measure"]["title"] == "accuracy, %"
    assert run["epochs"]["planned"] == 3
    assert run["epochs"]["columns"]["epoch"] == [1, 2, 3]
    assert run["epochs"]["columns"]["train_loss"] == [1.0, 0.5, 0.333333]
    assert run["found"] == {"space": "darts-cnn", "cells": folders.cells()}
    facts = dict(run["facts"])
    assert facts["epochs"] == "3 of 3"
    assert facts["space"] == "darts-cnn, 8 channels, 4 cells"
    assert facts["time of the search"] == "6.0 s"
    assert facts["spent by the search"] == "300 multiply-adds"


def test_a_search_that_decided_nothing_says_so(tmp_path: Path) -> None:
    def marks(name: str, **line: Any) -> list[dict[str, Any]]:
        lines = [folders.metrics(1, moved=0.01, alpha_loss=1.0), folders.metrics(2, **line)]
        found: list[dict[str, Any]] = read(folders.search(tmp_path / name, metrics=lines))["marks"]
        return [mark for mark in found if mark["kind"] == "warning"]

    (mark,) = marks("still", moved=0.0123, alpha_loss=1.0)
    assert (mark["epoch"], mark["finding"]) == (2, "moved")
    assert "no candidate's weight is more than 1.2% from where it began" in mark["text"]
    assert marks("moved", moved=0.06, alpha_loss=1.0) == marks("resting", moved=0.01) == []
    (tmp_path / "still" / "selection.json").write_text("{}")
    (stop,) = read(tmp_path / "still")["marks"]
    assert stop["kind"] == "stop", "another rule than alpha found the cells"
    assert marks("at the limit", moved=decided.MOVED, alpha_loss=1.0) == []
    assert facts.decided_nothing is monitor.decided_nothing
    assert guard.MOVED == decided.MOVED


def test_an_own_model_has_neither_channels_nor_cells(tmp_path: Path) -> None:
    config = folders.config()
    config["search"]["space"] = "own"
    assert dict(read(folders.search(tmp_path / "own", config=config))["facts"])["space"] == "own"


def test_what_repeats_a_search_is_ready_to_be_copied(tmp_path: Path) -> None:
    made = folders.search(tmp_path / "my run")
    found = read(made)["reproduce"]
    assert found["commands"] == [
        "archgrad search",
        f"archgrad search --config '{made}/config.yaml'",
    ]
    assert found["environment"][0]["torch"] == "2.13.0"
    assert "method: darts" in found["config"]
    (made / "architecture.json").unlink()
    assert read(made)["reproduce"]["commands"][-1] == f"archgrad search --resume '{made}'"
    own = folders.config(data={"data": "own"})
    assert read(folders.search(tmp_path / "own", config=own))["reproduce"]["commands"] == [
        "archgrad search"
    ], "data from Python are not in the folder"


def test_perplexities_are_told_from_accuracies(tmp_path: Path) -> None:
    lines = [{"epoch": 1, "valid_perplexity": 50.0}]
    assert read(folders.search(tmp_path, metrics=lines))["measure"]["name"] == "perplexity"


def test_a_search_that_is_not_done_is_unfinished(tmp_path: Path) -> None:
    (folders.search(tmp_path, [1]) / "architecture.json").unlink()
    run = read(tmp_path)
    assert (run["state"], run["found"], run["problems"]) == ("unfinished", None, [])
    assert dict(run["facts"])["epochs"] == "1 of 3"


def test_the_newest_of_what_grows_tells_when_a_run_was_written(tmp_path: Path) -> None:
    for path in folders.search(tmp_path).rglob("*"):
        os.utime(path, (1e9, 1e9))
    os.utime(tmp_path / "config.yaml", (1.5e9, 1.5e9))
    assert read(tmp_path)["written"] == "2001-09-09T01:46:40+00:00"
    os.utime(tmp_path / "alphas.jsonl", (1e9 + 1, 1e9 + 1))
    assert read(tmp_path)["written"] == "2001-09-09T01:46:41+00:00"
    for place, later in (("train/found", 2), ("found", 3), ("short", 4)):
        folders.retrained(tmp_path / place)
        os.utime(tmp_path / place / "seed-0" / "metrics.jsonl", (1e9 + later, 1e9 + later))
        assert read(tmp_path)["written"] == f"2001-09-09T01:46:4{later}+00:00"
    (tmp_path / "empty").mkdir()
    assert read(tmp_path / "empty")["written"] is None


def test_a_baseline_has_evaluations_and_no_epochs(tmp_path: Path) -> None:
    folders.search(tmp_path, metrics=[], alphas=[])
    for name in ("metrics.jsonl", "alphas.jsonl", "groups.json"):
        (tmp_path / name).unlink()
    scored = [
        ("conv", "skip", 0.5),
        ("skip", "skip", None),
        ("conv", "skip", 0.25),
        ("conv", "conv", 0.75),
    ]
    lines = [
        {"evaluation": i, "architecture": folders.architecture(*names), "share": 1.0,
         "score": score, "failed": score is None, "spent": 10 * i, "seconds": 1.0}
        for i, (*names, score) in enumerate(scored, start=1)
    ]  # fmt: skip
    folders.write(tmp_path / "evaluations.jsonl", lines)
    run = read(tmp_path)
    found = run["evaluations"]
    assert (run["problems"], run["epochs"]["planned"], run["replay"]) == ([], None, None)
    assert found["columns"]["score"] == found["columns"]["accuracy"] == [0.5, None, 0.25, 0.75]
    assert found["leaders"] == [0, 0, 0, 3]
    assert found["failed"] == [False, True, False, False]
    assert found["at"] == [0, 1, 0, 2]
    assert len(found["architectures"]) == 3
    assert dict(run["facts"])["evaluations"] == "4, 1 failed"
    lines[0]["share"], lines[0]["score"] = 0.5, 0.9  # of a short training: no match for a whole one
    folders.write(tmp_path / "evaluations.jsonl", lines)
    assert read(tmp_path)["evaluations"]["leaders"] == [0, 0, 2, 3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.jsonl", '{"epoch": 1}\n{"epoch"', "last line of metrics.jsonl is cut off"),
        ("metrics.jsonl", 'nonsense\n{"epoch": 1}\n', "1 of 2 lines hold no JSON object, the"),
        ("metrics.jsonl", '{"epoch": 1, "x": NaN}\n', "x is not a finite number in 1 of 1 epochs"),
        ("metrics.jsonl", '{"epoch": "a"}\n{"epoch": 2}\n', "1 of 2 lines have no number as epoch"),
        ("metrics.jsonl", "", "no epoch is done yet"),
        ("architecture.json", "{", "architecture.json is no JSON"),
        ("architecture.json", '{"format": "archgrad-architecture/2"}', "architecture.json: field"),
        ("architecture.json", "[" * 100_000, "architecture.json is no JSON"),
        ("groups.json", '{"format": "archgrad-groups/9"}', "has the format 'archgrad-groups/9'"),
        ("groups.json", "[1]", "groups.json holds a list, expected an object"),
        ("config.yaml", "a: [", "config.yaml is no YAML"),
        ("config.yaml", "!!bool x", "config.yaml is no YAML"),
        ("config.yaml", "nonsense", "config.yaml holds a text, expected a mapping"),
        ("environment.json", "3", "environment.json holds no list of processes"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_said_and_the_rest_is_shown(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    whole = read(folders.search(tmp_path))
    (tmp_path / name).write_text(content)
    run = read(tmp_path)
    assert any(message in problem for problem in run["problems"]), run["problems"]
    assert run.keys() == whole.keys()
    if name != "metrics.jsonl":
        assert run["epochs"]["columns"] == whole["epochs"]["columns"]


@pytest.mark.parametrize("name", folders.PLACES)
def test_a_missing_file_takes_nothing_else_with_it(name: str, tmp_path: Path) -> None:
    whole = read(folders.search(tmp_path))
    (tmp_path / name).unlink()
    run = read(tmp_path)
    assert run.keys() == whole.keys()
    assert all("Traceback" not in problem for problem in run["problems"])
    if name in ("config.yaml", "groups.json", "alphas.jsonl"):
        assert f"{name} is missing" in one_problem(tmp_path)


def test_epochs_that_cannot_be_read_are_not_taken_for_none(tmp_path: Path) -> None:
    run = folders.search(tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    assert not any("no epoch is done" in problem for problem in read(run)["problems"])
    assert "no epoch is done" in one_problem(folders.search(tmp_path / "new", epochs=()))


def test_a_folder_in_place_of_a_file_is_said(tmp_path: Path) -> None:
    folders.search(tmp_path)
    (tmp_path / "alphas.jsonl").unlink()
    (tmp_path / "alphas.jsonl").mkdir()
    assert one_problem(tmp_path) == (
        "alphas.jsonl is a folder, expected a file; not shown: weights of the edges, and how they "
        "moved"
    )


def test_a_file_beyond_the_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders.search(tmp_path)
    with (tmp_path / "metrics.jsonl").open("r+b") as file:
        file.truncate(257 * 2**20)  # takes no room on the disk
    told = read(tmp_path)["problems"]
    assert told[0] == (
        "metrics.jsonl has 257 MiB, more than the 256 MiB that are read; not shown: losses, "
        "accuracies and diagnostics"
    )


def test_text_that_is_no_utf_8_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    folders.search(tmp_path)
    content = (tmp_path / "config.yaml").read_bytes()
    (tmp_path / "config.yaml").write_bytes(content + b"# \xff\xfe\n")
    assert "config.yaml is no UTF-8 from byte" in one_problem(tmp_path)
    assert read(tmp_path)["method"] == "darts"


def test_a_newer_version_is_said(tmp_path: Path) -> None:
    newer = folders.search(tmp_path / "a", environment=folders.environment("99.1"))
    assert one_problem(newer).startswith("written by archgrad 99.1, this is 0.1.0: ")
    older = folders.search(tmp_path / "b", environment=folders.environment("0.0.9"))
    assert read(older)["problems"] == []
    options = folders.config()
    options["search"]["telepathy"] = 1
    strange = folders.search(tmp_path / "c", config=options)
    assert "does not know (search.telepathy)" in one_problem(strange)


def test_an_empty_folder_and_none_are_said(tmp_path: Path) -> None:
    assert "holds nothing of a run; expected config.yaml" in one_problem(tmp_path)
    assert read(tmp_path)["state"] == "unreadable"
    assert "is no folder" in one_problem(tmp_path / "nowhere")


def test_an_older_folder_without_strength_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    lines = [{"epoch": 1, "alpha": folders.alphas(1)["alpha"]}]
    folders.search(tmp_path, alphas=lines, environment=folders.environment()[0])
    assert "holds no strength" in one_problem(tmp_path)
    replay = read(tmp_path)["replay"]
    assert replay["at"] == [-1]
    assert replay["strength"] == {"normal": None}
    assert replay["alpha"]["normal"]["shape"] == [1, 2, 2]
