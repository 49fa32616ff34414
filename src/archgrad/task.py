"""What a search minimizes and reports, and what it may know of a batch of any structure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.loops import accuracy

Model = Callable[..., Any]


def pair(model: Model, batch: Any) -> tuple[Any, Any]:
    """The output for the first of (input, target), and the target."""
    if isinstance(batch, Tensor) or not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ArchgradError(
            f"a batch is {describe(batch)}; expected (input, target), or give forward=, called "
            "with (model, batch), that returns (output, target)"
        )
    return model(batch[0]), batch[1]


@dataclass(frozen=True)
class Task:
    """What is learned: ``loss(output, target)``, a scalar tensor.

    ``metric(output, target)``: a number, higher is better, under the name ``name``; None: the loss
    is all there is to report. ``forward(model, batch)`` gives (output, target) of a batch. Outputs,
    targets and batches may be of any structure.
    """

    loss: Callable[[Any, Any], Tensor] = F.cross_entropy
    metric: Callable[[Any, Any], Any] | None = accuracy
    name: str = "accuracy"
    forward: Callable[[Model, Any], tuple[Any, Any]] = pair

    @classmethod
    def of(
        cls,
        loss: Callable[[Any, Any], Tensor] | None,
        metric: Callable[[Any, Any], Any] | None,
        forward: Callable[[Model, Any], tuple[Any, Any]] | None,
    ) -> Task:
        """With the user's own; without loss and metric that of classification."""
        forward = forward or pair
        if loss is None and metric is None:
            return cls(forward=forward)
        return cls(loss or F.cross_entropy, metric, _name(metric), forward)

    def minimized(self, output: Any, target: Any) -> Tensor:
        """The loss, seen to be a scalar."""
        value = self.loss(output, target)
        if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
            raise ArchgradError(
                f"the loss returned {describe(value)}; expected a scalar tensor of a floating "
                "point type, such as a mean over the batch"
            )
        return value

    @torch.no_grad()
    def reported(self, output: Any, target: Any) -> Tensor | None:
        """The metric as a scalar tensor, or None where there is none."""
        if self.metric is None:
            return None
        try:
            value = torch.as_tensor(self.metric(output, target), dtype=torch.float32)
        except Exception as error:
            error.add_note(
                f"in the metric {self.name}, called with {describe(output)} and {describe(target)}"
            )
            raise
        if value.ndim:
            raise ArchgradError(
                f"the metric {self.name} returned {describe(value)}; expected a single number"
            )
        return value


CLASSIFICATION = Task()


def _name(metric: Callable[[Any, Any], Any] | None) -> str:
    found = getattr(metric, "__name__", "metric")
    return found if found.isidentifier() and found != "loss" else "metric"


# --- batches of any structure --------------------------------------------------------------------


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


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of a structure, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | tuple | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from tensors(one)


def size(batch: Any) -> int:
    """Examples in a batch: the length of its first tensor; 1 where there is none with a length."""
    return next((len(tensor) for tensor in tensors(batch) if tensor.ndim), 1)


def cut(batch: Any, examples: int) -> Any:
    """The first examples of a batch; what has another length stays whole."""
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
