"""The errors a user can mend: each says what was found, what was expected and what to do."""

from __future__ import annotations

import difflib
import errno
import re
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


# Control characters, marks that turn the direction of what follows, halves of characters.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""One line that a terminal shows and does not obey, whatever file it came from.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def printable_lines(text: str) -> str:
    """The same of text in lines."""
    return "\n".join(map(printable, text.split("\n")))


class ArchgradError(ValueError):
    """Wrong input, told in one line; the command line prints it and ends with status 2.

    A ValueError: the message says what was found, what was expected and what to do.

    >>> import archgrad
    >>> try:
    ...     archgrad.data.load("digit")
    ... except archgrad.ArchgradError as error:
    ...     print(error)  # doctest: +ELLIPSIS
    data set "digit" is not known; did you mean "digits"? Known: ...
    """

    def __str__(self) -> str:
        return printable(super().__str__())


NO_MEMORY = (
    "out of memory", "can't allocate memory", "bad_alloc", "alloc_failed",  # as libraries say it
    "could not create a", "could not execute a primitive",  # oneDNN, which gives no reason
)  # fmt: skip


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, torch's on a CPU, or that of a GPU."""
    told = isinstance(error, RuntimeError) and any(w in str(error).lower() for w in NO_MEMORY)
    return told or isinstance(error, MemoryError)


_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room on that disk"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable"),
}


def unwritable(error: BaseException) -> bool:
    """Whether a disk is full, a quota is used up, or something may not be written."""
    return isinstance(error, OSError) and error.errno in _REMEDIES


def stored(error: OSError) -> str:
    """What the system refused to read or write, which file, and what to do, in one line."""
    where = f": {error.filename}" if error.filename else ""
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{error.strerror or error}{where}" + (f"; {remedy}" if remedy else "")


def reason(error: BaseException) -> str:
    """The first line of what memory errors say, which may be nothing."""
    return (str(error).strip() or "no memory left").splitlines()[0]


class Diverged(ArchgradError):
    """A loss became infinite or not a number; says where, what is kept and what to try."""


@contextmanager
def remembered(what: str, advice: str) -> Iterator[None]:
    """Says in one line what ran out of memory, what is kept and what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise ArchgradError(f"{what} ran out of memory ({reason(error)}); {advice}") from None


@contextmanager
def noted(place: str) -> Iterator[None]:
    """Says of any error where it happened."""
    try:
        yield
    except Exception as error:
        error.add_note(place)
        raise


_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = 20
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 200


def shown(value: object) -> str:
    """A value of a file in at most 60 characters, however large it is and deep."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # a number of more digits than Python writes
        text = f"a {type(value).__name__} of many digits"
    return text if len(text) <= 60 else text[:57] + "..."


def unknown(kind: str, name: object, known: Iterable[str]) -> ArchgradError:
    """The error for a name that is not known, with the nearest known one and the whole list."""
    names, name = sorted(known), str(name)
    name = name if len(name) <= 100 else name[:97] + "..."
    lower = {known_name.lower(): known_name for known_name in names}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f' did you mean "{lower[near[0]]}"?' if near else ""
    return ArchgradError(f'{kind} "{name}" is not known;{hint} Known: {", ".join(names)}')


def explain(error: ValidationError) -> str:
    """The first finding of a pydantic error: field, found, expected."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "file"
    if first["type"] == "value_error":
        return f"{field}: {first['msg'].removeprefix('Value error, ')}"
    if first["type"] == "json_invalid":
        return f"not valid JSON ({first['ctx']['error']}); write it again, or restore the file"
    if first["type"] == "extra_forbidden":
        return f"field {field} is not known; remove it or correct its name"
    if first["type"] == "missing":
        return f"field {field} is missing; add it"
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Field should be ")
    return f"field {field}: found {shown(first['input'])}, expected {expected}"
