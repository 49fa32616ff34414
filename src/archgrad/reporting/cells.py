"""Put the drawing of an architecture into a folder."""

from __future__ import annotations

from pathlib import Path

from archgrad.architecture import Architecture
from archgrad.reporting.drawing import png, svg
from archgrad.reporting.layout import Strength
from archgrad.storage.files import write


def save_drawing(
    architecture: Architecture, folder: Path, strength: Strength | None = None
) -> list[Path]:
    """Write cells.svg, and cells.png where matplotlib is installed; the paths written.

    `strength`: of the edges, as for `svg`.
    """
    contents = {"cells.svg": svg(architecture, strength), "cells.png": png(architecture, strength)}
    paths = []
    for name, content in contents.items():
        if content is not None:
            write(folder / name, content)
            paths.append(folder / name)
    return paths
