"""How many epochs fit a budget of multiply-adds or of seconds, from a few steps of the search.

An epoch's steps, evaluation and planned diagnostics are counted, stage by stage, as
`archgrad.resources.planning` does with seconds, where a smaller last batch counts as a whole one. A
selection at the end of the search is in it where it tells its `effort`; what a method gives up and
does again is not. A method that draws which candidates it computes costs another amount each step,
as do segments of text, whose lengths are drawn, and may so end some percent above or below: what it
really spent is in the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

from archgrad.errors import ArchgradError
from archgrad.parts.stage import boundaries
from archgrad.resources.planning import seconds
from archgrad.resources.probe import Need, Wanted, measure
from archgrad.searching.leg import offered, stages
from archgrad.settings import units

MOST = 1_000_000  # epochs
AGAIN = 3


def epochs_within(wanted: Wanted) -> int | None:
    """The most epochs that fit the budget of a search; None where there is none.

    Raises `ArchgradError` where not even the shortest search fits, with what that costs.
    """
    config = wanted.config
    if config.budget is None and config.budget_seconds is None:
        return None
    limit = config.budget_seconds
    if config.budget is not None:
        limit = units.work(config.budget)
    assert limit is not None
    least = _shortest(wanted)
    counted = config.budget is not None
    price = _price(wanted, max(least, config.epochs), counted)
    trial, found = _most(price, limit, least), least - 1
    for _ in range(AGAIN):  # diagnostics are planned for a number of epochs: their share changes
        price = _price(wanted, max(least, trial), counted)
        fitting = _most(price, limit, least)
        found = max(found, min(trial, fitting))
        if fitting <= trial:
            break
        trial = fitting
    if found < least:
        cost = f"{price(least):.3g} {'multiply-adds' if counted else 'seconds'}"
        name, given = ("budget", config.budget) if counted else ("budget_seconds", limit)
        raise ArchgradError(
            f"{name} {given} is too small: the shortest search with these options, epochs {least}, "
            f"costs {cost}; give more, or use fewer channels, cells or images"
        )
    return found


def of_epochs(wanted: Wanted) -> int:
    """Multiply-adds of the epochs that the configuration has."""
    epochs = wanted.config.epochs
    return math.ceil(_price(wanted, epochs, counted=True)(epochs))


def _price(wanted: Wanted, epochs: int, counted: bool) -> Callable[[int], float]:
    """What a number of epochs costs; diagnostics take the share of a search of `epochs`."""
    config = wanted.config.model_copy(update={"epochs": epochs})
    found = measure(wanted._replace(config=config), None)
    need: Need = found.counted() if counted else found

    def price(number: int) -> float:
        bounds = boundaries(stages(wanted.method), number)
        each = tuple(last - first for first, last in pairwise(bounds))
        return sum(seconds(replace(need, epochs=each), wanted)) + selecting

    selecting = _selecting(need, wanted)
    return price


def _selecting(need: Need, wanted: Wanted) -> float:
    """What the selection at the end costs, as far as it tells."""
    effort = getattr(wanted.method.selection, "effort", None)
    if effort is None:
        return 0.0
    found = effort(offered(wanted.space, wanted.method).groups, need.checks)
    step = need.pairs[-1].at(need.images)
    alpha = max(0.0, step.seconds - step.weights) / wanted.method.interval
    epoch = need.steps * (step.weights + alpha)
    return float(found.evaluations * step.forward + found.epochs * epoch)


def _shortest(wanted: Wanted) -> int:
    """The fewest epochs in which every stage has one."""
    for epochs in range(1, 1000):
        with suppress(ArchgradError):
            boundaries(stages(wanted.method), epochs)
            return epochs
    raise ArchgradError("a stage of this method is too short to have an epoch; give it more")


def _most(price: Callable[[int], float], limit: float, least: int) -> int:
    """The largest number of epochs at most at the limit; `least - 1` where there is none."""
    low, high = least - 1, MOST + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if price(middle) <= limit else (low, middle)
    return low
