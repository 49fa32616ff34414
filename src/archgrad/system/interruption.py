"""Ctrl-C and SIGTERM end a command within two seconds, and say how to go on. Imports no torch.

Both raise KeyboardInterrupt, so that what is open is closed; what does not end in time, a long step
in native code or a large page, is left where it is: no file is ever half-written. Only the command
line heeds signals in this way; in Python Ctrl-C is a KeyboardInterrupt, as everywhere.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from archgrad.errors import printable
from archgrad.system.launch import first

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 1.0  # seconds in which everything is closed and the page is drawn
PLAIN = "nothing is half-written: give the command again"


class _Course:
    """How the command goes."""

    def __init__(self) -> None:
        self.again: str | None = None  # the command that goes on with what is kept
        self.page: Path | None = None  # the folder whose page is drawn at the end
        self.heard: int = 0  # the signal
        self.told = False
        self.over = threading.Event()


_course = _Course()


def begin() -> None:
    """Nothing is kept yet."""
    _course.again = _course.page = None


def continue_with(command: str, folder: Path, page: bool = True) -> None:
    """From now on the folder keeps what is done; `page`: archgrad report can draw it."""
    _course.again = f"archgrad {command} --resume {shlex.quote(str(folder))}"
    _course.page = folder if page else None


def again() -> str | None:
    """The command that goes on with what is kept, if something is."""
    return _course.again


def heed() -> None:
    """Let signals interrupt this process, unless who began it has it ignore them."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading,), daemon=True).start()
    os.register_at_fork(after_in_child=_leave_to_parent)


@contextmanager
def ending() -> Iterator[None]:
    """Around a command: where it was interrupted, say how to go on, and end the process."""
    try:
        yield
    except BaseException as error:
        if _interrupted(error):
            _end()
        raise
    finally:
        _course.over.set()
        for number in SIGNALS:
            if signal.getsignal(number) == _interrupt:
                signal.signal(number, signal.SIG_DFL)  # all is done and told


@contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait meanwhile, and what is started never gets a Ctrl-C."""
    came: list[int] = []
    heard = SIGNALS if threading.current_thread() is threading.main_thread() else ()
    before = {n: signal.signal(n, lambda number, _: came.append(number)) for n in heard}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # processes inherit it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for one in came:
            signal.raise_signal(one)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _course.heard:  # it ends already, and somebody will not wait
        _leave()
    _course.heard = number
    raise KeyboardInterrupt


def _interrupted(error: BaseException) -> bool:
    """Whether this is what became of a KeyboardInterrupt, which others may turn into anything."""
    if isinstance(error, SystemExit):
        status = error.code or 0
        return status == 128 + signal.SIGINT or (status != 0 and _course.heard != 0)  # of typer
    return isinstance(error, KeyboardInterrupt) or _course.heard != 0


def _end() -> NoReturn:
    """In good order."""
    _tell()
    _end_children()
    if _course.page is not None and first():
        from archgrad.reporting.ending import leave_report

        page = leave_report(_course.page, _print)
        if page is not None:
            _print(f"report   {page}")
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    _leave()


def _watch(signals: int) -> None:
    """In a thread of its own, which goes on where the main thread is in native code."""
    while (number := os.read(signals, 1)[0]) not in SIGNALS:
        pass
    if not _course.over.wait(PATIENCE):
        _course.heard = _course.heard or number
        _leave()


def _leave() -> NoReturn:
    """At once."""
    if not _course.told and os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb":
        os.write(2, b"\x1b[?25h\n")  # the cursor, which the live line has hidden
    _tell()
    _end_children()
    os._exit(128 + (_course.heard or signal.SIGINT))


def _tell() -> None:
    if not _course.told and first():
        _course.told = True
        how = f"continue with: {_course.again}" if _course.again else PLAIN
        _print(f"archgrad: interrupted; {how}")


def _print(line: str) -> None:
    with suppress(OSError):
        os.write(2, f"{printable(line)}\n".encode())


def _end_children() -> None:
    processes = sys.modules.get("multiprocessing.process")
    with suppress(Exception):  # they may be ending
        for child in processes.active_children() if processes else ():
            child.kill()


def _leave_to_parent() -> None:
    """In a forked process, such as one that reads images: Ctrl-C is for the parent."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
