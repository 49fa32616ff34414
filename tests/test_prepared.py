"""What a configuration makes of a space, and every space from search to retraining."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import archgrad
from archgrad.architecture import Architecture
from archgrad.errors import ArchgradError
from archgrad.kernels import native
from archgrad.preparing.prepared import search_space, space_options
from archgrad.retraining.sizing import of_text
from archgrad.settings.config import SearchConfig
from archgrad.spaces import SPACES, space
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.nas_bench_201 import NasBench201, to_string

TINY = {"channels": 2, "epochs": 1, "batch_size": 8}
CELLS = {name: 1 if name in ("nas-bench-201", "mbconv") else 3 for name in SPACES}


def images(count: int = 24) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images of 8x8 in three classes, twice: to search and to test."""
    x = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(count) % 3
    return x, y, x, y


# --- options -----------------------------------------------------------------------------------


def test_a_space_gets_the_options_that_it_has() -> None:
    darts = SearchConfig(channels=4, cells=5, nodes=3, edges_per_node=1)
    assert search_space(darts, None) == DartsCNN(channels=4, cells=5, nodes=3, edges_per_node=1)
    bench = SearchConfig(space="nas-bench-201", channels=4, cells=2)
    assert space_options(bench) == {"channels": 4, "cells": 2}
    assert search_space(bench, None) == NasBench201(channels=4, cells=2)


@pytest.mark.parametrize(("option", "value"), [("nodes", 3), ("edges_per_node", 1)])
def test_an_option_that_a_space_lacks_must_be_at_its_default(option: str, value: int) -> None:
    given: dict[str, Any] = {option: value}
    with pytest.raises(ArchgradError, match=f"201 has no option {option}, found {value}; leave it"):
        space_options(SearchConfig(space="nas-bench-201", **given))


def test_an_unknown_space_is_named() -> None:
    with pytest.raises(ArchgradError, match='space "nas-bench" is not known; did you mean "nas-b'):
        space_options(SearchConfig(space="nas-bench"))


# --- from search to retraining -----------------------------------------------------------------


ALIKE = ("s2", "s3", "s4")  # spaces of the form of s1


OF_IMAGES = [name for name in SPACES if not of_text(name)]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in ALIKE else n for n in OF_IMAGES]
)
def test_every_space_of_images_can_be_searched_and_retrained(name: str, tmp_path: Path) -> None:
    cells = CELLS[name]
    data = images()
    result = archgrad.search(name, data[:2], cells=cells, out=tmp_path / "a", **TINY)
    assert result.architecture.space == name
    made = space(name, cells=cells)
    made.validate(result.architecture)
    assert {n: tuple(a.shape) for n, a in result.alpha.items()} == {
        group.name: group.shape for group in made.groups
    }
    assert archgrad.derive(tmp_path / "a") == result.architecture
    assert result.derive().eval()(data[0]).shape == (24, 3)
    small: dict[str, Any] = {"cutout": 0, "auxiliary_weight": 0, "seeds": 1, "cells": cells}
    trained = archgrad.train(result.architecture, data, **TINY, **small)
    assert trained.scores[0]["parameters"] > 0
    assert trained.networks[0](data[0]).shape == (24, 3)


def test_the_exact_second_order_passes_through_noise() -> None:
    result = archgrad.search("s4", images()[:2], method="darts_2nd", cells=3, nodes=1, **TINY)
    assert all(alpha.isfinite().all() for alpha in result.alpha.values())


def test_the_main_job_on_nas_bench_201(tmp_path: Path) -> None:
    sizes = {"train_channels": 2, "train_cells": 1, "train_epochs": 1, "train_batch_size": 8}
    rest = {"train_seeds": 1, "train_jobs": 1, "random_cells": 2, "out": tmp_path / "run"}
    report = archgrad.run(images(), space="nas-bench-201", cells=1, **TINY, **sizes, **rest)
    for label in ("found", "random-1", "random-2"):
        found = Architecture.load(tmp_path / "run" / "train" / label / "architecture.json")
        assert to_string(found).count("~") == 6
        assert len(report.scores[label]) == 1
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["costs"]) == {"found", "random-1", "random-2"}


def test_the_main_job_on_a_chain(tmp_path: Path) -> None:
    sizes = {"train_channels": 3, "train_cells": 2, "train_epochs": 1, "train_batch_size": 20}
    rest = {"train_seeds": 1, "train_jobs": 1, "random_cells": 2, "guard": "off", "subset": 40}
    out, where = tmp_path / "run", {"data": "digits", "space": "mbconv", "method": "proxyless"}
    report = archgrad.run(out=out, cells=2, **where, **{**TINY, "batch_size": 20}, **sizes, **rest)
    assert [len(c.operations) for c in report.search.architecture.cells] == [1] * 11
    assert set(report.scores) == {"found", "random-1", "random-2"}
    assert archgrad.derive(out) == report.search.architecture
    assert "layer 11" in (out / "cells.svg").read_text()


def test_a_chain_of_another_depth_is_refused_before_the_search(tmp_path: Path) -> None:
    sizes = {"train_cells": 3, "train_batch_size": 8, "train_auxiliary_weight": 0}
    with pytest.raises(ArchgradError, match="mbconv: found cells 3, expected 2: the depth"):
        archgrad.run(images(), space="mbconv", cells=2, out=tmp_path / "run", **TINY, **sizes)
    assert not (tmp_path / "run").exists()


def test_an_auxiliary_head_is_refused_before_the_search(tmp_path: Path) -> None:
    with pytest.raises(ArchgradError, match="nas-bench-201 has no auxiliary head"):
        archgrad.run(
            images(),
            space="nas-bench-201",
            train_auxiliary_weight=0.4,
            train_batch_size=8,
            out=tmp_path / "run",
            **TINY,
        )
    assert not (tmp_path / "run").exists()


def test_a_search_in_a_restricted_space_takes_its_operations_alone() -> None:
    narrow = NasBench201(channels=2, cells=1, in_channels=1, image_size=(8, 8), classes=3).without(
        ["none", "skip_connect"]
    )
    result = archgrad.search(narrow, images()[:2], **TINY)
    assert result.alpha["cell"].shape == (6, 3)
    narrow.validate(result.architecture)


def test_kernels_that_cannot_be_had_are_refused_before_a_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "build", lambda: native.Built(None, "no C++ compiler found"))
    with pytest.raises(ArchgradError, match="kernel native is not available: no C"):
        archgrad.search("darts-cnn", "digits", kernel="native", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
