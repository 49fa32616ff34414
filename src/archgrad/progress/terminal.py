"""What several commands share: options, how they print and how they end. Imports no torch."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from archgrad.errors import ArchgradError, printable, printable_lines
from archgrad.progress.options import Given

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
Quiet = Annotated[
    bool, typer.Option("--quiet", help="no progress: results, warnings and errors alone")
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="print the result as one JSON value and nothing else; what goes wrong is a line on "
        "standard error, with status 2",
    ),
]


def print_result(value: Any, shown: str | Table, as_json: bool) -> None:
    """The result of a command on standard output: for people, or as JSON with null for NaN."""
    if as_json:
        typer.echo(json.dumps(plain(value), indent=2, allow_nan=False))  # ASCII: any encoding
    elif isinstance(shown, Table):
        console(sys.stdout).print(shown)
    else:
        typer.echo(printable_lines(shown.removesuffix("\n")))


def plain(value: Any) -> Any:
    """As JSON has it: dataclasses and mappings as objects, paths as text, NaN and inf as None."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


class Terminal(Console):
    """Writes the control sequences of rich, and none that a text brought along."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable_lines(text), style, control)


def console(file: Any, quiet: bool = False) -> Console:
    """A terminal, or plain text: for files, with NO_COLOR, and where TERM is dumb."""
    found = Terminal(file=file, highlight=False, quiet=quiet)
    if lively(found):
        return found
    return Terminal(
        file=file, highlight=False, quiet=quiet, force_terminal=False, color_system=None
    )


def lively(found: Console) -> bool:
    """Whether control sequences may be written."""
    return found.is_terminal and not found.is_dumb_terminal and not os.environ.get("NO_COLOR")


def installed(wanted: bool) -> bool:
    """Refuse --tensorboard before anything is written."""
    found = find_spec("tensorboard") if wanted else None
    if wanted and (found is None or found.origin is None):  # none: a folder, as that of a run
        raise ArchgradError(
            "--tensorboard needs the package tensorboard, which is not installed; expected the "
            'extra packages, so run: pip install "archgrad[track]"'
        )
    return wanted


Tensorboard = Annotated[
    bool,
    typer.Option(
        "--tensorboard",
        callback=installed,
        help="write events for TensorBoard to the folder tensorboard in the run's",
    ),
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
    typer.echo(printable(line), err=True)


def reported(folder: Path, value: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Leave the report: the value of a command with its path, and the line that tells it."""
    from archgrad.reporting.ending import leave_report

    page = leave_report(folder, tell)
    return {**value, "report": page}, [] if page is None else [f"report   {page}"]


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
        made.add_row(*map(printable, row))
    return made
