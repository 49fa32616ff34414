"""What retraining asks of a kind of data: its network, a step, and how a network is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from archgrad.architecture import Architecture
from archgrad.data import Augmentation, Batches, Data
from archgrad.data.text import at
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces import SearchSpace


class Pass(NamedTuple):
    """Of one batch: `total`, what the weights are trained by, and what an epoch tells of it.

    `reported`: scalar tensors, whose means are weighted by `weight`.
    """

    total: Tensor
    reported: Mapping[str, Tensor]
    weight: int = 1


class Learning(Protocol):
    """One retraining's network and batches; see `archgrad.retraining.scratch.Training`."""

    network: Any
    batches: Batches

    @staticmethod
    def check(
        space: SearchSpace, architecture: Architecture, config: TrainConfig, data: Data
    ) -> None:
        """Refuse what cannot be trained or judged."""

    def begin(self, epoch: int) -> None:
        """Put the network into the state of an epoch counted from 0."""

    def forward(self, batch: Any) -> Pass:
        """The losses of a batch."""

    def validate(self, network: nn.Module) -> float | None:
        """The loss on the validation part, in nats; None where there is none."""

    def test(self, network: nn.Module) -> dict[str, Any]:
        """What a score holds of the test part: "loss" and more; the data have such a part."""


def training_batches(
    data: Data, config: TrainConfig, augmentation: Augmentation, seed: int, device: torch.device
) -> Batches:
    """Batches of the whole training part: shuffled and augmented images, or segments of text."""
    return at(data.train, config).batches(
        config.batch_size,
        seed=seed,
        shuffle=True,
        augmentation=replace(augmentation, cutout=config.cutout),
        normalization=data.normalization,
        device=device,
    )
