"""Dual tensors of forward mode: a value and the tangent along which it moves."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import forward_ad


def at_rest(tensor: Tensor) -> Tensor:
    """The value alone, without graph and tangent."""
    found: Tensor = forward_ad.unpack_dual(tensor).primal
    return found.detach()


def primal(tensor: Any) -> Any:
    """The value without its tangent; None stays None."""
    return None if tensor is None else forward_ad.unpack_dual(tensor).primal


def moves(tensor: Tensor | None) -> bool:
    """Whether the value has a tangent."""
    return tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None
