"""The replay: packed weights that unpack to what was written, cells by epoch, and thinning."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import run_folders as folders
from archgrad.reporting.reading import read_run
from archgrad.reporting.replay import Detail


def read(path: Path, **detail: Any) -> dict[str, Any]:
    return read_run(path, "run-0", Detail(**detail))


def unpacked(packed: dict[str, Any]) -> np.ndarray:
    """The numbers as the page sees them; nan where there is no value."""
    high, low = np.frombuffer(base64.b64decode(packed["data"]), np.uint8).reshape(2, -1).astype(int)
    kept = (high * 256 + low).reshape(*packed["shape"][1:], packed["shape"][0])
    changes = np.where(kept % 2, -(kept + 1) // 2, kept // 2)
    steps = np.moveaxis(np.cumsum(changes, axis=-1) % 65536, -1, 0).astype(float)
    values = packed["low"] + (packed["high"] - packed["low"]) * steps / 65534
    return np.where(steps == 65535, np.nan, values).reshape(packed["shape"])


def test_every_epoch_unpacks_to_what_was_written(tmp_path: Path) -> None:
    replay = read(folders.search(tmp_path))["replay"]
    assert replay["epochs"] == [1, 2, 3]
    found = unpacked(replay["alpha"]["normal"])
    written = [folders.alphas(epoch)["alpha"]["normal"] for epoch in (1, 2, 3)]
    np.testing.assert_allclose(found, written, atol=1e-4)
    assert unpacked(replay["strength"]["normal"])[0, 1].tolist() == pytest.approx(
        [0.25, 0.75], abs=1e-4
    )
    assert read(tmp_path, alpha=False)["replay"]["alpha"] == {"normal": None}


def test_each_epoch_names_its_cells(tmp_path: Path) -> None:
    lines = [folders.alphas(1), folders.alphas(2, "skip", "skip"), folders.alphas(3)]
    replay = read(folders.search(tmp_path, alphas=lines))["replay"]
    assert replay["at"] == [0, 1, 0]
    assert replay["architectures"] == [
        {"space": "darts-cnn", "cells": folders.cells(*names)} for names in ((), ("skip", "skip"))
    ]


def test_a_candidate_that_a_stage_does_not_offer_has_no_value(tmp_path: Path) -> None:
    stage = {"candidates": {"normal": [["skip"], ["conv"]]}, "alpha": {"normal": [[3.0], [4.0]]}}
    lines = [folders.alphas(1), folders.alphas(2, **stage)]
    run = read(folders.search(tmp_path, alphas=lines))
    found = unpacked(run["replay"]["alpha"]["normal"])[1]
    np.testing.assert_allclose(found, [[np.nan, 3.0], [4.0, np.nan]], atol=1e-3)
    told = [mark for mark in run["marks"] if mark["kind"] == "stage"]
    assert told == [
        {
            "epoch": 2,
            "kind": "stage",
            "text": "a new stage begins: an edge has 1 candidates",
            "finding": None,
        }
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"normal": [[1.0, 2.0]]}, {"normal": [[1.0], [2.0]]}, {"normal": "x"}, {"normal": [1, 2]},
        {"normal": None},
    ],
)  # fmt: skip
def test_alphas_of_another_shape_are_said(wrong: Any, tmp_path: Path) -> None:
    run = read(folders.search(tmp_path, alphas=[folders.alphas(1), folders.alphas(2, alpha=wrong)]))
    assert run["problems"] == [
        "alphas.jsonl: alpha of group normal has another shape than groups.json says in 1 epochs, "
        "the first is 2; these are not shown"
    ]
    found = unpacked(run["replay"]["alpha"]["normal"])
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_damaged_cells_are_said_once(tmp_path: Path) -> None:
    wrong = [folders.alphas(epoch, cells=[{"name": "normal"}]) for epoch in (1, 2)]
    run = read(folders.search(tmp_path, alphas=[*wrong, folders.alphas(3)]))
    assert run["replay"]["at"] == [-1, -1, 0]
    (told,) = run["problems"]
    assert "the cells of epoch 1 are not shown" in told


def test_long_replays_keep_the_ends_and_the_changes(tmp_path: Path) -> None:
    lines = [folders.alphas(epoch) for epoch in range(1, 101)]
    lines[41] = folders.alphas(42, "skip", "skip")
    run = read(folders.search(tmp_path, alphas=lines, metrics=[folders.metrics(100)]), epochs=10)
    epochs = run["replay"]["epochs"]
    assert len(epochs) == 10
    assert {1, 42, 43, 100} <= set(epochs)
    assert epochs == sorted(epochs)
    assert "the replay shows 10 of 100 epochs" in run["problems"][0]
    changing = [folders.alphas(e, *(("skip",) * 2 if e % 2 else ())) for e in range(1, 101)]
    folders.write(tmp_path / "alphas.jsonl", changing)
    epochs = read(tmp_path, epochs=10)["replay"]["epochs"]
    assert len(epochs) == 10
    assert (epochs[0], epochs[-1]) == (1, 100)


@pytest.mark.parametrize(
    "change",
    [
        {"edges": [[0, 2]]}, {"edges": [[2, 0], [1, 2]]}, {"edges": [[0, "2"], [1, 2]]},
        {"candidates": [["conv"], ["conv", "skip"]]}, {"candidates": []}, {"inputs": -1},
        {"name": None}, {"output": ["x"]},
    ],
)  # fmt: skip
def test_groups_that_make_no_sense_are_left_out(change: Any, tmp_path: Path) -> None:
    wrong = {**folders.GROUPS, "groups": [{**folders.GROUPS["groups"][0], **change}]}
    run = read(folders.search(tmp_path, groups=wrong))
    assert (run["groups"], run["replay"]) == ([], None)
    assert "groups.json has 0 groups that make sense, of 1" in run["problems"][0]


def test_a_recurrent_group_is_told(tmp_path: Path) -> None:
    of_text = {**folders.GROUPS["groups"][0], "name": "recurrent"}
    groups = {**folders.GROUPS, "groups": [*folders.GROUPS["groups"], of_text]}
    found = read(folders.search(tmp_path, groups=groups))["groups"]
    assert [group["recurrent"] for group in found] == [False, True]
