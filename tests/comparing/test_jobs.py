"""What a search left in its folder, read back as an entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from archgrad.architecture import Architecture
from archgrad.comparing.jobs import Finished, Job, worked
from archgrad.comparing.parts import parts
from archgrad.errors import ArchgradError
from archgrad.settings import config as configuration
from archgrad.spaces import space
from small import data

OWN = (data(), data().augmentation)
CELLS = space("nas-bench-201", channels=2, cells=1, in_channels=1, image_size=(8, 8), classes=2)


def cell(seed: int) -> Architecture:
    return CELLS.random_architecture(torch.Generator().manual_seed(seed))


def job(folder: Path, method: str = "halving", **search: Any) -> Job:
    options = {"space": "nas-bench-201", "method": method, "channels": 2, "cells": 1, **search}
    train = {"channels": 2, "cells": 1, "epochs": 4, "seeds": 2}
    made = configuration.build({"data": {"data": "own"}, "search": options, "train": train})
    return Job(made, folder, 0.25, 2)


def line(seed: int, share: float, score: float, spent: float, failed: bool = False) -> str:
    return json.dumps(
        {"architecture": cell(seed).model_dump(mode="json"), "share": share, "score": score,
         "failed": failed, "spent": spent, "seconds": 0.5}
    )  # fmt: skip


def left(folder: Path, found: int, *lines: str) -> Job:
    """A search that is done, with its two retrainings and its test."""
    folder.mkdir(exist_ok=True)
    (folder / "evaluations.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")
    (folder / "architecture.json").write_text(cell(found).to_json(), encoding="utf-8")
    made = job(folder)
    short, full = made.retrainings(parts(made.config.data, OWN, 0.25))
    for one in (short, *full):
        assert one.folder is not None
        one.folder.mkdir(parents=True)
        (one.folder / "metrics.jsonl").write_text('{"epoch": 1, "seconds": 0.25}\n' * 2)
        (one.folder / "result.json").write_text('{"accuracy": 0.75}')
    content = {"values": [0.5, 0.75], "examples": 30, "seconds": 0.125}
    (folder / "test.json").write_text(json.dumps(content))
    return made


def test_the_value_of_a_search_is_that_of_the_longest_training(tmp_path: Path) -> None:
    """A short one of the same architecture, or one that failed, says nothing."""
    made = left(
        tmp_path, 1, line(1, 0.5, 0.9, 10), line(2, 1.0, 0.6, 20), line(1, 1.0, 0.7, 30),
        line(3, 1.0, 0.6, 40, failed=True),
    )  # fmt: skip
    entry = Finished(made, parts(made.config.data, OWN, 0.25)).entry()
    assert entry.search_value == 0.7
    assert [(p.spent, p.seconds, p.value) for p in entry.curve] == [
        (10, 0.5, 0.9), (20, 1.0, 0.6), (30, 1.5, 0.7),
    ]  # fmt: skip
    assert (entry.costs.search.spent, entry.costs.search.seconds) == (40, 2.0)


def test_an_entry_has_the_mean_test_value_and_the_cost_of_each_phase(tmp_path: Path) -> None:
    made = left(tmp_path, 1, line(1, 1.0, 0.7, 10))
    entry = Finished(made, parts(made.config.data, OWN, 0.25)).entry()
    each = entry.multiply_adds
    assert each
    assert (entry.short_value, entry.test_value) == (0.75, 0.625)
    assert entry.costs.short.spent == (3 * 36 * 2 + 12) * each
    assert entry.costs.full.spent == 2 * 3 * 48 * 2 * each
    assert entry.costs.test.spent == 2 * 30 * each
    assert [getattr(entry.costs, p).seconds for p in ("short", "full", "test")] == [0.5, 1, 0.125]


def test_searches_with_other_seeds_share_no_seed_of_a_retraining(tmp_path: Path) -> None:
    seeds = set()
    for seed in range(3):
        made = job(tmp_path / str(seed), seed=seed)
        made.folder.mkdir()
        (made.folder / "architecture.json").write_text(cell(seed).to_json())
        short, full = made.retrainings(parts(made.config.data, OWN, 0.25))
        assert (short.config.epochs, full[0].config.epochs) == (2, 4)
        seeds |= {one.seed for one in full}
    assert len(seeds) == 6


def test_damaged_results_say_which(tmp_path: Path) -> None:
    made = left(tmp_path, 1, line(1, 1.0, 0.7, 10))
    (tmp_path / "test.json").write_text("{")
    with pytest.raises(ArchgradError, match="what is kept in .*does not fit"):
        Finished(made, parts(made.config.data, OWN, 0.25)).entry()


def test_any_error_is_kept_as_one_line_and_forgotten_when_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job(tmp_path / "job", "random")

    def failing(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("archgrad.comparing.jobs.checked", failing)
        assert worked(made, OWN) is made
    assert json.loads((made.folder / "failed.json").read_text()) == {
        "error": "MemoryError: MemoryError"
    }
    assert made.ended
    assert not made.done
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("archgrad.comparing.jobs.parts", _interrupt)
        worked(made, OWN)
    assert not made.ended


def _interrupt(*_: Any) -> Any:
    raise KeyboardInterrupt
