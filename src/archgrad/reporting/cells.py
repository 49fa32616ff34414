"""Put the drawing of an architecture into a folder."""

from __future__ import annotations

from pathlib import Path

from archgrad.architecture import Architecture
from archgrad.folder import write
from archgrad.reporting.drawing import png, svg


def save_drawing(architecture: Architecture, folder: Path) -> list[Path]:
    """Write cells.svg, and cells.png where matplotlib is installed; the paths written."""
    contents = {"cells.svg": svg(architecture), "cells.png": png(architecture)}
    paths = []
    for name, content in contents.items():
        if content is not None:
            write(folder / name, content)
            paths.append(folder / name)
    return paths
