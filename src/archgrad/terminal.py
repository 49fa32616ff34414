"""What several commands share: their common options, and how they end. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from archgrad.errors import ArchgradError
from archgrad.options import Given

Out = Annotated[Path | None, typer.Option(help="new folder for the results [runs/...]")]
Resume = Annotated[
    Path | None, typer.Option(help="continue the run in this folder, with its options")
]
Config = Annotated[
    Path | None, typer.Option(help="take the options from this config.yaml; others override it")
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
