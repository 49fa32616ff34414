"""The command `archgrad report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def report_command(
    runs: Annotated[
        list[Path], typer.Argument(help="folders that run, search, train or compare wrote")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="write to this HTML file [report.html in RUN; of several in ./]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print it as JSON")] = False,
) -> None:
    """Draw runs and comparisons as one HTML page that works offline: cells, curves, costs."""
    from archgrad.reporting.page import report

    path = report(runs, out)
    size = path.stat().st_size
    if as_json:
        typer.echo(json.dumps({"path": str(path), "bytes": size}, indent=2))
    else:
        typer.echo(f"report   {path} ({size / 1e6:.2f} MB)")
