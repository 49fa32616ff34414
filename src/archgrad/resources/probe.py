"""A few real steps of a search before it begins: what they need of memory and time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice, pairwise
from math import inf
from statistics import fmean
from typing import NamedTuple

import torch

from archgrad.data import Augmentation, Batches, Data
from archgrad.data.own import OwnData
from archgrad.data.text import TextBatches
from archgrad.errors import ArchgradError, out_of_memory
from archgrad.kernels import native
from archgrad.networks.supernet import Batch
from archgrad.parts.method import Method
from archgrad.searching.bilevel import BilevelSearch
from archgrad.searching.callbacks import Callback
from archgrad.searching.loaders import Loaders, several
from archgrad.settings.config import SearchConfig
from archgrad.spaces import SearchSpace
from archgrad.system.loops import peak_memory_mb, resolve_device, seeded
from archgrad.system.memory import forget_peak
from archgrad.tensors.trees import cut, size

SMALL, LARGER = 4, 16  # images a step where memory may be short
STEPS = 5  # the first to warm up, then in turn of the weights alone and of alpha as well


class Wanted(NamedTuple):
    """A search, as `archgrad.searching.bilevel.bilevel_search` takes it."""

    space: SearchSpace
    data: Data | OwnData
    method: Method
    config: SearchConfig
    augmentation: Augmentation


class Step(NamedTuple):
    """With so many images: peak memory in MB; seconds of a step, its weight step, an evaluation.

    `spent`, `spent_weights`, `spent_forward`: the multiply-adds of these three.
    """

    images: int
    memory: float
    seconds: float
    weights: float
    forward: float
    spent: float = 0.0
    spent_weights: float = 0.0
    spent_forward: float = 0.0

    def counted(self) -> Step:
        """With multiply-adds in place of seconds."""
        return self._replace(
            seconds=self.spent, weights=self.spent_weights, forward=self.spent_forward
        )


class Pair(NamedTuple):
    """The step of one stage at two batch sizes, and a straight line through them."""

    first: Step
    second: Step

    def at(self, images: int) -> Step:
        """The step with so many images; nothing falls as images are added."""
        (x, *low), (right, *high) = self
        slopes = (max(0.0, (b - a) / (right - x)) for a, b in zip(low, high, strict=True))
        values = (b + slope * (images - right) for b, slope in zip(high, slopes, strict=True))
        return Step(images, *values)


@dataclass(frozen=True)
class Need:
    """What a search was measured to need: the `pairs` of its stages and the epochs of each.

    `images` a step; `steps` and `checks`: batches an epoch of the weights' half and of
    evaluation, which hold so many `examples`, of text steps in time; `share`: of the
    diagnostics in all passes.
    """

    images: int
    pairs: tuple[Pair, ...]
    epochs: tuple[int, ...]
    steps: float
    checks: float
    share: float
    examples: tuple[int, int]

    def counted(self) -> Need:
        """With multiply-adds in place of seconds; a smaller last batch counts as what it is."""
        pairs = tuple(Pair(pair.first.counted(), pair.second.counted()) for pair in self.pairs)
        steps, checks = (number / self.images for number in self.examples)
        return replace(self, pairs=pairs, steps=steps, checks=checks)

    def largest(self) -> int:
        """The stage that needs most memory, counted from 0."""
        return max(range(len(self.pairs)), key=lambda i: self.pairs[i].at(self.images).memory)

    def memory(self, images: int) -> float:
        """Peak memory in MB with so many images a step."""
        return max(pair.at(images).memory for pair in self.pairs)


def measure(wanted: Wanted, available: float | None, direct: bool = True) -> Need:
    """Build the search as it will run and make a few steps of each stage at two batch sizes.

    `available`: MB, None: not known; `direct`: at its own batch size where the smaller steps
    say that this takes at most half of what is left. Else, and without it, both sizes are small.
    torch's random state stays as it is. Raises `ArchgradError` where memory runs out.
    """
    device = resolve_device(wanted.config.device)
    try:
        with (
            native.use(wanted.config.kernel),
            seeded(wanted.config.seed, wanted.config.threads, device),
        ):
            return _measure(BilevelSearch(*wanted, device, run=None), available, direct)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
    raise ArchgradError(
        "memory ran out in steps of few images; use fewer channels or cells, or smaller images"
    )


def _measure(search: BilevelSearch, available: float | None, direct: bool) -> Need:
    loaders, share = search.loaders, search.monitor.plan.share
    images = next((size(b) for b in several(loaders.train.epoch(0))), 0)
    search.method = replace(search.method, interval=2)  # steps with and without alpha, in turn
    _step(search, 2)  # what is loaded or compiled once is no part of a step
    pairs = [_pair(search, images, available, direct)]
    for first in search.bounds[1:-1]:
        search.done = first
        search.next_stage()
        pairs.append(_pair(search, images, available, direct))
    epochs = tuple(last - first for first, last in pairwise(search.bounds))
    batches = len(loaders.train), len(loaders.check)
    usual, examples = _sizes(loaders, images)
    return Need(usual, tuple(pairs), epochs, *batches, share, examples)


def _sizes(loaders: Loaders, first: int) -> tuple[int, tuple[int, int]]:
    """How many examples a batch and the epochs hold, where the `first` batch has so many.

    Of text what a batch has are steps of all its streams. Those of training are counted as whole
    segments: the lengths are drawn, and those of alpha's text are not those of the weights'.
    """
    train, check = loaders.train, loaders.check
    if not isinstance(train, TextBatches) or not isinstance(check, TextBatches):
        return first, loaders.examples
    return train.bptt, (train.bptt * len(train), len(check.streams) - 1)


def _pair(search: BilevelSearch, images: int, available: float | None, direct: bool) -> Pair:
    rest = forget_peak(search.device)
    small = _step(search, min(SMALL, max(2, images // 2)))
    each = max((small.memory - rest) / small.images, 1e-3)  # weights and all: rather too much
    safe = inf if available is None else (available - rest) / 2 / each
    if direct and available is not None and images <= safe:
        other = images
    else:
        other = int(max(2, min(images, LARGER, safe)))
    if other == small.images:
        return Pair(Step(0, rest, 0.0, 0.0, 0.0), small)
    return Pair(small, _step(search, other))


def _step(search: BilevelSearch, images: int) -> Step:
    """Some steps with this many images, evaluations, the diagnostics that need most memory."""
    forget_peak(search.device)
    loaders, clock = search.loaders, _Clock(search)
    cut = (_Cut(part, images) for part in (loaders.train, loaders.valid, loaders.check))
    train, valid, check = cut
    search.loaders = replace(loaders, train=train, valid=valid, check=check)
    search.steps(0, rate=0.0, progress=0.0, callback=clock)
    search.monitor.touch(search)
    started, before = time.perf_counter(), search.leg.net.spent
    search.monitor.evaluate(search)
    forward = (time.perf_counter() - started) / STEPS
    counted = (search.leg.net.spent - before) / STEPS
    search.loaders = loaders
    seconds, spent = _step_and_weights(clock.times), _step_and_weights(clock.spent)
    return Step(images, peak_memory_mb(search.device), *seconds, forward, *spent, counted)


def _step_and_weights(at: Sequence[float]) -> tuple[float, float]:
    """The means of whole steps and of those of the weights alone, which take turns."""
    each = [after - before for before, after in pairwise(at)]
    return fmean(each[2::2]), fmean(each[1::2])


@dataclass(frozen=True)
class _Cut:
    """The first images of some batches of at least that many, epoch after epoch."""

    batches: Batches
    images: int
    exact_resume: bool = True

    def __len__(self) -> int:
        return STEPS

    def epoch(self, index: int) -> Iterator[Batch]:
        return islice(self._endless(), STEPS)

    def _endless(self) -> Iterator[Batch]:
        whole = 0  # images of the first batch: the last of an epoch may hold fewer
        for index in count():
            for batch in several(self.batches.epoch(index)):
                whole = whole or size(batch)
                if size(batch) >= min(whole, self.images):
                    yield cut(batch, self.images)
            if not whole:
                return


class _Clock(Callback):
    """When each step ended and what was spent by then, and when the first began."""

    def __init__(self, search: BilevelSearch) -> None:
        self.device, self.net = search.device, search.leg.net
        self.times, self.spent = [time.perf_counter()], [float(self.net.spent)]

    def step(self, done: int, steps: int) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.times.append(time.perf_counter())
        self.spent.append(float(self.net.spent))
