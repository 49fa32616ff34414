"""--json and --quiet: one JSON value, nothing but it, of every command that prints a result."""

from __future__ import annotations

import io
import json
import math
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from archgrad.architecture import Architecture
from archgrad.cli import main as cli
from archgrad.progress.terminal import plain, print_result
from small import FLAGS, arrays

SIZE = "--channels 2 --cells 3 --epochs 1 --batch-size 20".split()
FAST = "--method-option alpha_learning_rate=0.5"  # else there is a warning, quiet or not
SEARCH = [*SIZE, *f"--subset 80 --nodes 1 --guard off {FAST}".split()]
SMALL = [o.replace("--", "--train-") for o in SIZE]
RUN = [*SEARCH, *SMALL, *"--train-seeds 1 --train-jobs 1 --random-cells 2".split()]
TRAIN = [*SIZE, *"--subset 80 --seeds 1 --jobs 1".split()]
PROGRESS = ("run", "search", "train", "compare", "measure-latency")


def run(*arguments: str | Path, status: int = 0) -> tuple[str, str]:
    """Standard output and error of a command."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert ended.value.code == status, err.getvalue()
    return out.getvalue(), err.getvalue()


@dataclass(frozen=True)
class Told:
    """What a command printed."""

    value: Any
    err: str


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """Every command once, with --json; those that show progress with --quiet, or without."""
    place = tmp_path_factory.mktemp("told")
    np.savez(place / "digits.npz", **arrays())
    compare = ["--methods", "random", "--data", f"npz:{place / 'digits.npz'}", *FLAGS]
    commands = {
        "run": ["run", *RUN, "--out", place / "run", "--quiet"],
        "search": ["search", *SEARCH, "--out", place / "search"],
        "train": ["train", "DARTS_V1", *TRAIN, "--out", place / "train", "--quiet"],
        "derive": ["derive", place / "run"],
        "export": ["export", place / "run", "--out", place / "export"],
        "plan": ["plan", *SEARCH],
        "convert": ["convert", "DARTS_V2", "--to", "genotype"],
        "compare": ["compare", *compare, "--out", place / "compare", "--quiet"],
        "measure-latency": [
            "measure-latency", "--space", "nas-bench-201", "--channels", "2", "--cells", "3",
            "--out", place / "latency.json", "--quiet",
        ],
        **{name: [name] for name in ("methods", "spaces", "data", "recipes")},
        "methods darts": ["methods", "darts"],
        "recipes darts-ptb": ["recipes", "darts-ptb"],
    }  # fmt: skip
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("archgrad.costing.latency.SAMPLES", 3)
        patch.setattr("archgrad.costing.latency.WARM_MS", 1.0)
        for name, arguments in commands.items():
            out, err = run(*arguments, "--json")
            found[name] = Told(json.loads(out), err)
    return found


KEYS = {
    "run": {
        "path", "architecture", "scores", "costs", "found_minus_random", "interval_95",
        "distinguishable", "search_seconds", "limit", "model", "report",
    },
    "search": {
        "path", "architecture", "method", "space", "seed", "spent", "stopped", "undecided",
        "limit", "last", "report",
    },
    "train": {"path", "paused", "epochs_done", "epochs", "scores", "report"},
    "derive": {"run", "epoch", "file", "architecture"},
    "export": {"format", "files", "difference", "note"},
    "convert": {"source", "file", "table", "architecture", "text", "found", "metrics"},
    "compare": {
        "path", "format", "measure", "settings", "budget", "environment", "entries", "report",
    },
    "methods darts": {"method", "kind", "paper", "text", "parts", "options"},
    "recipes darts-ptb": {
        "recipe", "title", "source", "image_size", "train", "data", "spaces", "note", "search",
    },
}  # fmt: skip


@pytest.mark.parametrize("command", KEYS)
def test_the_keys_are_those_that_are_documented(command: str, told: dict[str, Told]) -> None:
    assert set(told[command].value) == KEYS[command]
    documented = (Path(__file__).parent.parent / "docs" / "commands.md").read_text()
    assert all(f"`{key}`" in documented for key in KEYS[command])


def test_values_are_those_of_the_files(told: dict[str, Told]) -> None:
    main, found = told["run"].value, told["search"].value
    path = Path(main["path"])
    kept = json.loads((path / "results.json").read_text())
    assert {key: main[key] for key in kept} == kept
    load = Architecture.load(path / "architecture.json")
    assert Architecture.model_validate_json(json.dumps(main["architecture"])) == load
    assert told["derive"].value["architecture"] == main["architecture"]
    last = json.loads((Path(found["path"]) / "metrics.jsonl").read_text())
    assert found["last"] == last
    compared = told["compare"].value
    results = json.loads((Path(compared["path"]) / "results.json").read_text())
    page = str(Path(compared["path"]) / "report.html")
    assert compared == {"path": compared["path"], **results, "report": page}
    assert all(Path(told[name].value["report"]).is_file() for name in ("run", "search", "train"))
    assert all(Path(file).is_file() for file in told["export"].value["files"])
    assert told["plan"].value["epochs"] == 1
    assert told["measure-latency"].value["kind"] == "latency"


def test_train_tells_its_scores(told: dict[str, Told]) -> None:
    value = told["train"].value
    (score,) = value["scores"]
    kept = json.loads((Path(value["path"]) / "found/seed-0/result.json").read_text())
    assert score == kept
    assert (value["paused"], value["epochs_done"], value["epochs"]) == (False, 1, 1)


def test_lists_hold_what_there_is(told: dict[str, Told]) -> None:
    names = {name: [entry[name[:-1] if name != "data" else name] for entry in told[name].value]
             for name in ("methods", "spaces", "data", "recipes")}  # fmt: skip
    assert {"darts", "random"} <= set(names["methods"])
    assert "mbconv" in names["spaces"]
    assert "npz:FILE" in names["data"]
    assert "darts-ptb" in names["recipes"]
    assert told["methods"].value[names["methods"].index("darts")] == told["methods darts"].value
    assert told["methods darts"].value["options"]["alpha_learning_rate"] == 3e-4


@pytest.mark.parametrize("command", PROGRESS)
def test_quiet_leaves_standard_error_empty(command: str, told: dict[str, Told]) -> None:
    if command == "search":  # it was not asked to be
        assert "search   1/1" in told[command].err
        path = told[command].value["path"]
        assert "archgrad 0" in run(command, "--resume", path)[1]
        assert run(command, "--resume", path, "--quiet")[1] == ""
    else:
        assert told[command].err == ""


def test_every_command_that_prints_a_result_has_json_and_those_with_progress_quiet() -> None:
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert "--json" in flags, name
        assert ("--quiet" in flags) == (name in (*PROGRESS, "sweep")), name


def test_an_error_with_json_is_a_line_on_standard_error() -> None:
    out, err = run("derive", "missing", "--json", status=2)
    assert out == ""
    assert err.startswith("archgrad: ") and err.count("\n") == 1


def test_what_is_no_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_result({"a": [math.nan, -math.inf, 1 / 3], "p": Path("x")}, "", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"a": [None, None, 1 / 3], "p": "x"}
    print_result({"path": "caf\u00e9-\udce9"}, "", as_json=True)  # as of a name that is no UTF-8
    out = capsys.readouterr().out
    assert out.isascii() and json.loads(out) == {"path": "caf\u00e9-\udce9"}
    assert plain((True, None, {2: 0.1})) == [True, None, {"2": 0.1}]


def test_a_paused_retraining_says_so(tmp_path: Path) -> None:
    tiny = [*TRAIN, "--epochs", "2"]
    pieces = ["--piece-seconds", "0", "--out", tmp_path / "t"]
    value = json.loads(run("train", "DARTS_V1", *tiny, *pieces, "--json")[0])
    assert value == {
        "path": str(tmp_path / "t"), "paused": True, "epochs_done": 1, "epochs": 2, "scores": [],
        "report": None,
    }  # fmt: skip
