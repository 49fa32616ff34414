"""Faults for tests/faults: a disk that is full from some write on, tiny jobs, what they leave."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archgrad
from archgrad.searching.callbacks import Callback, EpochEnd
from archgrad.searching.result import SearchResult
from archgrad.storage.folder import load_checkpoint
from helpers import digits

SEARCH: dict[str, Any] = {
    "space": "s2", "channels": 2, "cells": 3, "nodes": 1, "epochs": 2, "batch_size": 12,
    "guard": "off", "kernel": "torch", "device": "cpu",
}  # fmt: skip
TRAIN: dict[str, Any] = {
    "train_channels": 2, "train_cells": 3, "train_epochs": 2, "train_batch_size": 16,
    "train_seeds": 1, "train_device": "cpu", "train_auxiliary_weight": 0.0, "train_cutout": 0,
}  # fmt: skip


def searched(path: Path, *callbacks: Callback, data: Any = None, **options: Any) -> SearchResult:
    """A search of two epochs of zeros and ones; goes on where the folder has begun."""
    data, heard = digits() if data is None else data, list(callbacks)
    if path.exists():
        return archgrad.search(data=data, resume=path, callbacks=heard)
    return archgrad.search(data=data, out=path, callbacks=heard, **{**SEARCH, **options})


def kept(path: Path) -> dict[str, Any]:
    """All that a search leaves, but for times, memory and the page."""
    checkpoint = load_checkpoint(path / "checkpoints", torch.device("cpu"))
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    names = ("alphas.jsonl", "architecture.json")
    return {
        "checkpoint": checkpoint,
        "metrics": [{**line, "seconds": 0, "memory_mb": 0} for line in lines],
        **{name: (path / name).read_text() for name in names},
    }


@contextmanager
def full_disk(name: str, times: int = 1, lasting: bool = True) -> Iterator[None]:
    """From the ``times``-th write to a file of this name on, every write is cut off and fails.

    Unless it is ``lasting``, other files can be written.
    """
    real, seen = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal seen
        found = name in Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        seen += found
        if seen < times or not (found or lasting):
            return real(descriptor)
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - 7)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield


class Model(nn.Module):
    """One choice between two layers."""

    def __init__(self) -> None:
        super().__init__()
        layers = {"a": nn.Linear(64, 2), "b": nn.Sequential(nn.Linear(64, 2), nn.Tanh())}
        self.choice = archgrad.Choice(layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.choice(x.flatten(1))
        return out


class At(Callback):
    """Does something once an epoch is done."""

    def __init__(self, epoch: int, act: Callable[[], object]) -> None:
        self.epoch, self.act = epoch, act

    def epoch_end(self, event: EpochEnd) -> None:
        if event.epoch == self.epoch:
            self.act()
