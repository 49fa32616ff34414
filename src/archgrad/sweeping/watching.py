"""Progress of a sweep: a line of each search that has ended, with the time left."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console

from archgrad.measure import MEASURES
from archgrad.searching.timeleft import clock
from archgrad.sweeping import grid
from archgrad.sweeping.engine import Sweep
from archgrad.sweeping.trial import Trial


class Watching:
    """Time left is what was measured, times what is left: trials are supposed to take alike."""

    def __init__(
        self, sweep: Sweep, to: Console, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.sweep, self.console, self.now, self.began = sweep, to, now, now()
        self.ends = 0
        self._print(f"sweep  {len(sweep.trials)} searches")

    def ended(self, trial: Trial, done: int, total: int) -> None:
        """A search has ended, or failed."""
        self.ends += 1
        names = self.sweep.config.vary
        options = " ".join(f"{name}={grid.value(trial.config, name)}" for name in names)
        each = (self.now() - self.began) / self.ends
        left = f"  {clock(each * (total - done))} left" if done < total else ""
        self._print(f"sweep  {done}/{total}  {options}  {self._found(trial)}{left}")

    def _found(self, trial: Trial) -> str:
        found = trial.ended()
        if (known := found.get("validation")) is not None:
            return MEASURES[found["measure"]].whole(known)
        return str(found["status"])

    def _print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False)
