"""The methods by name; `archgrad methods` prints them as a table method x slot."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from archgrad.errors import ArchgradError, unknown
from archgrad.methods.darts import darts, darts_2nd
from archgrad.methods.method import Method

__all__ = ["RECIPES", "Method", "darts", "darts_2nd", "method"]

RECIPES: dict[str, Callable[..., Method]] = {"darts": darts, "darts_2nd": darts_2nd}


def method(name: str | Method, **options: Any) -> Method:
    """The method called ``name`` (a `Method` passes through); options are the recipe's own."""
    if isinstance(name, Method):
        if options:
            raise ArchgradError(f"options {sorted(options)} go with a method's name, not its value")
        return name
    if name not in RECIPES:
        raise unknown("method", name, RECIPES)
    known = inspect.signature(RECIPES[name]).parameters
    for option, value in options.items():
        if option not in known:
            raise unknown(f"option of method {name}", option, known)
        expected = type(known[option].default)
        if expected is float and isinstance(value, int) and not isinstance(value, bool):
            continue
        if not isinstance(value, expected):
            raise ArchgradError(
                f"option {option} of method {name}: found {value!r}, expected {expected.__name__}"
            )
    return RECIPES[name](**options)
