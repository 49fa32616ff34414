"""From the data set of a search to another: the classes of each, and when they may differ."""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path

from archgrad import untrusted
from archgrad.architecture import Architecture
from archgrad.data import Data
from archgrad.errors import ArchgradError
from archgrad.searching.result import Origin, SearchResult
from archgrad.storage.files import write
from archgrad.storage.folder import Run

CLASSES = "classes.json"  # in the folder of a search: the names of its classes


def keep_classes(run: Run, data: Data) -> None:
    """Note the classes of a search in its folder."""
    write(run.path / CLASSES, json.dumps(list(data.classes)) + "\n")


def transferred_from(
    what: str | Path | Architecture | SearchResult, data: Data, transfer: bool
) -> str | None:
    """The data set that `what` was searched on, where `transfer` takes it to `data`; else None.

    Without `transfer` other classes than those of the search are an ArchgradError. Nothing is asked
    of a bare architecture, a published name, or a folder that does not tell its classes.
    """
    origin = _origin(what)
    if origin is None:
        return None
    if transfer:
        return origin.data
    if origin.classes is None or origin.classes == data.classes:
        return None
    pairs = enumerate(zip_longest(origin.classes, data.classes))
    index, (searched, given) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
    raise ArchgradError(
        f"the search was on {len(origin.classes)} classes ({origin.data}), the data given have "
        f"{len(data.classes)} ({data.name}): class {index} is {_named(searched)} in the search and "
        f"{_named(given)} in the data; give the data of the search, or --transfer (transfer=True) "
        "to take the architecture to other data"
    )


def _origin(what: str | Path | Architecture | SearchResult) -> Origin | None:
    """Where an architecture was found; None where no search is known."""
    if isinstance(what, SearchResult):
        if what.path is None:
            return what.origin
        what = what.path
    if isinstance(what, Architecture):
        return None
    folder = Path(what) if Path(what).is_dir() else Path(what).parent
    if folder == Path() or not (folder / "config.yaml").is_file():
        return None
    run = Run.open(folder)
    if run.config.search is None:
        return None
    return Origin(run.config.data.data, _kept(folder / CLASSES))


def _kept(path: Path) -> tuple[str, ...] | None:
    """The classes in a file; None where an older version left none."""
    if not path.is_file():
        return None
    try:
        names = untrusted.from_json(untrusted.content(path))
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("no list of names")
    except ValueError as error:
        raise ArchgradError(
            f"{path} is damaged ({error}); expected a JSON list of class names: restore it, or "
            "remove it to train without comparing the classes"
        ) from None
    return tuple(names)


def _named(name: str | None) -> str:
    return "missing" if name is None else f'"{name}"'
