"""The report at the end of a command: written where it can be, and never in the command's way."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path


def leave_report(folder: Path, tell: Callable[[str], object] | None = None) -> Path | None:
    """Write report.html into a folder; its path.

    Whatever goes wrong is one line that is given to ``tell``, a warning where nobody is told:
    results that took days are not lost for a page that can be made again.
    """
    try:
        from archgrad.reporting.page import report  # a tenth of a second, at the end of hours

        return report(folder)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        (tell or _warn)(
            f"report   not written ({reason}); try again with: archgrad report "
            f"{shlex.quote(str(folder))}"
        )
        return None


def _warn(line: str) -> None:
    try:
        warnings.warn(line, stacklevel=4)
    except Warning as error:  # where warnings are errors
        print(error, file=sys.stderr)
