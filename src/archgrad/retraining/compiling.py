"""The training pass of a network through `torch.compile`, tried before it is used."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from archgrad.networks.network import Classifier
from archgrad.tensors.precision import Precision, autocast

Forward = Callable[[Tensor], tuple[Tensor, Tensor | None]]


def compiled(network: Classifier, inputs: Tensor, precision: Precision) -> Forward:
    """`network.forward_with_auxiliary` compiled for inputs of this shape.

    It is run forward and back once, which takes minutes for a deep network and changes neither
    statistics nor random state. Where that fails: the pass as it is, with a warning that says why.
    """
    torch.compiler.reset()  # each network counts against a limit, past which nothing is compiled
    fast: Forward = torch.compile(network.forward_with_auxiliary, dynamic=False)
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        with torch.random.fork_rng([inputs.device] if inputs.is_cuda else []):
            with autocast(precision, inputs.device):
                found = fast(inputs)
            sum(logits.float().sum() for logits in found if logits is not None).backward()  # type: ignore[union-attr]
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        warnings.warn(f"torch.compile failed, training without it: {reason[0]}", stacklevel=2)
        return network.forward_with_auxiliary
    finally:
        network.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
    return fast
