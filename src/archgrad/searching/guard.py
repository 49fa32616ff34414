"""The collapse guard: looks at the metrics of the epochs so far and says in plain words what ails.

It reads the lines of metrics.jsonl: `epoch`, and as far as they were measured `skip_share`,
`parameter_free_share`, `eigenvalue`, `entropy`, `valid_accuracy` (alpha's half),
`watch_accuracy` (images that neither weights nor alpha see), `watch_images` (their number),
`discrete_accuracy` (the supernet with one-hot mixing weights), `classes`, `operations`
(candidates of an edge), `parameters_percentile` and `multiply_adds_percentile`. What is absent
is not judged: of text no accuracy is there, and perplexities are not judged in their place, since
two pieces of a text differ by themselves, and knowing how often each word comes is already far from
chance.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from archgrad.errors import ArchgradError
from archgrad.networks.choice import NONE, Group
from archgrad.parts.stopping import EigenvalueStop, History, readings
from archgrad.searching.decided import MOVED
from archgrad.searching.diagnostics import PARAMETER_FREE, SKIP

Share = Literal["skip_share", "parameter_free_share"]
Cost = Literal["parameters", "multiply_adds"]
Kind = Literal[
    Share, Cost, "eigenvalue", "discretization", "overfit", "decided early", "undecided",
    "moved",  # which a search itself tells at its end, `archgrad.searching.monitor.undecided`
]  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What ails a search.

    `healthy`: the last epoch before it began, 0 if there is none. `collapse`: whether stopping
    or rolling back to that epoch would mend it.
    """

    kind: Kind
    sentence: str
    healthy: int
    collapse: bool = False


