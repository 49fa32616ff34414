"""What a search tells while it runs: the one interface of displays, trackers and a user's code."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from archgrad.architecture import Architecture


@dataclass(frozen=True)
class EpochEnd:
    """What there is to see after an epoch of a search, or of a retraining.

    ``metrics``: the line of metrics.jsonl, its "epoch" counted from 1, of ``epochs``; ``alpha``:
    group name -> (edges, operations), and ``strength`` the same after the relaxation: what the
    candidates of an edge count for; both are of the search itself, so clone what you keep.
    ``architecture``: what would be derived now; ``before``: after the epoch before, None after the
    first. A retraining has no alpha, and one architecture.
    """

    metrics: Mapping[str, Any]
    epochs: int
    architecture: Architecture
    before: Architecture | None = None
    alpha: Mapping[str, Tensor] = field(default_factory=dict)
    strength: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return int(self.metrics["epoch"])

    @property
    def changed(self) -> bool:
        """Whether this epoch gives another architecture than the one before."""
        return self.architecture != self.before

    def _repr_html_(self) -> str:
        from archgrad.report.markup import of_epoch

        return of_epoch(self)


class Callback:
    """Hears of a search as it goes; override what is of interest. Pass it as ``callbacks=[...]``.

    It is called in the process of the search, which waits for it. Nothing that it does can change
    the result, as long as it leaves the tensors it is given as they are.

    >>> class Changes(Callback):
    ...     def architecture_changed(self, event: EpochEnd) -> None:
    ...         print(event.epoch, event.architecture.cell("normal"))
    """

    def step(self, done: int, steps: int) -> None:
        """So many of the ``steps`` of an epoch are done."""

    def epoch_end(self, event: EpochEnd) -> None:
        """An epoch is done, and kept in the run folder if there is one."""

    def architecture_changed(self, event: EpochEnd) -> None:
        """The epoch gives another architecture than the one before; called after `epoch_end`."""

    def evaluated(self, line: Mapping[str, Any], share: float) -> None:
        """A baseline has scored an architecture: a ``line`` of evaluations.jsonl.

        ``share``: of the budget that is spent.
        """

    def warning(self, text: str) -> None:
        """The guard, or another part of the search, has something to say."""


def report(event: EpochEnd, callback: Callback) -> None:
    """Tell of an epoch of a search."""
    callback.epoch_end(event)
    if event.changed:
        callback.architecture_changed(event)


class Callbacks(Callback):
    """Several as one. One that fails is left out from then on, with a warning: a search of days
    does not end because a tracker lost its connection.
    """

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self.active = list(callbacks)

    def step(self, done: int, steps: int) -> None:
        self._each(lambda callback: callback.step(done, steps))

    def epoch_end(self, event: EpochEnd) -> None:
        self._each(lambda callback: callback.epoch_end(event))

    def architecture_changed(self, event: EpochEnd) -> None:
        self._each(lambda callback: callback.architecture_changed(event))

    def evaluated(self, line: Mapping[str, Any], share: float) -> None:
        self._each(lambda callback: callback.evaluated(line, share))

    def warning(self, text: str) -> None:
        self._each(lambda callback: callback.warning(text))

    def _each(self, call: Callable[[Callback], None]) -> None:
        for callback in tuple(self.active):
            try:
                call(callback)
            except Exception as error:
                self.active.remove(callback)
                warnings.warn(
                    f"callback {type(callback).__name__} failed and is left out from here on "
                    f"({type(error).__name__}: {error}); the search goes on",
                    stacklevel=3,
                )
