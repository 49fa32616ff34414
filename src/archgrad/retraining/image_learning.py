"""The retraining of networks that classify images (arXiv:1806.09055, appendix A.1)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archgrad.architecture import Architecture
from archgrad.data import Augmentation, Data
from archgrad.errors import ArchgradError
from archgrad.kernels.division import divided
from archgrad.networks.network import Classifier, DropPath
from archgrad.retraining.compiling import Forward, compiled
from archgrad.retraining.learning import Pass, training_batches
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces import SearchSpace
from archgrad.system.distributed import world
from archgrad.system.loops import accuracy, evaluate, placed
from archgrad.tensors.precision import autocast, full_type


class ImageLearning:
    """Cross-entropy with label smoothing, auxiliary head, and drop path rising linearly from 0."""

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
        network: Classifier = space.derive(architecture, auxiliary=config.auxiliary_weight > 0)
        self.network = placed(network, device, own=config.memory_format == "contiguous")
        self.fast: Forward | None = None
        self.drop_path = torch.zeros((), device=device)
        self.batches = training_batches(data, config, augmentation, seed, device)

    @staticmethod
    def check(
        space: SearchSpace, architecture: Architecture, config: TrainConfig, data: Data
    ) -> None:
        """Refuse an auxiliary head for too small images, and compiling in several processes."""
        space.derive(architecture, auxiliary=config.auxiliary_weight > 0)
        if config.compile != "off" and not world().alone:
            raise ArchgradError(
                f"found compile {config.compile} and {world().size} processes for one retraining, "
                "whose messages are not compiled; use compile off, or one process"
            )

    def begin(self, epoch: int) -> None:
        """Training mode, with the drop path of the epoch."""
        self.drop_paths(self.config.drop_path * epoch / self.config.epochs)
        self.network.train()

    def drop_paths(self, rate: float) -> None:
        """Set the rate of every drop path; a compiled pass reads it from a tensor."""
        self.drop_path.fill_(rate)
        for module in self.network.modules():
            if isinstance(module, DropPath):
                module.rate = rate if self.config.compile == "off" else self.drop_path

    def forward(self, batch: Any) -> Pass:
        """Of images and labels."""
        inputs, target = batch
        forward = self._forward(inputs)
        with autocast(self.config.precision, self.device):
            logits, extra = divided(forward, inputs)
        total = self._loss(logits, target)
        if extra is not None:
            total = total + self.config.auxiliary_weight * self._loss(extra, target)
        return Pass(total, {"train_loss": total, "train_accuracy": accuracy(logits, target)})

    def _forward(self, inputs: Tensor) -> Forward:
        """The compiled pass; a smaller last batch goes through the network as it is."""
        if self.config.compile == "off" or len(inputs) != self.config.batch_size:
            return self.network.forward_with_auxiliary
        if self.fast is None:
            self.fast = compiled(self.network, inputs, self.config.precision)
        return self.fast

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        logits, smoothing = logits.to(full_type(logits.dtype)), self.config.label_smoothing
        return F.cross_entropy(logits, target, label_smoothing=smoothing)

    def validate(self, network: nn.Module) -> None:
        """None: the whole training part trains, and the last epoch's network counts."""

    def test(self, network: nn.Module) -> dict[str, Any]:
        """Accuracy and loss."""
        part = self.data.test
        assert part is not None
        size, normalization = self.config.batch_size, self.data.normalization
        batches = part.batches(size, normalization=normalization, device=self.device)
        loss, right = evaluate(partial(divided, network), batches.epoch(0))
        return {"accuracy": right, "loss": loss, "test_images": len(part)}
