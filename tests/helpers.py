"""What several test files share that is no fixture."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from archgrad.architecture import published
from archgrad.networks.choice import Choice, Group, build
from archgrad.networks.mixing import Mixing
from archgrad.networks.operations import OPERATIONS, Zero
from archgrad.retraining.training import Retraining
from archgrad.settings import config as configuration
from archgrad.settings.data_config import DataConfig
from archgrad.spaces import space
from archgrad.tensors.precision import Precision, autocast


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


NAMES = tuple(OPERATIONS)
EDGE = Group("edge", 1, ((0, 1),), (NAMES,), 1)


class Plain(Choice):
    """The mixed operation as a textbook has it: one module a candidate, weighted and added up."""

    def forward(self, x: Tensor) -> Tensor:
        weights = self.row_of_mixing().weights
        pairs = zip(weights.unbind(), self.candidates, strict=True)
        found = sum(w * operation(x) for w, operation in pairs if not isinstance(operation, Zero))
        assert isinstance(found, Tensor)
        return found


def mixed_operation(
    device: torch.device, dtype: torch.dtype, precision: Precision, stride: int, plain: bool
) -> list[Tensor]:
    """Output of a mixed operation of all DARTS candidates and the gradients of its mean square.

    By the input, the mixing weights and all weights of the candidates; float64, on the CPU.
    """
    generator = torch.Generator().manual_seed(7)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        choice = build(lambda n, c, s: OPERATIONS[n](c, s, True), EDGE, 0, 8, stride)
    if plain:
        choice.__class__ = Plain
    choice.to(device, dtype)
    x = torch.randn(16, 8, 12, 12, generator=generator, dtype=torch.float64)
    x = x.to(device, dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    weights = torch.rand(1, len(NAMES), generator=generator, dtype=torch.float64)
    weights = weights.to(device, dtype).requires_grad_()
    (choice.mixing,) = Mixing({"edge": weights}).rows([choice])
    with autocast(precision, device):
        output = choice(x)
    loss = output.to(weights.dtype).relu().square().mean()
    gradients = torch.autograd.grad(loss, [x, weights, *choice.parameters()])
    return [value.detach().double().cpu() for value in (output, *gradients)]


def error(found: list[Tensor], exact: list[Tensor]) -> float:
    """The largest relative error, in the norm of each tensor."""
    pairs = zip(found, exact, strict=True)
    return max(float((f - e).norm() / e.norm().clamp_min(1e-12)) for f, e in pairs)


load_digits = cache(partial(load_digits, return_X_y=True))  # each call unpacks a file


def digits() -> tuple[Tensor, Tensor]:
    """48 zeros and ones: images, (48, 1, 8, 8), and labels."""
    images, labels = load_digits()
    some = (labels < 2).nonzero()[0][:48]
    x = torch.tensor(images[some], dtype=torch.float32).view(-1, 1, 8, 8) / 16
    return x, torch.tensor(labels[some])
