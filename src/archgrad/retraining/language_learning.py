"""The retraining of language models (arXiv:1806.09055, appendix A.2; arXiv:1708.02182)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from archgrad.architecture import Architecture
from archgrad.data import Augmentation, Data
from archgrad.data.base import Source
from archgrad.data.text import TextBatches, at
from archgrad.errors import ArchgradError
from archgrad.kernels.division import divided
from archgrad.measure import perplexity
from archgrad.networks.recurrent import LanguageModel
from archgrad.retraining.learning import Pass, training_batches
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces import SearchSpace
from archgrad.system.loops import placed
from archgrad.tensors.precision import autocast, full


class LanguageLearning:
    """The next token, with the penalties of the model's
    `archgrad.networks.recurrent.Regularization`.

    "train_loss" of an epoch is the cross-entropy alone, with dropout, in nats a token. Validation
    and test are in float32 without dropout, as one text or several side by side, whose states are
    carried from segment to segment.
    """

    def __init__(
        self,
        space: SearchSpace,
        architecture: Architecture,
        config: TrainConfig,
        seed: int,
        data: Data,
        augmentation: Augmentation,
        device: torch.device,
    ) -> None:
        self.config, self.data, self.device = config, data, device
        network: LanguageModel = space.derive(architecture)
        self.network = placed(network, device)
        self.batches = training_batches(data, config, augmentation, seed, device)
        self.valid = _valid(data, config, device)

    @staticmethod
    def check(
        space: SearchSpace, architecture: Architecture, config: TrainConfig, data: Data
    ) -> None:
        """Refuse texts that are too short to be validated or tested side by side."""
        cpu = torch.device("cpu")
        space.validate(architecture)
        _valid(data, config, cpu)
        if data.test is not None:
            _batches(data.test, config, config.test_batch_size, cpu)

    def begin(self, epoch: int) -> None:
        """Training mode."""
        self.network.train()

    def forward(self, batch: Any) -> Pass:
        """Of a segment."""
        task = self.data.task
        with autocast(self.config.precision, self.device):
            output, target = divided(partial(task.forward, self.network), batch)
        output = full(output)
        loss = task.minimized(output, target)
        return Pass(task.trained(loss, output), {"train_loss": loss}, target.numel())

    def validate(self, network: nn.Module) -> float:
        """The loss on the validation part."""
        return _judged(network, self.data, self.valid)

    def test(self, network: nn.Module) -> dict[str, Any]:
        """As `tested`."""
        return tested(network, self.data, self.config, self.device)


def tested(
    network: nn.Module, data: Data, config: TrainConfig, device: torch.device
) -> dict[str, Any]:
    """Perplexity, loss, and how many tokens were predicted: none of those that begin a text.

    One pass over the test part, which the data have, with a memory of its own.
    """
    assert data.test is not None
    batches = _batches(data.test, config, config.test_batch_size, device)
    loss, tokens = _judged(network, data, batches), batches.streams[1:].numel()
    return {"perplexity": perplexity(loss), "loss": loss, "test_tokens": tokens}


def _judged(network: nn.Module, data: Data, batches: TextBatches) -> float:
    task, training = data.task, network.training
    network.eval()
    forward = partial(divided, partial(task.forward, network))
    loss, _ = task.evaluate(forward, batches.epoch(0))
    network.train(training)
    return loss


def _valid(data: Data, config: TrainConfig, device: torch.device) -> TextBatches:
    if data.valid is None:
        raise ArchgradError(
            f"data set {data.name} has no validation part, on which a language model is judged "
            "after every epoch; give one with valid="
        )
    return _batches(data.valid, config, config.valid_batch_size, device)


def _batches(
    source: Source, config: TrainConfig, batch_size: int, device: torch.device
) -> TextBatches:
    batches = at(source, config).batches(batch_size, normalization=None, device=device)
    assert isinstance(batches, TextBatches)
    return batches
