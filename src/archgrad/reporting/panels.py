"""What a figure of a search shows, as plain lines: nothing here draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from archgrad.measure import MEASURES
from archgrad.reporting.courses import Course, courses
from archgrad.reporting.layout import NEUTRAL, brief, style

if TYPE_CHECKING:
    from archgrad.findings.results import Results
    from archgrad.searching.result import SearchResult
    from archgrad.verbs.experiment import Report

# Okabe and Ito, "Color Universal Design" (2008), without the yellow, which white paper swallows
COLORS = ("#0072b2", "#d55e00", "#009e73", "#000000", "#cc79a7", "#e69f00", "#56b4e9")
DASHES: tuple[tuple[float, ...], ...] = ((), (4.0, 1.5), (1.0, 1.5), (6.0, 1.5, 1.0, 1.5))
MARKERS = "os^Dv*PX<>"
LABELS = 8  # in a legend; more say nothing


class Look(NamedTuple):
    """A line's color, its dashes and its marker; the last two tell lines apart in grey."""

    color: str
    dashes: tuple[float, ...] = ()
    marker: str = ""


class Line(NamedTuple):
    """One line; without a `label` it is not in the legend; `kind`: how points are joined."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    look: Look
    kind: Literal["line", "dots", "steps"] = "line"


class Panel(NamedTuple):
    """Axes with their lines; `marks`: where the guard warned."""

    x: str
    y: str
    lines: tuple[Line, ...]
    marks: tuple[float, ...] = ()


class Row(NamedTuple):
    """The values of a method, or of a cell, with their mean and its interval, if one is known."""

    label: str
    values: tuple[float, ...]
    mean: float
    interval: tuple[float, float] | None = None


def look(index: int) -> Look:
    """The look of a line; of 20 no two have dashes and marker alike."""
    pick = index % len(COLORS), index % len(DASHES), index % len(MARKERS)
    return Look(COLORS[pick[0]], DASHES[pick[1]], MARKERS[pick[2]])


def of_search(result: SearchResult) -> list[Panel]:
    """The panels of a search, without those of which nothing was measured."""
    if result.metrics and "evaluation" in result.metrics[0]:
        return [_evaluations(result.metrics)]
    names = [key.removeprefix("valid_") for line in result.metrics[:1] for key in line
             if key.startswith("valid_") and key != "valid_loss"]  # fmt: skip
    marks = tuple(float(line["epoch"]) for line in result.metrics if line.get("warnings"))
    found = [_panel("loss", result.metrics, {"train_loss": "train", "valid_loss": "valid"})]
    for name in names:
        judge = MEASURES.get(name)
        found.append(_panel(
            judge.title if judge else name, result.metrics,
            {f"train_{name}": "train", f"valid_{name}": "valid", f"watch_{name}": "watch",
             f"discrete_{name}": "valid, derived"},
            factor=judge.factor if judge else 1.0,
        ))  # fmt: skip
    for key, title in (("entropy", "entropy, nats"), ("eigenvalue", "largest eigenvalue")):
        found.append(_panel(title, result.metrics, {key: ""}, marks=marks))
    found += _strengths(courses(result))
    return [panel for panel in found if panel.lines]


def _panel(
    title: str,
    lines: Sequence[Mapping[str, Any]],
    labels: Mapping[str, str],
    factor: float = 1.0,
    marks: tuple[float, ...] = (),
) -> Panel:
    """Of some keys of metrics.jsonl; one that was not measured in every epoch has its gaps left."""
    found = []
    for index, (key, label) in enumerate(labels.items()):
        known = [(line["epoch"], line[key]) for line in lines if line.get(key) is not None]
        if known:
            x, y = zip(*known)
            found.append(Line(label, x, tuple(factor * value for value in y), look(index)))
    return Panel("epoch", title, tuple(found), marks)


def _strengths(found: Sequence[Course]) -> list[Panel]:
    """A panel a cell; choices of one edge stand in one panel."""
    sizes = {name: len(list(some)) for name, some in groupby(found, lambda c: c.cell)}
    parts = groupby(found, lambda c: c.cell if sizes[c.cell] > 1 else "")
    return [_courses(cell, list(some)) for cell, some in parts]


def _courses(cell: str, found: Sequence[Course]) -> Panel:
    """A look an operation, or a choice where they are few; then each line is in the legend."""
    few = not cell and len(found) <= LABELS
    names = [f"{c.cell}: {c.operation}" if few else brief(c.operation) for c in found]
    known = sorted(set(names))
    kinds = {style(course.operation) for course in found} - {NEUTRAL}
    lines, labeled = [], set()
    for course, name in zip(found, names, strict=True):
        label = "" if name in labeled or len(known) > LABELS else name
        labeled.add(name)
        index = known.index(name)
        shown = _look(course.operation, index) if len(kinds) > 1 else look(index)
        lines.append(Line(label, course.epochs, course.values, shown))
    return Panel("epoch", f"strength, {cell}" if cell else "strength", tuple(lines))


def _look(operation: str, index: int) -> Look:
    """Color and dashes as in the drawing of the cell, where they say something."""
    line = style(operation)
    return look(index) if line is NEUTRAL else Look(line.color, line.dashes, MARKERS[index % 10])


def _evaluations(lines: Sequence[Mapping[str, Any]]) -> Panel:
    """The scores of a baseline, and the best so far."""
    done = [line for line in lines if not line["failed"]]
    name = next((name for name in MEASURES if done and name in done[0]), "score")
    judge = MEASURES.get(name)
    x = tuple(float(line["evaluation"]) for line in done)
    y = tuple((judge.factor if judge else 1.0) * line[name] for line in done)
    ranks = [(line["share"], line["score"]) for line in done]  # a longer training alone adds
    best = tuple(y[max(range(i + 1), key=ranks.__getitem__)] for i in range(len(y)))
    dots = Line("one architecture", x, y, look(0), kind="dots")
    so_far = Line("best so far", x, best, look(1), kind="steps")
    return Panel("evaluation", judge.title if judge else name, (dots, so_far))


def of_run(report: Report) -> tuple[list[Row], Panel]:
    """The cells of a main job: a row each, and the means over the parameters."""
    judge = report.measure
    rows, lines = [], []
    for label in report.scores:
        values = tuple(judge.factor * value for value in report.values(label))
        rows.append(Row(label, values, math.fsum(values) / len(values)))
    for label, labels, index in (("found", ["found"], 0), ("random", report.random, 1)):
        x = tuple(report.costs[each].parameters / 1e6 for each in labels)
        y = tuple(row.mean for row in rows if row.label in labels)
        lines.append(Line(label, x, y, look(index), kind="dots"))
    return rows, Panel("parameters, millions", f"test {judge.title}", tuple(lines))


def of_comparison(results: Results, data: str) -> tuple[list[Row], Panel]:
    """The methods on a data set: a row each, and the best validation value over spending."""
    from archgrad.findings.statistics import anytime, summaries

    factor = results.judge.factor
    rows = []
    for line in summaries(results):
        if line.data == data and line.mean is not None:
            tested = (entry.test_value for entry in results.of(line.method, data))
            values = tuple(factor * value for value in tested if value is not None)
            interval = None
            if line.low is not None and line.high is not None:
                interval = factor * line.low, factor * line.high
            rows.append(Row(line.method, values, factor * line.mean, interval))
    lines = []
    for index, method in enumerate(results.settings.methods):
        reached = [r for r in anytime(results) if (r.data, r.method) == (data, method)]
        known = [(r.spent, factor * r.value) for r in reached if r.value is not None]
        if known:
            x, y = zip(*known)
            lines.append(Line(method, x, y, look(index)))
    title = results.judge.with_unit(f"best valid {results.judge.name}")
    return rows, Panel(f"{results.budget.unit} spent", title, tuple(lines))
