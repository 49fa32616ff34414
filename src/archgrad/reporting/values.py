"""Single values of files that may hold anything: of the expected kind, or nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from archgrad.architecture import Architecture
from archgrad.errors import ArchgradError

Value = dict[str, Any]
DIGITS = 6  # of a number on the page
EXACT = 2**53  # integers up to here are themselves in JavaScript


def number(value: Any) -> float | int | None:
    """A finite number, to six digits if it is a fraction."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and abs(value) <= EXACT:
        return value
    try:
        found = float(value)
    except OverflowError:  # an integer beyond all floats
        return None
    return float(f"{found:.{DIGITS}g}") if math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """An integer that is not negative, nor too large for a page."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= EXACT else None


def text(value: Any) -> str | None:
    """A text; a number as text."""
    if isinstance(value, str):
        return value
    found = number(value)
    return None if found is None else str(found)


def mapping(value: Any) -> Value:
    """A mapping with names as keys, else an empty one."""
    return {k: v for k, v in value.items() if isinstance(k, str)} if _is_map(value) else {}


def items(value: Any) -> list[Any]:
    """A list, else an empty one."""
    return value if isinstance(value, list) else []


def architecture(value: Any, origin: str) -> Value:
    """The cells of an architecture; raises `ArchgradError`, which names `origin`, for others."""
    try:
        found = Architecture.from_json(json.dumps(value), origin)
    except (ValueError, TypeError, RecursionError) as error:
        if isinstance(error, ArchgradError):
            raise
        raise ArchgradError(f"{origin}: no architecture ({type(error).__name__})") from None
    return {"space": found.space, "cells": found.model_dump(mode="json")["cells"]}


def columns(lines: Iterable[Mapping[str, Any]], most: int = 100) -> dict[str, list[Any]]:
    """The numbers of lines by key; None where a line has none. At most so many keys."""
    lines = list(lines)
    keys = list({key: None for line in lines for key, value in line.items() if _counts(value)})
    return {key: [number(line.get(key)) for line in lines] for key in keys[:most]}


def writable(value: Any) -> Any:
    """The same with texts that are valid UTF-8, and numbers that JSON knows."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if _is_map(value):
        return {writable(str(key)): writable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [writable(one) for one in value]
    if value is None or isinstance(value, bool):
        return value
    return number(value)


def strange(value: Any) -> bool:
    """Whether it is a number that is not finite."""
    return _counts(value) and number(value) is None


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _counts(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
