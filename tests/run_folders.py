"""Run folders written by hand, as small as they can be, for the tests of reports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

Line = dict[str, Any]
EDGES = [[0, 2], [1, 2]]
NAMES = ["conv", "skip"]
GROUPS: Line = {
    "format": "archgrad-groups/1",
    "space": "darts-cnn",
    "groups": [
        {"name": "normal", "inputs": 2, "edges": EDGES, "candidates": [NAMES] * 2, "keep": 2,
         "keep_none": False, "output": [2]}
    ],
}  # fmt: skip
PLACES = (  # every file that a report reads of a search, with how it is written
    "config.yaml", "environment.json", "groups.json", "architecture.json", "metrics.jsonl",
    "alphas.jsonl",
)  # fmt: skip


def cells(first: str = "conv", second: str = "skip") -> list[Line]:
    return [{"name": "normal", "inputs": 2, "nodes": [[[first, 0], [second, 1]]], "output": [2]}]


def architecture(*operations: str, space: str = "darts-cnn") -> Line:
    return {"format": "archgrad-architecture/1", "space": space, "cells": cells(*operations)}


def metrics(epoch: int, **more: Any) -> Line:
    return {
        "epoch": epoch, "train_loss": 1.0 / epoch, "train_accuracy": 0.1 * epoch, "valid_loss": 1.0,
        "valid_accuracy": 0.05 * epoch, "entropy": 0.5, "spent": 100 * epoch, "seconds": 2.0,
        **more,
    }  # fmt: skip


def alphas(epoch: int, *operations: str, **more: Any) -> Line:
    alpha = {"normal": [[0.1 * epoch, -0.1 * epoch], [0.0, 1.0]]}
    strength = {"normal": [[0.5, 0.5], [0.25, 0.75]]}
    line = {"epoch": epoch, "alpha": alpha, "strength": strength, "cells": cells(*operations)}
    return {**line, **more}


def environment(version: str = "0.1.0") -> list[Line]:
    return [
        {"started": "2026-01-02T03:04:05+00:00", "process": 7, "command": "archgrad search",
         "archgrad": version, "commit": "abc", "python": "3.11.7", "torch": "2.13.0",
         "device": "a CPU", "cpu_cores": 2, "platform": "Linux"}
    ]  # fmt: skip


def config(**sections: Any) -> Line:
    search = {"space": "darts-cnn", "method": "darts", "channels": 8, "cells": 4, "epochs": 3}
    return {"data": {"data": "digits"}, "search": {**search, "seed": 5}, **sections}


def write(path: Path, value: Any) -> None:
    """A value as the file of that name has it: JSON, YAML, a JSON object a line, or text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".yaml":
        text = yaml.safe_dump(value)
    elif path.suffix == ".jsonl":
        text = "".join(json.dumps(line) + "\n" for line in value)
    else:
        text = value if isinstance(value, str) else json.dumps(value)
    path.write_text(text)


def search(path: Path, epochs: Iterable[int] = (1, 2, 3), **files: Any) -> Path:
    """A finished search; ``files``: other contents by the name without its ending."""
    epochs = list(epochs)
    made: Mapping[str, Any] = {
        "config.yaml": config(),
        "environment.json": environment(),
        "groups.json": GROUPS,
        "architecture.json": architecture(),
        "metrics.jsonl": [metrics(epoch) for epoch in epochs],
        "alphas.jsonl": [alphas(epoch) for epoch in epochs],
    }
    for name, value in made.items():
        write(path / name, files.get(name.partition(".")[0], value))
    return path


def retrained(path: Path, seed: int = 0, **score: Any) -> None:
    """What a retraining leaves in ``path``/seed-N."""
    write(path / f"seed-{seed}" / "metrics.jsonl", [metrics(epoch) for epoch in (1, 2)])
    known = {"seed": seed, "accuracy": 0.9, "loss": 0.3, "train_loss": 0.2, "seconds": 9.5}
    size = {"parameters": 1234, "multiply_adds": 56789}
    write(path / f"seed-{seed}" / "result.json", {**known, **size, **score})
