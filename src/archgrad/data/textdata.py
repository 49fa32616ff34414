"""Text as a data set: by name, by path, or as tokens from Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from archgrad.data import grammar
from archgrad.data.base import Augmentation
from archgrad.data.corpus import (
    LEVELS,
    PARTS,
    check_words,
    cut,
    files_of,
    first_of,
    numbered,
    ptb_files,
    read_text,
    tokens,
)
from archgrad.data.dataset import Data
from archgrad.data.text import TextSource
from archgrad.errors import ArchgradError, unknown
from archgrad.language import LANGUAGE

Given: TypeAlias = "str | Path | Sequence[str] | Sequence[int] | np.ndarray[Any, Any] | Tensor"


def is_text(name: str) -> bool:
    """Whether this is the name of a text."""
    return name in ("ptb", "grammar") or (name.startswith("text:") and len(name) > len("text:"))


def load_text(
    name: str,
    root: Path | None = None,
    *,
    level: str = "word",
    vocabulary: int | None = None,
    encoding: str = "utf-8",
    subset: int | None = None,
) -> Data:
    """A text by a name that `is_text`; `root`: the folder of ptb, and where paths start from."""
    _check(level, vocabulary, subset)
    base = Path() if root is None else root
    if name == "grammar":
        if encoding != "utf-8":
            raise ArchgradError(
                f"encoding is {encoding} for grammar, which is made and not read; leave it out"
            )
        texts = {f"grammar {part}": grammar.text(part) for part in PARTS}
    elif name == "ptb":
        if root is None:
            raise ArchgradError(
                "ptb needs root (data_root); expected the folder that holds ptb.train.txt, "
                "ptb.valid.txt and ptb.test.txt, each maybe .xz or .gz, so give it"
            )
        texts = {str(path): read_text(path, encoding) for path in ptb_files(base)}
    else:
        texts = _texts(_paths(name.removeprefix("text:"), base), encoding)
    if level == "word":
        check_words(*next((text, where) for where, text in texts.items()))
    parts = [tokens(text, level) for text in texts.values()]
    return _data(name, first_of(parts[0], subset), parts[1:], vocabulary)


def text_data(
    train: Given,
    valid: Given | None = None,
    test: Given | None = None,
    *,
    level: str = "word",
    vocabulary: int | None = None,
    encoding: str = "utf-8",
    subset: int | None = None,
) -> Data:
    """Text for a search or a retraining, each part the path of a file or its tokens, in order.

    Tokens are strings or whole numbers, which become strings. A file alone as `train` is cut into
    train, valid and test by lines, at 80 and 90 %. `level`: "word" or "character"; of files.
    `vocabulary`: keep at most so many of the training part's most frequent tokens.
    `encoding`: of files. `subset`: so many first training tokens; the vocabulary is then
    theirs. Raises `ArchgradError` for all that is wrong; see `archgrad.data.corpus`.

    >>> import archgrad
    >>> words = "the cat saw the dog and the dog saw the cat".split()
    >>> data = archgrad.data.text_data(words, valid=words[:6])
    >>> data.classes, len(data.train)
    (('the', 'cat', 'saw', 'dog', 'and'), 11)
    """
    _check(level, vocabulary, subset)
    given = {"train": train, "valid": valid, "test": test}
    held = {name: value for name, value in given.items() if value is not None}
    if valid is None and (test is not None or not _is_path(train)):
        raise ArchgradError(
            "valid is None; expected a text for the architecture parameters, so give one (a single "
            "file alone is cut into train, valid and test)"
        )
    if not any(map(_is_path, held.values())) and (level, encoding) != ("word", "utf-8"):
        raise ArchgradError(
            f"level {level} and encoding {encoding} were given with tokens; expected files with "
            "them, so leave them out"
        )
    if valid is None:
        texts = _texts([Path(str(train)).expanduser()], encoding)
        parts: list[Iterable[str]] = [tokens(text, level) for text in texts.values()]
    else:
        parts = [_tokens(value, name, level, encoding) for name, value in held.items()]
    return _data("text", first_of(parts[0], subset), parts[1:], vocabulary)


def _check(level: str, vocabulary: int | None, subset: int | None) -> None:
    if level not in LEVELS:
        raise unknown("level", level, LEVELS)
    for name, value in (("vocabulary", vocabulary), ("subset", subset)):
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | np.integer)
        ):
            raise ArchgradError(f"{name} is {value!r}; expected a whole number of tokens")
        if value is not None and value < 1:
            raise ArchgradError(f"{name} is {value}; expected 1 or more tokens, or leave it out")


def _is_path(value: Any) -> bool:
    return isinstance(value, str | Path)


def _paths(text: str, base: Path) -> list[Path]:
    """Of "DIR", "FILE" or "TRAIN,VALID,TEST"."""
    whole = base / Path(text).expanduser()
    if whole.is_dir():
        return files_of(whole)
    names = [text] if whole.exists() else text.split(",")
    if len(names) not in (1, len(PARTS)):
        raise ArchgradError(
            f'text:{text} names {len(names)} files; expected three, "text:TRAIN,VALID,TEST", a '
            "folder, or a single file to be cut into the three parts"
        )
    return [base / Path(name.strip()).expanduser() for name in names]


def _texts(paths: Sequence[Path], encoding: str) -> dict[str, str]:
    """The texts of three files, or the three parts of one, by what to call each in a message."""
    if len(set(paths)) == len(PARTS):
        return {str(path): read_text(path, encoding) for path in paths}
    if len(paths) == len(PARTS):
        raise ArchgradError(
            f"the files of train, valid and test are {', '.join(map(str, paths))}; expected three "
            "different ones, so give others, or a single one to be cut"
        )
    parts = cut(read_text(paths[0], encoding), paths[0])
    return {f"{paths[0]}, {name}": part for name, part in zip(PARTS, parts, strict=True)}


def _tokens(value: Any, name: str, level: str, encoding: str) -> Iterable[str]:
    if _is_path(value):
        path = Path(value).expanduser()
        text = read_text(path, encoding)
        if level == "word" and name == "train":
            check_words(text, path)
        return tokens(text, level)
    found = value.tolist() if isinstance(value, Tensor | np.ndarray) else value
    if not isinstance(found, Sequence) or isinstance(found, bytes) or not found:
        raise ArchgradError(
            f"{name} is a {type(value).__name__}; expected the path of a text file, or a list of "
            "one or more tokens, strings or whole numbers"
        )
    wrong = next((t for t in found if not isinstance(t, str | int) or isinstance(t, bool)), None)
    if wrong is not None:
        raise ArchgradError(
            f"{name} holds {wrong!r}, a {type(wrong).__name__}; expected a flat list of tokens, "
            "strings or whole numbers, so convert them"
        )
    return map(str, found)


def _data(
    name: str, train: Iterable[str], others: Sequence[Iterable[str]], vocabulary: int | None
) -> Data:
    classes, texts = numbered(train, others, vocabulary)
    train_part, valid, *test = (
        TextSource(torch.from_numpy(text), name=part)
        for part, text in zip(PARTS, texts, strict=False)
    )
    return Data(
        name=name,
        train=train_part,
        valid=valid,
        test=test[0] if test else None,
        shape=(),
        classes=classes,
        normalization=None,
        augmentation=Augmentation(),
        task=LANGUAGE,
    )
