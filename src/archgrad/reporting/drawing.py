"""Drawings of an architecture's cells, as SVG and as PNG, from one shared layout."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from xml.sax.saxutils import escape, quoteattr

from archgrad.architecture import Architecture
from archgrad.reporting.layout import (
    FONT,
    MARGIN,
    TITLE,
    Layout,
    Strength,
    layouts,
    printable,
    style,
)

INK, FILL, RIM = "#222222", "#eef1f5", "#8a94a3"


def svg(architecture: Architecture, strength: Strength | None = None) -> str:
    """All cells as one self-contained SVG, one below the other, each under its name.

    `strength`: of the edges, (cell, operation, source, node) -> a number; lines are as wide. The
    text alternative is that of the terminal.
    """
    pictures = layouts(architecture, strength)
    width, height = max(p.width for p in pictures), sum(p.height for p in pictures)
    said = printable(
        f"cells of space {architecture.space}: " + "; ".join(str(architecture).split("\n"))
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.1f} {height:.1f}" '
        f'width="{width:.1f}" height="{height:.1f}" role="img" aria-label={quoteattr(said)} '
        'text-anchor="middle" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="{FONT}" fill="{INK}">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    top = 0.0
    for picture in pictures:
        parts += [f'<g transform="translate(0 {top:.1f})">', *_svg_parts(picture), "</g>"]
        top += picture.height
    return "\n".join([*parts, "</svg>\n"])


def _svg_parts(picture: Layout) -> Iterator[str]:
    if picture.title:
        heading = f'y="{MARGIN + TITLE / 2}" font-size="{TITLE}" font-weight="bold"'
        yield f'<text x="{MARGIN}" {heading} text-anchor="start">{escape(picture.title)}</text>'
    for edge in picture.edges:
        line = style(edge.operation)
        start, *rest = (f"{x:.1f} {y:.1f}" for x, y in edge.points)
        dashes = " ".join(f"{dash * edge.width:.3g}" for dash in line.dashes) or "none"
        yield (
            f'<path d="M{start}C{" ".join(rest)}" fill="none" stroke="{line.color}" '
            f'stroke-width="{edge.width:.3g}" stroke-dasharray="{dashes}" stroke-linecap="round"/>'
        )
        if edge.operation is not None:
            corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in edge.head)
            yield f'<polygon points="{corners}" fill="{line.color}"/>'
            x, y = edge.label
            yield f'<text x="{x:.1f}" y="{y:.1f}">{escape(edge.text)}</text>'
    for box in picture.nodes:
        base, subscript = box.parts
        x, y = box.x + box.width / 2, box.y + box.height / 2 + FONT / 3
        yield (
            f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
            f'height="{box.height:.1f}" rx="6" fill="{FILL}" stroke="{RIM}"/>'
            f'<text x="{x:.1f}" y="{y:.1f}">{escape(base)}'
            f'<tspan dy="3" font-size="75%">{escape(subscript)}</tspan></text>'
        )


def png(architecture: Architecture, strength: Strength | None = None) -> bytes | None:
    """The picture of `svg` as PNG at twice its size; None where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    from archgrad.reporting.painting import paint

    pictures = layouts(architecture, strength)
    width, height = max(p.width for p in pictures), sum(p.height for p in pictures)
    top, figure = height, Figure(figsize=(width / 72, height / 72), dpi=144, facecolor="white")
    for picture in pictures:
        top -= picture.height
        frame = (0, top / height, picture.width / width, picture.height / height)
        paint(figure.add_axes(frame), picture)
    file = BytesIO()
    figure.savefig(file, format="png", dpi="figure")
    return file.getvalue()
