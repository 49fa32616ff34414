"""An architecture in a few short lines: operations abbreviated, changes marked with a star."""

from __future__ import annotations

import re
from collections import Counter

from archgrad.architecture import Architecture, Cell
from archgrad.settings.config import OWN

FEW = 4  # cells that have a line each; of more there is one line in all
WORDS = {"_connect": "", "_conv": "", "_pool": "", "nor_": "conv", "identity": "id"}


def short(operation: str) -> str:
    """An operation in few letters, different for those of a space that differ.

    >>> [short(name) for name in ("sep_conv_3x3", "max_pool_3x3", "skip_connect", "nor_conv_1x1")]
    ['sep3', 'max3', 'skip', 'conv1']
    """
    found = re.sub(r"(\d+)x\1(?!\d)", r"\1", operation)
    for long, brief in WORDS.items():
        found = found.replace(long, brief)
    return re.sub(r"(?<=[a-z])_(?=\d)", "", found).replace("__", "_").strip("_") or operation


def compact(architecture: Architecture, before: Architecture | None = None) -> list[str]:
    """A line a cell; what `before` had otherwise has a star. Of many cells one line in all.

    >>> from archgrad.architecture import published
    >>> compact(published("DARTS_V2"))[1][:44]
    'reduce  max3<-0 max3<-1 | skip<-2 max3<-1 | '
    """
    cells = architecture.cells
    known = {} if before is None else {cell.name: cell for cell in before.cells}
    if len(cells) > FEW:
        counts = Counter(short(name) for cell in cells for name in cell.operations)
        parts = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        changed = sum(known.get(cell.name, cell) != cell for cell in cells)
        return [f"{len(cells)} choices: {parts}" + (f"; {changed} changed" if changed else "")]
    own = architecture.space == OWN
    return [_line(cell, known.get(cell.name, cell), own) for cell in cells]


def changed(architecture: Architecture, before: Architecture | None) -> list[str]:
    """Of the lines of `compact` those of cells that are new, or others than `before`."""
    lines = compact(architecture, before)
    if before is None or len(lines) < len(architecture.cells):
        return lines
    return [line for line, cell in zip(lines, architecture.cells) if cell not in before.cells]


def _line(cell: Cell, before: Cell, own: bool) -> str:
    """`own`: of a model of the user's, whose choices have no sources."""
    nodes = []
    for number, edges in enumerate(cell.nodes):
        had = before.nodes[number] if number < len(before.nodes) else ()
        marks = ("" if edge in had else "*" for edge in edges)
        words = (short(name) + ("" if own else f"<-{source}") for name, source in edges)
        nodes.append(" ".join(map("".join, zip(marks, words))))
    return f"{cell.name:<7} " + " | ".join(nodes)
