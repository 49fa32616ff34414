"""Plain data out of a pickle without unpickling it: a stack, a memo, and the few names admitted.

The module pickle is not used: its memo takes memory for any number that a file names, and a name
that a pickle asks for is a call. Here a name is looked up in a table of own functions, sizes are
compared with what is there, and what is hashed is small.
"""

from __future__ import annotations

import codecs
import math
import struct
from collections.abc import Callable, Mapping
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np

from archgrad.errors import ArchgradError

Array: TypeAlias = "np.ndarray[Any, Any]"
Function: TypeAlias = Callable[..., Any]
_STEP = 2**20  # bytes that are read at a time, so that a size that is claimed takes no memory
_LINE = 2**24  # bytes of a line at most
_BYTES = {form: struct.calcsize(form) for form in ("<B", "<H", "<i", "<I", "<Q", ">d")}
_NUMBERS = {f"{kind}{size}" for kind in "iuf" for size in (1, 2, 4, 8)} - {"f1"} | {"b1"}


class Name(NamedTuple):
    """What a pickle asked for by name, and what stands in for it."""

    name: str
    function: Function


class Reader:
    """Reads pickles one after the other from a stream.

    `names`: what is admitted, "module.name" -> an own function; `needed_by`: of whom the error
    about another name speaks. `text`: strings of Python 2 to values. `stored`: a persistent id
    to a value. `most`: steps that all pickles together may take. Raises `ArchgradError` for a
    name that is not admitted, errors of many other types for what is no pickle of plain data.
    """

    def __init__(
        self,
        stream: IO[bytes],
        names: Mapping[str, Function],
        needed_by: str,
        *,
        text: Callable[[bytes], Any] = lambda found: found.decode("ascii"),
        stored: Callable[[Any], Any] = lambda _: None,
        most: int = 2**21,
    ) -> None:
        self.stream, self.names, self.needed_by = stream, names, needed_by
        self.text, self.stored, self.most = text, stored, most

    def load(self) -> Any:
        """The value of the next pickle."""
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        while (code := self.stream.read(1)) != b".":
            self.most -= 1
            if self.most < 0:
                raise ValueError("it holds more values than such a file has")
            if code not in _STEPS:
                raise ValueError(f"step {code!r} is not of plain data" if code else "it has no end")
            _STEPS[code](self)
        return self.stack.pop()

    def exact(self, size: int) -> bytes:
        """So many bytes."""
        parts = [self.stream.read(min(size, _STEP))]
        left = size - len(parts[0])
        while left > 0:
            part = self.stream.read(min(left, _STEP))
            if not part:
                raise EOFError(f"the pickle ends {left} bytes early")
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def number(self, form: str) -> int:
        """A number in binary form."""
        found: int = struct.unpack(form, self.exact(_BYTES[form]))[0]
        return found

    def line(self) -> bytes:
        """Up to the end of a line."""
        found = self.stream.readline(_LINE)
        if not found.endswith(b"\n"):
            raise EOFError("a line of the pickle has no end")
        return found[:-1]

    def marked(self) -> list[Any]:
        """What stands above the last mark."""
        found, self.stack = self.stack, self.outer.pop()
        return found

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def find(self, module: Any, name: Any) -> None:
        asked = f"{module}.{name}"
        if asked not in self.names:
            asked = asked if len(asked) <= 100 else asked[:97] + "..."
            raise ArchgradError(
                f"the pickle asks for {asked}, which {self.needed_by} does not need; it was not "
                "run, so get the file from its source"
            )
        self.push(Name(asked, self.names[asked]))

    def call(self, arguments: Any, name: Any) -> None:
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise TypeError("the pickle calls what has no name")
        self.push(name.function(*arguments))

    def build(self, state: Any, target: Any) -> None:
        """The state of arrays and their types; that of other values is not needed."""
        if isinstance(target, np.ndarray):
            _fill(target, state)
        elif isinstance(target, np.dtype):
            _order(target, state)
        elif not isinstance(target, dict | None):
            raise TypeError(f"the pickle gives a {type(target).__name__} a state")


