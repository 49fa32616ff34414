"""Budgets: the most epochs that fit, what is refused, and that a resumed run keeps its epochs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import archgrad
from archgrad.errors import ArchgradError
from archgrad.resources import fitting
from archgrad.settings import config as configuration
from archgrad.settings.units import work

TINY: dict[str, Any] = {
    "channels": 2, "cells": 3, "nodes": 1, "batch_size": 8, "guard": "off", "watch_fraction": 0,
}  # fmt: skip


def data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(48, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(48) % 2


def spent(epochs: int, **options: Any) -> int:
    return archgrad.search("s2", data(), **TINY, epochs=epochs, **options).spent


def test_as_many_epochs_as_fit_and_no_more() -> None:
    two = spent(2)
    for budget, epochs in ((two, 2), (two - 1, 1)):
        found = archgrad.search("s2", data(), **TINY, budget=str(budget))
        assert found.config.epochs == found.config.budget_epochs == len(found.metrics) == epochs
        assert found.spent <= budget


def test_too_small_a_budget_is_told_what_an_epoch_costs(tmp_path: Path) -> None:
    with pytest.raises(ArchgradError, match=r"epochs 1, costs [0-9.e+]+ multiply-adds; give more"):
        archgrad.search("s2", data(), **TINY, budget="1k", out=tmp_path / "run")
    with pytest.raises(ArchgradError, match=r"epochs 3, costs"):
        archgrad.search("darts-cnn", data(), **TINY, method="p_darts", budget="1k",
                        method_options={"more_cells": 1})  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_keeps_its_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    first = archgrad.search("s2", data(), **TINY, budget=str(spent(2)), out=out)

    def refused(*_: Any) -> int:
        raise AssertionError("epochs were chosen again")

    monkeypatch.setattr("archgrad.preparing.prepared.epochs_within", refused)
    again = archgrad.search(data=data(), resume=out)
    assert again.config.epochs == first.config.epochs == 2
    kept = configuration.load(out / "config.yaml")
    assert kept.search is not None and kept.search.budget_epochs == 2
    other = configuration.build({"search": {"channels": 4}}, kept).search
    assert other is not None and other.budget_epochs is None and other.budget == first.config.budget


def test_seconds_are_a_budget_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Told(archgrad.Callback):
        def warning(self, text: str) -> None:
            said.append(text)

    monkeypatch.setattr(fitting, "seconds", lambda need, wanted: (10.0 * sum(need.epochs),))
    found = archgrad.search("s2", data(), **TINY, budget_seconds=25.0, callbacks=[Told()])
    assert found.config.epochs == 2
    assert any("budget_seconds 25 by the time that steps took" in text for text in said)
    with pytest.raises(ArchgradError, match="budget_seconds 5.0 is too small.* costs 10 seconds"):
        archgrad.search("s2", data(), **TINY, budget_seconds=5.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "5T", "epochs": 3}, "found epochs 3 and budget 5T; a budget says how many"),
        ({"budget": "5T", "budget_seconds": 3}, "found budget and budget_seconds, expected one"),
        ({"budget": "5 parsecs"}, "expected a number of multiply-adds above 0, such as 800G"),
        ({"budget_seconds": 0}, "budget_seconds"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        archgrad.search("s2", data(), **TINY, **options)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("5T", 5e12), ("1.5p", 1.5e15), ("2k", 2e3), ("3M", 3e6), ("4 G", 4e9), ("7", 7.0)],
)
def test_amounts_of_work(text: str, amount: float) -> None:
    assert work(text) == amount


def test_what_a_selection_takes_is_in_the_budget(tmp_path: Path) -> None:
    options = {"tuning_epochs": 1}
    few = archgrad.search("s2", data(), **TINY, method="darts_pt", epochs=1,
                          method_options=options, out=tmp_path / "few")  # fmt: skip
    stepped = few.metrics[-1]["spent"]
    line = json.loads((tmp_path / "few" / "selection.json").read_text())
    assert few.spent == stepped + line["spent"]
    budget = 2 * few.spent
    found = archgrad.search("s2", data(), **TINY, method="darts_pt", budget=str(budget),
                            method_options=options)  # fmt: skip
    assert found.config.epochs < budget // stepped, "without the selection more would fit"
    assert 0.7 * budget < found.spent <= budget
