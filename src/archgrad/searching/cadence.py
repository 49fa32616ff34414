"""When diagnostics are taken: by counted passes, never by the clock.

The unit is the forward pass of one batch. A backward pass counts 2, so a gradient 3, and a
Hessian-vector product two gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from archgrad.errors import ArchgradError

FORWARD, GRADIENT, HESSIAN_VECTOR = 1, 3, 6


@dataclass(frozen=True)
class Diagnostic:
    """What a measurement costs in `passes`, and the least `interval` in epochs between two."""

    passes: float
    interval: int = 1

    def __post_init__(self) -> None:
        if not self.passes >= 0 or self.interval < 1:
            raise ArchgradError(
                f"diagnostic: found {self.passes} passes every {self.interval} epochs; expected "
                "passes of 0 or more and an interval of at least 1"
            )


@dataclass(frozen=True)
class Cadence:
    """The `epochs` of each diagnostic, counted from 1, and their `share` of the search."""

    epochs: dict[str, tuple[int, ...]]
    share: float


def cadence(
    diagnostics: Mapping[str, Diagnostic],
    *,
    epochs: int,
    steps: int,
    gradients: float,
    budget: float = 0.05,
) -> Cadence:
    """The epochs after which each diagnostic is taken, together at most `budget` of the search.

    `steps` an epoch, `gradients` a step (two in first-order DARTS: one of alpha, one of the
    weights). Each is taken after the first epoch, then at a fixed interval, and after the last,
    which may come sooner. Every diagnostic is sure of start, middle and end; what is left of the
    budget is shared equally, and what one does not need goes to the others. Where the budget does
    not reach for start, middle and end, every diagnostic that costs anything has exactly those:
    then `share` is above the budget.
    """
    if min(epochs, steps) < 1 or not gradients > 0:
        raise ArchgradError(
            f"cadence: found {epochs} epochs of {steps} steps with {gradients} gradients; expected "
            "at least one of each"
        )
    total = epochs * steps * gradients * GRADIENT
    sparse = _spread(epochs, epochs)
    spare = max(0.0, budget * total - len(sparse) * sum(d.passes for d in diagnostics.values()))

    def extra(name: str, every: int) -> float:
        """What an interval costs beyond start, middle and end."""
        return diagnostics[name].passes * (len(_spread(epochs, every)) - len(sparse))

    wanted = {name: extra(name, d.interval) for name, d in diagnostics.items()}
    every: dict[str, int] = {}
    for name in sorted(wanted, key=lambda name: (wanted[name], name)):
        allowed = spare / (len(wanted) - len(every))
        every[name] = diagnostics[name].interval
        while extra(name, every[name]) > allowed:
            every[name] += 1
        spare -= extra(name, every[name])
    found = {name: _spread(epochs, every[name]) for name in diagnostics}
    spent = sum(len(found[name]) * d.passes for name, d in diagnostics.items())
    return Cadence(found, spent / total)


def _spread(epochs: int, every: int) -> tuple[int, ...]:
    """As `regular`; or start, middle and end, where that is no fewer."""
    found = regular(epochs, every)
    return found if len(found) > 3 else tuple(sorted({1, (1 + epochs) // 2, epochs}))


def regular(epochs: int, every: int) -> tuple[int, ...]:
    """Epochs 1, 1 + every, ... and the last."""
    return tuple(sorted({*range(1, epochs + 1, every), epochs}))
