"""Architectures and epochs in texts and files of other tools, found and read. Nothing is run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from archgrad import untrusted
from archgrad.architecture import RECURRENT, Architecture, published_names, resolve
from archgrad.conversion import genotypes, keyed, literals, logs
from archgrad.conversion.found import Conversion, Found
from archgrad.errors import ArchgradError, shown, unknown
from archgrad.spaces.nas_bench_201 import from_string

LIMIT, MOST = 2**24, 20_000  # bytes of a file, architectures in it
FORMS = ("archgrad", "genotype", "nas-bench-201", "nni", "naslib")
"""The forms that `convert` reads."""

SPACES = (genotypes.CNN, "s1", "s2", "s3", "s4")  # of convolutional cells
_PATH = re.compile(r"[\w.~:/\\ -]{1,200}")
_NODE = r"\|(?:\w{1,40}~\d\|){1,9}"
_STRING = re.compile(rf"{_NODE}(?:\+{_NODE}){{1,9}}")


class Piece(NamedTuple):
    """A text of an architecture; `before`: it was printed before its epoch was."""

    place: int
    name: str | None
    before: bool
    read: Callable[[], Architecture]


def convert(
    source: str | Path | Architecture, form: str | None = None, space: str = genotypes.CNN
) -> Conversion:
    """Read what another tool wrote: a text or a file, such as a log. Nothing of it is run.

    `source`: the text, the path of a file or a folder, or an `archgrad.Architecture`.

    Read are `Genotype(...)` texts of DARTS and what came from it, in whatever surrounds them;
    strings of NAS-Bench-201, also in `Structure(...)` of AutoDL-Projects; exported choices of
    NNI; configurations of NAS-Bench-301; of NASLib these, errors.json and op_indices. And ours: a
    published name, a JSON file, a run folder. `form`: look for this alone, one of archgrad,
    genotype, nas-bench-201, nni, naslib; op_indices are taken with naslib only, for six numbers
    could be anything. `space`: of convolutional cells, darts-cnn or s1 to s4. Raises
    `ArchgradError`, in one line, where there is nothing of the kind or it is not understood; what
    no space can build is told where it is chosen.

    >>> from archgrad import convert
    >>> cell = "|skip_connect~0|+|none~0|none~1|+|none~0|none~1|nor_conv_1x1~2|"
    >>> convert(cell).architecture.cell("cell").operations[-1]
    'nor_conv_1x1'
    >>> convert("DARTS_RNN_V1").text("genotype")[:41]
    "Genotype(recurrent=[('relu', 0), ('relu',"
    >>> convert("Genotype(recurrent=[('relu', 0)], concat=range(1, 2))").architecture.space
    'darts-rnn'
    """
    if form is not None and form not in FORMS:
        raise unknown("form", form, FORMS)
    if isinstance(source, Architecture):
        return Conversion("the architecture", (Found(source),))
    if space not in SPACES:
        raise unknown("space of these cells", space, SPACES)
    known = isinstance(source, str) and source in published_names()
    with suppress(OSError, ValueError):  # a text that cannot be a path
        known = known or (source != "" and Path(source).is_dir())
    if known and form in (None, "archgrad"):
        return Conversion(str(source), (Found(resolve(source)),))
    text, name = _text(source)
    ours = text.lstrip().startswith("{") and '"archgrad-architecture/' in text[:1000]
    if ours and form in (None, "archgrad"):
        return Conversion(name, (Found(Architecture.from_json(text, origin=name)),))
    conversion = Conversion(name, ()) if form == "archgrad" else _read(text, name, form, space)
    if conversion.found or conversion.metrics:
        return conversion
    if text == source and _PATH.fullmatch(text) and not known:
        told = unknown("published architecture", text, published_names())
        raise ArchgradError(f'there is no file or folder "{text}", and {told}')
    raise ArchgradError(
        f"found no architecture{f' of the form {form}' if form else ''} in {name}; expected "
        "Genotype(...), a string of NAS-Bench-201, choices of NNI or a configuration of "
        "NAS-Bench-301, or the name of a file that holds one; give what the other tool wrote"
    )


def _text(source: str | Path) -> tuple[str, str]:
    """The text of a file, or the text itself; and how to call it."""
    is_file = isinstance(source, Path)
    with suppress(OSError, ValueError):
        is_file = is_file or Path(source).is_file()
    if not is_file:
        text = str(source)
        return text, f'the text "{shown(text)[1:-1]}"'
    try:
        return untrusted.content(source, LIMIT).decode("utf-8", errors="replace"), str(source)
    except OSError as error:
        raise ArchgradError(
            f"{source} cannot be read: {error.strerror or error}; expected a file that another "
            "tool wrote, or its text"
        ) from None


def _read(text: str, name: str, form: str | None, space: str) -> Conversion:
    try:
        pieces = list(islice(_pieces(text, form, space), MOST + 1))
    except ArchgradError as error:
        raise ArchgradError(f"{name}: {error}") from None
    if len(pieces) > MOST:
        raise ArchgradError(f"{name} holds more than {MOST:,} architectures; convert a part of it")
    if not pieces and form != "archgrad" and text.lstrip()[:1] in ("{", "[", "("):
        return _of_value(_parsed(text, name), name, form)
    return _of_log(text, name, pieces)


def _pieces(text: str, form: str | None, space: str) -> Iterator[Piece]:
    if form in (None, "genotype", "naslib"):
        for place, name, fields, problem in literals.genotypes(text):
            read = partial(_genotype, fields, problem, space, form == "naslib")
            yield Piece(place, name, RECURRENT in fields[:20], read)
    if form in (None, "nas-bench-201", "naslib"):
        for match in _STRING.finditer(text):
            yield Piece(match.start(), None, False, partial(from_string, match[0]))


@lru_cache(maxsize=4096)
def _genotype(fields: str, problem: str, space: str, naslib: bool) -> Architecture:
    if problem:
        raise ArchgradError(problem)
    return genotypes.architecture(literals.arguments(fields), space, naslib)


def _of_log(text: str, name: str, pieces: list[Piece]) -> Conversion:
    """Of each epoch the last architecture; without epochs all of them."""
    epochs = logs.epochs(text)
    found: dict[tuple[str, int], Found] = {}
    for piece in sorted(pieces, key=lambda piece: piece.place):
        epoch = epochs.at(piece.place, after=piece.before)
        key = ("place", piece.place) if epoch is None else ("epoch", epoch)
        found.pop(key, None)  # so that the last one stands last
        found[key] = _tried(piece.read, epoch, piece.name if epoch is None else None)
    return Conversion(name, tuple(found.values()), tuple(epochs.metrics))


def _tried(read: Callable[[], Architecture], epoch: int | None, name: str | None) -> Found:
    try:
        return Found(read(), epoch, name)
    except ArchgradError as error:
        return Found(None, epoch, name, str(error))


def _parsed(text: str, name: str) -> Any:
    """A JSON value or one in Python's notation."""
    with suppress(ValueError):
        return untrusted.from_json(text)
    try:
        return literals.value(text)
    except ArchgradError as error:
        raise ArchgradError(f"{name}: {error}") from None


