"""A search in TensorBoard: metrics, histograms of alpha, and the cells as they change."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from archgrad.architecture import Architecture
from archgrad.baselines.value import Scored, best
from archgrad.errors import ArchgradError
from archgrad.reporting.drawing import png
from archgrad.searching.callbacks import Beginning, Callback, EpochEnd
from archgrad.settings.config import SearchConfig
from archgrad.settings.train_config import TrainConfig
from archgrad.storage.files import read_lines

PARTS = ("train", "valid", "discrete", "watch", "alpha")  # of loss, accuracy, ...
COSTS = ("seconds", "memory_mb", "spent", "expected_cost")
COUNTERS = ("epoch", "evaluation")


class TensorBoard(Callback):
    """Writes to `folder`, to be seen with `tensorboard --logdir FOLDER`, also meanwhile.

    Scalars of all numbers of metrics.jsonl, histograms of alpha and of strength by group, the
    drawing of the cells (without matplotlib their text) whenever they change, warnings and options
    as text; the step is the epoch, of a baseline the evaluation. A retraining has a folder of its
    own in it, named after label and seed. What goes on, or goes back to an earlier epoch, replaces
    the steps from there on. Raises `ArchgradError` where tensorboard is not installed (the extra
    `track`).

    Pass it on as a callback: `archgrad.search(...,
    callbacks=[archgrad.TensorBoard("runs/board")])`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.make, self.folder = _summary_writer(), Path(folder)
        self.writer: Any = None
        self.step_now = 1  # of the epoch that runs
        self.early: list[str] = []  # warnings of what has not begun
        self.best: Scored | None = None

    def begin(self, beginning: Beginning) -> None:
        """Open the folder, and write what it misses of a run that goes on."""
        place = self.folder if beginning.name == "search" else self.folder / beginning.name
        new = not any(place.glob("events.out.tfevents.*"))
        self._open(place, len(beginning.lines) + 1)
        self.best = None
        if new:
            self.writer.add_text("options", _table(beginning.config), 0)
        for line in beginning.lines:
            self._note(line, write=new)
        for text in self.early:
            self.writer.add_text("warnings", text, self.step_now)
        self.early = []
        self.writer.flush()

    def went_back(self, epoch: int) -> None:
        """Write anew what comes after this epoch."""
        self._open(Path(self.writer.log_dir), epoch + 1)

    def epoch_end(self, event: EpochEnd) -> None:
        """Numbers and histograms of an epoch."""
        self._note(event.metrics)
        for kind, values in (("alpha", event.alpha), ("strength", event.strength)):
            for group, value in values.items():
                self.writer.add_histogram(f"{kind}/{group}", value, event.epoch)
        self.writer.flush()

    def architecture_changed(self, event: EpochEnd) -> None:
        """A picture of the cells."""
        picture = png(event.architecture)
        if picture is None:
            self.writer.add_text("cells", f"```\n{event.architecture}\n```", event.epoch)
        else:
            from matplotlib.image import imread

            pixels = imread(BytesIO(picture), format="png")
            self.writer.add_image("cells", pixels, event.epoch, dataformats="HWC")
        self.writer.flush()

    def evaluated(self, line: Mapping[str, Any], share: float) -> None:
        """The numbers of a baseline's evaluation, and the best score so far."""
        self._note(line)
        self.writer.flush()

    def warning(self, text: str) -> None:
        """As text, at the epoch in which it is said."""
        if self.writer is None:
            self.early.append(text)
        else:
            self.writer.add_text("warnings", text, self.step_now)
            self.writer.flush()

    def end(self) -> None:
        """Close the files."""
        if self.writer is not None:
            self.writer.close()
        self.writer = None

    def _open(self, place: Path, step: int) -> None:
        """Write to a folder, without what it has of this step and later ones."""
        self.end()
        self.writer, self.step_now = self.make(str(place), purge_step=step), step

    def _note(self, line: Mapping[str, Any], write: bool = True) -> None:
        """The numbers of an epoch or an evaluation."""
        step = next(int(line[name]) for name in COUNTERS if name in line)
        numbers = dict(_scalars(line))
        if "evaluation" in line:
            numbers |= self._best(line)
        for tag, number in numbers.items() if write else ():
            self.writer.add_scalar(tag, number, step)
        self.step_now = step + 1

    def _best(self, line: Mapping[str, Any]) -> dict[str, float]:
        if not line["failed"]:
            kept = json.dumps(line["architecture"])
            new = Scored(Architecture.from_json(kept), line["share"], line["score"])
            self.best = new if self.best is None else best((self.best, new))
        return {} if self.best is None else {"score/best": self.best.score}


def write_retrainings(run: Path, folder: Path) -> None:
    """What worker processes have trained for a run, from its files; earlier steps are replaced."""
    for path in sorted(run.glob("**/seed-*/metrics.jsonl")):
        writer = _summary_writer()(str(folder / path.parent.relative_to(run)), purge_step=0)
        for line in read_lines(path):
            for tag, number in _scalars(line):
                writer.add_scalar(tag, number, line["epoch"])
        writer.close()


def tag(key: str) -> str:
    """Where a number of metrics.jsonl stands: "valid_loss" under "loss/valid"."""
    part, _, what = key.partition("_")
    if what and part in PARTS and what not in ("images", "tokens"):
        return f"{what}/{part}"
    if key == "score":
        return "score/evaluation"
    return f"cost/{key}" if key in COSTS else f"diagnostics/{key}"


def _scalars(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Tag and value of every number, also of those by group."""
    for key, value in line.items():
        if key in COUNTERS or key == "architecture":
            continue
        for name, number in value.items() if isinstance(value, dict) else [("", value)]:
            if isinstance(number, int | float):
                yield tag(key) + (f"/{name}" if name else ""), float(number)


def _table(config: SearchConfig | TrainConfig) -> str:
    """Options in Markdown, one a row."""
    rows = [f"| {name} | `{value}` |" for name, value in config.model_dump(mode="json").items()]
    return "\n".join(["| option | value |", "|---|---|", *rows])


def _summary_writer() -> Any:
    """The ordinary writer's class."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ArchgradError(
            "TensorBoard needs the package tensorboard, which is not installed; expected the extra "
            'packages, so run: pip install "archgrad[track]"'
        ) from None
    return SummaryWriter
