"""Everything one page shows, as one value that goes into JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from archgrad import __version__
from archgrad.report.reading import read_run

FORMAT = "archgrad-report/1"


def document(paths: Sequence[Path], live: bool = False) -> dict[str, Any]:
    """The runs and comparisons of these folders."""
    runs = [read_run(path, f"run-{i}") for i, path in enumerate(paths)]
    return {
        "format": FORMAT,
        "archgrad": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "title": ", ".join(run["name"] for run in runs),
        "live": live,
        "runs": runs,
        "comparisons": [],
        "distances": None,
    }