@dataclass(frozen=True)
class Guard:
    """All findings of the latest epoch of a search of `epochs` epochs; stateless.

    `skips`, `parameter_free`: shares of the derived cells above which they take over; halfway
    from a random cell (1/7 and 3/7 in the DARTS space) to a cell of nothing else. The published
    DARTS cells stay below, with at most 0.38 and 0.69. `Guard.of` finds them for any space. Two
    readings in a row must be above, as one epoch's cell can be chance.

    `eigenvalue`: the rule once there are ten readings. Before, and on shorter searches, a reading
    above `growth` times the least so far: in the three published runs of `EigenvalueStop`'s
    fixtures, the first ten readings vary by a factor of up to 3.2 from batch to batch.

    `kept`: least part of the supernet's accuracy above chance that one-hot mixing weights should
    keep without tuning, judged from the middle of the search on: before, little is decided.

    `overfit`: largest healthy gap of accuracy from alpha's half to images that nothing was
    trained on, as a mean over three readings. 0.05 is twice the standard error of 80 %
    accuracy on 256 images; for fewer, `watch_images` widens it to twice the standard error.

    `decided`, `undecided`: entropy of the mixing weights as a part of ln(operations), below
    which they are nearly one-hot (judged in the first half of the search) and above which the
    choice is near a tie (judged at its end). 0.99 of eight operations are alphas with a standard
    deviation of 0.2: the strongest weight of a typical edge is 0.165 instead of 0.125.

    `tail`: percentiles below it or above 1 - `tail` are extreme, as those of one random cell in
    twenty; judged at the end, as in so many epochs one would be extreme by chance.
    """

    epochs: int
    skips: float = 4 / 7
    parameter_free: float = 5 / 7
    eigenvalue: EigenvalueStop = EigenvalueStop()
    growth: float = 4.0
    kept: float = 0.25
    overfit: float = 0.05
    decided: float = 0.1
    undecided: float = 0.99
    tail: float = 0.025

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ArchgradError(f"guard: the search has {self.epochs} epochs, expected 1 or more")

    @classmethod
    def of(cls, epochs: int, groups: Iterable[Group]) -> Guard:
        """The guard of a space: its shares are halfway from a random cell of `groups` to all."""
        groups = tuple(groups)
        skips, free = (_expected(groups, names) for names in ({SKIP}, PARAMETER_FREE))
        return cls(epochs, skips=(1 + skips) / 2, parameter_free=(1 + free) / 2)

    def __call__(self, history: History) -> list[Finding]:
        found = [
            self._share(history, "skip_share", "skip connections", self.skips),
            self._share(
                history, "parameter_free_share", "parameter-free operations", self.parameter_free
            ),
            self._eigenvalue(history),
            self._discretization(history),
            self._overfit(history),
            self._decided_early(history),
            self._undecided(history),
            self._cost(history, "parameters"),
            self._cost(history, "multiply_adds"),
        ]
        return [finding for finding in found if finding is not None]

    def begun(self, history: History) -> list[Finding]:
        """The findings whose kind the epoch before did not have: what to warn of now."""
        before = {finding.kind for finding in self(history[:-1])}
        return [finding for finding in self(history) if finding.kind not in before]

    def last_healthy(self, history: History) -> int:
        """The last epoch before the present collapse, the latest one without any; 0 for none."""
        latest = history[-1]["epoch"] if history else 0
        return min((f.healthy for f in self(history) if f.collapse), default=latest)

    def _share(self, history: History, key: Share, what: str, limit: float) -> Finding | None:
        found = readings(history, key)
        run = 0
        while run < len(found) and found[-1 - run][1] > limit:
            run += 1
        if run < 2:
            return None
        return Finding(
            key,
            f"{what} take over: they are {found[-1][1]:.0%} of the operations of the derived "
            f"cells, above {limit:.0%} since epoch {found[-run][0]}; such cells tend to do badly "
            "when trained from scratch",
            _before(found, run),
            collapse=True,
        )

    def _eigenvalue(self, history: History) -> Finding | None:
        found = readings(history, "eigenvalue")
        if len(found) >= 10:
            verdict = self.eigenvalue(history)
            if verdict is None:
                return None
            return Finding("eigenvalue", f"{verdict.reason}; {_SHARP}", verdict.epoch, True)
        least = min((value for _, value in found if value > 0), default=math.inf)
        run = 0
        while run < len(found) and found[-1 - run][1] > self.growth * least:
            run += 1
        if not run:
            return None
        return Finding(
            "eigenvalue",
            f"the dominant eigenvalue of the validation loss over alpha grew from {least:.3g} to "
            f"{found[-1][1]:.3g}, more than {self.growth:g} times; {_SHARP}",
            _before(found, run),
            collapse=True,
        )

    def _discretization(self, history: History) -> Finding | None:
        lines = [
            line
            for line in history
            if None not in (line.get(k) for k in ("valid_accuracy", "discrete_accuracy", "classes"))
            and line["epoch"] > self.epochs / 2
            # a supernet that has learned nothing cannot lose it
            and line["valid_accuracy"] - 1 / line["classes"] >= 0.2 * (1 - 1 / line["classes"])
        ]
        kept = [
            (line["discrete_accuracy"] - 1 / line["classes"])
            / (line["valid_accuracy"] - 1 / line["classes"])
            for line in lines
        ]
        if not kept or kept[-1] >= self.kept:
            return None
        return Finding(
            "discretization",
            f"the supernet is right on {lines[-1]['valid_accuracy']:.1%} of the images, with the "
            f"derived operations alone on {lines[-1]['discrete_accuracy']:.1%} (chance is "
            f"{1 / lines[-1]['classes']:.1%}): its accuracy says little of the derived cells",
            max((line["epoch"] for line, k in zip(lines, kept) if k >= self.kept), default=0),
        )

    def _overfit(self, history: History) -> Finding | None:
        lines = [
            line
            for line in history
            if line.get("valid_accuracy") is not None and line.get("watch_accuracy") is not None
        ]
        gaps = [
            fmean(line["valid_accuracy"] - line["watch_accuracy"] for line in lines[i - 3 : i])
            for i in range(3, len(lines) + 1)
        ]
        if not gaps:
            return None
        right, images = lines[-1]["watch_accuracy"], lines[-1].get("watch_images") or math.inf
        limit = max(self.overfit, 2 * math.sqrt(right * (1 - right) / images))
        if gaps[-1] <= limit:
            return None
        good = [line["epoch"] for line, gap in zip(lines[2:], gaps) if gap <= limit]
        return Finding(
            "overfit",
            f"the alphas fit their own half of the data: accuracy there is {100 * gaps[-1]:.1f} "
            "points above that on images nothing was trained on (mean of three readings)",
            good[-1] if good else 0,
        )

    def _decided_early(self, history: History) -> Finding | None:
        found = [entry for entry in _certainty(history) if entry[0] <= self.epochs / 2]
        if not found or history[-1]["epoch"] > self.epochs / 2 or found[-1][1] >= self.decided:
            return None
        return Finding(
            "decided early",
            f"the mixing weights are nearly one-hot in epoch {found[-1][0]} of {self.epochs}: the "
            "operations that were ahead first leave the others nothing to learn from",
            max((epoch for epoch, part in found if part >= self.decided), default=0),
        )

    def _undecided(self, history: History) -> Finding | None:
        found = _certainty(history)
        if not found or history[-1]["epoch"] < self.epochs or found[-1][1] <= self.undecided:
            return None
        if history[-1].get("moved", MOVED) < MOVED:  # which the search itself says
            return None
        return Finding(
            "undecided",
            f"the mixing weights are still near a tie at the end, with {found[-1][1]:.1%} of the "
            "largest possible entropy: the derived cells are little better founded than random "
            "ones; search longer or with a larger learning rate of alpha",
            max((epoch for epoch, part in found if part <= self.undecided), default=0),
        )

    def _cost(self, history: History, what: Cost) -> Finding | None:
        found = readings(history, f"{what}_percentile")
        if not found or history[-1]["epoch"] < self.epochs:
            return None
        if self.tail <= found[-1][1] <= 1 - self.tail:
            return None
        value = found[-1][1]
        words = what.replace("_", "-")
        light = f"light: fewer {words} than {1 - value:.1%}"
        heavy = f"heavy: more {words} than {value:.1%}"
        return Finding(
            what,
            f"the derived cells are {light if value < 0.5 else heavy} of random cells; compare "
            "their accuracy with random cells of that size",
            max((epoch for epoch, p in found if self.tail <= p <= 1 - self.tail), default=0),
        )


_SHARP = "discretization may lose what the supernet learned"


def _before(found: list[tuple[int, float]], run: int) -> int:
    """The epoch of the reading before the last `run`."""
    return found[-1 - run][0] if run < len(found) else 0


def _certainty(history: History) -> list[tuple[int, float]]:
    """(epoch, entropy / ln(operations)) where there is more than one operation."""
    return [
        (line["epoch"], line["entropy"] / math.log(line["operations"]))
        for line in history
        if readings([line], "entropy") and line.get("operations", 0) > 1
    ]


def _expected(groups: Iterable[Group], names: Collection[str]) -> float:
    """The share of `names` in cells of random edges with random operations, none left out."""
    shares = []
    for group in groups:
        for row in group.candidates:
            real = [name for name in row if name != NONE]
            shares.append(sum(name in names for name in real) / max(1, len(real)))
    return fmean(shares)
