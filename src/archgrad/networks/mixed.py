"""Weighted sums of what candidates return: tensors, or tuples, lists and dicts of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.kernels.weighted_sum import Term, weighted_sum


def mixed(weights: Sequence[Tensor], outputs: Sequence[Any], place: Callable[[], str]) -> Any:
    """sum_o weights_o outputs_o, tensor by tensor; `place`: where, for an error."""
    first = outputs[0]
    if isinstance(first, Tensor):
        alike = all(
            isinstance(o, Tensor) and o.shape == first.shape and o.is_floating_point()
            for o in outputs
        )
        if alike:
            return weighted_sum([Term(w, o) for w, o in zip(weights, outputs, strict=True)])
    elif first is None and all(output is None for output in outputs):
        return None
    elif isinstance(first, Mapping):
        if all(isinstance(o, Mapping) and o.keys() == first.keys() for o in outputs):
            return {key: mixed(weights, [o[key] for o in outputs], place) for key in first}
    elif isinstance(first, tuple | list) and all(
        isinstance(o, tuple | list) and len(o) == len(first) for o in outputs
    ):
        sums = [mixed(weights, parts, place) for parts in zip(*outputs, strict=True)]
        named = isinstance(first, tuple) and hasattr(first, "_fields")
        return type(first)(*sums) if named else type(first)(sums)
    raise ArchgradError(
        f"{place()}; these cannot be added: let every candidate return floating-point tensors of "
        "the same shapes, in the same structure"
    )


def shapes(value: Any) -> str:
    """The shapes in an output, for a message."""
    if isinstance(value, Tensor):
        kind = "" if value.is_floating_point() else f" of {value.dtype}"
        return f"{tuple(value.shape)}{kind}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shapes(one)}" for key, one in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(shapes, value)) + "]"
    return type(value).__name__
