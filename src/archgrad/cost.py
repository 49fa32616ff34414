"""Exact parameters and multiply-adds of a derived network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archgrad.architecture import Architecture
from archgrad.spaces import SearchSpace
from archgrad.spaces.own import OwnModel


def run(space: SearchSpace, model: nn.Module, device: torch.device, batch: int) -> int:
    """Call a network of the space with an example; how many there were, ``batch`` at most.

    Images of zeros; an own model is called with the first of its data.
    """
    if isinstance(space, OwnModel):
        return space.run(model, device, batch)
    assert space.input_shape is not None
    model(torch.zeros(batch, *space.input_shape, device=device))
    return batch


@dataclass(frozen=True)
class Cost:
    """Trainable ``parameters``, and ``multiply_adds`` of one image in convolutions and linear."""

    parameters: int
    multiply_adds: int


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters, the auxiliary head excluded as in the field's tables."""
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not name.startswith("auxiliary.")
    )


def cost(space: SearchSpace, architecture: Architecture) -> Cost:
    """Parameters and multiply-adds of the network that ``space`` derives.

    Nothing is computed, but for an own model: that is run on its example.
    """
    device = torch.device("cpu" if isinstance(space, OwnModel) else "meta")
    with device:
        model = space.derive(architecture).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            examples = run(space, model, device, batch=1)
    return Cost(count_parameters(model), counter.get_total_flops() // 2 // examples)
