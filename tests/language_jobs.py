"""Retrainings of a recurrent cell of seconds, on a text that repeats and one that does not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from archgrad.architecture import Architecture, Cell
from archgrad.data import Data
from archgrad.data.textdata import text_data
from archgrad.retraining.scratch import retrain
from archgrad.retraining.sizing import retrained
from archgrad.retraining.training import Retraining, Training
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces.darts_rnn import DartsRNN
from archgrad.system.loops import seeded

CPU = torch.device("cpu")
ARCHITECTURE = Architecture(
    space="darts-rnn",
    cells=(
        Cell(name="recurrent", inputs=1, nodes=((("tanh", 0),), (("relu", 1),)), output=(1, 2)),
    ),
)
OFF = {f"dropout_{name}": 0.0 for name in ("output", "hidden", "input", "embedding", "words")}
TINY = {
    **OFF, "slowness": 0.0, "hidden": 6, "bptt": 5, "batch_size": 4, "epochs": 3, "momentum": 0.0,
    "learning_rate": 5.0, "schedule": "constant", "weight_decay": 1e-5, "clip": 0.25,
    "valid_batch_size": 2, "test_batch_size": 2,
}  # fmt: skip


def repeating(words: int) -> list[str]:
    return [*"abcde"] * (words // 5)


def noise(words: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(5, (words,), generator=generator).tolist()
    return [*range(5), *values]


CERTAIN = text_data(repeating(200), repeating(50), repeating(60))
UNCERTAIN = text_data(noise(120, 0), noise(60, 1), noise(60, 2))


def job(folder: Path | None = None, seed: int = 0, **changes: object) -> Retraining:
    config = TrainConfig.model_validate({**TINY, **changes})
    space = retrained(DartsRNN(nodes=2, classes=5), config)
    return Retraining("found", ARCHITECTURE, space, config, seed, folder)


def training_of(folder: Path | None = None, **changes: object) -> Training:
    with seeded(0, 1, CPU):
        return Training(job(folder, **changes), UNCERTAIN, UNCERTAIN.augmentation, CPU)


def timeless(score: Mapping[str, Any]) -> dict[str, Any]:
    return {**score, "seconds": 0}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def outcome(data: Data = UNCERTAIN, **changes: Any) -> tuple[float, ...]:
    score, _ = retrain(job(seed=changes.pop("seed", 0), **changes), data)
    return tuple(score[name] for name in ("train_loss", "valid_loss", "loss"))
