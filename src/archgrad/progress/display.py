"""Progress in the terminal: a live line and the cells below it, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from archgrad import __version__, measure
from archgrad.baselines import BASELINES
from archgrad.kernels import native
from archgrad.progress.compact import changed, compact
from archgrad.progress.terminal import console, lively
from archgrad.progress.wording import sizes
from archgrad.searching.callbacks import Beginning, Callback, EpochEnd
from archgrad.searching.timeleft import BudgetTime, Left, SearchTime, TrainingTime
from archgrad.settings.config import RunConfig, SearchConfig
from archgrad.system.allocation import keep_freed_memory
from archgrad.system.loops import resolve_device

if TYPE_CHECKING:
    from archgrad.searching.result import SearchResult
    from archgrad.storage.folder import Run

SEARCH = "search"
EVERY = 0.5  # seconds between two looks at the time left


class Lines(Progress):
    """A live line of progress; below it, wrapped, what is said of it, and other lines."""

    def __init__(self, out: Console) -> None:
        self.below: Sequence[str] = ()
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),  # a terminal of 40 columns has room for it
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=out,
            disable=not lively(out),
        )

    def stop(self) -> None:
        """What was below them goes with the end."""
        self.below = ()
        super().stop()

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            if task.visible:
                yield self.make_tasks_table([task])
                words = filter(None, (task.fields[name] for name in ("left", "step", "note")))
                yield Padding(Text("  ".join(words)), (0, 0, 0, 2))
        for line in self.below:
            text = Text(line)
            text.highlight_regex(r"\*\S+", "bold")
            yield Padding(text, (0, 0, 0, 2))


class Display(Callback):
    """Shows a run as it goes, on standard error, so that standard output holds results alone.

    In Python pass it on as a callback. `run`: whose options stand in the first line; `quiet`:
    warnings alone; `now`: a clock, in seconds. In a terminal there is a live line with the cells
    below it, elsewhere a line an epoch.

    >>> import archgrad, torch
    >>> x, y = torch.randn(16, 4), torch.arange(16) % 2
    >>> block = {"linear": torch.nn.Linear(4, 4), "skip": torch.nn.Identity()}
    >>> model = torch.nn.Sequential(archgrad.Choice(block, "block"), torch.nn.Linear(4, 2))
    >>> small = {"epochs": 2, "batch_size": 4, "guard": "off"}
    >>> result = archgrad.search(model, train=(x, y), callbacks=[archgrad.Display()], **small)
    """

    def __init__(
        self,
        run: Run | None = None,
        quiet: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run, self.now = run, now
        self.console = console(sys.stderr, quiet)
        self.always = console(sys.stderr)
        self.live = lively(self.console) and not quiet
        self.progress = Lines(self.console)
        self.name, self.done = SEARCH, 0
        fields = {"step": "", "note": "", "left": ""}
        hidden: dict[str, Any] = {"visible": False, "start": False, **fields}
        self.searching = self.progress.add_task("search ", total=None, **hidden)
        self.training = self.progress.add_task("retrain", total=None, **hidden)
        self.time: SearchTime | None = None
        self.budget, self.retrained = BudgetTime(), TrainingTime(now)
        self.told = self.looked = 0.0
        self.told_of = -1  # epochs of retrainings

    def __enter__(self) -> Self:
        if self.run is not None:
            self._head(self.run.config)
        self.progress.start()
        keep_freed_memory()
        return self

    def _head(self, config: RunConfig) -> None:
        """What runs, in a line."""
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
        self._print(" | ".join(parts))

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
                self._print("building native kernels, once (about 20 s) ...")
            return native.note(device)

    def _print(self, text: str) -> None:
        self.console.print(text, soft_wrap=not self.live, markup=False)

    def _show(self, task: TaskID, **fields: Any) -> None:
        self.progress.start_task(task)
        self.progress.update(task, visible=True, **fields)

    def begin(self, beginning: Beginning) -> None:
        """A search or a retraining begins, or goes on."""
        self.progress.start()
        self.name, self.done = beginning.name, len(beginning.lines)
        config = beginning.config
        whole = isinstance(config, SearchConfig) and config.method in BASELINES
        total = None if whole else config.epochs
        self.progress.update(self.searching, description=f"{self.name:<7}", total=total)
        if beginning.outlook is not None:
            self.time = SearchTime(beginning.outlook, self.now, self.done)

    def step(self, done: int, steps: int) -> None:
        """So many of the `steps` of an epoch are `done`."""
        if self.time is not None:
            self.time.step(self.done, done, steps)
        if self.live:
            completed = self.done + done / steps
            step = f"step {done}/{steps}" if done < steps else "evaluating"
            self._show(self.searching, completed=completed, step=step, **self._left())

    def went_back(self, epoch: int) -> None:
        """The next epoch is the one after this."""
        self.done = epoch

    def _left(self) -> dict[str, str]:
        """That of the search, looked at now and then: it is a sum over all epochs."""
        if self.time is None or self.now() - self.looked < EVERY:
            return {}
        self.looked = self.now()
        return {"left": str(self.time.left())}

    def epoch_end(self, event: EpochEnd) -> None:
        """A search epoch is done."""
        metrics, self.done = event.metrics, event.epoch
        if self.time is not None:
            self.time.epoch_end(self.done - 1)
        note = "  ".join(_said(metrics))
        found = Left() if self.time is None else self.time.left()
        left = str(found) if found != Left() else ""
        if self.live:
            if self.name == SEARCH:
                self.progress.below = compact(event.architecture, event.before)
            self._show(self.searching, completed=self.done, step="", note=note, left=left)
        else:
            ending = f"  {left}" if left else ""
            self._print(f"{self.name:<8} {self.done}/{event.epochs}  {note}{ending}")

    def architecture_changed(self, event: EpochEnd) -> None:
        """The cells are others than an epoch before."""
        if not self.live:
            for line in changed(event.architecture, event.before):
                self._print(f"cells    {line}")

    def evaluated(self, line: Mapping[str, Any], share: float) -> None:
        """A baseline has scored an architecture; `share`: of the budget that is spent."""
        judge = measure.of(line)
        name = judge.name if judge.name in line else "score"
        score = "failed" if line["failed"] else f"{name} {judge.shown(line[name])}"
        note = f"{score}  {share:.0%} of the budget"
        self.budget.evaluated(share, float(line["seconds"]))
        left = str(self.budget.left()) if share < 1 else ""
        if self.live:
            completed = line["evaluation"]
            self._show(self.searching, completed=completed, step="", note=note, left=left)
        else:
            ending = f"  {left}" if left else ""
            self._print(f"search   {line['evaluation']}  {note}{ending}")

    def warning(self, text: str) -> None:
        """The search has something to say; quiet or not."""
        out = self.console if self.live else self.always
        out.print(f"note     {text}", soft_wrap=not self.live, markup=False)

    def end(self) -> None:
        """Of what began; a command goes on with its retrainings."""
        if self.run is None:
            self.progress.stop()

    def searched(self, result: SearchResult) -> None:
        """The search is done: show the cells."""
        self.progress.below = ()
        if self.live:
            self.progress.update(self.searching, left="")
        if result.stopped is not None:
            self._print(f"stopped  {result.stopped}")
        for cell in result.architecture.cells:
            self._print(f"found    {cell}")

    def retraining(self, done: Sequence[int], epochs: Sequence[int], workers: int) -> None:
        """Of the epochs of each retraining so many are done; `workers` go on at a time."""
        number, total = sum(done), sum(epochs)
        found = self.retrained.left(done, epochs, workers)
        left = str(found) if found != Left() else ""
        if self.live:
            note = f"epochs of {len(done)} network{'s' if len(done) > 1 else ''}"
            self._show(self.training, total=total, completed=number, note=note, left=left)
        elif number > self.told_of and (number == total or self.now() - self.told >= 10):
            self.told, self.told_of = self.now(), number
            ending = f"  {left}" if left else ""
            self._print(f"retrain  {number}/{total} epochs{ending}")


def _said(metrics: Mapping[str, Any]) -> Iterable[str]:
    """What a line of progress says of an epoch, as far as it was measured."""
    yield f"train {metrics['train_loss']:.3f}"
    judge = measure.of(metrics, "valid_")
    for name in (key for key in metrics if key.startswith("valid_") and key != "valid_loss"):
        known = name == f"valid_{judge.name}"
        yield f"valid {judge.brief(metrics[name]) if known else f'{metrics[name]:.3f}'}"
    if judge is measure.ACCURACY and "skip_share" in metrics:
        yield f"skips {100 * metrics['skip_share']:.0f} %"
    if "entropy" in metrics:
        yield f"entropy {metrics['entropy']:.3f}"
