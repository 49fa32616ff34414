"""Baselines through the verbs: spaces, own models, tables, what is refused, folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import archgrad
from archgrad.baselines import BASELINES, Proposal
from archgrad.baselines.beginning import TABLE_EVALUATIONS, Baseline, LookUps
from archgrad.benchmarks import Table, TableObjective
from archgrad.benchmarks.numbering import CELLS, number, string
from archgrad.cli.main import main
from archgrad.data import Data
from archgrad.errors import ArchgradError
from archgrad.preparing.prepared import prepare
from archgrad.searching.result import SearchResult
from archgrad.settings import config as configuration
from helpers import digits

TINY: dict[str, Any] = {
    "channels": 2, "cells": 3, "nodes": 1, "batch_size": 8, "child_epochs": 1, "device": "cpu",
    "watch_fraction": 0, "guard": "off", "budget": "8M",
}  # fmt: skip
OWN: dict[str, Any] = {
    "child_epochs": 1,
    "batch_size": 8,
    "device": "cpu",
    "guard": "off",
    "budget": "1.2M",
}
COMMAND = (
    "search --subset 60 --channels 2 --cells 3 --nodes 1 --batch-size 10 --child-epochs 1 "
    "--device cpu --budget 10M"
).split()


class Net(nn.Module):
    """A choice of a layer and a choice of two of three inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(64, 8)
        self.ways = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.inputs = archgrad.InputChoice(3, 2, "inputs")
        self.layer = archgrad.Choice({"linear": nn.Linear(8, 8), "skip": nn.Identity()}, "layer")
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.flatten(1))
        return self.out(self.layer(self.inputs([x, *(way(x).relu() for way in self.ways)])))


def net() -> Net:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return Net()


def own(**options: Any) -> SearchResult:
    return archgrad.search(net(), train=digits(), **{**OWN, "method": "evolution", **options})


def stable(result: SearchResult) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in result.metrics]


@pytest.mark.parametrize(
    ("space", "options"),
    [("mbconv", {"channels": 8, "cells": 1, "budget": "400M"}),
     ("nas-bench-201", {"cells": 1}), ("s1", {"channels": 2, "cells": 3})],
)  # fmt: skip
def test_spaces(two_digits: Data, space: str, options: dict[str, Any]) -> None:
    sizes = {k: v for k, v in TINY.items() if k != "nodes"}
    found = archgrad.search(space, two_digits, method="random", **{**sizes, **options})
    assert 1 <= len(found.metrics) and found.spent <= archgrad.settings.units.work(
        found.config.budget
    )
    assert found.derive().eval()(torch.zeros(2, 1, 8, 8)).shape == (2, 2)
    assert found.origin is not None and found.origin.classes == two_digits.classes


@pytest.mark.parametrize("name", BASELINES)
def test_own_models(name: str) -> None:
    found = own(method=name)
    assert found.spent <= 1_200_000
    ends = name in ("random", "halving")  # there are six architectures
    assert ends or found.spent > 1_200_000 - 80_000
    assert {cell.name for cell in found.architecture.cells} == {"inputs", "layer"}
    derived = found.derive()
    assert isinstance(derived, nn.Module) and derived.training
    assert torch.equal(derived.stem.weight, net().stem.weight), "as the model was given"
    assert not torch.equal(found.derive(weights="fresh").stem.weight, net().stem.weight)
    assert derived(digits()[0]).shape == (48, 2)
    with pytest.raises(ArchgradError, match="a baseline keeps no weights"):
        found.derive(weights="kept")


def test_a_metric_of_ones_own_is_the_score() -> None:
    found = own(loss=nn.functional.cross_entropy)
    assert all(line["score"] < 0 for line in found.metrics), "the loss with a minus sign"


@pytest.mark.parametrize(
    "change",
    [{"budget": "600k"}, {"child_epochs": 2}, {"seed": 1}, {"learning_rate": 0.3},
     {"method": "reinforce"}, {"method_options": {"sample": 1, "population": 2}}],
    ids=str,
)  # fmt: skip
def test_every_knob_changes_the_search(change: dict[str, Any]) -> None:
    common = {"loss": nn.functional.cross_entropy}
    plain, changed = own(**common), own(**common, **change)
    assert stable(plain) != stable(changed)
    assert stable(plain) == stable(own(**common))


