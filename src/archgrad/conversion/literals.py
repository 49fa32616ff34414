"""Values in Python's notation, in files of others: parsed, never run. No torch."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from archgrad.errors import ArchgradError, shown

LONGEST, DEPTH, ITEMS, LARGEST = 50_000, 12, 10_000, 1000  # characters, brackets, values, a range
BROKEN = 100  # genotypes in one file that are none
NUMPY = ("float16", "float32", "float64", "int32", "int64")  # as numpy prints its numbers
CONSTRUCTOR = "Genotype"
_INSIDE = re.compile(  # tokens that are no brackets, as many as there are
    r"(?:[\s,=:]++|#[^\n]*+"
    r"|'[^'\\\n]*+'|\"[^\"\\\n]*+\""
    r"|\d++(?:\.\d*+)?(?:[eE][-+]?\d++)?(?!\w)"
    r"|(?:np\.|numpy\.)?[A-Za-z_]\w*+)*+"
)
_START = re.compile(
    r"(?:\b(?P<name>[A-Za-z_]\w*)[ \t]*=[ \t\\\n]*)?\b" + CONSTRUCTOR + r"\s*(?=\()"
    r"|(?=\{\s*['\"]normal['\"]\s*:)"
)


class Literal(NamedTuple):
    """A genotype in a text: where it stands, what it is assigned to, and its fields' notation.

    Where it is cut off or something else the notation is empty, and `problem` says so.
    """

    place: int
    name: str | None
    text: str
    problem: str = ""


def genotypes(text: str) -> Iterator[Literal]:
    """Every `Genotype(...)` and every dict that begins with the key normal, but no comment."""
    found, broken, seen = _START.search(text), 0, 0
    while found is not None:
        begin, end, problem = found.start(), found.end(), ""
        line = max(seen, text.rfind("\n", seen, begin) + 1)  # what is before was looked at
        seen = begin
        if text.find("#", line, begin) < 0:
            try:
                end = _end(text, found.end())
            except ArchgradError as error:
                problem, broken = str(error), broken + 1
                if broken > BROKEN:
                    raise
            yield Literal(begin, found["name"], text[found.end() : end], problem)
        else:  # the rest of the line is a comment
            end = text.find("\n", begin)
            seen = end = len(text) if end < 0 else end
        found = _START.search(text, max(end, begin + 1))


def arguments(text: str) -> Any:
    """The fields of a genotype, from `(normal=[...], ...)` or the dict of the same.

    >>> arguments("(recurrent=[('relu', 0)], concat=range(1, 2))")
    {'recurrent': [('relu', 0)], 'concat': (1,)}
    """
    return value(CONSTRUCTOR + text if text.startswith("(") else text)


def value(text: str) -> Any:
    """The value of a literal; ArchgradError for another expression, and for one beyond limits.

    Known are lists, tuples, dicts, texts, numbers, None, True and False, `range` of small
    numbers, numpy's numbers as it prints them, and `Genotype` with named fields, as a dict.

    >>> value("[('sep_conv_3x3', 0), range(2, 4)]")
    [('sep_conv_3x3', 0), (2, 3)]
    """
    text = text.strip()
    _end(text, 0, whole=True)
    try:
        tree = ast.parse(text, mode="eval")
        if sum(1 for _ in ast.walk(tree)) > ITEMS:
            raise ArchgradError(f"found more than {ITEMS:,} parts in one value; expected a cell")
        return _value(tree.body)
    except ArchgradError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        told = getattr(error, "msg", str(error))[:60]  # of a SyntaxError without its place
        raise _wrong(text, 0, f"it is no Python value ({told})") from None


def _end(text: str, start: int, whole: bool = False) -> int:
    """Where the bracket that opens at `start` has been closed; all tokens are harmless ones."""
    place, depth, end = start, 0, min(len(text), start + LONGEST)
    while True:
        inside = _INSIDE.match(text, place, end)
        place = place if inside is None else inside.end()
        if place >= end:
            break
        if text[place] in "([{":
            depth += 1
        elif text[place] in ")]}":
            depth -= 1
        else:
            raise _wrong(text, place, "its notation is not that of a genotype")
        place += 1
        if depth <= 0 and not whole:
            return place
        if depth > DEPTH:
            raise _wrong(text, start, f"it has more than {DEPTH} brackets inside each other")
    if place < len(text):
        raise _wrong(text, start, f"it has more than {LONGEST:,} characters")
    if not whole:
        raise _wrong(text, start, "its brackets do not close, as where a file is cut off")
    return place


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=str() | int() | float() | None):
            return node.value
        case ast.List():
            return [_value(each) for each in node.elts]
        case ast.Tuple():
            return tuple(_value(each) for each in node.elts)
        case ast.Dict():
            return _dict(node)
        case ast.Call(func=ast.Name(id="range"), keywords=[]):
            return _range([_value(each) for each in node.args])
        case ast.Call(func=ast.Name(id=name), args=[]) if name == CONSTRUCTOR:
            return _fields(node.keywords)
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=attr),
            args=[ast.Constant(value=int() | float() as number)],
            keywords=[],
        ) if attr in NUMPY:
            return number
    raise ArchgradError(
        f"found {shown(ast.unparse(node))}, expected lists, tuples, texts, numbers, range(a, b) or "
        f"{CONSTRUCTOR}(field=...); write its value in its place"
    )


def _fields(keywords: Collection[ast.keyword]) -> dict[str, Any]:
    if any(keyword.arg is None for keyword in keywords):
        raise ArchgradError(f"found ** in a {CONSTRUCTOR}, expected its fields; write them out")
    return {str(keyword.arg): _value(keyword.value) for keyword in keywords}


def _dict(node: ast.Dict) -> dict[str, Any]:
    keys = [None if key is None else _value(key) for key in node.keys]
    names = [key for key in keys if isinstance(key, str)]
    if len(set(names)) < len(keys):
        raise ArchgradError(f"found the keys {shown(keys)}, expected texts, each once; mend them")
    return dict(zip(names, map(_value, node.values), strict=True))


def _range(bounds: list[Any]) -> tuple[int, ...]:
    plain = all(type(bound) is int and bound <= LARGEST for bound in bounds)
    if not plain or not 1 <= len(bounds) <= 2:
        raise ArchgradError(
            f"found range{shown(tuple(bounds))}, expected one or two numbers up to {LARGEST}"
        )
    return tuple(range(*bounds))


def _wrong(text: str, place: int, reason: str) -> ArchgradError:
    return ArchgradError(
        f'at "{shown(text[place : place + 40])[1:-1]}": {reason}; expected a value such as '
        f"{CONSTRUCTOR}(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), ...)"
    )
