"""Recipes by name, called with options that are checked against their signatures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from archgrad.errors import ArchgradError, unknown

Made = TypeVar("Made")


def made(
    kind: str, recipes: Mapping[str, Callable[..., Made]], name: str, options: Mapping[str, Any]
) -> Made:
    """What the recipe called `name` makes of the options; others, or other types: an error."""
    if name not in recipes:
        raise unknown(kind, name, recipes)
    known = inspect.signature(recipes[name]).parameters
    for option, value in options.items():
        if option not in known:
            raise unknown(f"option of {kind} {name}", option, known)
        expected = type(known[option].default)
        if expected is float and isinstance(value, int) and not isinstance(value, bool):
            continue
        if not isinstance(value, expected) or isinstance(value, bool):
            raise ArchgradError(
                f"option {option} of {kind} {name}: found {value!r}, expected {expected.__name__}"
            )
    return recipes[name](**options)


def defaults(recipe: Callable[..., Any]) -> dict[str, Any]:
    """The options of a recipe with their defaults."""
    return {name: knob.default for name, knob in inspect.signature(recipe).parameters.items()}
