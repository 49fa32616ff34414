"""Progress of a comparison in the terminal: what has ended, what goes on, and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from archgrad.baselines import BASELINES
from archgrad.comparing.engine import Comparison
from archgrad.comparing.jobs import JOB, Job
from archgrad.progress.display import Lines
from archgrad.progress.terminal import console
from archgrad.searching.timeleft import Left, of_jobs
from archgrad.storage.files import EVALUATIONS, METRICS
from archgrad.storage.files import METRICS as TRAINED


class Watching:
    """On standard error: a live line and one of each search that goes on, or a line at its end.

    How long searches took is measured by whole ones of this process alone.
    """

    def __init__(
        self, comparison: Comparison, quiet: bool = False, now: Callable[[], float] = time.time
    ) -> None:
        jobs = comparison.jobs
        self.open = [job for job in jobs if not job.done]
        self.whole = {job.name for job in self.open if not (job.folder / JOB).is_file()}
        self.workers, self.now, self.began = comparison.place.at_a_time, now, now()
        self.took: dict[str, list[float]] = {}
        self.console = console(sys.stderr, quiet)
        self.lines = Lines(self.console)
        self.live = not quiet and not self.lines.disable
        fields: dict[str, Any] = {"step": "", "note": "", "left": ""}
        done = len(jobs) - len(self.open)
        self.task = self.lines.add_task("compare", total=len(jobs), completed=done, **fields)
        self._print(f"compare  {len(jobs)} searches, each with its retrainings")

    def __enter__(self) -> Self:
        self.lines.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.lines.stop()

    def ended(self, job: Job, done: int, total: int) -> None:
        """A search has ended with its retrainings, or failed."""
        if job.done and job.name in self.whole:
            self.took.setdefault(job.kind, []).append(self._since(job))
        self.open = [other for other in self.open if other.name != job.name]
        left = str(self.left()) if self.open else ""
        failed = "" if job.done else ", failed"
        self.lines.update(self.task, completed=done, left=left)
        self._print(f"compare  {done}/{total}  {job.name}{failed}{left and '  ' + left}")

    def look(self) -> None:
        """Show what goes on, where there is a terminal."""
        if self.live:
            self.lines.below = [f"{job.name}: {stand(job)}" for job in self._running()]
            self.lines.update(self.task, left=str(self.left()))

    def left(self) -> Left:
        """Of all searches that have not ended."""
        return of_jobs([(job.kind, self._since(job)) for job in self.open], self.took, self.workers)

    def _running(self) -> list[Job]:
        return [job for job in self.open if self._since(job)]

    def _since(self, job: Job) -> float:
        """Seconds since it began in this process; 0: it did not."""
        path = job.folder / JOB
        begun = path.stat().st_mtime if path.is_file() else 0.0
        return max(0.0, self.now() - begun) if begun >= self.began - 1 else 0.0

    def _print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False)


def stand(job: Job) -> str:
    """How far a search is, by the lines in its folder."""
    if (job.folder / "architecture.json").is_file():
        epochs = job.short + job.train.epochs * job.train.seeds
        return f"retraining, epoch {_lines(job, f'*/seed-*/{TRAINED}')}/{epochs}"
    if job.search.method in BASELINES:
        return f"{_lines(job, EVALUATIONS)} evaluations"
    return f"epoch {_lines(job, METRICS)}/{job.search.epochs}"


def _lines(job: Job, pattern: str) -> int:
    return sum(path.read_bytes().count(b"\n") for path in job.folder.glob(pattern))
