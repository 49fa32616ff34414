"""What a search minimizes and reports, and what it may know of a batch of any structure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from archgrad.errors import ArchgradError
from archgrad.measure import ACCURACY, Measure
from archgrad.system.loops import accuracy
from archgrad.tensors.trees import describe, leaves, mapped, size, tensors

Model = Callable[..., Any]


def pair(model: Model, batch: Any) -> tuple[Any, Any]:
    """The output for the first of (input, target), and the target."""
    if isinstance(batch, Tensor) or not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ArchgradError(
            f"a batch is {describe(batch)}; expected (input, target), or give forward=, called "
            "with (model, batch), that returns (output, target)"
        )
    array = next((one for one in leaves(batch) if isinstance(one, np.ndarray)), None)
    if array is not None:
        raise ArchgradError(
            f"a batch holds a numpy array of shape {array.shape} and type {array.dtype}; expected "
            "tensors: let the loader return torch.from_numpy(...) of its arrays (inputs as "
            "float32, classes as int64), or give forward= that does"
        )
    return model(batch[0]), batch[1]


@dataclass(frozen=True)
class Task:
    """What is learned: `loss(output, target)`, a scalar tensor.

    `metric(output, target)`: a number, higher is better, under the name `name`; None: the loss
    is all there is to report. `forward(model, batch)` gives (output, target) of a batch. Outputs,
    targets and batches may be of any structure. `penalty(output)`: what is added to the loss
    where weights are trained, and there alone; `share(batch)`: the part of the learning rate that
    a step on this batch takes. `measure`: what trained networks are judged by; `shown`: that of
    a mean score, for the lines of a search, under `name` too (None: the score itself).
    """

    loss: Callable[[Any, Any], Tensor] = F.cross_entropy
    metric: Callable[[Any, Any], Any] | None = accuracy
    name: str = "accuracy"
    forward: Callable[[Model, Any], tuple[Any, Any]] = pair
    penalty: Callable[[Any], Tensor] | None = None
    share: Callable[[Any], float] | None = None
    measure: Measure = ACCURACY
    shown: Callable[[float], float] | None = None

    @classmethod
    def of(
        cls,
        loss: Callable[[Any, Any], Tensor] | None,
        metric: Callable[[Any, Any], Any] | None,
        forward: Callable[[Model, Any], tuple[Any, Any]] | None,
    ) -> Task:
        """With the user's own; without loss and metric that of classification."""
        for name, given in (("loss", loss), ("metric", metric), ("forward", forward)):
            if given is not None and not callable(given):
                raise ArchgradError(
                    f"{name} is {describe(given)}; expected a function, or leave it out"
                )
        forward = forward or pair
        if loss is None and metric is None:
            return cls(forward=forward)
        return cls(loss or F.cross_entropy, metric, _name(metric), forward)

    def names(self) -> list[str]:
        """What the loss, the metric and the forward function are called, to tell others apart."""
        return [_called(one) for one in (self.loss, self.metric, self.forward)]

    def examples(self, batch: Any, target: Any) -> int:
        """How many examples a batch holds, to weigh it: the length of the target, or the batch."""
        return size(target if any(t.ndim for t in tensors(target)) else batch)

    def minimized(self, output: Any, target: Any) -> Tensor:
        """The loss, seen to be a scalar."""
        try:
            value = self.loss(output, target)
        except Exception as error:
            error.add_note(
                f"in the loss {_called(self.loss)}, called with {describe(output)} and "
                f"{describe(target)}"
            )
            raise
        if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
            raise ArchgradError(
                f"the loss returned {describe(value)}; expected a scalar tensor of a floating "
                "point type, such as a mean over the batch"
            )
        return value

    def trained(self, loss: Tensor, output: Any) -> Tensor:
        """What the weights are trained by: the loss with its penalty."""
        return loss if self.penalty is None else loss + self.penalty(output)

    def rate(self, learning_rate: float, batch: Any) -> float:
        """The learning rate of a step on this batch."""
        return learning_rate if self.share is None else learning_rate * self.share(batch)

    def written(self, score: float) -> float:
        """What a line of a search holds of a mean score."""
        return score if self.shown is None else self.shown(score)

    @torch.no_grad()
    def reported(self, output: Any, target: Any) -> Tensor | None:
        """The metric as a scalar tensor, or None where there is none."""
        if self.metric is None:
            return None
        try:
            found = self.metric(mapped(Tensor.detach, output), target)  # may go on to numpy
        except Exception as error:
            error.add_note(
                f"in the metric {self.name}, called with {describe(output)} and {describe(target)}"
            )
            raise
        try:
            value = torch.as_tensor(found, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError):
            value = None
        if value is None or value.ndim:
            raise ArchgradError(
                f"the metric {self.name} returned {describe(found)}; expected a single number"
            )
        return value

    @torch.no_grad()
    def evaluate(
        self, call: Callable[[Any], tuple[Any, Any]], batches: Iterable[Any]
    ) -> tuple[float, float]:
        """Mean loss and metric over all examples; without a metric the loss with a minus sign.

        `call` gives output and target of a batch. Added up on the device, so that a GPU is waited
        for once, at the end.
        """
        examples, total = 0, torch.zeros(3, dtype=torch.float64)
        for batch in batches:
            output, target = call(batch)
            loss = self.minimized(output, target)
            found = self.reported(output, target)
            metric = -loss if found is None else found.to(loss.device)
            known = metric.isfinite()  # one class in a batch: there are metrics that have no value
            number = self.examples(batch, target)
            row = torch.stack([loss, metric.nan_to_num(0.0, 0.0, 0.0), known.to(loss)])
            examples += number
            total = total.to(loss.device) + number * row.double()
        if not examples:
            raise ArchgradError("there is nothing to evaluate; give a data set with some examples")
        loss_sum, metric_sum, measured = total.tolist()
        return loss_sum / examples, metric_sum / measured if measured else math.nan


CLASSIFICATION = Task()


def _called(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


def _name(metric: Callable[[Any, Any], Any] | None) -> str:
    found = getattr(metric, "__name__", "metric")
    return found if found.isidentifier() and found != "loss" else "metric"
