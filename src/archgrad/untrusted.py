"""Files that others may have made: sizes before memory, JSON and YAML within limits. No torch."""

from __future__ import annotations

import io
import json
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import yaml

from archgrad.errors import ArchgradError

LIMIT = 256 * 2**20  # bytes of a file that is read as a whole
LIMIT_YAML = 2**20  # its parser takes seconds for more
DEPTH = 64  # lists and objects inside others
YAML_VALUES = 200_000  # with its aliases followed
UNPACKED, TIMES = 2**28, 100  # bytes that are unpacked of any file; of a large one, times its own
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
YAML_ERRORS = (  # PyYAML raises all of these for some text
    yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError, IndexError, RecursionError,
)  # fmt: skip


def content(path: str | Path, limit: int = LIMIT) -> bytes:
    """The bytes of a file. OSError as `open`; ArchgradError for a large file, and for no file."""
    about = Path(path).stat()
    if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
        raise ArchgradError(f"{path} is no regular file; expected one, so copy its content to one")
    if about.st_size > limit:
        raise ArchgradError(
            f"{path} has {about.st_size / 2**20:,.0f} MiB, more than the {limit / 2**20:,.0f} MiB "
            "that are read; expected a file as archgrad writes it, so restore it"
        )
    return Path(path).read_bytes()


def text(path: str | Path, limit: int = LIMIT) -> str:
    """The text of a file, as `content`; UnicodeDecodeError, a ValueError, for other bytes."""
    return content(path, limit).decode("utf-8")


def from_json(found: str | bytes) -> Any:
    """The value of a JSON text; ValueError where there is none, or one that nothing could use.

    Refused are more than 64 levels, and halves of characters, which no file can hold.
    """
    try:
        value = json.loads(found)
    except RecursionError:
        raise ValueError(f"more than {DEPTH} levels of lists and objects") from None
    _check_depth(value)
    written = found if isinstance(found, str) else found.decode(json.detect_encoding(found))
    if _SURROGATE.search(written):
        json.dumps(value, ensure_ascii=False).encode()  # a UnicodeEncodeError is a ValueError
    return value


def mapping_of_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file; ValueError for another value, OSError as `open`."""
    value = from_json(content(path))
    if not isinstance(value, dict):
        raise ValueError(f"found a {type(value).__name__}, expected an object")
    return value


class _Shallow(yaml.SafeLoader):
    """Stops at the level that is too deep: its scanner takes a second for a thousand of them."""

    level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.level += 1
        if self.level > DEPTH + 2:  # with the document and the innermost value
            raise ValueError(f"more than {DEPTH} levels of lists and objects")
        node = super().compose_node(parent, index)
        self.level -= 1
        return node


def from_yaml(found: str) -> Any:
    """The plain value of a YAML text; ValueError, in one line, where there is none within limits.

    Aliases are followed, but not where they stand for more than 200,000 values, nor in a circle.
    """
    if len(found) > LIMIT_YAML:
        raise ValueError(f"{len(found):,} characters, more than the {LIMIT_YAML:,} that are read")
    try:
        loader = _Shallow(found)
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > YAML_VALUES:
            raise ValueError(f"its aliases stand for more than {YAML_VALUES:,} values")
        value = loader.construct_document(node)
        _check_depth(value)
    except YAML_ERRORS as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
    return value


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for, aliases counted each time."""
    if known.get(id(node)) == 0:
        raise ValueError("it holds itself")
    if id(node) not in known and isinstance(node, yaml.CollectionNode):
        known[id(node)] = 0  # not yet known
        pairs = node.value if isinstance(node, yaml.MappingNode) else [node.value]
        known[id(node)] = 1 + sum(_values(inner, known) for pair in pairs for inner in pair)
    return known.get(id(node), 1)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH + 1):
        level = [inner for one in level for inner in _inside(one) if isinstance(inner, dict | list)]
        if not level:
            return
    raise ValueError(f"more than {DEPTH} levels of lists and objects")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


class Limited(io.RawIOBase):
    """What is unpacked from a file of `packed` bytes, which an OSError ends where it is absurd.

    That is: more than 256 MiB and more than 100 times the file.
    """

    def __init__(self, stream: IO[bytes] | io.BufferedIOBase, packed: int) -> None:
        self.stream, self.most = stream, most_unpacked(packed)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.stream.seekable()

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return self.stream.seek(place, whence)

    def tell(self) -> int:
        return self.stream.tell()

    def readinto(self, buffer: Any) -> int:
        found = self.stream.read(len(buffer))
        buffer[: len(found)] = found
        self.most -= len(found)
        if self.most < 0:
            raise OSError(f"it unpacks to more than {TIMES} times its size")
        return len(found)


def most_unpacked(packed: int) -> int:
    """How many bytes a file of so many may unpack to."""
    return max(UNPACKED, TIMES * packed)


def limited(stream: IO[bytes] | io.BufferedIOBase, path: Path) -> io.BufferedReader:
    """An unpacking stream of a file that ends in an OSError where it unpacks to too much."""
    return io.BufferedReader(Limited(stream, os.path.getsize(path)), 2**16)
