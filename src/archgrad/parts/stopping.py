"""Stop rules: the metrics of the epochs so far -> a verdict, or None to go on.

A rule reads the lines of metrics.jsonl; whatever an epoch does not hold was not measured in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

from archgrad.errors import ArchgradError

__all__ = ["EigenvalueStop", "SkipCount", "StableRanking", "Verdict"]

History = Sequence[Mapping[str, Any]]  # one entry an epoch, in order


@dataclass(frozen=True)
class Verdict:
    """Why to stop, and the `epoch` whose alpha to return: the number of epochs done by then.

    `final`: no recovery follows, as where the guard is told to stop.
    """

    reason: str
    epoch: int
    final: bool = False


StopRule = Callable[[History], Verdict | None]


def readings(history: History, key: str) -> list[tuple[int, float]]:
    """(epoch, value) of the epochs in which `key` was measured, and finite."""
    return [
        (line["epoch"], line[key])
        for line in history
        if line.get(key) is not None and math.isfinite(line[key])
    ]


@dataclass(frozen=True)
class EigenvalueStop:
    """Stop when the dominant eigenvalue has grown: DARTS-ES (arXiv:1909.09656).

    The mean of the last `window` readings of `eigenvalue` is compared with the same mean `distance`
    readings earlier; a ratio above `threshold` stops, and the alpha of the epoch in the middle of
    the earlier window is returned, if more than `first` epochs were done by then. A window that
    begins before the first reading is cut off there. This is the rule of the authors' code, with
    its readings: after epochs 1, 3, 5, ... and the last (0, 2, 4, ... when counted from 0). Their
    paper states it as earlier / now < 0.75 with 5 epochs between. No verdict where the earlier mean
    is not positive: a ratio would mean nothing. `ArchgradError` for numbers that are not above 0.

    >>> from archgrad.parts.stopping import EigenvalueStop
    >>> history = [{"epoch": n, "eigenvalue": 0.1 * 1.2**n} for n in range(1, 30, 2)]
    >>> EigenvalueStop()(history).epoch
    17
    """

    reads: ClassVar[Mapping[str, int]] = {"eigenvalue": 2}  # measured every so many epochs
    threshold: float = 1.3
    window: int = 5
    distance: int = 4
    first: int = 10

    def __post_init__(self) -> None:
        if self.threshold <= 0 or self.window < 1 or self.distance < 1:
            raise ArchgradError(
                f"eigenvalue stop: threshold {self.threshold}, window {self.window} and distance "
                f"{self.distance} must be above 0"
            )

    def __call__(self, history: History) -> Verdict | None:
        found = readings(history, "eigenvalue")
        middle = len(found) - 1 - self.distance - self.window // 2
        if middle < 0 or found[middle][0] <= self.first:
            return None
        now, before = (self._mean(found[: len(found) - back]) for back in (0, self.distance))
        if before <= 0 or not now / before > self.threshold:
            return None
        return Verdict(
            f"the dominant eigenvalue of the validation loss over alpha grew from {before:.3g} to "
            f"{now:.3g} (means of {self.window} readings), a ratio above {self.threshold:g}",
            found[middle][0],
        )

    def _mean(self, found: Sequence[tuple[int, float]]) -> float:
        return fmean(value for _, value in found[-self.window :])


@dataclass(frozen=True)
class SkipCount:
    """Stop when the derived cell has `skips` skip connections or more: DARTS+ (arXiv:1909.06035).

    Reads `skips`, a mapping of cell names to counts. The alpha of that epoch is returned, as in the
    paper, whose criterion is two or more in a normal cell. `ArchgradError` for `skips` below 1 and
    a `cell` that is not there.

    >>> from archgrad.parts.stopping import SkipCount
    >>> SkipCount(skips=2)([{"epoch": 7, "skips": {"normal": 3, "reduce": 0}}]).epoch
    7
    """

    skips: int = 2
    cell: str = "normal"

    def __post_init__(self) -> None:
        if self.skips < 1:
            raise ArchgradError(f"skip count: skips is {self.skips}, expected at least 1")

    def __call__(self, history: History) -> Verdict | None:
        lines = [line for line in history if line.get("skips") is not None]
        if not lines:
            return None
        if self.cell not in lines[-1]["skips"]:
            known = ", ".join(sorted(lines[-1]["skips"]))
            raise ArchgradError(f"skip count: there is no cell {self.cell}; choose one of {known}")
        count = lines[-1]["skips"][self.cell]
        if count < self.skips:
            return None
        return Verdict(
            f"the {self.cell} cell has {count} skip connections, {self.skips} or more",
            lines[-1]["epoch"],
        )


@dataclass(frozen=True)
class StableRanking:
    """Stop when the ranking of the operations has not changed for `epochs` epochs.

    The second criterion of DARTS+ (arXiv:1909.06035). Reads `ranking`, as
    `archgrad.searching.diagnostics.ranking` gives it, and compares for equality alone: it must be
    the same now, `epochs` epochs ago and at every reading between. The alpha of the last one is
    returned. `ArchgradError` for `epochs` below 1.

    >>> from archgrad.parts.stopping import StableRanking
    >>> history = [{"epoch": n, "ranking": [["sep_conv_3x3"]]} for n in range(1, 12)]
    >>> StableRanking(epochs=10)(history).epoch
    11
    """

    epochs: int = 10

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ArchgradError(f"stable ranking: epochs is {self.epochs}, expected at least 1")

    def __call__(self, history: History) -> Verdict | None:
        lines = [line for line in history if line.get("ranking") is not None]
        since = last = lines[-1] if lines else None
        for line in reversed(lines):
            if last is None or line["ranking"] != last["ranking"]:
                break
            since = line
        if last is None or since is None or last["epoch"] - since["epoch"] < self.epochs:
            return None
        return Verdict(
            "the ranking of the operations with parameters has not changed since epoch "
            f"{since['epoch']}",
            last["epoch"],
        )
