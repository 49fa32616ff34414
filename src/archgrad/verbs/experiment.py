"""The main job: search, derive, retrain from scratch, test, and compare with random cells."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from archgrad import measure
from archgrad.architecture import Architecture
from archgrad.costing.cost import Cost, cost
from archgrad.data import Data
from archgrad.errors import ArchgradError, stored
from archgrad.exporting.formats import export_to
from archgrad.exporting.subjects import subject_of
from archgrad.exporting.trained import of_folder
from archgrad.measure import ACCURACY, Measure
from archgrad.preparing.prepared import Prepared, prepare
from archgrad.reporting.ending import leave_drawing
from archgrad.resources.budget import CostReport
from archgrad.retraining.processes import Progress, retrain_all, silent
from archgrad.retraining.scratch import Score, check, retrainings
from archgrad.retraining.sizing import retrained
from archgrad.searching.callbacks import Callback
from archgrad.searching.result import SearchResult
from archgrad.settings.config import OWN, RunConfig
from archgrad.spaces import SearchSpace
from archgrad.statistics import Comparison, compare, spread
from archgrad.storage.files import write
from archgrad.storage.folder import Run
from archgrad.system.loops import resolve_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RANDOM_STREAM = 7919  # keeps the draw of random cells apart from the search's own seed
DRAWS_PER_CELL = 100  # before a space is held to have too few different cells


@dataclass(frozen=True)
class Report:
    """What the main job found: scores by label ("found", "random-1", ...), costs, comparison."""

    search: SearchResult
    scores: dict[str, list[Score]]
    costs: dict[str, Cost]
    comparison: Comparison
    search_seconds: float
    limit: CostReport | None = None  # of cost, and whether the found cell meets it
    model: str = ""  # what was exported, or why nothing was

    @property
    def random(self) -> list[str]:
        """Labels of the random cells."""
        return [label for label in self.scores if label != "found"]

    @property
    def measure(self) -> Measure:
        """What the networks are judged by."""
        return measure.of(self.scores["found"][0])

    def values(self, label: str) -> list[float]:
        """That of each seed of a cell."""
        return measure.values(self.scores[label])

    def plot(self, width: float = 6.75) -> Figure:
        """The found cell among the random ones, as a figure `width` inches wide, as of a search.

        The measure of every seed with the mean of each cell, and the means over the parameters.
        """
        from archgrad.reporting.figures import of_run

        return of_run(self, width)

    def _repr_html_(self) -> str:
        from archgrad.reporting.markup import of_run

        return of_run(self, rows(self), verdict(self))


@dataclass(frozen=True)
class MainJob:
    """A main job that has passed every check: the search, the random cells, the retraining."""

    search: Prepared
    random: list[Architecture]
    space: SearchSpace  # at the size of the retraining

    def cells(self, result: SearchResult) -> dict[str, Architecture]:
        """What is retrained, by label: the found cell and the random ones."""
        random = {f"random-{i}": cell for i, cell in enumerate(self.random, start=1)}
        return {"found": result.architecture, **random}

    def retrained(
        self, result: SearchResult, folder: Path | None, progress: Progress = silent
    ) -> Iterator[Score]:
        """The score of every retraining of every cell, as it comes."""
        config, data = self.search.config, self.search.data
        assert config.train is not None and isinstance(data, Data)
        cells = self.cells(result).items()
        jobs = [
            one for label, cell in cells
            for one in retrainings(label, cell, self.space, config.train, folder)
        ]  # fmt: skip
        own = (data, self.search.augmentation) if config.data.data == OWN else None
        return retrain_all(jobs, config.data, own, progress)


def prepare_main_job(config: RunConfig, **own: Any) -> MainJob:
    """Refuse, before anything is written, what any step of the main job would refuse later.

    `own`: values from Python, as for `archgrad.preparing.prepared.prepare`.
    """
    if config.search is None or config.train is None or config.random_cells is None:
        raise ArchgradError(
            "this configuration does not hold the main job (search, train and random_cells); "
            "continue a single search with archgrad search --resume"
        )
    search = prepare(config, **own)
    train = config.train.model_copy(update={"device": str(resolve_device(config.train.device))})
    search = replace(search, config=search.config.model_copy(update={"train": train}))
    drawn = draw_random(search.space, config.search.seed, config.random_cells)
    space = retrained(search.space, train)
    assert isinstance(search.data, Data)
    check(space, drawn[0], train, search.data, search.augmentation)
    return MainJob(search, drawn, space)


def main_job(
    run: Run | None,
    job: MainJob,
    callback: Callback | None = None,
    on_search: Callable[[SearchResult], None] = lambda result: None,
    on_retraining: Progress = silent,
) -> Report:
    """Do (or go on with) everything that the run's configuration asks for.

    Nothing is selected by test data: the cell is that of the search's last epoch, the random cells
    are drawn from the seed, every network is tested once after its last epoch. Without a `run`,
    as in all but the first of several processes, nothing is written.
    """
    with nullcontext() if run is None else run.working():
        result = job.search.search(run, callback)
        cells, folder = job.cells(result), None if run is None else run.path / "train"
        if run is not None:
            leave_drawing(result.architecture, run.path, result.strength)
        on_search(result)
        if folder is not None:
            for label, cell in cells.items():
                write(folder / label / "architecture.json", cell.to_json())
        scores: dict[str, list[Score]] = {label: [] for label in cells}
        for score in job.retrained(result, folder, on_retraining):
            scores[score["label"]].append(score)
        for entries in scores.values():
            entries.sort(key=lambda score: score["seed"])
        report = Report(
            search=result,
            scores=scores,
            costs={label: cost(job.space, cell) for label, cell in cells.items()},
            comparison=compare(
                measure.values(scores["found"]),
                [measure.values(e) for label, e in scores.items() if label != "found"],
            ),
            search_seconds=sum(line["seconds"] for line in result.metrics),
            limit=result.cost,
        )
        if run is not None:
            write(run.path / "results.json", json.dumps(as_json(report), indent=2) + "\n")
            report = replace(report, model=_export(run.path))
            write(run.path / "summary.txt", summary(report))
    return report


def _export(path: Path) -> str:
    """The found network as model.py; a line that says so, or why not: results are not lost."""
    try:
        exported = export_to(subject_of(of_folder(path)), "source", path, replace=True)
    except ArchgradError as error:
        return f"No model.py: {error}."
    except OSError as error:
        return f"No model.py: {stored(error)}."
    return (
        "The found network needs no archgrad: model.py with model.safetensors (checked: outputs "
        f"differ by {exported.difference:.1e} at most)."
    )


def draw_random(space: SearchSpace, seed: int, count: int) -> list[Architecture]:
    """`count` different random cells of the space."""
    generator = torch.Generator().manual_seed(RANDOM_STREAM + seed)
    cells: dict[Architecture, None] = {}
    for _ in range(DRAWS_PER_CELL * count):
        cells[space.random_architecture(generator)] = None
        if len(cells) == count:
            return list(cells)
    raise ArchgradError(
        f"space {space.name} does not have {count} different cells; ask for fewer --random-cells"
    )


def as_json(report: Report) -> dict[str, object]:
    """The machine-readable form, results.json."""
    comparison, limit = report.comparison, report.limit
    bounded = math.isfinite(comparison.low)
    return {
        "scores": report.scores,
        "costs": {label: vars(value) for label, value in report.costs.items()},
        "found_minus_random": comparison.difference,
        "interval_95": [comparison.low, comparison.high] if bounded else None,
        "distinguishable": comparison.distinguishable,
        "search_seconds": report.search_seconds,
        "limit": limit and {**asdict(limit), "met": limit.met},
    }


def rows(report: Report) -> list[list[str]]:
    """The table, header first: the measure with sample standard deviation, times in m:ss."""
    found, title = report.values("found"), f"test {report.measure.title}"
    means = [fmean(report.values(label)) for label in report.random]
    table = [["", title, "over", "parameters", "madds, M", "search", "training"]]
    table.append(_row(report, "found", ["found"], found, "seed", clock(report.search_seconds)))
    table.append(_row(report, "random", report.random, means, "cell"))
    for label in report.random:
        table.append(_row(report, f"  {label}", [label], report.values(label), "seed"))
    return table


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _row(
    report: Report,
    name: str,
    labels: Sequence[str],
    values: Sequence[float],
    unit: str,
    search: str = "-",
) -> list[str]:
    """One line of the table over the cells `labels`, costs averaged and times added up."""
    deviation, shown = spread(values), report.measure.shown
    parameters = fmean(report.costs[label].parameters for label in labels)
    multiply_adds = fmean(report.costs[label].multiply_adds for label in labels)
    seconds = sum(float(score["seconds"]) for label in labels for score in report.scores[label])
    return [
        name,
        shown(fmean(values)) + (f" ± {shown(deviation)}" if math.isfinite(deviation) else ""),
        _count(len(values), unit),
        f"{parameters:,.0f}",
        f"{multiply_adds / 1e6:.2f}",
        search,
        clock(seconds),
    ]


def summary(report: Report) -> str:
    """The table and what may be claimed, as plain text."""
    table = rows(report)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table
    ]
    limit = [] if report.limit is None else [str(report.limit), ""]
    ending = [report.model] if report.model else []
    return "\n".join([*lines, "", *limit, *verdict(report), *ending]) + "\n"


def clock(seconds: float) -> str:
    """Minutes and seconds, m:ss."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def verdict(report: Report) -> list[str]:
    """What may be claimed, in plain sentences."""
    comparison, found, judge = report.comparison, report.scores["found"], report.measure
    tested = judge.tested(found[0])
    grain = f", of which one is {100 / tested:.2f} points" if judge is ACCURACY else ""
    basis = (
        f"{_count(len(found), 'seed')} of the found cell, {len(report.random)} random cells with "
        f"{_count(len(report.scores[report.random[0]]), 'seed')} each"
    )
    gap = f"found - random: {judge.gap(comparison.difference)} {judge.points}"
    if math.isfinite(comparison.low):
        low, high = judge.gap(comparison.low), judge.gap(comparison.high)
        gap += f", 95 % interval [{low}, {high}] (Welch's t; {basis})."
    else:
        gap += f"; no interval can be given ({basis}: too few, or all equal)."
    if comparison.distinguishable:
        word = "better" if judge.better(comparison.difference, 0) else "worse"
        claim = f"The found cell is {word} than the average random cell of this space."
    else:
        claim = "The found cell cannot be told apart from random cells."
    return [
        gap,
        claim,
        "This is about this one cell: one search says nothing about the method. The interval "
        "covers retraining seeds and the draw of random cells, not the draw of the test "
        f"{judge.over} ({tested:,}{grain}).",
    ]
