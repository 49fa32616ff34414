"""A comparison of seconds: its data, its options, and a test part that tells when it is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

from archgrad.data import Batch, Data, as_data
from archgrad.findings.results import Results

OPTIONS: dict[str, Any] = {
    "space": "s2", "channels": 2, "cells": 3, "nodes": 1, "epochs": 2, "child_epochs": 1,
    "batch_size": 6, "guard": "off", "kernel": "torch", "device": "cpu", "parallel": 1, "seeds": 1,
    "train_channels": 2, "train_cells": 3, "train_epochs": 2, "train_batch_size": 12,
    "train_device": "cpu", "train_cutout": 0, "train_drop_path": 0.0,
    "train_auxiliary_weight": 0.0, "short_epochs": 2, "selection_fraction": 0.25,
}  # fmt: skip
FLAGS = [
    part for name, value in OPTIONS.items() for part in ("--" + name.replace("_", "-"), str(value))
]


def arrays() -> dict[str, Any]:
    """48 zeros and ones to train with, 30 others to test with, 8x8."""
    images, labels = load_digits(return_X_y=True)
    chosen = (labels < 2).nonzero()[0][:78]
    x, y = (images[chosen].reshape(-1, 8, 8) / 16).astype(np.float32), labels[chosen]
    return {"x": x[:48], "y": y[:48], "x_test": x[48:], "y_test": y[48:]}


def data() -> Data:
    return as_data(tuple(arrays().values()))


class Watched:
    """A test part that must not be touched before ``ready()``, and counts what is read of it."""

    def __init__(self, source: Any, ready: Callable[[], bool]) -> None:
        self.source, self.ready = source, ready
        self.passes = self.images = 0
        self.interrupted = False  # the next pass, after its first batch

    def _open(self) -> Any:
        assert self.ready(), "the test part is read before the end"
        return self.source

    def __len__(self) -> int:
        return len(self._open())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._open(), name)

    def batches(self, size: int, **options: Any) -> Watched:
        self.made = self._open().batches(min(size, 12), **options)
        return self

    def epoch(self, index: int) -> Iterator[Batch]:
        self.passes += 1
        for batch in self.made.epoch(index):
            self.images += len(batch[1])
            yield batch
            if self.interrupted:
                self.interrupted = False
                raise KeyboardInterrupt


def watched(folder: Path, searches: int) -> tuple[Data, Watched]:
    """The data, whose test part may be read once all searches and retrainings are in the folder."""

    def ready() -> bool:
        found = len(list(folder.glob("searches/*/*/*/architecture.json")))
        trained = len(list(folder.glob("searches/*/*/*/full/seed-*/result.json")))
        return found == trained == searches

    whole = data()
    part = Watched(whole.test, ready)
    return replace(whole, test=part), part  # type: ignore[arg-type]


def timeless(results: Results) -> str:
    """The JSON without seconds and environment."""
    text = results.model_copy(update={"environment": ()}).to_json()
    return re.sub(r'"seconds": [0-9.e-]+', '"seconds": 0', text)


def rows(source: Any) -> set[bytes]:
    """The images of a source, each as its bytes."""
    return {torch.as_tensor(image).numpy().tobytes() for image in source.x}
