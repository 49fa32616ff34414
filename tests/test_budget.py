"""A limit of cost from the options to the result: kept, reported, or refused with the reason."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import archgrad
from archgrad.cli import main as cli
from archgrad.costing import latency
from archgrad.costing.cost import cost
from archgrad.costing.costs import CostTable
from archgrad.costing.latency import Call
from archgrad.data import Data
from archgrad.errors import ArchgradError
from archgrad.parts.cost import CostRatio
from archgrad.parts.hypergradient import first_order
from archgrad.preparing.prepared import prepare
from archgrad.resources.budget import REPORT, TABLE, Budget, CostReport
from archgrad.searching.result import SearchResult
from archgrad.settings import config as configuration
from archgrad.settings.config import RunConfig
from archgrad.spaces import space
from archgrad.storage.folder import device_name
from archgrad.verbs.experiment import prepare_main_job

TINY: dict[str, Any] = {
    "channels": 2, "cells": 3, "nodes": 1, "edges_per_node": 1, "epochs": 2, "batch_size": 16,
    "guard": "off",
}  # fmt: skip
SHAPE = {"in_channels": 1, "image_size": (8, 8)}


def searched(data: Data, **changes: Any) -> SearchResult:
    return archgrad.search(data=data, **{**TINY, **changes})


def config(**changes: Any) -> RunConfig:
    return configuration.build({"data": {"subset": 80}, "search": {**TINY, **changes}})


@pytest.fixture(scope="module")
def free(two_digits: Data) -> SearchResult:
    return searched(two_digits)


def cheapest(**changes: Any) -> int:
    """Parameters of the cheapest architecture: all of it without parameters or nearly so."""
    with pytest.raises(ArchgradError) as refused:
        prepare(config(max_params="1", **changes))
    return int(str(refused.value).split("costs ")[1].split()[0].replace(",", ""))


@pytest.fixture(scope="module")
def least() -> int:
    return cheapest()


@pytest.mark.parametrize("kind", ["parameters", "multiply_adds"])
def test_a_limit_changes_the_result_and_is_met(
    two_digits: Data, free: SearchResult, kind: str
) -> None:
    usual = getattr(cost(free.space, free.architecture), kind)
    option = {"parameters": "max_params", "multiply_adds": "max_madds"}[kind]
    found = searched(two_digits, **{option: str(int(0.9 * usual))})
    exact = getattr(cost(found.space, found.architecture), kind)
    assert found.architecture != free.architecture
    assert exact <= 0.9 * usual < usual
    assert found.cost is not None and found.cost.met
    assert found.cost.predicted == found.cost.found == exact
    assert free.cost is None and "expected_cost" not in free.metrics[-1]


def test_a_high_limit_changes_nothing_but_what_is_told(
    two_digits: Data, free: SearchResult
) -> None:
    found = searched(two_digits, max_params="1G")
    assert found.architecture == free.architecture
    assert all((found.alpha[name] == value).all() for name, value in free.alpha.items())
    assert found.metrics[-1]["expected_cost"] > cost(free.space, free.architecture).parameters / 2


@pytest.mark.no_cover
def test_the_expected_cost_falls_with_its_weight(two_digits: Data, least: int) -> None:
    expected = [
        searched(two_digits, max_params=str(least), cost_weight=weight).metrics[-1]["expected_cost"]
        for weight in (0.0, 10.0)
    ]
    assert expected[1] < expected[0]


@pytest.mark.parametrize("form", ["penalty", "ratio"])
def test_a_soft_form_pulls_and_keeps_the_methods_own_rule(
    two_digits: Data, free: SearchResult, least: int, form: str
) -> None:
    found = searched(two_digits, max_params=str(least // 2), cost_form=form, cost_weight=3.0)
    report = found.cost
    assert report is not None and not report.met and report.advice is not None
    assert "try --cost-form limit, or a --cost-weight above 3" in str(report)
    assert "NOT met" in str(report)
    usual = searched(two_digits, max_params="1G", cost_weight=0.0)
    assert found.metrics[-1]["expected_cost"] < usual.metrics[-1]["expected_cost"]


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "name",
    ["pc_darts", *(pytest.param(n, marks=pytest.mark.slow) for n in ("gdas", "fair_darts")),
     "proxyless", "p_darts"],
)  # fmt: skip
def test_other_methods_keep_a_limit(two_digits: Data, name: str) -> None:
    larger = {"nodes": 2, "edges_per_node": 2}  # without a limit each of them costs more
    limit = cheapest(**larger) + 100
    own: dict[str, dict[str, Any]] = {
        "p_darts": {"epochs": 3}, "pc_darts": {"method_options": {"k": 1}}
    }  # fmt: skip
    changes = {**larger, **own.get(name, {})}
    found = searched(two_digits, method=name, max_params=str(limit), **changes)
    assert found.cost is not None
    assert found.cost.met == (found.cost.found <= limit)
    assert found.cost.met or name == "p_darts"


def test_the_ratio_stands_around_the_hypergradient_of_any_method() -> None:
    made = prepare(config(max_params="10k", cost_form="ratio", method="proxyless"))
    form = made.method.hypergradient
    assert isinstance(form, CostRatio) and form.inner is not first_order
    assert (form.exponent, form.reference) == (0.3, 10_000)


def test_an_impossible_limit_is_refused_before_anything_is_written(
    tmp_path: Path, least: int
) -> None:
    assert prepare(config(max_params=str(least))).budget is not None
    with pytest.raises(ArchgradError, match=f"--max-params {least - 1} cannot be met.*{least:,}"):
        archgrad.search(
            data="digits", subset=80, out=tmp_path / "run", **TINY, max_params=str(least - 1)
        )
    assert not (tmp_path / "run").exists()


def test_what_does_not_go_together_is_refused() -> None:
    for changes, told in (
        ({"max_params": "2M", "max_madds": "300M"}, "found the limits max_params and max_madds"),
        ({"max_latency": "5ms"}, "max_latency needs a table of this device"),
        ({"cost_weight": 1.0}, "cost_weight goes with a limit"),
        ({"cost_form": "ratio"}, "cost_form goes with a limit"),
        ({"max_params": "1k", "latency_table": "t"}, "latency_table goes with max_latency"),
        ({"max_latency": "5"}, 'found "5", expected a time'),
        ({"max_madds": "much"}, 'found "much", expected a number'),
    ):
        with pytest.raises(ArchgradError, match=told):
            config(**changes)
    with pytest.raises(ArchgradError, match="selection judges the supernet"):
        prepare(config(max_params="1G", method="darts_pt"))
    assert prepare(config(max_params="1G", method="darts_pt", cost_form="penalty")).budget


def test_a_limit_is_about_the_network_that_is_retrained(least: int) -> None:
    train = {"channels": 4, "cells": 3, "auxiliary_weight": 0.0, "cutout": 0}
    sections = {"data": {"subset": 80}, "search": {**TINY, "max_params": str(least)}}
    whole = configuration.build({**sections, "train": train}, random_cells=2)
    with pytest.raises(ArchgradError, match="size of the retraining .4 channels, 3 cells. costs"):
        prepare_main_job(whole)
    assert prepare(configuration.build(sections)).budget is not None


def test_a_run_keeps_its_limit(two_digits: Data, tmp_path: Path, least: int) -> None:
    limit = least + 50
    arguments = {**TINY, "max_params": str(limit), "cost_weight": 0.0, "subset": 80}
    found = archgrad.search(data="digits", out=tmp_path / "run", **arguments)
    kept = json.loads((tmp_path / "run" / REPORT).read_text())
    assert kept["met"] and kept["found"] <= limit and (tmp_path / "run" / TABLE).is_file()
    assert archgrad.derive(tmp_path / "run") == found.architecture
    for rule in ("strongest", "skip_limit"):
        derived = archgrad.derive(tmp_path / "run", rule=rule)
        assert cost(found.space, derived).parameters <= limit
    with pytest.raises(ArchgradError, match="knows no limit of cost"):
        archgrad.derive(tmp_path / "run", rule="perturbation")
    again = archgrad.search(resume=tmp_path / "run")
    assert again.architecture == found.architecture and again.cost == found.cost


def test_a_main_job_reports_its_limit(tmp_path: Path) -> None:
    small = {**TINY, "nodes": 1, "epochs": 1, "batch_size": 20, "subset": 80}
    train = {"channels": 2, "cells": 3, "epochs": 1, "batch_size": 20, "seeds": 2, "jobs": 1}
    archgrad.run(
        **small, **{f"train_{k}": v for k, v in train.items()}, max_params="1G", random_cells=2,
        out=tmp_path / "run",
    )  # fmt: skip
    limit = json.loads((tmp_path / "run" / "results.json").read_text())["limit"]
    assert limit["met"] and limit["found"] == limit["predicted"] > 0
    size = (
        "at the size of the retraining (2 channels, 3 cells); limit 1,000,000,000 parameters: met"
    )
    assert size in (tmp_path / "run" / "summary.txt").read_text()


# --- latency ------------------------------------------------------------------------------------

SIZE = ["--subset", "80", "--channels", "2", "--cells", "3", "--batch-size", "20"]
SEARCH = [*SIZE, "--nodes", "1", "--epochs", "1", "--guard", "off", "--device", "cpu"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table that the command line wrote, by a clock that counts parameters."""
    path = tmp_path_factory.mktemp("table") / "table.json"

    def sample(call: Call, times: int) -> float:
        return 1e-2 * sum(p.numel() for p in call.module.parameters()) + 1e-6

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "_sample", sample)
        assert run("measure-latency", *SEARCH, "--out", path) == 0
    return path


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_measuring_ends_with_a_limit_that_can_be_met_and_has_an_effect(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = CostTable.load(table)
    monkeypatch.setattr(latency, "measure_latency", lambda *_, **__: made)
    assert run("measure-latency", *SEARCH, "--out", tmp_path / "again.json") == 0
    told = capsys.readouterr().out
    (found,) = re.findall(r"networks   (.*) ms the cheapest, (.*) ms a random one", told)
    least, usual = map(float, found)
    (limit,) = map(float, re.findall("--max-latency (.*)ms", told))
    assert least < limit < usual
    assert limit == pytest.approx((least + usual) / 2, rel=1e-3)
    assert usual in [pytest.approx(p, rel=1e-3) for p, _ in made.about["checked_ms"]]
    refusal = ["--latency-table", table, "--out", tmp_path / "run"]
    assert "cannot be met" in refused(
        capsys, "search", *SEARCH, "--max-latency", f"{least * 0.99}ms", *refusal
    )


def test_a_search_by_a_table_reports_prediction_and_measurement(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    limit = ["--max-latency", "30ms", "--latency-table", table]
    assert run("search", *SEARCH, *limit, "--out", out) == 0
    printed = capsys.readouterr().out
    kept = json.loads((out / REPORT).read_text())
    assert kept["predicted"] <= 30 and kept["found"] > 0
    assert f"{kept['predicted']:.4g} predicted (error " in printed and "limit 30 ms" in printed


def test_a_table_that_does_not_fit_is_refused(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = ["--max-latency", "30ms", "--latency-table"]
    told = refused(capsys, "search", *SIZE, *limit, table, "--space", "s1")
    assert f"latency table {table} is a table of space darts-cnn, expected one of s1" in told
    told = refused(capsys, "search", *SEARCH, *limit, table, "--channels", "4")
    assert "choice cells.0.edges.0 sees an input of shape (1, 4, 8, 8)" in told
    told = refused(capsys, "search", *SEARCH, *limit, tmp_path / "absent.json")
    assert "absent.json cannot be read" in told
    other = tmp_path / "other.json"
    values = json.loads(table.read_text())
    values["about"]["device_name"] = "Other 9000"
    other.write_text(json.dumps(values))
    told = refused(capsys, "search", *SEARCH, *limit, other)
    assert 'was measured on "Other 9000", this machine has "' in told
    told = refused(capsys, "search", *SEARCH, *limit, table, "--latency-device", "Other 9000")
    assert 'expected "Other 9000"' in told
    told = refused(capsys, "search", *SEARCH, "--max-latency", "1us", "--latency-table", table)
    assert "--max-latency 1us cannot be met" in told
    other.write_text(json.dumps({**values, "kind": "parameters"}))
    assert "holds parameters, expected a latency" in refused(
        capsys, "search", *SEARCH, *limit, other
    )
    told = refused(capsys, "measure-latency", *SEARCH, "--out", table)
    assert "already exists" in told


def test_a_table_of_a_device_that_is_not_here(table: Path, tmp_path: Path) -> None:
    values = json.loads(table.read_text())
    values["about"]["device_name"] = "Other 9000"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(values))
    options = {"max_latency": "30ms", "latency_table": str(other)}
    small = {**TINY, "nodes": 1, "batch_size": 20}
    search = {**small, **options, "latency_device": "Other 9000"}
    found = prepare(configuration.build({"data": {"subset": 80}, "search": search})).budget
    assert found is not None
    drawn = found.space.random_architecture(torch.Generator().manual_seed(0))
    report = found.report(drawn)
    assert report.found is None and report.value == report.predicted
    assert "as predicted (not measured: the device is not here)" in str(report)


def test_the_ratio_needs_costs_above_one(table: Path) -> None:
    small = {**TINY, "nodes": 1, "batch_size": 20, "cost_form": "ratio"}
    options = {"max_latency": "500us", "latency_table": str(table)}
    with pytest.raises(ArchgradError, match="costs above 1, found 0.5 ms; use --cost-form penalty"):
        prepare(configuration.build({"data": {"subset": 80}, "search": {**small, **options}}))


def test_what_a_report_says() -> None:
    report = CostReport("latency", 5.0, 4.8, 6.0, "at the size of the search", "try less")
    assert not report.met
    assert str(report) == (
        "cost     6 ms measured, 4.8 predicted (error 20.0%), at the size of the search; limit "
        "5 ms: NOT met, 20.0% too much; try less"
    )
    met = replace(report, found=None, advice=None)
    assert met.met and str(met).endswith("limit 5 ms: met")


def test_advice_where_the_prediction_meets_the_limit_and_the_measurement_does_not() -> None:
    made = space("nas-bench-201", **SHAPE, channels=2, cells=1)
    found = Budget.of(
        configuration.build({"data": {}, "search": {"max_params": "1G"}}), made, archgrad.Method()
    )
    assert found is not None
    late = CostReport("latency", 1e9, 0.8e9, 2e9, "")
    assert "ask for at most 400,000,000 parameters" in found._advice(late)
    stuck = CostReport("parameters", 1e9, 2e9, 2e9, "")
    assert "method without stages" in found._advice(stuck)


def test_the_name_of_this_processor() -> None:
    assert device_name(torch.device("cpu"))