def test_without_a_budget_it_is_that_of_first_order_darts(two_digits: Data) -> None:
    options = {**TINY, "budget": None, "child_epochs": None, "epochs": 2, "guard": "warn"}
    spent = archgrad.search("darts-cnn", two_digits, **options).spent
    made = prepared(two_digits, **options, method="random")
    assert spent <= made.budget <= 1.01 * spent


def test_seconds_alone_decide_where_they_are_given() -> None:
    """However much that is; and a notice says that the number may be another."""
    said: list[str] = []

    class Told(archgrad.Callback):
        def warning(self, text: str) -> None:
            said.append(text)

    found = own(budget=None, budget_seconds=0.3, callbacks=[Told()])
    took = [line["seconds"] for line in found.metrics]
    assert sum(took[:-1]) < 0.3 <= sum(took)
    assert any("budget_seconds 0.3 ends the search by the time" in text for text in said)


def test_too_small_a_budget_is_refused_before_a_folder_exists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ArchgradError, match=r"a budget of 1,000 multiply-adds is too small for on"):
        own(budget="1k", out=tmp_path / "own")
    with pytest.raises(SystemExit) as ended:
        main([*COMMAND, "--method", "random", "--budget", "1k", "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("archgrad: a budget of 1,000 multiply-adds is too")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", BASELINES)
def test_killed_and_resumed_children_repeat_bit_for_bit(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"method": name, "loss": nn.functional.cross_entropy}
    whole = own(**options)
    run = tmp_path / "run"
    score, left = archgrad.baselines.children.Children.score, [3]

    def killed(*arguments: Any) -> float:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return score(*arguments)

    monkeypatch.setattr("archgrad.baselines.children.Children.score", killed)
    with pytest.raises(KeyboardInterrupt):
        own(**options, out=run)
    monkeypatch.undo()
    lines = run / "evaluations.jsonl"
    lines.write_bytes(lines.read_bytes()[:-20])
    again = archgrad.search(net(), train=digits(), loss=nn.functional.cross_entropy, resume=run)
    assert len(whole.metrics) > 4
    assert stable(again) == stable(whole)
    assert again.architecture == whole.architecture
    assert archgrad.derive(run) == whole.architecture


def other_net() -> Net:
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return Net()


def two_layers() -> Net:
    made = net()
    made.layer = archgrad.Choice({"linear": nn.Linear(8, 8), "tanh": nn.Tanh()}, "layer")
    return made


@pytest.mark.parametrize(
    ("what", "model", "change"),
    [("data", net, {"train": True}), ("weights of the model", other_net, {}),
     ("choices", two_layers, {}),
     ("loss, metric or forward", net, {"loss": nn.functional.nll_loss})],
)  # fmt: skip
def test_resumed_with_something_else_is_refused(
    tmp_path: Path, what: str, model: Callable[[], Net], change: dict[str, Any]
) -> None:
    x, y = digits()
    run = tmp_path / "run"
    archgrad.search(net(), train=(x, y), **OWN, method="random", out=run)
    if "train" in change:
        change = {"train": (x + 1, y)}
    with pytest.raises(ArchgradError, match=f"was begun with other {what} than now given"):
        archgrad.search(model(), **{"train": (x, y), **change}, resume=run)


def test_resumed_with_other_options_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    own(out=run)
    text = (run / "config.yaml").read_text()
    assert "learning_rate: 0.025" in text
    (run / "config.yaml").write_text(text.replace("learning_rate: 0.025", "learning_rate: 0.05"))
    with pytest.raises(ArchgradError, match="was begun with other options than now given"):
        archgrad.search(net(), train=digits(), resume=run)


def test_a_loader_of_unknown_order_is_warned_of(tmp_path: Path) -> None:
    x, y = digits()
    batches = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 48, 8)]

    class Loader:
        def __len__(self) -> int:
            return len(batches)

        def __iter__(self) -> Any:
            return iter(batches)

    run, data = tmp_path / "run", {"train": Loader(), "valid": Loader()}
    first = archgrad.search(net(), **data, **OWN, method="random", out=run)
    with pytest.warns(UserWarning, match="goes on after the evaluations that are kept"):
        again = archgrad.search(net(), **data, resume=run)
    assert stable(again) == stable(first)


