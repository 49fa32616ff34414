"""Changes to valid files, drawn by hypothesis: values of JSON, archives, bytes, words."""

from __future__ import annotations

import copy
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

HUGE = (2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1, 10**30)
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 0.5, -0.0, float("nan"), float("inf"), 1e308, *HUGE, "", "x",
    "\x00", "\x1b[31m", "\ud800", "a" * 100_000, "../../x", "none", "1e999", "999999999999", [],
    {}, [[]], [None], {"": None}, [[[[[[[[[[1]]]]]]]]]], list(range(1000)),
]  # fmt: skip
TOKENS = (
    b"", b"\x00", b"\xff" * 8, b"[" * 2000, b"{" * 300, b'{"a":' * 2000, b"9" * 5000, b"-1",
    b"1e400", b"NaN", b"\\ud800", b"*a", b"&a [*a]", b"<<: *a", b"!!python/name:os.system ", b"\t",
    b"\r\n", b",", b"~", b"|", b"+", b"~0|+|", b"\xef\xbb\xbf", b"0x" + b"f" * 4000, b"1:" * 500,
    b"2026-99-99", b"? [a]\n: b\n", b"%YAML 9.9\n---\n", b"c__builtin__\neval\n",
    b"r\xff\xff\xff\xff",
    b"\x8e" + b"\xff" * 7 + b"\x00", b"\x96" + b"\x00" * 5 + b"\x01\x00\x00",
    b"cposix\nsystem\n(R.",
)  # fmt: skip
NUMBERS = [struct.pack(f, n) for n in (0, 1, 2**31 - 1, 2**15) for f in ("<I", ">I", "<Q")]
NUMBERS += [struct.pack("<Q", n) for n in (2**40, 2**63, 2**64 - 1)]

Change = tuple[int, float, float, int]


def changed(files: Mapping[str, Sequence[bytes]]) -> st.SearchStrategy[tuple[str, bytes]]:
    """A file's name, and a changed content of it."""
    cases = [(file, content) for file, contents in files.items() for content in contents]
    share = st.floats(0, 1, exclude_max=True)
    change = st.tuples(st.integers(0, 7), share, share, st.integers(0, 10**6))
    changes = st.lists(change, min_size=1, max_size=4)
    return st.builds(_case, st.sampled_from(cases), changes, st.integers(0, 3))


def _case(case: tuple[str, bytes], changes: list[Change], way: int) -> tuple[str, bytes]:
    file, content = case
    if way > 0:  # a quarter as bytes whatever they are
        return file, _structured(content, changes)
    return file, _bytes(content, changes)


def _structured(content: bytes, changes: list[Change]) -> bytes:
    if content.startswith(b"\x1f\x8b"):
        return gzip.compress(_structured(_unpacked(content), changes), 1)
    if content.startswith(b"PK\x03\x04"):
        return _zip(content, changes)
    try:
        lines = [json.loads(line) for line in content.splitlines()]
        place = changes[0][3] % len(lines)
        lines[place] = _value(lines[place], changes)
        return b"\n".join(json.dumps(line).encode() for line in lines) + b"\n"
    except (ValueError, ZeroDivisionError):
        pass
    try:
        return json.dumps(_value(json.loads(content), changes)).encode()
    except ValueError:
        return _bytes(content, changes)


def _unpacked(content: bytes) -> bytes:
    return zlib.decompress(content, 31)


def _zip(content: bytes, changes: list[Change]) -> bytes:
    """One entry changed, with a checksum that is right."""
    held = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(held, "w") as new:
        infos = old.infolist()
        chosen = changes[0][3] % len(infos)
        for place, info in enumerate(infos):
            inner = old.read(info)
            packed = zipfile.ZIP_DEFLATED if changes[0][0] == 7 else zipfile.ZIP_STORED
            changed = _bytes(inner, changes) if place == chosen else inner
            new.writestr(info.filename, changed, packed)
    return held.getvalue()


def _value(value: Any, changes: list[Change]) -> Any:
    """Values at drawn places replaced, removed or doubled."""
    value = copy.deepcopy(value)
    for kind, where, _, number in changes:
        places = list(_places(value))
        if not places:
            return VALUES[number % len(VALUES)]
        holder, key = places[int(where * len(places))]
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif kind == 2 and isinstance(holder, dict):
            holder[f"{key}x"] = VALUES[number % len(VALUES)]
        elif kind == 3:
            other, name = places[number % len(places)]
            holder[key] = copy.deepcopy(other[name])
        else:
            holder[key] = copy.deepcopy(VALUES[number % len(VALUES)])
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pending = [value]
    while pending:
        one = pending.pop()
        listed = one if isinstance(one, list) else ()
        for key, inner in one.items() if isinstance(one, dict) else enumerate(listed):
            yield one, key
            pending.append(inner)


def _bytes(content: bytes, changes: list[Change]) -> bytes:
    for kind, where, length, number in changes:
        at = int(where * (len(content) + 1))
        end = at + int(length**4 * (len(content) - at + 1))
        some = content[at : min(end, at + 2**14)]
        token, packed = TOKENS[number % len(TOKENS)], NUMBERS[number % len(NUMBERS)]
        content = {
            0: content[:at] + content[end:],
            1: content[:at] + token + content[at:],
            2: content[:at] + token + content[at + len(token) :],
            3: content[:at] + packed + content[at + len(packed) :],
            4: content[:at] + bytes([number % 256]) + content[at + 1 :],
            5: content[:end] + content[at:],
            6: content[:at],
            7: content[:at] + some * (number % 50) + content[at:],
        }[kind]
    return content
