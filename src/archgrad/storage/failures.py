"""What went wrong in one search of many: kept in its folder, as one line, so that others go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archgrad import untrusted
from archgrad.errors import ArchgradError, printable, unwritable
from archgrad.storage.files import FAILED, write


@contextmanager
def kept(folder: Path) -> Iterator[None]:
    """Any error is kept in the folder, where an older one is forgotten first; see `keep`."""
    (folder / FAILED).unlink(missing_ok=True)
    try:
        yield
    except Exception as error:  # whatever it is, the other searches are not lost
        keep(folder, error)


def keep(folder: Path, error: BaseException) -> None:
    """Mark a search as failed; a file that cannot be written is no search's fault and raised."""
    if unwritable(error):
        raise error
    reason = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, ArchgradError):
        reason = f"{type(error).__name__}: {reason}"
    write(folder / FAILED, json.dumps({"error": reason}) + "\n")


def of(folder: Path) -> str | None:
    """What went wrong, in one line; None: nothing did."""
    path = folder / FAILED
    return printable(str(untrusted.mapping_of_json(path)["error"])) if path.is_file() else None