def test_all_children_diverging_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ArchgradError, match=r"all \d+ architectures failed: .* lower learning rat"):
        own(learning_rate=1e30, clip=1e30, out=tmp_path / "run")
    lines = (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()
    assert all(json.loads(line)["failed"] for line in lines) and len(lines) > 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_params": "1M"}, "--max-params 1M is kept by .*; use a gradient method"),
        ({"max_madds": "1M"}, "--max-madds 1M is kept by .*; use a gradient method"),
        ({"evaluations": 3}, "evaluations go with a table, and there is none"),
        ({"table": "t.csv"}, "table t.csv holds cells of space nas-bench-201, and the space is da"),
        ({"method": "evolutoin"}, 'method "evolutoin" is not known; did you mean "evolution"'),
        ({"method_options": {"samples": 3}}, 'option of baseline random "samples" is not known'),
        ({"method": "darts", "child_epochs": 2}, "child_epochs: found beside method darts"),
        ({"method": "darts", "table": "t", "child_epochs": None}, "table: found beside method dar"),
        ({"epochs": 3}, "found epochs 3 and budget 8M"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    two_digits: Data, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArchgradError, match=message):
        archgrad.search(
            "darts-cnn", two_digits, out=tmp_path / "run", **{**TINY, "method": "random", **options}
        )
    assert not (tmp_path / "run").exists()


def test_a_plan_of_a_baseline_is_refused(two_digits: Data) -> None:
    with pytest.raises(ArchgradError, match="random trains networks one by one; its budget says"):
        archgrad.plan("darts-cnn", two_digits, **TINY, method="random")


def prepared(data: Data, **options: Any) -> Baseline:
    config = configuration.build({"data": {"data": "own"}, "search": options})
    made = prepare(config, data=data).method
    assert isinstance(made, Baseline)
    return made


def run_command(*arguments: str) -> int:
    try:
        main(list(arguments))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_the_command_line_searches_resumes_derives_and_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, trained = tmp_path / "run", tmp_path / "trained"
    assert run_command(*COMMAND, "--method", "evolution", "--out", str(run)) == 0
    said = capsys.readouterr()
    assert "of the budget" in said.err and "search   1  score" in said.err
    assert "multiply-adds of a budget of 10M" in said.out
    before = (run / "evaluations.jsonl").read_bytes()
    assert run_command("search", "--resume", str(run)) == 0
    assert (run / "evaluations.jsonl").read_bytes() == before
    capsys.readouterr()
    assert run_command("derive", str(run)) == 0
    assert capsys.readouterr().out == (run / "architecture.json").read_text()
    for option in (["--epoch", "1"], ["--rule", "strongest"]):
        assert run_command("derive", str(run), *option) == 2
        assert "evolution has no alpha of any epoch" in capsys.readouterr().err
    sizes = "--epochs 1 --channels 2 --cells 3 --batch-size 20 --seeds 1 --device cpu".split()
    assert run_command("train", str(run), *sizes, "--out", str(trained)) == 0
    assert (trained / "found" / "seed-0").is_dir()


def test_the_main_job_takes_a_baseline(tmp_path: Path) -> None:
    pair = digits()
    train = {
        "epochs": 1,
        "channels": 2,
        "cells": 3,
        "batch_size": 20,
        "seeds": 1,
        "device": "cpu",
        "auxiliary_weight": 0,
        "cutout": 0,
    }
    options = {f"train_{name}": value for name, value in train.items()}
    report = archgrad.run(
        (*pair, *pair), space="darts-cnn", method="random", random_cells=2, out=tmp_path / "run",
        **TINY, **options,
    )  # fmt: skip
    assert len(report.scores["found"]) == 1
    assert (tmp_path / "run" / "results.json").is_file()


# tables


def values() -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(0).uniform(10, 95, CELLS)


class Watched(dict[str, Any]):
    """Columns that remember which of them were read."""

    def __init__(self, **columns: Any) -> None:
        super().__init__(**columns)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Table]:
    """A table of all cells stands for any file of this name."""
    made = {"t.csv": Table(Watched(c10_val_12ep=values(), c10_test=100 - values()), "t.csv")}
    monkeypatch.setattr("archgrad.baselines.beginning.nas_bench_201", lambda path: made[str(path)])
    return made


