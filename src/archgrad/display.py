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
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from archgrad import __version__, measure
from archgrad.baselines import BASELINES
from archgrad.callbacks import Callback, EpochEnd
from archgrad.config import SearchConfig
from archgrad.folder import read_lines
from archgrad.kernels import native
from archgrad.loops import keep_freed_memory, resolve_device
from archgrad.wording import sizes

if TYPE_CHECKING:
    from archgrad.folder import Run
    from archgrad.result import SearchResult


class Display(Callback):
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
            TextColumn("{task.fields[step]}{task.fields[note]}"),
            console=self.console,
            disable=not self.live,
        )
        search, self.done = run.config.search, len(read_lines(run.path / "metrics.jsonl"))
        hidden: dict[str, Any] = {"visible": False, "start": False, "step": "", "note": ""}
        epochs = search.epochs if search and search.method not in BASELINES else None
        self.searching = self.progress.add_task("search ", total=epochs, **hidden)
        self.training = self.progress.add_task("retrain", total=None, **hidden)
        self.told = 0.0

    def __enter__(self) -> Self:
        config = self.run.config
        parts = [f"archgrad {__version__}"]
        if (search := config.search) is not None:
            size = " x ".join(sizes(search))
            parts += [search.method, f"{search.space} {size}"]
        if (section := config.search or config.train) is not None:
            threads = f"{section.threads} thread{'s' if section.threads > 1 else ''}"
            parts += [config.data.data, f"{resolve_device(section.device)}, {threads}"]
            parts += ["bf16"] if section.precision == "bf16" else []
        if search is not None:
            parts.append(self._kernels(search))
        self.console.print(" | ".join(parts), soft_wrap=True)
        self.progress.start()
        keep_freed_memory()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def _kernels(self, search: SearchConfig) -> str:
        """Which kernels are in use, a few words; built now where they never were."""
        device = resolve_device(search.device)
        with native.use(search.kernel):
            if native.to_build(device):
                self.console.print("building native kernels, once (about 20 s) ...")
            return native.note(device)

    def _show(self, task: TaskID, **fields: Any) -> None:
        self.progress.start_task(task)
        self.progress.update(task, visible=True, **fields)

    def step(self, done: int, steps: int) -> None:
        """A search step is done."""
        if self.live:
            completed = self.done + done / steps
            self._show(self.searching, completed=completed, step=f"step {done}/{steps}  ")

    def epoch_end(self, event: EpochEnd) -> None:
        """A search epoch is done."""
        metrics, self.done = event.metrics, event.epoch
        judge = measure.of(metrics, "valid_")
        valid = judge.brief(metrics[f"valid_{judge.name}"])
        skips = f"skips {100 * metrics['skip_share']:.0f} %  " if judge is measure.ACCURACY else ""
        note = (
            f"train {metrics['train_loss']:.3f}  valid {valid}  "
            f"{skips}entropy {metrics['entropy']:.3f}"
        )
        if self.live:
            self._show(self.searching, completed=self.done, step="", note=note)
        else:
            self.console.print(f"search   {self.done}/{event.epochs}  {note}", soft_wrap=True)

    def evaluated(self, line: Mapping[str, Any], share: float) -> None:
        """A baseline has scored an architecture; ``share``: of the budget that is spent."""
        judge = measure.of(line)
        name = judge.name if judge.name in line else "score"
        score = "failed" if line["failed"] else f"{name} {judge.shown(line[name])}"
        note = f"{score}  {share:.0%} of the budget"
        if self.live:
            self._show(self.searching, completed=line["evaluation"], step="", note=note)
        else:
            self.console.print(f"search   {line['evaluation']}  {note}", soft_wrap=True)

    def warning(self, text: str) -> None:
        """The search has something to say."""
        self.console.print(f"note     {text}", soft_wrap=True, markup=False)

    def searched(self, result: SearchResult) -> None:
        """The search is done: show the cells."""
        if result.stopped is not None:
            self.console.print(f"stopped  {result.stopped}", soft_wrap=True, markup=False)
        for cell in result.architecture.cells:
            self.console.print(f"found    {cell}", soft_wrap=True)

    def retraining(self, epochs: int, total: int) -> None:
        """Of all epochs of all retrainings, this many are done."""
        if self.live:
            self._show(self.training, total=total, completed=epochs, note="epochs")
        elif epochs == total or time.monotonic() - self.told >= 10:
            self.told = time.monotonic()
            self.console.print(f"retrain  {epochs}/{total} epochs")
