"""What a search tells while it runs: the one interface of displays, trackers and a user's code."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from archgrad.architecture import Architecture
from archgrad.errors import ArchgradError
from archgrad.searching.timeleft import Outlook
from archgrad.settings.config import SearchConfig
from archgrad.settings.train_config import TrainConfig
from archgrad.tensors.trees import describe


@dataclass(frozen=True)
class Beginning:
    """What begins, or goes on.

    `name`: "search", or of a retraining its label and seed, as "found/seed-0"; `lines`: those
    of metrics.jsonl (of a baseline: evaluations.jsonl) that are done already, in a run that is
    resumed; `outlook`: what the epochs of a search will be like, None of anything else.
    """

    name: str
    config: SearchConfig | TrainConfig
    lines: Sequence[Mapping[str, Any]] = ()
    outlook: Outlook | None = None


@dataclass(frozen=True)
class EpochEnd:
    """What there is to see after an epoch of a search, or of a retraining.

    `metrics`: the line of metrics.jsonl, its "epoch" counted from 1, of `epochs`; `alpha`:
    group name -> (edges, operations), and `strength` the same after the relaxation: what the
    candidates of an edge count for; both are of the search itself, so clone what you keep.
    `architecture`: what would be derived now; `before`: after the epoch before, None after the
    first. A retraining has no alpha, and one architecture. A baseline has no alpha either, its
    evaluations count as epochs, and nobody knows of how many: `epochs` is None.
    """

    metrics: Mapping[str, Any]
    epochs: int | None
    architecture: Architecture
    before: Architecture | None = None
    alpha: Mapping[str, Tensor] = field(default_factory=dict)
    strength: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """How many epochs are done, of a baseline how many evaluations."""
        return int(self.metrics["epoch" if "epoch" in self.metrics else "evaluation"])

    @property
    def changed(self) -> bool:
        """Whether the architecture is another than before."""
        return self.architecture != self.before

    def _repr_html_(self) -> str:
        from archgrad.reporting.markup import of_epoch

        return of_epoch(self)


class Callback:
    """Hears of a search as it goes; override what is of interest. Pass it as `callbacks=[...]`.

    It is called in the process of the search, which waits for it. Nothing that it does can change
    the result, as long as it leaves the tensors it is given as they are.

    >>> import archgrad, torch
    >>> class Losses(archgrad.Callback):
    ...     def epoch_end(self, event):
    ...         print(f"{event.epoch} of {event.epochs}", sorted(event.alpha))
    >>> x, y = torch.randn(16, 4), torch.arange(16) % 2
    >>> block = {"linear": torch.nn.Linear(4, 4), "skip": torch.nn.Identity()}
    >>> model = torch.nn.Sequential(archgrad.Choice(block, "block"), torch.nn.Linear(4, 2))
    >>> result = archgrad.search(
    ...     model, train=(x, y), epochs=2, batch_size=4, guard="off", callbacks=[Losses()]
    ... )
    1 of 2 ['block']
    2 of 2 ['block']
    """

    def begin(self, beginning: Beginning) -> None:
        """A search begins or goes on, or a retraining; it may have warned before."""

    def step(self, done: int, steps: int) -> None:
        """So many of the `steps` of an epoch are `done`."""

    def epoch_end(self, event: EpochEnd) -> None:
        """An epoch is done, and kept in the run folder if there is one."""

    def architecture_changed(self, event: EpochEnd) -> None:
        """The architecture is another than before.

        It comes after `epoch_end`, or after `evaluated` where a baseline has a new best.
        """

    def evaluated(self, line: Mapping[str, Any], share: float) -> None:
        """A baseline has scored an architecture: a `line` of evaluations.jsonl.

        `share`: of the budget that is spent.
        """

    def went_back(self, epoch: int) -> None:
        """The search goes on after this earlier epoch: what was told of later ones is void."""

    def warning(self, text: str) -> None:
        """The guard, or another part of the search, has something to say."""

    def end(self) -> None:
        """What began is over, also by an error or an interruption."""


@contextmanager
def told(callback: Callback, beginning: Beginning) -> Iterator[None]:
    """Tell of a beginning and of the end."""
    callback.begin(beginning)
    try:
        yield
    finally:
        callback.end()


def announce(event: EpochEnd, callback: Callback) -> None:
    """Tell of an epoch of a search."""
    callback.epoch_end(event)
    if event.changed:
        callback.architecture_changed(event)


class Callbacks(Callback):
    """Several as one. One that fails is left out from then on, with a warning: a search of days
    does not end because a tracker lost its connection.

    Raises `ArchgradError` for what is no list of callbacks.
    """

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        given = list(callbacks) if isinstance(callbacks, Iterable) else callbacks
        self.active: list[Callback] = given if isinstance(given, list) else []
        wrong = [one for one in self.active if not isinstance(one, Callback)]
        if wrong or given is not self.active:
            one = wrong[0] if wrong else given
            found = f"the class {one.__name__}" if isinstance(one, type) else describe(one)
            raise ArchgradError(
                f"callbacks: found {found}; expected a list of "
                "objects whose class is derived from archgrad.Callback, as callbacks=[Mine()]"
            )

    def begin(self, beginning: Beginning) -> None:
        self._each(lambda callback: callback.begin(beginning))

    def step(self, done: int, steps: int) -> None:
        self._each(lambda callback: callback.step(done, steps))

    def epoch_end(self, event: EpochEnd) -> None:
        self._each(lambda callback: callback.epoch_end(event))

    def architecture_changed(self, event: EpochEnd) -> None:
        self._each(lambda callback: callback.architecture_changed(event))

    def evaluated(self, line: Mapping[str, Any], share: float) -> None:
        self._each(lambda callback: callback.evaluated(line, share))

    def went_back(self, epoch: int) -> None:
        self._each(lambda callback: callback.went_back(epoch))

    def warning(self, text: str) -> None:
        self._each(lambda callback: callback.warning(text))

    def end(self) -> None:
        self._each(lambda callback: callback.end())

    def _each(self, call: Callable[[Callback], None]) -> None:
        for callback in tuple(self.active):
            try:
                call(callback)
            except Exception as error:
                self.active.remove(callback)
                frame = traceback.extract_tb(error.__traceback__)[:3][-1]  # in the callback
                place = f"{frame.filename}, line {frame.lineno}"
                warnings.warn(
                    f"callback {type(callback).__name__} failed and is left out from here on "
                    f"({type(error).__name__}: {error}; {place}); the search goes on",
                    stacklevel=3,
                )
