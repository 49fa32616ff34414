"""The geometry of drawn cells: where nodes, edges and labels stand, whoever draws them.

A node stands in the column of its dependency depth and owns the rows of the edges that enter it. An
edge bends to its row right behind its source, then runs straight; its label stands in front of its
target. So no line crosses a node or a label, and no label meets another. A recurrent cell is drawn
with what its first state, node 0, is made of: the input and the previous hidden state. Cells of one
input and one node, the choices of an own model or the layers of a chain, are one picture, a line a
candidate that is kept, in columns.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from archgrad.architecture import RECURRENT, Architecture, Cell
from archgrad.settings.config import OWN

FONT, TITLE, EM_PER_CHARACTER = 12.0, 16.0, 0.6  # lengths are in SVG user units (px)
MARGIN, HEIGHT = 20.0, 34.0  # of the picture; the least height of a node
PITCH, LANE = 24.0, 9.0  # between the edges that enter a node, and that leave it
SPACE, STUB = 16.0, 12.0  # between the nodes of a column; of a line before its label in a list
ARROW, LIFT = 8.0, 4.0  # length of an arrow head; height of a label above its line
ROWS = 12  # of a column of choices, if the picture is wide enough for another
WIDEST, THINNEST = 4.5, 0.75  # lines of the strongest edge, and of the weakest

Point = tuple[float, float]
Row = tuple[str | None, int, int, float]  # operation, source, target, level
Strength = Mapping[tuple[str, str, int, int], float]  # of (cell, operation, source, node)


class Spacing(NamedTuple):
    """Widths of a node, of the bend behind it, and of a picture of choices at most.

    `title`: size of the cell's name, 0 for none; `brief`: whether operations have short labels.
    """

    node: float = 52.0
    gap: float = 72.0
    picture: float = 1000.0
    title: float = TITLE
    brief: bool = False


SCREEN, PAPER = Spacing(), Spacing(node=34.0, gap=34.0, brief=True)


@dataclass(frozen=True)
class Style:
    """A line: its color, its width and its dashes (on, off) in line widths, () for solid."""

    color: str
    width: float = 2.0
    dashes: tuple[float, ...] = ()


# colors: Okabe and Ito, "Color Universal Design" (2008); the first key found in a name decides
STYLES = {
    "sep_conv": Style("#0072b2"),
    "dil_conv": Style("#d55e00", dashes=(5.0, 2.0)),
    "conv": Style("#56b4e9"),
    "pool": Style("#009e73", dashes=(2.5, 3.0)),
    "skip": Style("#000000", dashes=(0.01, 2.2)),
    "tanh": Style("#0072b2"),
    "relu": Style("#d55e00"),
    "sigmoid": Style("#009e73"),
    "identity": Style("#000000", dashes=(0.01, 2.2)),
}
NEUTRAL, CONCATENATION = Style("#777777"), Style("#a6a6a6", width=1.0)


def style(operation: str | None) -> Style:
    """The line of an operation's kind; None is the joining of nodes into the output."""
    if operation is None:
        return CONCATENATION
    return next((line for key, line in STYLES.items() if key in operation), NEUTRAL)


@dataclass(frozen=True)
class Box:
    """A node: its top left corner, size and label, in which `_` starts a subscript.

    `plain`: the label is a name, whose `_` is a character as any other.
    """

    x: float
    y: float
    width: float
    height: float
    label: str
    plain: bool = False

    @property
    def parts(self) -> tuple[str, str]:
        """The label and its subscript."""
        if self.plain:
            return self.label, ""
        base, _, subscript = self.label.partition("_")
        return base, subscript.strip("{}")


@dataclass(frozen=True)
class Edge:
    """A start, then cubic Bezier pieces of two control points and an end each; a head to fill.

    `label` is the middle of the baseline of `text`. The concatenation has no operation and no
    head. `width`: of the line.
    """

    points: tuple[Point, ...]
    operation: str | None = None
    label: Point = (0.0, 0.0)
    head: tuple[Point, ...] = ()
    width: float = CONCATENATION.width
    text: str = ""


@dataclass(frozen=True)
class Layout:
    """The geometry of a cell's picture; y points down."""

    title: str
    width: float
    height: float
    nodes: tuple[Box, ...]
    edges: tuple[Edge, ...]


