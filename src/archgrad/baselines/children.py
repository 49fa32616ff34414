"""Architectures trained by themselves for a short time, and scored on alpha's half."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import torch
from torch import nn

from archgrad.architecture import Architecture
from archgrad.baselines.value import Proposal
from archgrad.costing.cost import cost
from archgrad.data import Augmentation, Data
from archgrad.data.own import OwnData
from archgrad.kernels import native
from archgrad.kernels.division import add_gradients, divided
from archgrad.searching.loaders import Loaders, several
from archgrad.settings.config import SearchConfig
from archgrad.spaces import SearchSpace
from archgrad.system.distributed import refuse_apart
from archgrad.system.loops import cosine, placed, random_state, resolve_device, seeded
from archgrad.tensors.precision import autocast, full, without_tf32

STREAM = 1_000_003  # keeps the seeds of children apart from one another


class Children:
    """The scores of architectures that are trained from scratch for a few epochs each.

    Each child is trained on the weights' half as the weights of a supernet are (SGD, cosine,
    clipping, augmentation; sizes and rates of the search), for `config.child_epochs` epochs times
    the share of its proposal, at least one, with a whole schedule of the learning rate. Its score
    is the metric on alpha's half, with running statistics; one that diverges is priced like the
    others. A child of an own model begins with the weights of the model, and a loader that keeps a
    state with the state that it had at first.
    """

    unit = "multiply-adds"

    def __init__(
        self,
        space: SearchSpace,
        data: Data | OwnData,
        config: SearchConfig,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.space, self.config, self.task = space, config, data.task
        self.device = resolve_device(config.device)
        self.epochs = config.child_epochs or max(1, config.epochs // 2)
        augmentation = augmentation or data.augmentation
        self.loaders = Loaders.of(data, config, augmentation, self.device)
        self.states = copy.deepcopy(self.loaders.state_dict())

    @property
    def exact_resume(self) -> bool:
        """Whether the batches of a child can be repeated, whatever ran before."""
        return self.loaders.exact_resume

    def price(self, proposal: Proposal) -> int:
        """Sample passes times multiply-adds: three for a training pass, one for an evaluation."""
        train, check = self.loaders.examples
        passes = 3 * self._epochs(proposal) * train + check
        return passes * cost(self.space, proposal.architecture).multiply_adds

    def score(self, proposal: Proposal, number: int) -> float:
        """The metric after training with the seed of evaluation `number`; -inf: it diverged."""
        config, seed = self.config, (self.config.seed * STREAM + number) % 2**32
        random = seeded(seed, config.threads, self.device)
        with random, native.use(config.kernel), without_tf32():
            self.loaders.load_state_dict(copy.deepcopy(self.states))
            network = self._network(proposal.architecture)
            if not self._trained(network, self._epochs(proposal), number):
                return -math.inf
            network.eval()
            batches = self.loaders.check.epoch(0)
            found = self.task.evaluate(lambda batch: self._outputs(network, batch), batches)
        return found[1] if all(map(math.isfinite, found)) else -math.inf

    def _epochs(self, proposal: Proposal) -> int:
        return max(1, round(self.epochs * proposal.share))

    def _network(self, architecture: Architecture) -> nn.Module:
        own = self.space.input_shape is None
        network: nn.Module = self.space.derive(architecture)
        return placed(network, self.device, own)

    def _outputs(self, network: nn.Module, batch: Any) -> tuple[Any, Any]:
        with autocast(self.config.precision, self.device):
            output, target = divided(partial(self.task.forward, network), batch)
        return full(output), target

    def _trained(self, network: nn.Module, epochs: int, number: int) -> bool:
        """Whether every epoch's loss was finite."""
        config = self.config
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        if not weights:  # of an own model: all were in candidates that were not chosen
            return True
        optimizer = torch.optim.SGD(
            weights,
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        network.train()
        for epoch in range(epochs):
            rate = cosine(config.learning_rate, config.final_learning_rate, epoch, epochs)
            total = torch.zeros((), device=self.device)
            for batch in several(self.loaders.train.epoch(number * self.epochs + epoch)):
                output, target = self._outputs(network, batch)
                loss = self.task.minimized(output, target)
                optimizer.zero_grad(set_to_none=True)
                self.task.trained(loss, output).backward()
                add_gradients(weights, batch)
                optimizer.param_groups[0]["lr"] = self.task.rate(rate, batch)
                nn.utils.clip_grad_norm_(weights, config.clip)
                optimizer.step()
                total += loss.detach()
            if not bool(total.isfinite()):
                return False
            refuse_apart({**network.state_dict(), **random_state(self.device)})
        return True
