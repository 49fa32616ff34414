"""What goes on around a command while it works in a run folder: progress, trackers, its page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from archgrad.callbacks import Callback
from archgrad.display import Display
from archgrad.folder import Run
from archgrad.terminal import followed, interruptible


@contextmanager
def session(
    command: str, run: Run, *, quiet: bool = False, watch: bool = False
) -> Iterator[tuple[Display, Callback]]:
    """The display, and what a search is to tell of its progress."""
    with (
        followed(run.path, watch),
        Display(run, quiet) as display,
        interruptible(command, run.path),
    ):
        yield display, display
