"""Where a network runs in float32 throughout, and where its convolutions run in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.tensors.trees import mapped

Precision = Literal["float32", "bf16"]

_whole: ContextVar[bool] = ContextVar("whole", default=False)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context of a forward pass.

    `bf16`: `torch.autocast`, so convolutions and products of matrices run in bfloat16; weights,
    their gradients, statistics of batch normalization and the loss stay in float32, and gradients
    need no scaling, since bfloat16 has float32's range. Without autocast's cache: within one pass
    each weight is cast once in any case.
    """
    if precision == "float32" or _whole.get():
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


@contextmanager
def whole() -> Iterator[None]:
    """Every pass within is in float32, whatever the precision.

    For differences of nearly equal numbers: a weight that moves by less than 1 part in 256 does
    not move in bfloat16.
    """
    token = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(token)


@contextmanager
def without_tf32() -> Iterator[None]:
    """Convolutions of float32 numbers on a GPU are of float32, then as before.

    PyTorch lets cuDNN round their inputs to TF32, 10 bits of mantissa, unless told otherwise.
    """
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before, convolutions.fp32_precision = convolutions.fp32_precision, "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


def check(precision: Precision, device: torch.device) -> None:
    """Refuse bf16 on a GPU that only emulates it."""
    if precision == "float32" or device.type != "cuda":
        return
    if torch.cuda.get_device_capability(device) < (8, 0):
        raise ArchgradError(
            "precision bf16 needs a GPU of compute capability 8.0 or newer, found "
            f"{torch.cuda.get_device_name(device)}; use float32"
        )


def lowered(tensor: Tensor) -> torch.dtype | None:
    """The type in which autocast wants convolutions of this tensor; None where it is not on."""
    kind = tensor.device.type
    if tensor.dtype == torch.float64 or not torch.amp.is_autocast_available(kind):
        return None
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def full_type(dtype: torch.dtype) -> torch.dtype:
    """The type in which sums over tensors of this type are kept: float32 at least."""
    return torch.promote_types(dtype, torch.float32)


def full(value: Any) -> Any:
    """The same structure with every tensor of floating-point numbers in its `full_type`."""
    return mapped(lambda t: t.to(full_type(t.dtype)) if t.is_floating_point() else t, value)
