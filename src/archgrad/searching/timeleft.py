"""Time left, from what was measured alone: a cheap beginning is never drawn on into the rest.

Work is of kinds that cost differently: a step of the weights alone or with alpha, in one stage or
another; an evaluation with or without diagnostics; an epoch of a retraining; a search of a
comparison. The rest of each kind is its number times the median of the same kind, in this process.
While a kind that is still to come was never measured, the sum of the others is a lower bound, and
is shown as one. The first of a kind is left out where others can be had: it compiles, and fills
caches. Medians, so that a pause of the machine is forgotten: at the latest after the second
measurement of a kind; the clock itself does not run while the machine sleeps. Imports no torch.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median_low
from typing import NamedTuple

Clock = Callable[[], float]  # seconds
CLOSE = 0.1  # of the time left: how far apart its bounds may be where one number is shown
BLOCK = 10.0  # seconds of a retraining that are one measurement: it is looked at once a second


@dataclass(frozen=True)
class Left:
    """Between `low` and `high` seconds; `why`: what is still unknown, in words."""

    low: float = 0.0
    high: float = 0.0
    why: str = ""

    def __add__(self, other: Left) -> Left:
        return Left(self.low + other.low, self.high + other.high, self.why or other.why)

    def __mul__(self, times: int) -> Left:
        return Left(self.low * times, self.high * times, self.why)

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        if self.high - self.low <= max(1.0, CLOSE * self.low):
            return f"{clock((self.low + self.high) / 2)} left"
        if self.low >= 1:
            return f"at least {clock(self.low)} left{why}"
        return f"time left not yet known{why}"


def unknown(why: str = "") -> Left:
    """Nothing that is like it was measured."""
    return Left(0.0, math.inf, why)


def exactly(seconds: float) -> Left:
    """As far as a median tells."""
    return Left(seconds, seconds)


def clock(seconds: float) -> str:
    """m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Kind(NamedTuple):
    """Of a search step: its stage, counted from 0, and whether alpha moves in it."""

    stage: int
    alpha: bool


