"""The picture of a cell by matplotlib: for PNG files and for figures alike."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path

from archgrad.reporting.drawing import FILL, INK, RIM
from archgrad.reporting.layout import FONT, MARGIN, TITLE, Layout, style


def paint(axes: Axes, picture: Layout, scale: float = 1.0) -> None:
    """Draw a picture into axes of its proportions; `scale`: points for each of its px."""
    axes.set(xlim=(0, picture.width), ylim=(picture.height, 0))
    axes.axis("off")
    bold = {"size": scale * TITLE, "weight": "bold", "color": INK}
    words = {"size": scale * FONT, "ha": "center", "color": INK}
    axes.text(MARGIN, MARGIN + TITLE / 2, picture.title, bold, parse_math=False)
    for edge in picture.edges:
        line = style(edge.operation)
        path = Path(edge.points, [Path.MOVETO] + [Path.CURVE4] * (len(edge.points) - 1))
        line_patch = PathPatch(path, fill=False, color=line.color, lw=scale * edge.width)
        line_patch.set(linestyle=(0, line.dashes or None), capstyle="round")
        axes.add_patch(line_patch)
        if edge.operation is not None:
            axes.add_patch(Polygon(edge.head, color=line.color, lw=0))
            axes.text(*edge.label, edge.text, words, parse_math=False)
    for box in picture.nodes:
        corner, shape = (box.x, box.y), "round,pad=0,rounding_size=6"
        patch = FancyBboxPatch(corner, box.width, box.height, shape, fc=FILL, ec=RIM, lw=scale)
        axes.add_patch(patch)
        x, y = box.x + box.width / 2, box.y + box.height / 2 + FONT / 3
        base, subscript = box.parts
        label = f"${base}_{{{subscript}}}$" if subscript else base
        axes.text(x, y, label, words, parse_math=bool(subscript))
