"""What is said at epochs and at the end: warnings, stops, tables, retrained networks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import run_folders as folders
from archgrad.reporting.reading import read_run

SUMMARY = """\
            test accuracy, %  over
found       90.00 ± 1.00      3 seeds
  random-1  80.00             1 seed

The found cell is better.
"""


def read(path: Path) -> dict[str, Any]:
    return read_run(path, "run-0")


def main_job(path: Path) -> Path:
    options = folders.config(train={"epochs": 2, "seeds": 2, "seed": 0}, random_cells=1)
    folders.search(path, config=options)
    for label, accuracy in (("found", 0.9), ("random-1", 0.8)):
        for seed in (0, 1):
            folders.retrained(path / "train" / label, seed, accuracy=accuracy + seed / 100)
    folders.write(path / "train" / "random-1" / "architecture.json", folders.architecture("skip"))
    folders.write(path / "results.json", {})
    folders.write(path / "summary.txt", SUMMARY)
    return path


def test_warnings_stand_at_their_epoch(tmp_path: Path) -> None:
    lines = [folders.metrics(1), folders.metrics(2, warnings=["skips take over", 3])]
    assert read(folders.search(tmp_path, metrics=lines))["marks"][0] == {
        "epoch": 2, "kind": "warning", "text": "skips take over", "finding": None,
    }  # fmt: skip


def test_a_search_that_ended_early_is_marked(tmp_path: Path) -> None:
    assert read(folders.search(tmp_path / "whole"))["marks"] == []
    (mark,) = read(folders.search(tmp_path / "part", [1, 2]))["marks"]
    assert (mark["epoch"], mark["kind"]) == (2, "stop")
    assert mark["text"] == "the search ended after 2 of 3 epochs"
    (tmp_path / "part" / "architecture.json").unlink()
    assert read(tmp_path / "part")["marks"] == [], "it goes on"


def test_an_epoch_that_comes_again_is_a_way_back(tmp_path: Path) -> None:
    marks = read(folders.search(tmp_path, [1, 2, 3, 2, 3]))["marks"]
    assert marks == [
        {"epoch": 2, "kind": "rollback", "text": "went back from epoch 3 to 1", "finding": None}
    ]


def test_a_main_job_shows_its_table_and_networks(tmp_path: Path) -> None:
    run = read(main_job(tmp_path))
    assert (run["kind"], run["state"], run["problems"]) == ("run", "finished", [])
    assert run["outcome"] == {
        "table": [
            ["", "test accuracy, %", "over"],
            ["found", "90.00 ± 1.00", "3 seeds"],
            ["random-1", "80.00", "1 seed"],
        ],
        "sentences": ["The found cell is better."],
    }
    found, random = run["networks"]
    assert (found["label"], random["label"]) == ("found", "random-1")
    assert found["architecture"] == run["found"]
    assert random["architecture"]["cells"] == folders.cells("skip")
    assert (found["parameters"], found["multiply_adds"]) == (1234, 56789)
    assert [seed["test"] for seed in random["seeds"]] == [0.8, 0.81]
    assert found["seeds"][0]["columns"]["train_loss"] == [1.0, 0.5]
    (tmp_path / "results.json").unlink()
    assert read(tmp_path)["state"] == "unfinished"
    assert read(tmp_path)["reproduce"]["commands"][-1] == f"archgrad run --resume {tmp_path}"


def test_random_cells_without_their_cells_do_not_get_the_found_ones(tmp_path: Path) -> None:
    (main_job(tmp_path) / "train" / "random-1" / "architecture.json").unlink()
    assert read(tmp_path)["networks"][1]["architecture"] is None


def test_a_retraining_is_finished_with_its_last_seed(tmp_path: Path) -> None:
    options = {"data": {"data": "digits"}, "train": {"epochs": 2, "seeds": 2, "seed": 0}}
    folders.write(tmp_path / "config.yaml", options)
    folders.write(tmp_path / "architecture.json", folders.architecture())
    folders.retrained(tmp_path / "found", 0)
    run = read(tmp_path)
    assert (run["kind"], run["state"]) == ("train", "unfinished")
    folders.retrained(tmp_path / "found", 1, accuracy=0.5)
    run = read(tmp_path)
    assert (run["state"], run["problems"]) == ("finished", [])
    assert run["outcome"]["table"] == [
        ["seed", "test accuracy, %", "test loss", "training loss", "seconds"],
        ["0", "90.00", "0.3", "0.2", "9.5"],
        ["1", "50.00", "0.3", "0.2", "9.5"],
    ]
    assert dict(run["facts"])["parameters"] == "1,234"
    again = f"archgrad train {tmp_path}/architecture.json --config {tmp_path}/config.yaml"
    assert run["reproduce"]["commands"] == [again]


def test_a_retraining_of_text_is_judged_by_its_perplexity(tmp_path: Path) -> None:
    folders.write(tmp_path / "config.yaml", {"data": {"data": "ptb"}, "train": {"epochs": 2}})
    folders.write(tmp_path / "architecture.json", folders.architecture(space="darts-rnn"))
    folders.retrained(tmp_path / "found")
    score = {"seed": 0, "perplexity": 60.5, "loss": 4.1}
    folders.write(tmp_path / "found" / "seed-0" / "result.json", score)
    run = read(tmp_path)
    assert run["measure"]["name"] == "perplexity"
    assert run["networks"][0]["seeds"][0]["test"] == 60.5
    assert run["outcome"]["table"][1][:2] == ["0", "60.50"]


def test_a_search_of_a_comparison_is_tested_after_its_full_retraining(tmp_path: Path) -> None:
    folders.search(tmp_path)
    folders.retrained(tmp_path / "short", accuracy=0.6)
    folders.retrained(tmp_path / "full", accuracy=None)
    folders.write(tmp_path / "test.json", {"values": [0.75], "examples": 10, "seconds": 1.0})
    short, full = read(tmp_path)["networks"]
    assert (short["seeds"][0]["validation"], short["seeds"][0]["test"]) == (0.6, None)
    assert full["seeds"][0]["test"] == 0.75


def test_a_failed_search_says_why(tmp_path: Path) -> None:
    folders.write(folders.search(tmp_path) / "failed.json", {"error": "no memory left"})
    run = read(tmp_path)
    assert run["state"] == "unfinished"
    assert run["outcome"]["sentences"] == ["It failed: no memory left"]


def test_a_limit_of_cost_is_a_fact(tmp_path: Path) -> None:
    limit = {"kind": "parameters", "limit": 2e4, "predicted": 1.5e4, "found": None, "met": True}
    folders.write(folders.search(tmp_path) / "limit.json", limit)
    assert (
        dict(read(tmp_path)["facts"])["limit of cost"] == "parameters 15,000 of at most 20,000: met"
    )


def test_an_older_summary_has_no_empty_line(tmp_path: Path) -> None:
    (main_job(tmp_path) / "summary.txt").write_text(re.sub(r"\n\n", "\n", SUMMARY))
    outcome = read(tmp_path)["outcome"]
    assert len(outcome["table"]) == 3
    assert outcome["sentences"] == ["The found cell is better."]


@pytest.mark.parametrize("name", ["metrics.jsonl", "architecture.json"])
def test_what_is_cut_off_is_not_taken_for_an_end(name: str, tmp_path: Path) -> None:
    made = folders.search(tmp_path / "run")
    whole = (made / name).read_bytes()
    (made / name).write_bytes(whole[: len(whole) // 2])
    run = read(made)
    assert run["marks"] == []
    assert (run["state"] == "finished") == (name == "metrics.jsonl")


def test_the_kind_of_a_finding_comes_with_its_mark(tmp_path: Path) -> None:
    known = [folders.metrics(epoch) for epoch in (1, 2, 3)]
    known[0] |= {"warnings": ["old"]}
    known[1] |= {"warnings": ["a", "b"], "warning_kinds": ["overfit", 3.5]}
    known[2] |= {"warnings": ["c", "d"], "warning_kinds": ["overfit"]}
    marks = read(folders.search(tmp_path / "run", metrics=known))["marks"]
    found = [(mark["text"], mark["finding"]) for mark in marks]
    assert found == [("old", None), ("a", "overfit"), ("b", "3.5"), ("c", None), ("d", None)]


def test_facts_are_written_for_readers(tmp_path: Path) -> None:
    search = {"method": "darts", "method_options": {"first_order": True, "steps": None, "x_y": 0.5}}
    made = folders.search(tmp_path / "run", config=folders.config(search=search))
    facts = dict(read(made)["facts"])
    assert facts["options of the method"] == "first order yes, x y 0.5"
    assert facts["started"] == "2026-01-02 03:04 UTC"
    folders.write(made / "environment.json", [{"started": "2026-01-02T03:04:05+02:00"}])
    assert dict(read(made)["facts"])["started"] == "2026-01-02 01:04 UTC"
    folders.write(made / "environment.json", [{"started": "yesterday"}])
    assert dict(read(made)["facts"])["started"] == "yesterday"