def layouts(
    architecture: Architecture, strength: Strength | None = None, spacing: Spacing = SCREEN
) -> list[Layout]:
    """The pictures of an architecture, in the order of its cells.

    `strength`: of the edges, all above 0; the width of a line is in proportion to it.
    """
    if architecture.space == OWN:
        spacing = spacing._replace(brief=False)  # the user's own names
    top = max(strength.values(), default=0.0) if strength else 0.0
    widths = {key: _width(value / top) for key, value in (strength or {}).items() if top > 0}
    pictures = []
    for listed, cells in groupby(architecture.cells, _is_choice):
        if listed:
            pictures.append(_listing(list(cells), widths, spacing))
        else:
            pictures += [layout(cell, widths, spacing) for cell in cells]
    return pictures


def _is_choice(cell: Cell) -> bool:
    return cell.inputs == len(cell.nodes) == 1 and cell.name != RECURRENT


def _width(share: float) -> float:
    return max(THINNEST, WIDEST * share)


def layout(cell: Cell, widths: Strength | None = None, spacing: Spacing = SCREEN) -> Layout:
    """Place the nodes and route the edges of `cell`; `widths`: of lines, in px."""
    names, title, shift = _names(cell), printable(cell.name), 0
    mine = {key[1:]: width for key, width in (widths or {}).items() if key[0] == cell.name}
    if cell.name == RECURRENT:
        cell, title, shift = _unrolled(cell), f"{title}: the output is the mean of its nodes", 2
    title = title if spacing.title else ""
    longest = max(len(name) for name in names if "_" not in name)
    spacing = spacing._replace(node=max(spacing.node, longest * FONT / 2 + ARROW))
    texts = [_text(operation, spacing) for operation in cell.operations]
    room = FONT * EM_PER_CHARACTER * max(map(len, texts), default=0) + 2 * ARROW
    boxes = _boxes(cell, names, room, spacing)
    rows = sorted(_rows(cell, boxes), key=itemgetter(3))
    exits = Counter(map(itemgetter(1), rows))
    starts = [iter(_fan(box, exits[node], LANE)) for node, box in enumerate(boxes)]
    edges = []
    for name, i, j, level in rows:
        start, end = (boxes[i].x + spacing.node, next(starts[i])), (boxes[j].x, level)
        if name is None:
            edges.append(Edge((start, start, (end[0], start[1]), (end[0], start[1]))))
        else:
            width = mine.get((name, i - shift, j - shift), style(name).width)
            edges.append(_edge(name, _text(name, spacing), start, end, room, spacing.gap, width))
    edges.sort(key=lambda edge: edge.operation is not None)  # the thin lines lie below the others
    width = max(boxes[-1].x + spacing.node, MARGIN + TITLE * EM_PER_CHARACTER * len(title)) + MARGIN
    height = boxes[-1].y + boxes[-1].height + MARGIN
    return Layout(title, width, height, tuple(boxes), tuple(edges))


def _listing(cells: Sequence[Cell], widths: Strength, spacing: Spacing) -> Layout:
    """Choices below one another: a name, and a line for each candidate that is kept."""
    counts = [max(1, len(cell.operations)) for cell in cells]
    named, kept = (
        max((len(text) for text in texts), default=0) * EM_PER_CHARACTER * FONT + 2 * ARROW
        for texts in (
            [cell.name for cell in cells],
            [_text(name, spacing) for cell in cells for name in cell.operations],
        )
    )
    step = named + STUB + kept + MARGIN
    columns = max(1, min(math.ceil(sum(counts) / ROWS), int((spacing.picture - MARGIN) / step)))
    most, left, top = math.ceil(sum(counts) / columns), MARGIN, MARGIN
    boxes, edges, used = [], [], 0
    bottom = 0.0
    for cell, count in zip(cells, counts, strict=True):
        if used and used + count > most:
            left, top, used = left + step, MARGIN, 0
        box = Box(left, top, named, PITCH * count, printable(cell.name), plain=True)
        for (name, _), y in zip(cell.nodes[0], _fan(box, count, PITCH), strict=False):
            width = widths.get((cell.name, name, 0, 1), style(name).width)
            ends = (left + named, y), (left + named + STUB + kept, y)
            edges.append(_edge(name, _text(name, spacing), *ends, kept, STUB, width))
        boxes.append(box)
        used, top = used + count, top + box.height + SPACE / 2
        bottom = max(bottom, box.y + box.height)
    return Layout("", left + step, bottom + MARGIN, tuple(boxes), tuple(edges))


def _text(operation: str, spacing: Spacing) -> str:
    return printable(brief(operation) if spacing.brief else operation)