def looked_up(**options: Any) -> SearchResult:
    return archgrad.search("nas-bench-201", "digits", subset=200, table="t.csv", **options)


@pytest.mark.parametrize("name", BASELINES)
def test_a_table_is_asked_as_often_as_was_said(file: dict[str, Table], name: str) -> None:
    found = looked_up(method=name, evaluations=7)
    assert [line["spent"] for line in found.metrics] == [1, 2, 3, 4, 5, 6, 7]
    scores = [line["score"] for line in found.metrics]
    cells = [archgrad.Architecture.model_validate_json(json.dumps(line["architecture"]))
             for line in found.metrics]  # fmt: skip
    assert scores == [values()[number(cell)] / 100 for cell in cells]
    assert scores[cells.index(found.architecture)] == max(scores) or name == "halving"
    assert len(looked_up(method=name).metrics) == TABLE_EVALUATIONS == 100


def test_a_search_reads_no_column_of_the_test(file: dict[str, Table]) -> None:
    arrays = file["t.csv"].arrays
    assert isinstance(arrays, Watched)
    looked_up(method="evolution", evaluations=30)
    assert arrays.read == {"c10_val_12ep"}


def test_a_search_needs_no_column_of_the_test(file: dict[str, Table]) -> None:
    before = looked_up(method="evolution", evaluations=40)
    file["t.csv"] = Table({"c10_val_12ep": values()}, "t.csv")
    again = looked_up(method="evolution", evaluations=40)
    assert stable(again) == stable(before)
    assert again.architecture == before.architecture


def test_other_scores_in_the_table_are_refused_on_resume(
    file: dict[str, Table], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    found = looked_up(method="reinforce", evaluations=5, out=run)
    assert stable(archgrad.search(resume=run)) == stable(found)
    file["t.csv"] = Table({"c10_val_12ep": values() / 2, "c10_test": values()}, "t.csv")
    with pytest.raises(ArchgradError, match="was begun with other data than now given"):
        archgrad.search(resume=run)


@pytest.mark.parametrize("option", [{"budget": "1T"}, {"budget_seconds": 3}, {"child_epochs": 2}])
def test_options_of_training_beside_a_table_are_refused(
    file: dict[str, Table], option: dict[str, Any]
) -> None:
    (name,) = option
    with pytest.raises(ArchgradError, match=f"{name} is about training, and with a table nothing"):
        looked_up(method="random", **option)


def test_a_share_costs_a_look_up_like_the_whole() -> None:
    table = Table({"c10_val_12ep": values(), "c10_test": values()})
    look_ups = LookUps(TableObjective(table))
    cell = next(iter(table))
    assert look_ups.price(Proposal(cell, 1 / 9)) == look_ups.price(Proposal(cell)) == 1
    assert look_ups.score(Proposal(cell), 5) == values()[number(string(0))] / 100


def test_the_real_table_through_the_command_line(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = real_data / "nas-bench-201" / "nb201_cifar10.csv.gz"
    if not table.is_file():
        pytest.skip(f"{table} is not there")
    run = tmp_path / "run"
    command = ["search", "--space", "nas-bench-201", "--method", "random", "--subset", "200"]
    command += ["--table", str(table), "--evaluations", "50", "--out", str(run)]
    assert run_command(*command) == 0
    assert "spent 50 evaluations of the table" in capsys.readouterr().out
    lines = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    known = archgrad.benchmarks.nas_bench_201(table)
    found = archgrad.derive(run)
    assert known[found].validation_accuracy / 100 == max(line["score"] for line in lines)
    assert len({json.dumps(line["architecture"]) for line in lines}) == 50


def test_defaults_of_a_strategy_are_filled_in(two_digits: Data) -> None:
    config = prepared(two_digits, **TINY, method="halving", method_options={"rungs": 2}).config
    assert config.method_options == {"eta": 3, "rungs": 2}
