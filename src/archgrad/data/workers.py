"""Processes that read data: one that died, hangs or fails is told in one line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from archgrad.errors import ArchgradError

TIMEOUT = 600.0  # seconds to wait for a batch


class Unread(ArchgradError):
    """No batch comes any more, through no fault of the data themselves."""


_DIED = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)(?: is killed by signal: (\w+))?")


def awaited(loader: Iterable[Any], wanted: Callable[[int], str]) -> Iterator[Any]:
    """The batches of a loader; `wanted(number)` says in words what batch a process hangs at.

    Raises `ArchgradError` where a process that reads died, hangs, or found the data wrong.
    """
    iterator = iter(loader)
    for number in itertools.count():
        with reading():
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except ArchgradError as error:
                raise ArchgradError(_last_line(error)) from None
            except RuntimeError as error:
                if "DataLoader timed out" not in str(error):
                    raise
                seconds = re.sub(r"\D*([\d.]+).*", r"\1", str(error))
                raise Unread(
                    f"no batch came within {float(seconds):g} seconds, while waiting for "
                    f"{wanted(number)}; is a disk or a network folder away, or a file no plain "
                    "file? Mend that and go on, or allow more time (data_timeout in the "
                    "configuration, of a DataLoader timeout=; 0: any)"
                ) from None
        yield batch


def _last_line(error: ArchgradError) -> str:
    """From a process the message comes with its traceback around it."""
    text = str(error.args[0]).strip()
    return text.splitlines()[-1].partition(": ")[2] if text.startswith("Caught ") else text


@contextmanager
def reading(kept: str = "") -> Iterator[None]:
    """Turns the death of a process that reads, which torch may tell anywhere, into one line.

    `kept`: what is kept, and how to go on, told of all that stops a search in this way.
    """
    try:
        yield
    except Unread as error:
        raise (Unread(f"{error}; {kept}") if kept else error) from None
    except RuntimeError as error:
        found = _DIED.match(str(error))
        if found is None:
            raise
        by = f" by the signal {found[2]}" if found[2] else ""
        raise Unread(
            f"a process that reads the data (pid {found[1]}) was ended{by}, perhaps for want of "
            "memory, or its code crashed; use fewer workers or free memory"
            + (f"; {kept}" if kept else "")
        ) from None
