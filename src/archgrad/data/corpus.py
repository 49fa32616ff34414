"""From files of text to numbered tokens and their vocabulary."""

from __future__ import annotations

import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from archgrad.errors import ArchgradError
from archgrad.system.memory import available_mb
from archgrad.untrusted import limited

Array: TypeAlias = "np.ndarray[Any, Any]"

EOS, UNKNOWN = "<eos>", "<unk>"
LEVELS = ("word", "character")
PARTS = ("train", "valid", "test")

_BEGINNINGS = {"train": "train", "valid": "val|dev", "test": "test"}
_OPENED: dict[str, Callable[[Path], Any]] = {".xz": lzma.open, ".gz": gzip.open}
_SUFFIXES = (".txt", ".tokens", *_OPENED)
_COPIES = 4  # of the embedding: it, its gradient, what the optimizer keeps, and one a step makes


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """The text of a file, a .xz or .gz one unpacked, with "\\n" for every line break.

    ArchgradError where it is missing, empty, not a text, or not of this encoding.
    """
    data = _read(path)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if b"\0" in data:
            raise _binary(path, encoding) from None
        raise ArchgradError(
            f"{path} is not {encoding}: byte {error.start} is 0x{data[error.start]:02x} "
            f"({error.reason}); give its encoding, such as encoding=latin-1, or convert it"
        ) from None
    except (LookupError, ValueError) as error:
        raise ArchgradError(
            f"encoding is {encoding!r} for {path}: {error}; expected one that Python knows, such "
            "as utf-8, latin-1 or utf-16"
        ) from None
    if "\0" in text:
        raise _binary(path, encoding)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise ArchgradError(f"{path} holds no text; expected some words, so check the file")
    return text


def _read(path: Path) -> bytes:
    opened = _OPENED.get(path.suffix.lower(), Path.open)
    try:
        with opened(path, "rb") as stream, limited(stream, path) as bounded:
            return bounded.read()
    except FileNotFoundError:
        raise ArchgradError(f"{path} is missing; expected a text file, so check the path") from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise ArchgradError(
            f"{path} cannot be read ({error}); expected a whole text file, plain, .xz or .gz: get "
            "or save it again"
        ) from None


def _binary(path: Path, encoding: str) -> ArchgradError:
    return ArchgradError(
        f"{path} holds zero bytes and is no text in {encoding}; expected a text file, so give "
        "another file, or its encoding, such as encoding=utf-16"
    )


def tokens(text: str, level: str) -> Iterator[str]:
    """The tokens of a text with "\\n" for line breaks.

    "word": what stands between white space, and `EOS` after each line, as the code of DARTS
    (arXiv:1806.09055) reads text. "character": every character, line breaks too.
    """
    if level == "character":
        return iter(text)
    return (token for line in _lines(text) for token in (*line.split(), EOS))


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def check_words(text: str, where: object) -> None:
    """ArchgradError where no line holds two words: then lines, not words, would be the tokens."""
    if not any(len(line.split(maxsplit=1)) > 1 for line in _lines(text)):
        raise ArchgradError(
            f"{where} has no white space within any of {len(_lines(text))} lines; expected words "
            "with spaces between them at level word: give level=character, or put spaces in"
        )


def cut(text: str, where: object) -> tuple[str, str, str]:
    """A text by lines: the first 80 %, the next 10 % and the last 10 % of them."""
    lines = re.findall(r".*\n|.+\Z", text)
    if len(lines) < 10:
        raise ArchgradError(
            f"{where} has {len(lines)} lines; expected 10 or more to be cut into train, valid and "
            "test at 80 and 90 %, so give three files, or a text of more lines"
        )
    first, second = len(lines) * 8 // 10, len(lines) * 9 // 10
    return "".join(lines[:first]), "".join(lines[first:second]), "".join(lines[second:])


