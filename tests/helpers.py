"""What several test files share that is no fixture."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from archgrad import config as configuration
from archgrad.architecture import published
from archgrad.config import DataConfig
from archgrad.retraining import Retraining
from archgrad.spaces import space


def same(a: object, b: object) -> bool:
    """Bit-identical, whatever the nesting."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return a == b


CELL = published("DARTS_V2")
DATA = DataConfig(subset=100)
TINY = {
    "channels": 2, "cells": 3, "epochs": 2, "batch_size": 20, "cutout": 0, "drop_path": 0.0,
    "auxiliary_weight": 0.0, "learning_rate": 0.1,
}  # fmt: skip


def job(folder: Path | None = None, seed: int = 0, **changes: object) -> Retraining:
    config = configuration.build({"data": {}, "train": {**TINY, **changes}}).train
    assert config is not None
    made = space(
        "darts-cnn", channels=config.channels, cells=config.cells, in_channels=1, image_size=(8, 8)
    )
    return Retraining("found", CELL, made, config, seed, folder)