def codec(text: str, encoding: str) -> bytes:
    """Stands in for `_codecs.encode`, by which protocol 2 stores bytes."""
    if encoding != "latin1":
        raise ArchgradError(f"the pickle asks for the codec {encoding}; expected latin1")
    return text.encode("latin1")


def nothing(*_: Any) -> None:
    """Stands in for what is not read, as the weights of networks."""


def pairs(items: Any = ()) -> dict[Any, Any]:
    """Stands in for OrderedDict."""
    return {_key(key): value for key, value in items}


def keys(items: Any = ()) -> set[Any]:
    """Stands in for set and frozenset."""
    return {_key(item) for item in items}


def no_bytes() -> bytes:
    """Stands in for bytes, by which protocol 2 stores none of them."""
    return b""


def _array(kind: Name, *_: Any) -> Array:
    if kind.name != "numpy.ndarray":
        raise TypeError(f"an array of {kind.name}")
    return np.zeros(0, np.uint8)


def _dtype(name: str, *_: Any) -> np.dtype[Any]:
    if name not in _NUMBERS:
        raise ValueError("an array of other values than numbers")
    return np.dtype(name, copy=True)


def _scalar(dtype: np.dtype[Any], raw: bytes) -> Any:
    if not isinstance(dtype, np.dtype) or len(raw) != dtype.itemsize:
        raise ValueError("a number of another size than its type")
    return np.frombuffer(raw, dtype)[0]


def _order(dtype: np.dtype[Any], state: Any) -> None:
    version, order, *rest = state
    if version not in (3, 4) or order not in ("<", ">", "|") or rest != [None] * 3 + [-1, -1, 0]:
        raise ValueError("an array of other values than numbers")
    dtype.__setstate__((3, order, *rest))  # type: ignore[attr-defined]


def _fill(array: Array, state: Any) -> None:
    _version, shape, dtype, fortran, raw = state
    whole = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 2**40 for n in shape)
    if not whole or not isinstance(dtype, np.dtype) or not isinstance(raw, bytes):
        raise TypeError("an array of another form")
    if len(shape) > 8 or math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError(f"an array of shape {shape} in {len(raw)} bytes")
    array.__setstate__((1, shape, dtype, bool(fortran), raw))  # type: ignore[arg-type]


def _key(value: Any) -> Any:
    """What may be a key: small, since tuples in tuples can take forever to hash."""
    parts = value if type(value) is tuple and len(value) < 9 else (value,)
    for part in parts:
        small = part is None or type(part) in (str, bytes, bool)
        if not small and not (type(part) is int and abs(part) < 2**60):
            raise TypeError(f"a {type(part).__name__} as a key")
    return value


ARRAYS: Mapping[str, Function] = {
    "_codecs.encode": codec,
    **{f"{module}.bytes": no_bytes for module in ("builtins", "__builtin__")},
    "numpy.ndarray": nothing,
    "numpy.dtype": _dtype,
    **{f"numpy.{core}.multiarray._reconstruct": _array for core in ("core", "_core")},
}
DATA: Mapping[str, Function] = {
    **ARRAYS,
    "collections.OrderedDict": pairs,
    **{f"{m}.{n}": keys for m in ("builtins", "__builtin__") for n in ("set", "frozenset")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
}


def _int(line: bytes) -> int:
    return {b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line)


def _quoted(line: bytes) -> bytes:
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b'"', b"'"):
        raise ValueError("a string without quotes")
    return codecs.escape_decode(line[1:-1])[0]


