"""Searches, retrainings and the main job on signals and volumes, end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import archgrad
from archgrad.cli.main import main
from archgrad.data import as_data
from archgrad.errors import ArchgradError
from archgrad.spaces.darts_cnn import DartsCNN

TINY: dict[str, Any] = {
    "channels": 8, "cells": 3, "nodes": 1, "epochs": 1, "batch_size": 8, "guard": "off",
}  # fmt: skip
TRAIN: dict[str, Any] = {
    "channels": 4, "cells": 3, "epochs": 1, "batch_size": 8, "seeds": 1, "cutout": 2,
    "auxiliary_weight": 0.0,
}  # fmt: skip


def waves(count: int = 48, *size: int) -> tuple[Tensor, Tensor]:
    """Slow and fast waves of random phase in two channels."""
    generator = torch.Generator().manual_seed(0)
    size = size or (11,)
    y = torch.arange(count) % 2
    grid = sum(torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij"))
    assert isinstance(grid, Tensor)
    one = [-1] + [1] * len(size)
    phase = 6.3 * torch.rand(2, count, generator=generator)
    x = [torch.sin((0.5 + y).view(one) * grid + p.view(one)) for p in phase]
    return torch.stack(x, dim=1), y


@pytest.mark.parametrize("method", ["darts", "darts_2nd", "pc_darts", "drnas", "proxyless"])
def test_signals_can_be_searched(method: str) -> None:
    result = archgrad.search("darts-cnn", waves(), dims=1, method=method, **TINY)
    assert result.space.input_shape == (2, 11)
    assert result.architecture.space == "darts-cnn"
    assert result.config.kernel == "torch"
    assert all(bool((alpha != 0).any()) for alpha in result.alpha.values())
    assert result.derive().eval()(torch.zeros(1, 2, 11)).shape == (1, 2)


def test_volumes_can_be_searched_and_retrained_with_the_guard_on() -> None:
    x, y = waves(24, 5, 4, 4)
    options = {**TINY, "guard": "warn", "channels": 2, "crop_padding": 1, "flip": True}
    data = (x, y, x[:6], y[:6])
    result = archgrad.search(data=data, dims=3, **options)
    assert result.space.input_shape == (2, 5, 4, 4)
    trained = archgrad.train(result, data, **TRAIN)  # the dims of the search
    assert trained.networks[0](torch.zeros(1, 2, 5, 4, 4)).shape == (1, 2)
    images = archgrad.train(result, (x[:, :, 0], y, x[:6, :, 0], y[:6]), dims=2, **TRAIN)
    assert images.networks[0](torch.zeros(1, 2, 4, 4)).shape == (1, 2)


def test_fast_and_slow_waves_are_told_apart() -> None:
    """Not by chance: 20 of 20, with probability 1e-6."""
    x, y = waves(148, 16)
    cell = archgrad.published("DARTS_V2")
    options = {**TRAIN, "epochs": 8, "cutout": 0, "channels": 8, "learning_rate": 0.1}
    found = archgrad.train(cell, (x[:128], y[:128], x[128:], y[128:]), dims=1, **options)
    assert found.accuracies == [1.0]


def test_three_axes_without_a_word_are_images_as_ever() -> None:
    result = archgrad.search(data=(torch.rand(48, 9, 7), torch.arange(48) % 2), **TINY)
    assert result.space.input_shape == (1, 9, 7)
    assert result.config.kernel == "auto"


def test_data_of_signals_settle_the_space() -> None:
    result = archgrad.search("s2", as_data(waves(), dims=1), **TINY)
    assert result.space.input_shape == (2, 11)
    own = DartsCNN(2, 3, 2, (11,), 2, nodes=1, dims=1)  # so does a space the data
    assert archgrad.search(own, waves(), **TINY).space == own
    with pytest.raises(ArchgradError, match="nas-bench-201: dims is 1, expected 2"):
        archgrad.search("nas-bench-201", waves(), dims=1, epochs=1, channels=4)
    with pytest.raises(ArchgradError, match="data.dims: .* 4"):
        archgrad.search(data=waves(), dims=4, **TINY)
    with pytest.raises(ArchgradError, match="native works on images alone, .* dims 1; use auto"):
        archgrad.search(data=waves(), dims=1, kernel="native", **TINY)


def test_the_main_job_and_a_retraining_from_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = waves(60)
    np.savez(tmp_path / "w.npz", x=x[:48], y=y[:48], x_test=x[48:], y_test=y[48:])
    sizes = {**TINY, "channels": 2} | {f"train-{k}": v for k, v in TRAIN.items()}
    options = {"data": f"npz:{tmp_path / 'w.npz'}", "dims": 1, "random-cells": 2, **sizes}
    words = [w for k, v in options.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    out = tmp_path / "run"
    with pytest.raises(SystemExit, match="0"):
        main(["run", *words, "--train-jobs", "1", "--out", str(out)])
    assert "PyTorch kernels" in capsys.readouterr().err
    found = json.loads((out / "results.json").read_text())
    assert {*found["scores"]} == {"found", "random-1", "random-2"}
    assert found["scores"]["found"][0]["test_images"] == 12
    again = archgrad.train(out, **TRAIN)
    assert again.scores[0]["parameters"] == found["costs"]["found"]["parameters"]
    assert again.networks[0](torch.zeros(1, 2, 11)).shape == (1, 2)
    assert archgrad.search(resume=out).architecture == again.architecture
