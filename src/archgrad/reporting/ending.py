"""Report and drawing of a command: written where they can be, and never in the command's way."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from archgrad.errors import printable, stored

if TYPE_CHECKING:
    from archgrad.architecture import Architecture
    from archgrad.reporting.layout import Strength


def leave_report(folder: Path, tell: Callable[[str], object] | None = None) -> Path | None:
    """Write report.html into a folder; its path.

    Whatever goes wrong is one line that is given to `tell`, a warning where nobody is told:
    results that took days are not lost for a page that can be made again.
    """
    try:
        from archgrad.reporting.page import report  # a tenth of a second, at the end of hours

        return report(folder)
    except Exception as error:
        again = f"archgrad report {shlex.quote(str(folder))}"
        (tell or _warn)(f"report   not written ({_reason(error)}); try again with: {again}")
        return None


def leave_drawing(
    architecture: Architecture, folder: Path, strength: Strength | None = None
) -> None:
    """Draw the cells into a folder, as `archgrad.reporting.cells.save_drawing`; likewise."""
    try:
        from archgrad.reporting.cells import save_drawing

        save_drawing(architecture, folder, strength)
    except Exception as error:
        _warn(f"cells.svg and cells.png are not written ({_reason(error)}); the results are kept")


def _reason(error: Exception) -> str:
    told = stored(error) if isinstance(error, OSError) else str(error)
    return printable(" ".join(told.split())) or type(error).__name__


def _warn(line: str) -> None:
    try:
        warnings.warn(line, stacklevel=4)
    except Warning as error:  # where warnings are errors
        print(error, file=sys.stderr)