def brief(operation: str) -> str:
    """A short name for a figure.

    >>> [brief(name) for name in ("sep_conv_3x3", "max_pool_3x3", "skip_connect", "nor_conv_1x1")]
    ['sep 3×3', 'max 3×3', 'skip', 'conv 1×1']
    """
    operation = operation.removeprefix("nor_")  # of NAS-Bench-201
    for ending in ("_conv", "_pool", "_connect"):
        operation = operation.replace(ending, "")
    return re.sub(r"(?<=\d)x(?=\d)", "×", operation.replace("_", " "))


def _names(cell: Cell) -> list[str]:
    """The labels of the inputs, the nodes and the output."""
    count = len(cell.nodes)
    if cell.name == RECURRENT:
        return ["x_t", "h_{t-1}", *map(str, range(count + 1)), "h_t"]
    inputs = [f"input {i}" for i in range(cell.inputs)]
    if cell.inputs == 2:
        inputs = ["c_{k-2}", "c_{k-1}"]
    return [*inputs, *map(str, range(count)), "c_k"]


def _unrolled(cell: Cell) -> Cell:
    """A recurrent cell with its first state as a node of the two that it is made of."""
    first = ("tanh", 0), ("tanh", 1)
    nodes = (tuple((name, source + 2) for name, source in edges) for edges in cell.nodes)
    output = tuple(node + 2 for node in cell.output)
    return Cell(name=cell.name, inputs=2, nodes=(first, *nodes), output=output)


def _boxes(cell: Cell, names: list[str], room: float, spacing: Spacing) -> list[Box]:
    """The inputs, the intermediate nodes and the output; `room`: for the labels before a node."""
    depths, entries, exits = [0] * cell.inputs, [0] * cell.inputs, Counter(cell.output)
    for edges in cell.nodes:
        depths.append(1 + max((depths[source] for _, source in edges), default=0))
        entries.append(len(edges))
        exits.update(source for _, source in edges)
    heights = [max(HEIGHT, PITCH * count, LANE * exits[i]) for i, count in enumerate(entries)]
    groups = heights[: cell.inputs], heights[cell.inputs :]
    total = max(sum(group) + SPACE * len(group) for group in groups)
    top, step = MARGIN + 1.5 * spacing.title, room + spacing.node + spacing.gap
    tops = [y for group in groups for y in _spread(group, top, total)]
    last = MARGIN + (1 + max(depths)) * step - room, top, spacing.node, total
    places = [
        (MARGIN + depth * step, y, spacing.node, height)
        for depth, y, height in zip(depths, tops, heights, strict=True)
    ]
    return [Box(*place, name) for place, name in zip([*places, last], names, strict=True)]


def _spread(heights: list[float], top: float, total: float) -> Iterator[float]:
    """The tops of boxes that share the height `total` with equal spaces."""
    space = (total - sum(heights)) / len(heights)
    for height in heights:
        yield top + space / 2
        top += space + height


def _rows(cell: Cell, boxes: list[Box]) -> Iterator[Row]:
    for node, edges in enumerate(cell.nodes, start=cell.inputs):
        # from near columns above from far ones, so that few lines cross
        ordered = sorted(edges, key=lambda edge: (-boxes[edge[1]].x, edge[1]))
        levels = _fan(boxes[node], len(edges), PITCH)
        for (operation, source), level in zip(ordered, levels, strict=True):
            yield operation, source, node, level
    for node in cell.output:
        yield None, node, len(boxes) - 1, boxes[node].y + boxes[node].height / 2


def _fan(box: Box, count: int, pitch: float) -> list[float]:
    """The levels of `count` edge ends around the middle of a box."""
    return [box.y + box.height / 2 + (i - (count - 1) / 2) * pitch for i in range(count)]


def _edge(
    operation: str, text: str, start: Point, end: Point, room: float, gap: float, width: float
) -> Edge:
    """A bend behind the source, then straight on; a thick line has a larger head."""
    (x, before), (tip, y) = start, end
    bend, row, neck = x + gap / 2, (x + gap, y), tip - ARROW
    points = (start, (bend, before), (bend, y), row, row, (neck, y), (neck, y))
    half = max(ARROW / 2, 1.4 * width)
    head = (neck, y - half), end, (neck, y + half)
    label = tip - (room + ARROW) / 2, y - LIFT - width / 2
    return Edge(points, printable(operation), label, head, width, text)


def printable(text: str) -> str:
    """Control characters replaced."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
