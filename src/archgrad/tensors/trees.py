"""Structures of tuples, lists and mappings of tensors: what models take and return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def mapped(change: Callable[[Tensor], Any], value: Any) -> Any:
    """The same structure of tuples, lists and mappings with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        changed = {key: mapped(change, one) for key, one in value.items()}
        return changed if type(value) is dict else type(value)(changed)  # type: ignore[call-arg]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(change, one) for one in value))
    if isinstance(value, tuple | list):
        return type(value)(mapped(change, one) for one in value)
    return value


def leaves(value: Any) -> Iterator[Any]:
    """All that is in a structure, in order."""
    if isinstance(value, Mapping | tuple | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(one)
    else:
        yield value


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of a structure, in order."""
    return (one for one in leaves(value) if isinstance(one, Tensor))


def named(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a structure of tensors, called by their keys and numbers, as "image_0"."""
    if isinstance(value, Tensor):
        yield name, value
        return
    for key, one in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from named(one, f"{name}_{key}" if name else str(key))


def size(batch: Any, unknown: int = 1) -> int:
    """Examples in a batch: the length of its first tensor, `unknown` where none has a length."""
    return next((len(tensor) for tensor in tensors(batch) if tensor.ndim), unknown)


def cut(batch: Any, examples: int) -> Any:
    """The first examples of a batch; what has another length stays whole.

    A batch that holds more than examples, as a state, knows itself how it is `shortened`.
    """
    if (shortened := getattr(batch, "shortened", None)) is not None:
        return shortened(examples)
    whole = size(batch)
    return mapped(lambda t: t[:examples] if t.ndim and len(t) == whole else t, batch)


def moved(batch: Any, device: torch.device) -> Any:
    """The batch on a device."""
    return mapped(lambda tensor: tensor.to(device), batch)


def describe(value: Any) -> str:
    """What a value is, for a message."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and type {value.dtype}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with the keys {sorted(map(str, value))}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
