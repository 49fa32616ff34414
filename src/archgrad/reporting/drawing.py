"""Drawings of an architecture's cells, as SVG and as PNG, from one shared layout.

A node stands in the column of its dependency depth and owns the rows of the edges that enter it. An
edge bends to its row right behind its source, then runs straight; its label stands in front of its
target. So no line crosses a node or a label, and no label meets another. A recurrent cell is drawn
with what its first state, node 0, is made of: the input and the previous hidden state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from operator import itemgetter
from xml.sax.saxutils import escape

from archgrad.architecture import RECURRENT, Architecture, Cell

FONT, TITLE, EM_PER_CHARACTER = 12.0, 16.0, 0.6  # lengths are in SVG user units (px)
MARGIN, WIDTH, HEIGHT = 20.0, 52.0, 34.0  # of the picture; of a node (height: the least)
PITCH, LANE = 24.0, 9.0  # between the edges that enter a node, and that leave it
SPACE, GAP = 16.0, 72.0  # between the nodes of a column, and between columns
ARROW, LIFT = 8.0, 5.0  # length of an arrow head; height of a label above its edge
INK, FILL, RIM = "#222222", "#eef1f5", "#8a94a3"

Point = tuple[float, float]
Row = tuple[str | None, int, int, float]  # operation, source, target, level


@dataclass(frozen=True)
class Style:
    """A line: its color, its width and its dashes (on, off) in line widths, () for solid."""

    color: str
    width: float = 2.0
    dashes: tuple[float, ...] = ()


# colors: Okabe and Ito, "Color Universal Design" (2008); the first key found in a name decides
STYLES = {
    "sep_conv": Style("#0072b2"),
    "dil_conv": Style("#d55e00"),
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
    """A node: its top left corner, size and label, in which ``_`` starts a subscript."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class Edge:
    """A start, then cubic Bezier pieces of two control points and an end each; a head to fill.

    ``label`` is the middle of the text's baseline. The concatenation has no operation and no head.
    """

    points: tuple[Point, ...]
    operation: str | None = None
    label: Point = (0.0, 0.0)
    head: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Layout:
    """The geometry of a cell's picture; y points down."""

    title: str
    width: float
    height: float
    nodes: tuple[Box, ...]
    edges: tuple[Edge, ...]


def layout(cell: Cell) -> Layout:
    """Place the nodes and route the edges of ``cell``."""
    names, title = _names(cell), _printable(cell.name)
    if cell.name == RECURRENT:
        cell, title = _unrolled(cell), f"{title}: the output is the mean of its nodes"
    room = FONT * EM_PER_CHARACTER * max(map(len, cell.operations), default=0) + 2 * ARROW
    boxes = _boxes(cell, names, room)
    rows = sorted(_rows(cell, boxes), key=itemgetter(3))
    exits = Counter(map(itemgetter(1), rows))
    starts = [iter(_fan(box, exits[node], LANE)) for node, box in enumerate(boxes)]
    edges = [
        _edge(name, (boxes[i].x + WIDTH, next(starts[i])), (boxes[j].x, level), room)
        for name, i, j, level in rows
    ]
    edges.sort(key=lambda edge: edge.operation is not None)  # the thin lines lie below the others
    width = max(boxes[-1].x + WIDTH, MARGIN + TITLE * EM_PER_CHARACTER * len(title)) + MARGIN
    height = boxes[-1].y + boxes[-1].height + MARGIN
    return Layout(title, width, height, tuple(boxes), tuple(edges))


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


def _boxes(cell: Cell, names: list[str], room: float) -> list[Box]:
    """The inputs, the intermediate nodes and the output; ``room``: for the labels before a node."""
    depths, entries, exits = [0] * cell.inputs, [0] * cell.inputs, Counter(cell.output)
    for edges in cell.nodes:
        depths.append(1 + max((depths[source] for _, source in edges), default=0))
        entries.append(len(edges))
        exits.update(source for _, source in edges)
    heights = [max(HEIGHT, PITCH * count, LANE * exits[i]) for i, count in enumerate(entries)]
    groups = heights[: cell.inputs], heights[cell.inputs :]
    total = max(sum(group) + SPACE * len(group) for group in groups)
    top, step = MARGIN + 1.5 * TITLE, room + WIDTH + GAP
    tops = [y for group in groups for y in _spread(group, top, total)]
    last = MARGIN + (1 + max(depths)) * step - room, top, WIDTH, total
    places = [
        (MARGIN + depth * step, y, WIDTH, height)
        for depth, y, height in zip(depths, tops, heights, strict=True)
    ]
    return [Box(*place, name) for place, name in zip([*places, last], names, strict=True)]


def _spread(heights: list[float], top: float, total: float) -> Iterator[float]:
    """The tops of boxes that share the height ``total`` with equal spaces."""
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
            yield _printable(operation), source, node, level
    for node in cell.output:
        yield None, node, len(boxes) - 1, boxes[node].y + boxes[node].height / 2


