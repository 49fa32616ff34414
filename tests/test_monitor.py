"""Diagnostics in a running search: what is measured when, and what the guard then does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from archgrad.data import Augmentation, as_data
from archgrad.methods import Method, method
from archgrad.networks.mixing import Mixing, one_hot
from archgrad.searching import monitor
from archgrad.searching.bilevel import BilevelSearch, bilevel_search
from archgrad.searching.callbacks import Callback, EpochEnd
from archgrad.searching.guard import Finding, Guard
from archgrad.searching.monitor import ITERATIONS, RANDOM_CELLS
from archgrad.searching.result import SearchResult
from archgrad.settings.config import RunConfig, SearchConfig
from archgrad.spaces import space
from archgrad.storage.files import read_lines
from archgrad.storage.folder import Run

CPU = torch.device("cpu")
SHAPE = {"channels": 2, "cells": 3, "nodes": 1, "in_channels": 1, "image_size": (8, 8)}
MEASURED = {"discrete_accuracy", "watch_accuracy", "eigenvalue", "layer_alignment"}


class Noted(Callback):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def warning(self, text: str) -> None:
        self.texts.append(text)


def images(count: int = 64) -> Any:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 1, 8, 8, generator=generator)
    return as_data((x, torch.arange(count) % 10, x, torch.arange(count) % 10))


def config(**changes: Any) -> SearchConfig:
    return SearchConfig(**{"epochs": 3, "batch_size": 8, "watch_fraction": 0.25, **changes})


def searched(
    name: str | Method = "darts",
    callback: Callback | None = None,
    run: Run | None = None,
    **changes: Any,
) -> SearchResult:
    built = space("darts-cnn", **SHAPE)
    settings = config(**changes)
    return bilevel_search(built, images(), method(name), settings, run=run, callback=callback)


@pytest.fixture(scope="module")
def usual() -> SearchResult:
    return searched()


def test_everything_is_measured_at_start_middle_and_end_of_a_short_search(
    usual: SearchResult,
) -> None:
    for line in usual.metrics:
        assert set(line) >= MEASURED | {"parameters_percentile", "multiply_adds_percentile"}
        assert line["watch_images"] == 8  # a quarter of 32
        assert 0 <= line["discrete_accuracy"] <= 1 and -1 <= line["layer_alignment"] <= 1


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["fair_darts", "proxyless", "gdas", "pc_darts", "drnas"])
def test_every_kind_of_relaxation_is_measured_alike(name: str) -> None:
    shape = {**SHAPE, "channels": 8}
    result = bilevel_search(space("darts-cnn", **shape), images(), method(name), config(epochs=1))
    assert set(result.metrics[0]) >= MEASURED
    assert result.metrics[0]["eigenvalue"] != 0


@pytest.mark.parametrize("name", ["s4", "nas-bench-201"])
def test_a_space_without_skips_or_with_a_single_kind_of_cell(name: str) -> None:
    shape = {k: v for k, v in SHAPE.items() if k != "nodes" or name == "s4"}
    built = space(name, **{**shape, "cells": 3 if name == "s4" else 1})
    result = bilevel_search(built, images(), method("darts"), config(epochs=1))
    assert set(result.metrics[0]) >= MEASURED
    if name == "s4":
        assert result.metrics[0]["skip_share"] == 0


@pytest.mark.no_cover
def test_diagnostics_change_no_result(usual: SearchResult) -> None:
    off = searched(guard="off")
    assert off.architecture == usual.architecture
    assert all(torch.equal(off.alpha[name], usual.alpha[name]) for name in usual.alpha)
    assert not MEASURED & set(off.metrics[0])


def test_a_long_search_spends_at_most_a_twentieth_and_a_short_one_says_what_it_spends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(monitor, "ITERATIONS", ITERATIONS)
    built = space("darts-cnn", **SHAPE)
    long = BilevelSearch(
        built, images(4000), method("darts"), config(epochs=60), Augmentation(), CPU, None
    )
    assert long.monitor.plan.share <= 0.05
    assert long.monitor.price() is None
    assert len(long.monitor.plan.epochs["eigenvalue"]) > 3
    noted = Noted()
    searched(callback=noted)
    assert noted.texts[0].startswith("diagnostics take") and "epochs 1, 2, 3" in noted.texts[0]


@pytest.mark.no_cover
def test_a_stopping_rule_gets_its_readings_even_without_a_guard() -> None:
    result = searched("robust_darts", epochs=4, guard="off")
    assert ["eigenvalue" in line for line in result.metrics] == [True, False, True, True]


def test_the_discretized_supernet_is_the_one_hot_one() -> None:
    built = space("darts-cnn", **SHAPE)
    search = BilevelSearch(built, images(), method("darts"), config(), Augmentation(), CPU, None)
    measured = search.monitor.measure(search, 1)
    cells = search.method.discretization(search.leg.net.alpha, search.state())
    hot = one_hot(built.groups, cells, search.leg.net.alpha)
    right = [
        float((search.leg.net.forward(Mixing(hot), x).argmax(1) == y).float().sum())
        for x, y in search.loaders.check.epoch(0)
    ]
    assert measured["discrete_accuracy"] == pytest.approx(sum(right) / 24)


def test_percentiles_compare_with_many_random_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RANDOM_CELLS >= 20  # else nothing could be beyond 97.5 %
    monkeypatch.setattr(monitor, "RANDOM_CELLS", RANDOM_CELLS)
    monkeypatch.setattr(monitor, "cost", lambda space, architecture: architecture)
    made = monitor._random_costs.__wrapped__(space("darts-cnn", **SHAPE))
    assert len(made) == RANDOM_CELLS and len(set(made)) > RANDOM_CELLS / 2


def test_the_eigenvalue_takes_the_iterations_that_are_planned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(monitor, "ITERATIONS", ITERATIONS)
    monkeypatch.setattr(
        "archgrad.searching.diagnostics.dominant_eigenvalue",
        lambda *_, iterations, **__: iterations,
    )
    assert searched(epochs=1).metrics[0]["eigenvalue"] == ITERATIONS


class Alarm(Guard):
    """Says from epoch 2 on that epoch 1 was the last healthy one."""

    def __call__(self, history: Any) -> list[Finding]:
        found = [Finding("skip_share", "skips take over", healthy=1, collapse=True)]
        return found if history and history[-1]["epoch"] >= 2 else []


@pytest.mark.parametrize(
    ("mode", "epochs", "derived_from"), [("warn", 4, 4), ("stop", 2, 2), ("rollback", 2, 1)]
)
def test_the_guard_warns_stops_or_rolls_back(
    mode: str, epochs: int, derived_from: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Guard, "of", classmethod(lambda cls, epochs, groups: Alarm(epochs)))
    noted = Noted()
    eager = replace(method("darts"), arch_optimizer=lambda alpha: torch.optim.SGD(alpha, 10.0))
    result = searched(eager, callback=noted, epochs=4, guard=mode)
    assert len(result.metrics) == epochs
    assert result.metrics[1]["warnings"] == ["skips take over"]
    assert result.metrics[1]["warning_kinds"] == ["skip_share"]
    assert [text for text in noted.texts if "skips" in text] == ["epoch 2: skips take over"]
    assert (result.stopped is None) == (mode == "warn")

    class Upto(Callback):
        """Ends a search of the same length after some epochs, by asking for no more."""

        def epoch_end(self, event: EpochEnd) -> None:
            if event.epoch == derived_from:
                raise StopIteration

    run = Run.create(tmp_path / "run", RunConfig(search=config(epochs=4, guard="off")))
    with pytest.raises(StopIteration):
        searched(eager, callback=Upto(), run=run, epochs=4, guard="off")
    kept = read_lines(run.path / "alphas.jsonl")[-1]["alpha"]
    for name, value in result.alpha.items():
        assert value.tolist() == kept[name]


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["darts", "fair_darts", "drnas", "gdas", "pc_darts"])
def test_a_search_says_once_that_alpha_hardly_moved(name: str) -> None:
    def told(**options: float) -> tuple[SearchResult, list[str]]:
        noted, made = Noted(), space("darts-cnn", **{**SHAPE, "channels": 8})
        settings = config(epochs=2, guard="off")
        found = bilevel_search(made, images(), method(name, **options), settings, callback=noted)
        return found, [text for text in noted.texts if text.startswith("alpha has decided")]

    still, texts = told(alpha_learning_rate=3e-4)
    assert texts == [still.undecided]
    assert "--method-option alpha_learning_rate=" in texts[0]
    assert "here 0.0003" in texts[0] and "alpha_learning_rate" in texts[0]
    assert 0 < still.metrics[0]["moved"] < still.metrics[1]["moved"] < 0.05
    moved, texts = told(alpha_learning_rate=0.1)
    assert texts == [] and moved.undecided is None
    assert moved.metrics[-1]["moved"] > 0.05


def test_a_method_that_does_not_derive_from_alpha_says_nothing_of_it() -> None:
    options = {"samples": 2, "top": 1, "batches": 1}
    built, noted = space("darts-cnn", **SHAPE), Noted()
    result = bilevel_search(
        built, images(), method("random_ws", **options), config(epochs=1), callback=noted
    )
    assert result.undecided is None and result.metrics[-1]["moved"] == 0
    assert not any("alpha has decided" in text for text in noted.texts)