def _of_value(value: Any, name: str, form: str | None) -> Conversion:
    metrics = logs.trajectory(value) if form in (None, "naslib") else None
    if metrics is not None:
        return Conversion(name, (), tuple(metrics))
    _refuse_unclear(value, name, form)
    for read in _readers(value, form):
        try:
            architecture = read()
        except ArchgradError as error:
            raise ArchgradError(f"{name}: {error}") from None
        if architecture is not None:
            return Conversion(name, (Found(architecture),))
    return Conversion(name, ())


def _refuse_unclear(value: Any, name: str, form: str | None) -> None:
    """What NASLib writes as bare numbers."""
    if not isinstance(value, list | tuple):
        return
    if form is None and len(value) == 6 and all(type(number) is int for number in value):
        raise ArchgradError(
            f"{name}: found six numbers, which tools order differently; if they are NASLib's "
            "op_indices say so with --from naslib, else give the string of NAS-Bench-201"
        )
    if len(value) == 2 and all(isinstance(each, list | tuple) and each for each in value):
        raise ArchgradError(
            f"{name}: found two lists of numbers, NASLib's compact form, of which its two "
            "conversions differ by one operation; print the Genotype from which it was made"
        )


def _readers(value: Any, form: str | None) -> Iterator[Callable[[], Architecture | None]]:
    if isinstance(value, Mapping):
        if form in (None, "nni"):
            yield lambda: keyed.nni(value)
        if form in (None, "naslib"):
            yield lambda: keyed.nas_bench_301(value)
    elif form == "naslib":
        yield lambda: keyed.op_indices(value)
