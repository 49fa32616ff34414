"""What several commands share: their common options, and how they end. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from archgrad.errors import ArchgradError
from archgrad.options import Given

Out = Annotated[Path | None, typer.Option(help="new folder for the results [runs/...]")]
Resume = Annotated[
    Path | None, typer.Option(help="continue the run in this folder, with its options")
]
Config = Annotated[
    Path | None, typer.Option(help="take the options from this config.yaml; others override it")
]
Watch = Annotated[
    bool, typer.Option("--watch", help="meanwhile serve a page that shows it, at a printed address")
]


def refuse_options(resume: Path, given: Given, **others: object) -> None:
    """A resumed run keeps its options."""
    changed = [field for section in given.values() for field in section]
    changed += [name for name, value in others.items() if value is not None]
    if changed:
        raise ArchgradError(
            f"a resumed run keeps its options; leave out {', '.join(changed)}, or begin a new run "
            f"from its options with --config {resume / 'config.yaml'}"
        )


def tell(line: str) -> None:
    """A line for people, on standard error."""
    typer.echo(line, err=True)


@contextmanager
def interruptible(command: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(
            f"archgrad: interrupted; continue with: archgrad {command} --resume {folder}",
            err=True,
        )
        raise typer.Exit(130) from None


def followed(folder: Path, watch: bool) -> AbstractContextManager[None]:
    """Serve the page of a run while it works, if that is wanted."""
    from archgrad.reporting import serving

    return serving.followed(folder, watch, tell)


def table(rows: list[list[str]]) -> Table:
    """Rows, header first."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0]:
        made.add_column(column, no_wrap=column not in ("paper", "what"))
    for row in rows[1:]:
        made.add_row(*row)
    return made
