"""Comparisons with a table: what is looked up, when, and what is trained beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import archgrad
from archgrad.baselines.children import Children
from archgrad.benchmarks import Table, nas_bench_201
from archgrad.benchmarks.numbering import CELLS, string
from archgrad.comparing import jobs
from archgrad.errors import ArchgradError
from small import OPTIONS, data

OF_TRAINING = ("nodes", "epochs", "child_epochs")
COMMON = {
    **{name: value for name, value in OPTIONS.items() if name not in OF_TRAINING},
    "space": "nas-bench-201", "cells": 1, "train_cells": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cells with made-up accuracies: by their numbers, the test running against validation."""
    path = tmp_path_factory.mktemp("table") / "made-up.csv"
    lines = (f"{string(n)},{n * 90 / CELLS},{95 - n * 90 / CELLS}\n" for n in range(CELLS))
    path.write_text("arch,c10_val_12ep,c10_test\n" + "".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in ((jobs, "retrain"), (Children, "score")):
        monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail("something was trained"))


@pytest.mark.usefixtures("untrained")
def test_baselines_alone_look_everything_up(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test column is read at the end, once for each search."""
    asked: list[tuple[str, int]] = []
    value = Table.value

    def watched(self: Table, cell: Any, column: str) -> float:
        asked.append((column, len(list(tmp_path.rglob("architecture.json")))))
        return value(self, cell, column)

    monkeypatch.setattr(Table, "value", watched)
    options = {**COMMON, "seeds": 2, "evaluations": 12, "table": str(table)}
    results = archgrad.compare("random,evolution", data(), out=tmp_path / "c", **options)
    first = next(place for place, (column, _) in enumerate(asked) if column == "c10_test")
    assert [column for column, _ in asked].count("c10_test") == 4
    assert all(done == 4 for _, done in asked[first:])
    assert [column for column, _ in asked[:first]] == ["c10_val_12ep"] * 4 * 12
    assert (results.budget.amount, results.budget.unit) == (12, "evaluations")
    assert results.settings.table == "made-up.csv"
    assert results.settings.data == ("made-up.csv",)  # nothing of the images was looked at
    known = nas_bench_201(table)
    for entry in results.entries:
        assert entry.architecture is not None
        assert len(entry.curve) == entry.costs.search.spent == 12
        best = max(point.value for point in entry.curve)
        assert entry.search_value == entry.short_value == best
        assert entry.test_value == known.value(entry.architecture, "c10_test") / 100
    assert "validation is c10_val_12ep" in (tmp_path / "c" / "table.md").read_text().replace(
        "\\", ""
    )


def test_beside_a_supernet_baselines_train_and_the_table_gives_the_accuracies(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "retrain", lambda *_, **__: pytest.fail("retrained"))
    options = {**COMMON, "epochs": 1, "table": str(table)}
    results = archgrad.compare("darts,random", data(), out=tmp_path / "c", **options)
    assert results.budget.unit == "multiply-adds"
    known = nas_bench_201(table)
    for entry in results.entries:
        assert entry.status == "done"
        assert entry.data == "own"
        assert 12 < entry.costs.search.spent <= (results.budget.amount or 0)
        assert entry.architecture is not None
        assert entry.short_value == known.value(entry.architecture, "c10_val_12ep") / 100
        assert entry.test_value == known.value(entry.architecture, "c10_test") / 100


def test_what_does_not_go_with_a_table_is_refused(table: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.csv"
    few.write_text("".join(table.read_text().splitlines(keepends=True)[:9]), encoding="utf-8")
    for methods, options, message in (
        ("darts,random", {"evaluations": 5}, "evaluations 5 with darts; a supernet is trained"),
        ("random", {"budget": "1G"}, "with a table nothing is trained"),
        ("random", {"space": "s2"}, "holds cells of space nas-bench-201, and the space is s2"),
        ("random", {"table": str(few)}, "few.csv misses 15,617 of the 15,625 cells"),
    ):
        chosen = {**COMMON, "table": str(table), **options}
        if options.get("space"):
            chosen |= {"cells": 3, "train_cells": 3}
        with pytest.raises(ArchgradError, match=message):
            archgrad.compare(methods, data(), out=tmp_path / "c", **chosen)
    with pytest.raises(ArchgradError, match="stands for one data set, found digits, cifar10"):
        chosen = {**COMMON, "table": str(table)}
        archgrad.compare("random", "digits,cifar10", out=tmp_path / "c", **chosen)
    assert not (tmp_path / "c").exists()
