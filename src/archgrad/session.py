"""What goes on around a command while it works in a run folder: progress, trackers, its page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archgrad.callbacks import Callback, Callbacks
from archgrad.display import Display
from archgrad.folder import Run
from archgrad.terminal import followed, installed, interruptible


@contextmanager
def session(
    command: str,
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
        interruptible(command, run.path),
        tracked(display, run.path, tensorboard) as callback,
    ):
        yield display, callback


@contextmanager
def tracked(display: Callback, path: Path, wanted: bool) -> Iterator[Callback]:
    """The display, with TensorBoard where it is wanted, or was when the run began.

    Retrainings are in other processes: what they have done is written at the end.
    """
    folder = path / "tensorboard"
    if not wanted and not (folder.is_dir() and installed(True)):
        yield display
        return
    from archgrad.tensorboard import TensorBoard, write_retrainings

    try:
        yield Callbacks([display, TensorBoard(folder)])
    finally:
        write_retrainings(path, folder)
