"""One small command of each family, and every number that it finds: the same in each process.

``python tests/repeated.py`` prints the numbers as JSON.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

import archgrad
import small
from archgrad.data import text_data
from archgrad.searching.result import SearchResult
from language_jobs import OFF

SEARCH: dict[str, Any] = {
    "channels": 2, "cells": 3, "nodes": 1, "batch_size": 12, "guard": "off",
    "device": "cpu",
}  # fmt: skip
TRAIN: dict[str, Any] = {
    "channels": 2, "cells": 3, "epochs": 1, "batch_size": 20, "device": "cpu", "seeds": 1,
    "drop_path": 0.2, "auxiliary_weight": 0.0, "cutout": 4,
}  # fmt: skip
RETRAINED = {f"train_{name}": value for name, value in TRAIN.items()}
RUN = {**SEARCH, **RETRAINED, "epochs": 1, "random_cells": 2}
TEXT: dict[str, Any] = {
    "hidden": 4, "batch_size": 8, "bptt": 6, "learning_rate": 5.0, "momentum": 0.0, "epochs": 1,
    "device": "cpu",
}  # fmt: skip


def numbers(value: Any) -> Any:
    """As JSON has it, every float in full, without seconds and memory."""
    if isinstance(value, dict):
        timed = ("seconds", "memory_mb", "threads", "folder", "path")
        return {name: numbers(one) for name, one in value.items() if name not in timed}
    if isinstance(value, list | tuple):
        return [numbers(one) for one in value]
    return value.tolist() if isinstance(value, torch.Tensor) else value


def found(result: SearchResult) -> Any:
    return numbers([result.alpha, result.metrics, result.architecture.model_dump(mode="json")])


def all_families(**options: Any) -> dict[str, Any]:
    """Name -> what it found; ``options``: of the searches of images."""
    arrays, data = small.arrays(), small.data()
    words = ("the cat sees a dog that the bird hears and the dog sleeps " * 12).split()
    text = text_data(words, words[20:100], words[5:60])
    torch.manual_seed(0)  # of the weights that a model of one's own brings
    deep = nn.Sequential(nn.Linear(64, 4), nn.ReLU())
    choice = archgrad.Choice({"wide": nn.Linear(64, 4), "deep": deep})
    model = nn.Sequential(nn.Flatten(), choice, nn.Dropout(0.5), nn.Linear(4, 2))
    with tempfile.TemporaryDirectory() as folder:
        run, again = Path(folder, "run"), {**SEARCH, **options}
        first = archgrad.search("darts-cnn", data, epochs=1, out=run, **again)
        second = archgrad.search("darts-cnn", data, method="darts_2nd", epochs=1, **again)
        baseline = archgrad.search(
            "darts-cnn", data, method="evolution", budget="10M", child_epochs=1, **again
        )
        derived = archgrad.derive(run, epoch=1)
        trained = archgrad.train(derived, data, **TRAIN)
        report = archgrad.run(data, out=Path(folder, "main"), **RUN)
    own = archgrad.search(
        model,
        train=(arrays["x"], arrays["y"]),
        loss=nn.CrossEntropyLoss(),
        epochs=1,
        batch_size=12,
        device="cpu",
    )
    language = archgrad.search("darts-rnn", text, nodes=2, guard="off", **TEXT)
    modelled = archgrad.train(language.architecture, text, seeds=1, **OFF, **TEXT)
    return {
        "first order": found(first),
        "second order": found(second),
        "baseline": found(baseline),
        "derive": derived.model_dump(mode="json"),
        "train": numbers(trained.scores),
        "run": numbers([found(report.search), report.scores]),
        "own model": found(own),
        "search of a text": found(language),
        "train on a text": numbers(modelled.scores),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(all_families()))
