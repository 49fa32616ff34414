"""The command `archgrad report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archgrad.errors import ArchgradError
from archgrad.progress.terminal import AsJson, print_result, tell

SAID = 5  # problems in the terminal; the page has all


def report_command(
    runs: Annotated[
        list[Path], typer.Argument(help="folders that run, search, train or compare wrote")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="write to this HTML file [report.html in RUN; of several in ./]"),
    ] = None,
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="serve a page that follows the runs, until Ctrl-C")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="of --watch; 0: any that is free [0]")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="with --watch: open no browser")
    ] = False,
) -> None:
    """Draw runs and comparisons as one HTML page.

    Cells, curves, costs and more; it works offline, and needs nothing else.
    """
    from archgrad.reporting.page import existing, written

    if watch:
        from archgrad.reporting import serving

        if out is not None or as_json:
            raise ArchgradError("--watch writes no file; leave out --out and --json")
        return serving.watch(existing(runs), port, tell, browser=not no_browser)
    if port or no_browser:
        raise ArchgradError("--port and --no-browser are for --watch; give it as well")
    path, problems = written(runs, out)
    for problem in problems[:SAID]:
        tell(f"note     {problem}")
    if len(problems) > SAID:
        tell(f"note     {len(problems) - SAID} more of these are on the page")
    size = path.stat().st_size
    told = f"report   {path} ({size / 1e6:.2f} MB)"
    print_result({"path": path, "bytes": size, "problems": problems}, told, as_json)
