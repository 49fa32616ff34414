"""Figures for papers: vector, legible without color, one or two columns wide.

Colors are those of Okabe and Ito, "Color Universal Design" (2008); what they tell apart, dashes or
markers tell apart too. A figure has no title: its caption says what it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import TYPE_CHECKING

from archgrad.architecture import Architecture
from archgrad.errors import ArchgradError
from archgrad.reporting import panels
from archgrad.reporting.layout import FONT, PAPER, Layout, Strength, layouts
from archgrad.reporting.panels import Line, Panel, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from archgrad.findings.results import Results
    from archgrad.searching.result import SearchResult
    from archgrad.verbs.experiment import Report

POINTS = 72  # an inch
SIZE, SMALL = 7.0, 6.0  # points: text, and what stands at ticks and in legends
WIDE, HEIGHT, LOW = 2.1, 1.8, 1.4  # inches: least width of a panel; height, and in one column
MARKED = 8  # markers on a line at most


@contextmanager
def _sheet(width: float, height: float, constrained: bool = True) -> Iterator[Figure]:
    """An empty figure of this size in inches, and the settings to draw on it with."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ArchgradError(
            'matplotlib is not installed, and figures need it: pip install "archgrad[plot]"'
        ) from None
    from archgrad.reporting.paper import PaperFigure, settings

    with settings():
        made = PaperFigure(figsize=(width, height), layout="constrained" if constrained else None)
        yield made


def _checked(width: float) -> float:
    if not isinstance(width, Real) or not 1 <= width <= 40:
        raise ArchgradError(
            f"a figure of width {width} was asked for; expected inches, such as 3.25 for a "
            "column or 6.75 for a page"
        )
    return width


def of_architecture(
    architecture: Architecture, width: float, strength: Strength | None = None
) -> Figure:
    """The cells, side by side where there is room, at most `width` inches wide."""
    points = POINTS * _checked(width)
    scale = SIZE / FONT
    spacing = PAPER._replace(picture=points / scale)
    if len(architecture.cells) == 1:
        spacing = spacing._replace(title=0.0)  # the caption says its name
    lines = _wrapped(layouts(architecture, strength, spacing), points / scale)
    whole = max(sum(picture.width for picture in line) for line in lines)
    heights = [max(picture.height for picture in line) for line in lines]
    scale = min(scale, points / whole)
    size = scale * whole / POINTS, scale * sum(heights) / POINTS
    with _sheet(*size, constrained=False) as figure:
        from archgrad.reporting.painting import paint

        top = sum(heights)
        for line, height in zip(lines, heights, strict=True):
            left = 0.0
            for picture in line:
                corner = left / whole, (top - picture.height) / sum(heights)
                frame = (*corner, picture.width / whole, picture.height / sum(heights))
                paint(figure.add_axes(frame), picture, scale)
                left += picture.width
            top -= height
    return figure


def _wrapped(pictures: Sequence[Layout], limit: float) -> list[list[Layout]]:
    """Lines of pictures that are no wider than `limit`, as words of a text."""
    lines: list[list[Layout]] = [[]]
    for picture in pictures:
        if lines[-1] and sum(p.width for p in lines[-1]) + picture.width > limit:
            lines.append([])
        lines[-1].append(picture)
    return lines


def of_search(result: SearchResult, width: float) -> Figure:
    """How a search went; see `SearchResult.plot`."""
    found = panels.of_search(result)
    if not found:
        raise ArchgradError(
            "this search has no epochs to plot; plot its architecture, or search for longer"
        )
    with _grid(width, len(found)) as (figure, axes):
        for one, panel in zip(axes, found, strict=True):
            _draw(one, panel)
    return figure


def of_run(report: Report, width: float) -> Figure:
    """The found cell among random ones; see `Report.plot`."""
    rows, panel = panels.of_run(report)
    with _grid(width, 2) as (figure, (first, second)):
        _draw_rows(first, rows, f"test {report.measure.title}")
        _draw(second, panel)
    return figure


def of_comparison(results: Results, width: float) -> Figure:
    """The methods of a comparison side by side; see `Results.plot`."""
    found = [(data, *panels.of_comparison(results, data)) for data in results.settings.data]
    found = [part for part in found if part[1]]
    if not found:
        raise ArchgradError(
            "no search of this comparison is done, so there is nothing to plot; finish it with "
            "archgrad compare --resume"
        )
    several = len(results.settings.data) > 1
    with _grid(width, sum(1 + bool(panel.lines) for _, _, panel in found)) as (figure, axes):
        left = iter(axes)
        for data, rows, panel in found:
            where = f"{data}: " if several else ""
            _draw_rows(next(left), rows, f"{where}test {results.judge.title}")
            if panel.lines:
                _draw(next(left), panel._replace(x=f"{where}{panel.x}"))
    return figure


@contextmanager
def _grid(width: float, count: int) -> Iterator[tuple[Figure, list[Axes]]]:
    """`count` axes in as many columns as fit, filled line by line."""
    columns = max(1, min(count, int(_checked(width) / WIDE)))
    if count % columns and count % 2 == 0 and columns > 2:
        columns = 2
    lines = math.ceil(count / columns)
    with _sheet(width, (HEIGHT if columns > 1 else LOW) * lines) as figure:
        yield figure, [figure.add_subplot(lines, columns, i + 1) for i in range(count)]


def _draw(axes: Axes, panel: Panel) -> None:
    for line in panel.lines:
        _draw_line(axes, line)
    for index, mark in enumerate(panel.marks):
        axes.axvline(mark, color="0.6", lw=0.6, dashes=(1, 2))
        top, label = axes.get_xaxis_transform(), "" if index else "the guard warns"
        axes.plot([mark], [1.0], "kv", ms=4, ls="", transform=top, clip_on=False, label=label)
    axes.set(xlabel=panel.x, ylabel=panel.y)
    _finish(axes)
    axes.ticklabel_format(useOffset=False)
    axes.locator_params(axis="x", integer=panel.x in ("epoch", "evaluation"))
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.15, 1.0), ncols=2)  # meets no line


def _draw_line(axes: Axes, line: Line) -> None:
    color, dashes, marker = line.look
    every = max(1, math.ceil(len(line.x) / MARKED))
    axes.plot(
        line.x, line.y, color=color, marker=marker, markerfacecolor="white", markeredgewidth=0.7,
        ls="" if line.kind == "dots" else (0, dashes or None), label=line.label,
        markevery=1 if line.kind == "dots" else every,
        drawstyle="steps-post" if line.kind == "steps" else "default",
    )  # fmt: skip


def _draw_rows(axes: Axes, rows: Sequence[Row], title: str) -> None:
    """A line a row, the first on top: every value, the mean, and its interval."""
    for place, row in enumerate(rows):
        axes.plot(row.values, [place] * len(row.values), "o", mfc="white", mec="0.4", label="")
        if row.interval is not None:
            axes.plot(row.interval, [place, place], "-", color="black", lw=0.8)
        axes.plot([row.mean], [place], "D", color=panels.COLORS[0], ms=4)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set(xlabel=title, ylim=(len(rows) - 0.5, -0.5))
    _finish(axes)


def _finish(axes: Axes) -> None:
    """Said again for ticks, which matplotlib makes when it draws."""
    axes.tick_params(labelsize=SMALL, width=0.6, length=2.5)