def _long(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


def _size(reader: Reader, form: str) -> bytes:
    size = reader.number(form)
    if size < 0:
        raise ValueError("a negative size")
    return reader.exact(size)


def _pushing(value: Callable[[Reader], Any]) -> Callable[[Reader], None]:
    return lambda reader: reader.push(value(reader))


def _append(reader: Reader, items: list[Any]) -> None:
    if not isinstance(reader.stack[-1], list):
        raise TypeError("items of what is no list")
    reader.stack[-1].extend(items)


def _add(reader: Reader, items: list[Any]) -> None:
    if not isinstance(reader.stack[-1], set):
        raise TypeError("items of what is no set")
    reader.stack[-1].update(keys(items))


def _set(reader: Reader, items: list[Any]) -> None:
    if not isinstance(reader.stack[-1], dict):
        raise TypeError("entries of what is no dict")
    reader.stack[-1].update(_dict(items))


def _dict(items: list[Any]) -> dict[Any, Any]:
    return pairs(zip(items[::2], items[1::2], strict=True))


def _last(reader: Reader, count: int) -> list[Any]:
    found = [reader.stack.pop() for _ in range(count)]
    return found[::-1]


def _mark(reader: Reader) -> None:
    reader.outer.append(reader.stack)
    reader.stack = []


def _put(reader: Reader, index: int) -> None:
    reader.memo[index] = reader.stack[-1]


_VALUES: dict[bytes, Callable[[Reader], Any]] = {
    b"N": lambda r: None,
    b"\x88": lambda r: True,
    b"\x89": lambda r: False,
    b"I": lambda r: _int(r.line()),
    b"J": lambda r: r.number("<i"),
    b"K": lambda r: r.number("<B"),
    b"M": lambda r: r.number("<H"),
    b"L": lambda r: int(r.line().rstrip(b"L")),
    b"\x8a": lambda r: _long(_size(r, "<B")),
    b"\x8b": lambda r: _long(_size(r, "<i")),
    b"F": lambda r: float(r.line()),
    b"G": lambda r: r.number(">d"),
    b"S": lambda r: r.text(_quoted(r.line())),
    b"T": lambda r: r.text(_size(r, "<i")),
    b"U": lambda r: r.text(_size(r, "<B")),
    b"B": lambda r: _size(r, "<I"),
    b"C": lambda r: _size(r, "<B"),
    b"\x8e": lambda r: _size(r, "<Q"),
    b"V": lambda r: r.line().decode("raw-unicode-escape"),
    b"X": lambda r: _size(r, "<I").decode(),
    b"\x8c": lambda r: _size(r, "<B").decode(),
    b"\x8d": lambda r: _size(r, "<Q").decode(),
    b"]": lambda r: [],
    b"l": lambda r: r.marked(),
    b")": lambda r: (),
    b"t": lambda r: tuple(r.marked()),
    b"\x85": lambda r: tuple(_last(r, 1)),
    b"\x86": lambda r: tuple(_last(r, 2)),
    b"\x87": lambda r: tuple(_last(r, 3)),
    b"}": lambda r: {},
    b"d": lambda r: _dict(r.marked()),
    b"\x8f": lambda r: set(),
    b"\x91": lambda r: keys(r.marked()),
    b"2": lambda r: r.stack[-1],
    b"g": lambda r: r.memo[int(r.line())],
    b"h": lambda r: r.memo[r.number("<B")],
    b"j": lambda r: r.memo[r.number("<I")],
    b"P": lambda r: r.stored(r.line()),
    b"Q": lambda r: r.stored(r.stack.pop()),
}
_STEPS: dict[bytes, Callable[[Reader], Any]] = {
    **{code: _pushing(value) for code, value in _VALUES.items()},
    b"\x80": lambda r: r.exact(1),  # the protocol
    b"\x95": lambda r: r.exact(8),  # the size of a frame
    b"(": _mark,
    b"0": lambda r: r.stack.pop(),
    b"1": lambda r: r.marked(),
    b"a": lambda r: _append(r, _last(r, 1)),
    b"e": lambda r: _append(r, r.marked()),
    b"s": lambda r: _set(r, _last(r, 2)),
    b"u": lambda r: _set(r, r.marked()),
    b"\x90": lambda r: _add(r, r.marked()),
    b"p": lambda r: _put(r, int(r.line())),
    b"q": lambda r: _put(r, r.number("<B")),
    b"r": lambda r: _put(r, r.number("<I")),
    b"\x94": lambda r: _put(r, len(r.memo)),
    b"c": lambda r: r.find(r.line().decode(), r.line().decode()),
    b"\x93": lambda r: r.find(*_last(r, 2)),
    b"R": lambda r: r.call(r.stack.pop(), r.stack.pop()),
    b"\x81": lambda r: r.call(r.stack.pop(), r.stack.pop()),
    b"b": lambda r: r.build(r.stack.pop(), r.stack[-1]),
}