@dataclass(frozen=True)
class Outlook:
    """What the epochs of a search will be like, told before the first.

    `bounds`: the first epoch of each stage and the number of epochs; `warm_up`: share of each
    stage in which alpha rests; `interval`: steps of the weights for one of alpha; `due`: the
    diagnostics after each epoch; `selection`: whether one follows the last epoch.
    """

    bounds: tuple[int, ...]
    warm_up: float = 0.0
    interval: int = 1
    due: tuple[frozenset[str], ...] = ()
    selection: bool = False

    def stage(self, epoch: int) -> int:
        """Of an epoch counted from 0."""
        return sum(epoch >= bound for bound in self.bounds[1:-1])

    def wakes(self, stage: int) -> float:
        """The epoch, counted from 0, from which alpha moves."""
        first, last = self.bounds[stage : stage + 2]
        return first + self.warm_up * (last - first)

    def kind(self, epoch: int, step: int, steps: int) -> Kind:
        """Of a step; both counted from 0."""
        stage = self.stage(epoch)
        awake = step >= self._rests(epoch, steps)
        return Kind(stage, awake and step % self.interval == 0)

    def counts(self, epoch: int, done: int, steps: int) -> dict[Kind, int]:
        """How many steps of each kind an epoch has after the first `done`."""
        stage = self.stage(epoch)
        moving = len(range(self._next(max(done, self._rests(epoch, steps))), steps, self.interval))
        both = {Kind(stage, True): moving, Kind(stage, False): steps - done - moving}
        return {kind: count for kind, count in both.items() if count}

    def _rests(self, epoch: int, steps: int) -> int:
        """The steps of an epoch before alpha moves."""
        wakes = self.wakes(self.stage(epoch))
        return min(steps, max(0, math.ceil((wakes - epoch) * steps - 1e-9)))

    def _next(self, step: int) -> int:
        return -(-step // self.interval) * self.interval

    def why(self, kind: Kind, stage: int) -> str:
        """What a step of a kind waits for, seen from a stage."""
        if kind.stage != stage:
            return f"stage {kind.stage + 1} begins with epoch {self.bounds[kind.stage] + 1}"
        if kind.alpha and self.warm_up:
            return f"alpha rests until epoch {math.floor(self.wakes(kind.stage)) + 1}"
        return ""


class Tail(NamedTuple):
    """Of what follows the steps of an epoch: its stage, and the diagnostics that are due."""

    stage: int
    due: frozenset[str]


@dataclass
class SearchTime:
    """Hears of steps and epochs as they end, counted from 0, and tells what is left.

    A search that is resumed knows nothing at first: it may go on where others work, too.
    """

    outlook: Outlook
    now: Clock = time.monotonic
    epoch: int = 0
    done: int = 0  # steps of that epoch
    steps: int = 0  # of each
    _last: float | None = None
    _first: set[Kind] = field(default_factory=set)
    _sums: dict[Kind, tuple[float, int]] = field(default_factory=dict)  # of this epoch
    _paces: dict[Kind, list[float]] = field(default_factory=dict)  # seconds a step, an epoch each
    _tails: dict[Tail, list[float]] = field(default_factory=dict)
    _cold: tuple[Tail, float] | None = None  # the first of the process

    def step(self, epoch: int, done: int, steps: int) -> None:
        """So many of the steps of an epoch are done."""
        self.epoch, self.done, self.steps = epoch, done, steps
        kind, took = self.outlook.kind(epoch, done - 1, steps), self._took()
        if kind not in self._first:
            self._first.add(kind)
        elif took is not None:
            seconds, count = self._sums.get(kind, (0.0, 0))
            self._sums[kind] = seconds + took, count + 1

    def epoch_end(self, epoch: int) -> None:
        """An epoch, counted from 0, is evaluated and kept."""
        took, tail = self._took(), self._tail(epoch)
        if took is not None and self.done:
            if self._cold is None:
                self._cold = tail, took
            else:
                self._tails.setdefault(tail, []).append(took)
        for kind, (seconds, count) in self._sums.items():
            self._paces.setdefault(kind, []).append(seconds / count)
        self._sums = {}
        self.epoch, self.done = epoch + 1, 0

    def left(self) -> Left:
        """Of the search, if it goes on to its last epoch."""
        epochs = self.outlook.bounds[-1]
        total, steps, tails = Left(), Counter[Kind](), Counter[Tail]()
        for epoch in range(self.epoch, epochs if self.steps else self.epoch):
            done = self.done if epoch == self.epoch else 0
            steps.update(self.outlook.counts(epoch, done, self.steps))
            tails[self._tail(epoch)] += 1
        for kind, count in steps.items():
            total += self._steps(kind, count)
        for tail, count in tails.items():
            total += self._after(tail) * count
        if not self.steps and self.epoch < epochs:
            total = unknown()
        return total + unknown("a selection follows") if self.outlook.selection else total

    def _took(self) -> float | None:
        """Since the last event, if there was one."""
        last, self._last = self._last, self.now()
        return None if last is None else max(0.0, self._last - last)

    def _tail(self, epoch: int) -> Tail:
        due = self.outlook.due[epoch] if epoch < len(self.outlook.due) else frozenset[str]()
        return Tail(self.outlook.stage(epoch), due)

    def _steps(self, kind: Kind, count: int) -> Left:
        if kind in self._paces:
            return exactly(count * median_low(self._paces[kind]))
        if kind in self._sums:
            seconds, number = self._sums[kind]
            return exactly(count * seconds / number)
        return unknown(self.outlook.why(kind, self.outlook.stage(self.epoch)))

    def _after(self, tail: Tail) -> Left:
        """By the same diagnostics; between those of fewer and of more where they are new."""
        if tail in self._tails:
            return exactly(median_low(self._tails[tail]))
        known = [(each, median_low(times)) for each, times in self._tails.items()]
        low = [t for each, t in known if each.stage == tail.stage and each.due <= tail.due]
        known += [self._cold] if self._cold is not None else []
        high = [t for each, t in known if each.stage == tail.stage and each.due >= tail.due]
        least = max(low, default=0.0)
        return Left(least, max(least, min(high, default=math.inf)))


@dataclass
class BudgetTime:
    """Of searches that train architectures one by one, until their budget is spent."""

    share: float | None = None
    _rates: list[float] = field(default_factory=list)  # seconds for the whole budget

    def evaluated(self, share: float, seconds: float) -> None:
        """An evaluation took so long, and `share` of the budget is spent by now."""
        if self.share is not None and share > self.share:
            self._rates.append(seconds / (share - self.share))
        self.share = share

    def left(self) -> Left:
        """Until the budget is spent."""
        if self.share is None or not self._rates:
            return unknown()
        return exactly(max(0.0, 1 - self.share) * median_low(self._rates))


@dataclass
class TrainingTime:
    """Of retrainings side by side, whose epochs are alike."""

    now: Clock = time.monotonic
    _seen: dict[int, tuple[int, float]] = field(default_factory=dict)  # job -> epochs, when
    _paces: list[float] = field(default_factory=list)  # seconds an epoch

    def left(self, done: Sequence[int], epochs: Sequence[int], workers: int) -> Left:
        """Where so many of the epochs of each job are done by now, `workers` at a time."""
        for job, number in enumerate(done):
            self._see(job, number)
        rest = [total - number for number, total in zip(done, epochs, strict=True)]
        if not any(rest):
            return Left()
        if not self._paces:
            return unknown()
        return exactly(span([median_low(self._paces) * number for number in rest], workers))

    def _see(self, job: int, number: int) -> None:
        at = self.now()
        before, since = self._seen.setdefault(job, (number, math.nan))
        if number == before:
            return
        if math.isnan(since):  # its first epoch here, of which the beginning was not seen
            self._seen[job] = number, at
        elif at - since >= BLOCK or not self._paces:
            self._paces.append((at - since) / (number - before))
            self._seen[job] = number, at


def of_jobs(
    left: Sequence[tuple[str, float]], took: Mapping[str, Sequence[float]], workers: int
) -> Left:
    """Of jobs of a kind, the seconds since each began; `took`: seconds of finished ones by kind.

    0 seconds: not begun. What takes longer than others of its kind did may take any time.
    """
    usual = {kind: median_low(times) for kind, times in took.items() if times}
    known = [max(0.0, usual[kind] - since) for kind, since in left if kind in usual]
    seconds = span(known, workers)
    missing = list(dict.fromkeys(kind for kind, _ in left if kind not in usual))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return Left(seconds, math.inf, f"no search of {missing[0]}{more} has ended yet")
    late = [kind for kind, since in left if since > usual[kind]]
    if late:
        return Left(seconds, math.inf, f"{late[0]} takes longer than before")
    return exactly(seconds)


def span(seconds: Sequence[float], workers: int) -> float:
    """When the last ends where each begins as soon as one of the workers is free."""
    free = [0.0] * max(1, workers)
    for each in seconds:
        if each:
            heapq.heapreplace(free, free[0] + each)
    return max(free)
