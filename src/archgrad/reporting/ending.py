"""The report at the end of a command: written where it can be, and never in the command's way."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path


def leave_report(folder: Path, tell: Callable[[str], object] | None = None) -> None:
    """Write report.html into a folder, and ``tell`` its path.

    Whatever goes wrong is one line, a warning where nobody is told: results that took days are not
    lost for a page that can be made again.
    """
    try:
        from archgrad.reporting.page import report  # a tenth of a second, at the end of hours

        line = f"report   {report(folder)}"
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        line = f"report   not written ({reason}); try again with: archgrad report {folder}"
        if tell is None:
            warnings.warn(line, stacklevel=3)
    if tell is not None:
        tell(line)