def _fan(box: Box, count: int, pitch: float) -> list[float]:
    """The levels of ``count`` edge ends around the middle of a box."""
    return [box.y + box.height / 2 + (i - (count - 1) / 2) * pitch for i in range(count)]


def _edge(operation: str | None, start: Point, end: Point, room: float) -> Edge:
    """A bend behind the source, then straight on; the concatenation is straight all the way."""
    (x, before), (tip, y) = start, end
    if operation is None:
        return Edge((start, start, (tip, before), (tip, before)))
    bend, row, neck = x + GAP / 2, (x + GAP, y), tip - ARROW
    points = (start, (bend, before), (bend, y), row, row, (neck, y), (neck, y))
    head = (neck, y - ARROW / 2), end, (neck, y + ARROW / 2)
    return Edge(points, operation, (tip - (room + ARROW) / 2, y - LIFT), head)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def svg(architecture: Architecture) -> str:
    """All cells as one self-contained SVG, one below the other, each under its name."""
    pictures = [layout(cell) for cell in architecture.cells]
    width, height = max(p.width for p in pictures), sum(p.height for p in pictures)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.1f} {height:.1f}" '
        f'width="{width:.1f}" height="{height:.1f}" role="img" text-anchor="middle" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="{FONT}" fill="{INK}">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    top = 0.0
    for picture in pictures:
        parts += [f'<g transform="translate(0 {top:.1f})">', *_svg_parts(picture), "</g>"]
        top += picture.height
    return "\n".join([*parts, "</svg>\n"])


def _svg_parts(picture: Layout) -> Iterator[str]:
    heading = f'font-size="{TITLE}" font-weight="bold" text-anchor="start"'
    yield f'<text x="{MARGIN}" y="{MARGIN + TITLE / 2}" {heading}>{escape(picture.title)}</text>'
    for edge in picture.edges:
        line = style(edge.operation)
        start, *rest = (f"{x:.1f} {y:.1f}" for x, y in edge.points)
        dashes = " ".join(f"{dash * line.width:g}" for dash in line.dashes) or "none"
        yield (
            f'<path d="M{start}C{" ".join(rest)}" fill="none" stroke="{line.color}" '
            f'stroke-width="{line.width}" stroke-dasharray="{dashes}" stroke-linecap="round"/>'
        )
        if edge.operation is not None:
            corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in edge.head)
            yield f'<polygon points="{corners}" fill="{line.color}"/>'
            x, y = edge.label
            yield f'<text x="{x:.1f}" y="{y:.1f}">{escape(edge.operation)}</text>'
    for box in picture.nodes:
        base, _, subscript = box.label.partition("_")
        x, y = box.x + box.width / 2, box.y + box.height / 2 + FONT / 3
        yield (
            f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width}" height="{box.height:.1f}" '
            f'rx="6" fill="{FILL}" stroke="{RIM}"/><text x="{x:.1f}" y="{y:.1f}">{base}'
            f'<tspan dy="3" font-size="75%">{subscript.strip("{}")}</tspan></text>'
        )


def png(architecture: Architecture) -> bytes | None:
    """The picture of `svg` as PNG at twice its size; None where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
        from matplotlib.path import Path
    except ImportError:
        return None
    pictures = [layout(cell) for cell in architecture.cells]
    width, height = max(p.width for p in pictures), sum(p.height for p in pictures)
    top, figure = height, Figure(figsize=(width / 72, height / 72), dpi=144, facecolor="white")
    bold = {"size": TITLE, "weight": "bold", "color": INK}
    words = {"size": FONT, "ha": "center", "color": INK}
    for picture in pictures:
        top -= picture.height
        frame = (0, top / height, picture.width / width, picture.height / height)
        axes = figure.add_axes(frame, xlim=(0, picture.width), ylim=(picture.height, 0))
        axes.axis("off")
        axes.text(MARGIN, MARGIN + TITLE / 2, picture.title, bold, parse_math=False)
        for edge in picture.edges:
            line = style(edge.operation)
            path = Path(edge.points, [Path.MOVETO] + [Path.CURVE4] * (len(edge.points) - 1))
            patch = PathPatch(path, fill=False, color=line.color, lw=line.width)
            patch.set(linestyle=(0, line.dashes or None), capstyle="round")
            axes.add_patch(patch)
            if edge.operation is not None:
                axes.add_patch(Polygon(edge.head, color=line.color, lw=0))
                axes.text(*edge.label, edge.operation, words, parse_math=False)
        for box in picture.nodes:
            corner, shape = (box.x, box.y), "round,pad=0,rounding_size=6"
            axes.add_patch(FancyBboxPatch(corner, box.width, box.height, shape, fc=FILL, ec=RIM))
            x, y = box.x + box.width / 2, box.y + box.height / 2 + FONT / 3
            axes.text(x, y, f"${box.label}$" if "_" in box.label else box.label, words)
    file = BytesIO()
    figure.savefig(file, format="png", dpi="figure")
    return file.getvalue()
