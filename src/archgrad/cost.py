"""Exact parameters and multiply-adds of a derived network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archgrad.architecture import Architecture
from archgrad.errors import ArchgradError
from archgrad.spaces import SearchSpace


def shape_of(space: SearchSpace) -> tuple[int, ...]:
    """The shape of an image, or an error where the space does not know it."""
    if space.input_shape is None:
        raise ArchgradError(f"space {space.name} does not say the shape of its input")
    return space.input_shape


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
    """Parameters and multiply-adds of the network that ``space`` derives; nothing is computed."""
    with torch.device("meta"):
        model = space.derive(architecture).eval()
        image = torch.empty(1, *shape_of(space))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    return Cost(count_parameters(model), counter.get_total_flops() // 2)
