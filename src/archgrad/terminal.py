"""What several commands share: their common options, and how they end. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archgrad.errors import ArchgradError
from archgrad.options import Given

if TYPE_CHECKING:
    from archgrad.callbacks import Callback
    from archgrad.folder import Run

Out = Annotated[Path | None, typer.Option(help="new folder for the results [runs/...]")]
Resume = Annotated[
    Path | None, typer.Option(help="continue the run in this folder, with its options")
]
Config = Annotated[
    Path | None, typer.Option(help="take the options from this config.yaml; others override it")
]


def _installed(wanted: bool) -> bool:
    """Refuse --tensorboard before anything is written."""
    if wanted and find_spec("tensorboard") is None:
        raise ArchgradError(
            "--tensorboard needs the package tensorboard, which is not installed; expected the "
            'extra packages, so run: pip install "archgrad[track]"'
        )
    return wanted


Tensorboard = Annotated[
    bool,
    typer.Option(
        "--tensorboard",
        callback=_installed,
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


@contextmanager
def tracked(command: str, display: Callback, run: Run, wanted: bool) -> Iterator[Callback]:
    """The display, with TensorBoard where it is wanted, or was when the run began.

    Retrainings are in other processes: what they have done is written at the end.
    """
    folder = run.path / "tensorboard"
    with interruptible(command, run.path):
        if not wanted and not (folder.is_dir() and _installed(True)):
            yield display
            return
        from archgrad.callbacks import Callbacks
        from archgrad.tensorboard import TensorBoard, write_retrainings

        try:
            yield Callbacks([display, TensorBoard(folder)])
        finally:
            write_retrainings(run.path, folder)