def files_of(folder: Path) -> list[Path]:
    """The files of train, valid and test in a folder, or its single text file.

    A file is of a part where a word of its name begins with train, with val or dev, or with test,
    and is a text file where it ends in .txt, .tokens, .xz or .gz. Where a file is there twice, as
    it is and packed, the unpacked one is taken.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            found.setdefault(str(path).removesuffix(".xz").removesuffix(".gz"), path)
    paths = list(found.values())
    if len(paths) == 1:
        return paths
    if not paths:
        raise ArchgradError(
            f"{folder} holds no text file; expected files that end in {', '.join(_SUFFIXES)}, so "
            "check the path"
        )
    return [_only(folder, part, paths) for part in PARTS]


def _only(folder: Path, part: str, paths: Sequence[Path]) -> Path:
    """The one file of a part."""
    pattern = re.compile(f"(?<![a-z])({_BEGINNINGS[part]})", re.IGNORECASE)
    fitting = [path for path in paths if pattern.search(path.name)]
    if len(fitting) != 1:
        names = ", ".join(path.name for path in (fitting or paths)[:6])
        raise ArchgradError(
            f"{folder} holds {len(fitting)} files of the part {part} (found {names}); expected "
            f"one, with a name such as {part}.txt: rename them, or give text:TRAIN,VALID,TEST"
        )
    return fitting[0]


def ptb_files(folder: Path) -> list[Path]:
    """ptb.train.txt, ptb.valid.txt and ptb.test.txt, maybe packed, in a folder or its ptb/."""
    found = []
    for part in PARTS:
        name = f"ptb.{part}.txt"
        places = [f / (name + s) for f in (folder, folder / "ptb") for s in ("", *_OPENED)]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise ArchgradError(
                f"{folder} holds no {name}, neither there nor in ptb/, nor as {name}.xz or "
                f"{name}.gz; expected it, so give the folder of the Penn Treebank as data_root"
            )
        found.append(path)
    return found


def numbered(
    train: Iterable[str], others: Sequence[Iterable[str]] = (), most: int | None = None
) -> tuple[tuple[str, ...], list[Array]]:
    """The vocabulary, and each text in its numbers, int64, `train` first.

    The vocabulary is that of `train` alone, ordered by first appearance; with `most` only so
    many of its most frequent tokens (of equal ones the first). All other tokens become `UNKNOWN`,
    which is added at the end where there are such and it is not in the vocabulary yet.
    """
    places: dict[str, int] = {}
    first = np.fromiter((places.setdefault(t, len(places)) for t in train), np.int64)
    words = list(places)
    if most is not None and most < len(words):
        kept = np.sort(np.argsort(-np.bincount(first), kind="stable")[:most])
        renumbered = np.full(len(words), -1)
        renumbered[kept] = np.arange(most)
        first, words = renumbered[first], [words[place] for place in kept]
        places = {word: place for place, word in enumerate(words)}
    rest = (np.fromiter((places.get(t, -1) for t in other), np.int64) for other in others)
    texts = [first, *rest]
    if any(bool((text < 0).any()) for text in texts):
        place = places.get(UNKNOWN, len(words))
        words += [UNKNOWN] * (place == len(words))
        texts = [np.where(text < 0, place, text) for text in texts]
    return tuple(words), texts


def first_of(tokens: Iterable[str], count: int | None) -> Iterable[str]:
    """The first `count` tokens, or all; ArchgradError where there are fewer."""
    if count is None:
        return tokens
    some = list(islice(tokens, count))
    if len(some) < count:
        raise ArchgradError(
            f"subset is {count}; expected 1..{len(some)}, as the training text has {len(some)} "
            "tokens"
        )
    return some


def check_vocabulary(classes: int, hidden: int, where: torch.device) -> None:
    """ArchgradError where the embedding of a vocabulary alone would not fit in memory.

    Four float32 copies of `classes` times `hidden` numbers are counted: the embedding, which is
    the decoder too, its gradient, what the optimizer keeps, and one that a step makes.
    """
    needed, available = classes * hidden * 4 * _COPIES / 1e6, available_mb(where)
    if available is not None and needed > available:
        raise ArchgradError(
            f"a vocabulary of {classes:,} tokens at hidden {hidden} takes {needed:,.0f} MB for its "
            f"embedding and {_COPIES - 1} copies of it; expected at most the {available:,.0f} MB "
            f"of {where}: give vocabulary=10000 or so, level=character, or a smaller hidden"
        )
