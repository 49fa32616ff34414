"""Progress in the terminal: a live line where there is one, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from archgrad import __version__
from archgrad.loops import resolve_device

if TYPE_CHECKING:
    from archgrad.bilevel import SearchResult
    from archgrad.run import Run


class Display:
    """Shows a run as it goes, on standard error, so that standard output holds results alone."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.console = Console(stderr=True, highlight=False)
        self.live = self.console.is_terminal
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not self.live,
        )
        self.search = self.progress.add_task("search  ", total=None, note="", visible=False)
        self.retraining = self.progress.add_task("retrain ", total=None, note="", visible=False)
        self.epochs_done, self.started = 0, time.monotonic()

    def __enter__(self) -> Self:
        config = self.run.config
        parts = [f"archgrad {__version__}"]
        if config.search is not None:
            search = config.search
            parts += [
                search.method,
                f"{search.space} {search.channels} channels x {search.cells} cells",
            ]
        section = config.search or config.train
        if section is not None:
            threads = f"{section.threads} thread{'s' if section.threads > 1 else ''}"
            parts += [config.data.data, f"{resolve_device(section.device)}, {threads}"]
        self.console.print(" | ".join(parts), soft_wrap=True)
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def step(self, done: int, steps: int) -> None:
        """A search step is done; the bar counts epochs, this gives their fraction."""
        if self.live:
            self.progress.update(
                self.search,
                visible=True,
                completed=self.epochs_done + done / steps,
                note=f"step {done}/{steps}",
            )

    def epoch(self, metrics: Mapping[str, Any], epochs: int) -> None:
        """A search epoch is done."""
        self.epochs_done = metrics["epoch"]
        note = (
            f"train {metrics['train_loss']:.3f}  valid {100 * metrics['valid_accuracy']:.1f} %  "
            f"skips {100 * metrics['skip_share']:.0f} %  entropy {metrics['entropy']:.3f}"
        )
        if self.live:
            self.progress.update(
                self.search, visible=True, total=epochs, completed=self.epochs_done, note=note
            )
        else:
            self.console.print(f"search   {self.epochs_done}/{epochs}  {note}", soft_wrap=True)

    def searched(self, result: SearchResult) -> None:
        """The search is done: show the cells."""
        for cell in result.architecture.cells:
            self.console.print(f"found    {cell}", soft_wrap=True)

    def retrained(self, done: int, total: int) -> None:
        """One more retraining is done."""
        if self.live:
            self.progress.update(self.retraining, visible=True, total=total, completed=done)
        else:
            self.console.print(f"retrain  {done}/{total}")
