"""Exact parameters and multiply-adds of a derived network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from archgrad.architecture import Architecture
from archgrad.networks.counting import counting
from archgrad.networks.network import Network
from archgrad.spaces import SearchSpace
from archgrad.spaces.darts_rnn import DartsRNN
from archgrad.spaces.own import OwnModel


def run(space: SearchSpace, model: nn.Module, device: torch.device, batch: int) -> int:
    """Call a network of the space with an example; how many there were, `batch` at most.

    Images of zeros; an own model is called with the first of its data.
    """
    if isinstance(space, OwnModel | DartsRNN):
        return space.run(model, device, batch)
    assert space.input_shape is not None
    model(torch.zeros(batch, *space.input_shape, device=device))
    return batch


@dataclass(frozen=True)
class Cost:
    """Trainable `parameters`, and `multiply_adds` of one image in convolutions and linear.

    Of an own model all parameters, frozen ones too.
    """

    parameters: int
    multiply_adds: int


def count_parameters(model: nn.Module, frozen: bool = False) -> int:
    """Trainable parameters, or `frozen` ones too.

    The auxiliary head of the library's own networks is left out, as in the field's tables.
    """
    head = model.auxiliary if isinstance(model, Network) else None
    left_out = set() if head is None else set(head.parameters())
    return sum(
        parameter.numel()
        for parameter in model.parameters()
        if (frozen or parameter.requires_grad) and parameter not in left_out
    )


def cost(space: SearchSpace, architecture: Architecture) -> Cost:
    """Parameters and multiply-adds of the network that `space` derives.

    Nothing is computed, but for an own model: that is run on its example.
    """
    own = isinstance(space, OwnModel)
    device = torch.device("cpu" if own else "meta")
    with device:
        model = space.derive(architecture).eval()
        with counting() as counter:
            examples = run(space, model, device, batch=1)
    return Cost(count_parameters(model, frozen=own), counter.get_total_flops() // 2 // examples)
