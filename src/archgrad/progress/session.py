"""What goes on around a command while it works in a run folder: progress, trackers, its page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archgrad.errors import ArchgradError
from archgrad.progress.display import Display
from archgrad.progress.terminal import followed
from archgrad.searching.callbacks import Callback, Callbacks
from archgrad.storage.folder import Run


@contextmanager
def session(
    run: Run,
    *,
    quiet: bool = False,
    watch: bool = False,
    tensorboard: bool = False,
) -> Iterator[tuple[Display, Callback]]:
    """The display, and what a search is to tell of its progress."""
    with (
        followed(run.path, watch),
        Display(run, quiet) as display,
        tracked(display, run.path, tensorboard) as callback,
    ):
        yield display, callback


@contextmanager
def tracked(display: Callback, path: Path, wanted: bool) -> Iterator[Callback]:
    """The display, with TensorBoard where it is wanted, or was when the run began.

    Retrainings are in other processes: what they have done is written at the end.
    """
    folder = path / "tensorboard"
    board = _board(folder, display, wanted) if wanted or folder.is_dir() else None
    if board is None:
        yield display
        return
    try:
        yield Callbacks([display, board])
    finally:
        _write_retrainings(path, folder, display)


def _board(folder: Path, display: Callback, wanted: bool) -> Callback | None:
    """None where a run goes on without the package that it was begun with."""
    from archgrad.progress.tensorboard import TensorBoard

    try:
        return TensorBoard(folder)
    except ArchgradError as error:
        if wanted:
            raise
        display.warning(f"{error}; the run goes on without it")
        return None


def _write_retrainings(run: Path, folder: Path, display: Callback) -> None:
    """What goes wrong is a warning: the work is done."""
    from archgrad.progress.tensorboard import write_retrainings

    try:
        write_retrainings(run, folder)
    except Exception as error:
        display.warning(f"TensorBoard has not all of the retrainings ({error})")
