"""The textbook form of a DARTS search, which the speed of archgrad is measured against.

Eager, contiguous, one module an operation and an edge (the network of
`examples/darts_in_one_file.py`), and steps as the original code takes them (arXiv:1806.09055): the
alpha step differentiates by all parameters, the second order works on a copy of the network.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]


def example() -> ModuleType:
    """The example as a module."""
    name = "darts_in_one_file"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "examples" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec and spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class Textbook:
    """Network, alpha and the two steps; ``first`` or second order by finite differences."""

    def __init__(self, channels: int, cells: int, in_channels: int = 3, nodes: int = 4) -> None:
        self.one_file = example()
        self.network: nn.Module = self.one_file.Network(channels, cells, nodes, in_channels, 10)
        edges = sum(range(2, 2 + nodes))
        self.clip, self.second_clip = 5.0, float("inf")
        self.alpha = {
            kind: (1e-3 * torch.randn(edges, 8)).requires_grad_() for kind in ("normal", "reduce")
        }
        self.sgd = torch.optim.SGD(
            self.network.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4
        )
        self.adam = torch.optim.Adam(
            self.alpha.values(), lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3
        )

    def to(self, device: torch.device) -> Textbook:
        self.network.to(device)
        for table in self.alpha.values():
            table.data = table.data.to(device)
        return self

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        mixed = self.one_file.softmax(self.alpha)
        return F.cross_entropy(network(batch[0], mixed), batch[1])

    def trained(self, network: nn.Module, batch: Batch) -> Tensor:
        """What the weights are trained by."""
        return self.loss(network, batch)

    def first_order(self, train: Batch, valid: Batch) -> None:
        self.adam.zero_grad()
        self.loss(self.network, valid).backward()
        self.adam.step()

    def second_order(self, train: Batch, valid: Batch) -> None:
        network, tables = self.network, list(self.alpha.values())
        weights = list(network.parameters())
        rate, momentum, decay = (
            self.sgd.param_groups[0][name] for name in ("lr", "momentum", "weight_decay")
        )
        copied = copy.deepcopy(network)
        slopes = torch.autograd.grad(self.loss(network, train), weights)
        slopes, factor = clipped(slopes, self.second_clip)
        with torch.no_grad():
            for own, w, slope in zip(copied.parameters(), weights, slopes, strict=True):
                velocity = self.sgd.state[w].get("momentum_buffer", torch.zeros_like(w))
                own.copy_(w - rate * (slope + decay * w + momentum * velocity))
        self.adam.zero_grad()
        self.loss(copied, valid).backward()
        vector, _ = clipped([w.grad for w in copied.parameters()], self.second_clip)
        epsilon = 0.01 / torch.cat([v.flatten() for v in vector]).norm()
        sides = []
        for step in (epsilon, -2 * epsilon, epsilon):  # up, down, back
            with torch.no_grad():
                for w, v in zip(weights, vector, strict=True):
                    w.add_(step * v)
            if len(sides) < 2:
                sides.append(torch.autograd.grad(self.loss(network, train), tables))
        for table, up, down in zip(tables, *sides, strict=True):
            table.grad -= rate * factor * (up - down) / (2 * epsilon)
        self.adam.step()

    def weight_step(self, train: Batch) -> None:
        self.sgd.zero_grad()
        self.trained(self.network, train).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.sgd.step()


def clipped(gradients: Sequence[Tensor], most: float) -> tuple[list[Tensor], Tensor]:
    """The gradients with a norm over all of at most so much, and what they were multiplied by."""
    norm = torch.stack([g.norm() for g in gradients]).norm()
    factor = (most / (norm + 1e-6)).clamp_max(1)
    return [g * factor for g in gradients], factor
