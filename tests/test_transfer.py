"""Architectures taken to data of other classes: refused, unless that is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archgrad
from archgrad.cli import main as cli
from archgrad.data import Data, as_data
from archgrad.errors import ArchgradError
from archgrad.exporting.trained import of_folder
from archgrad.searching.result import SearchResult

SMALL: dict[str, Any] = {"channels": 2, "cells": 3, "epochs": 1, "batch_size": 8}
TRAIN = {**SMALL, "seeds": 1, "cutout": 0, "drop_path": 0.0, "auxiliary_weight": 0.0}
ON_COMMAND_LINE = [
    word
    for name, value in {**TRAIN, "jobs": 1}.items()
    for word in (f"--{name.replace('_', '-')}", str(value))
]


def write(path: Path, names: list[str], side: int = 8) -> Path:
    """An npz file of these classes."""
    count = 12 * len(names)
    x = np.random.default_rng(0).integers(0, 256, (count, side, side), dtype=np.uint8)
    y = np.arange(count) % len(names)
    np.savez(path, x=x, y=y, x_test=x[:12], y_test=y[:12], classes=np.array(names))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("data")
    lists = {"pets": ["cat", "dog"], "more": ["cat", "dog", "eel"], "birds": ["auk", "emu"]}
    made = {name: write(root / f"{name}.npz", classes) for name, classes in lists.items()}
    return {**made, "large": write(root / "large.npz", lists["pets"], side=10)}


@pytest.fixture(scope="module")
def searched(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    out = tmp_path_factory.mktemp("run") / "a"
    return archgrad.search(data=f"npz:{files['pets']}", out=out, guard="off", nodes=1, **SMALL)


def train(what: Any, data: Any, **options: Any) -> archgrad.TrainResult:
    return archgrad.train(what, data, **TRAIN, **options)


def test_a_search_notes_its_classes(searched: SearchResult, files: dict[str, Path]) -> None:
    assert searched.path is not None
    assert json.loads((searched.path / "classes.json").read_text()) == ["cat", "dog"]
    assert searched.origin == (f"npz:{files['pets']}", ("cat", "dog"))


@pytest.mark.parametrize(
    ("other", "count", "difference"),
    [
        ("more", 3, 'class 2 is missing in the search and "eel" in the data'),
        ("birds", 2, 'class 0 is "cat" in the search and "auk" in the data'),
    ],
)
def test_other_classes_are_refused(
    other: str, count: int, difference: str, searched: SearchResult, files: dict[str, Path]
) -> None:
    path = searched.path
    assert path is not None
    for what in (searched, path, str(path), path / "architecture.json"):
        with pytest.raises(
            ArchgradError,
            match=rf"the search was on 2 classes \(npz:\S*pets.npz\), the data given have {count} "
            rf"\(npz:\S*{other}.npz\): {difference}; .*--transfer \(transfer=True\)",
        ):
            train(what, f"npz:{files[other]}")


def test_transfer_takes_it_there_and_is_noted(
    searched: SearchResult, files: dict[str, Path]
) -> None:
    result = train(searched, f"npz:{files['more']}", transfer=True)
    assert result.scores[0]["transferred_from"] == f"npz:{files['pets']}"
    assert result.networks[0].classifier.out_features == 3  # type: ignore[union-attr]
    assert "npz:pets.npz, not these data" in result.trained().story()["searched on"]


def test_nothing_is_asked_where_the_classes_are_the_same_or_not_known(
    searched: SearchResult, files: dict[str, Path]
) -> None:
    more = f"npz:{files['more']}"
    for what, data in (
        (searched, f"npz:{files['pets']}"),
        (searched.path, f"npz:{files['large']}"),
        (searched.architecture, more),
        ("DARTS_V1", more),
    ):
        (score,) = train(what, data).scores
        assert score["transferred_from"] is None
    assert train("DARTS_V1", more, transfer=True).scores[0]["transferred_from"] is None


def test_folders_of_older_versions_still_train(
    files: dict[str, Path], tmp_path: Path, searched: SearchResult
) -> None:
    assert searched.path is not None
    for name in ("config.yaml", "architecture.json"):
        text = (searched.path / name).read_text(encoding="utf-8")
        kept = [line for line in text.splitlines() if "transferred_from" not in line]
        (tmp_path / name).write_text("\n".join(kept))
    assert train(tmp_path, f"npz:{files['more']}").scores[0]["transferred_from"] is None
    transferred = train(tmp_path, f"npz:{files['more']}", transfer=True).scores[0]
    assert transferred["transferred_from"] == f"npz:{files['pets']}"
    for damaged in ("{", "3", "[1]"):
        (tmp_path / "classes.json").write_text(damaged)
        with pytest.raises(ArchgradError, match=r"classes.json is damaged .*restore it, or remove"):
            train(tmp_path, f"npz:{files['more']}")


def test_a_search_without_a_folder_knows_its_classes_too() -> None:
    def data(count: int) -> Data:
        x = np.random.default_rng(0).random((12 * count, 8, 8), dtype=np.float32)
        y = np.arange(len(x)) % count
        return as_data((x, y, x[:12], y[:12]))

    found = archgrad.search(data=data(2), guard="off", nodes=1, **SMALL)
    with pytest.raises(ArchgradError, match=r"2 classes \(own\), the data given have 3 \(arrays\)"):
        train(found, data(3))
    assert train(found, data(2)).scores[0]["transferred_from"] is None
    assert train(found, data(3), transfer=True).scores[0]["transferred_from"] == "own"


def test_the_command_line_keeps_it_and_resumes_with_it(
    searched: SearchResult,
    files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "moved"
    words = ["train", str(searched.path), "--data", f"npz:{files['more']}", *ON_COMMAND_LINE]
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--out", str(out)])
    assert ended.value.code == 2
    assert "the search was on 2 classes" in capsys.readouterr().err
    assert not out.exists()
    assert _run([*words, "--transfer", "--out", str(out)]) == 0
    result = out / "found" / "seed-0" / "result.json"
    first = json.loads(result.read_text())
    assert first["transferred_from"] == f"npz:{files['pets']}"
    result.unlink()
    assert _run(["train", "--resume", str(out)]) == 0
    again = json.loads(result.read_text())
    assert {**again, "seconds": 0} == {**first, "seconds": 0}
    assert of_folder(out).story()["searched on"] == "npz:pets.npz, not these data"
    with pytest.raises(SystemExit):
        cli.main(["train", "--resume", str(out), "--transfer"])
    assert "leave out transfer" in capsys.readouterr().err


def _run(words: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return int(ended.value.code or 0)
