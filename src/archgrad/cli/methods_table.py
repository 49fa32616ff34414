"""What `archgrad methods` prints: the table of methods, and one method in full."""

from __future__ import annotations

import inspect
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import Any

from archgrad.baselines import BASELINES
from archgrad.errors import unknown
from archgrad.methods import RECIPES, Method
from archgrad.methods.calling import defaults

SIGNS = {  # of formulas, but for Greek letters
    "partial": "∂", "nabla": "∇", "sum": "Σ", "infty": "∞", "le": "≤", "approx": "≈", "sim": "~",
    "leftarrow": "←", "cdot": "·", "|": "‖", "quad": "  ", "\\": "\n   ", ",": " ", ";": " ",
}  # fmt: skip


def table() -> str:
    """A line a method: its name, what it has beside plain DARTS, its paper; then the baselines."""
    head = ("method", "beside plain DARTS", "paper")
    rows = [head] + [(name, _parts(recipe()), paper(recipe)) for name, recipe in RECIPES.items()]
    trained = [("baseline", "trains architectures one by one", "paper")]
    trained += [(name, _first(recipe), paper(recipe)) for name, recipe in BASELINES.items()]
    lines = [*_aligned(rows), "", *_aligned(trained)]
    return "\n".join([*lines, "", "in full, with all options: archgrad methods NAME"])


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _first(recipe: Callable[..., Any]) -> str:
    """The first sentence of a docstring, without the paper in brackets."""
    text = (inspect.getdoc(recipe) or "").split("\n")[0]
    return re.sub(r"\s*\([^)]*\d{4}[^)]*\)", "", text).rstrip(".")


def paper(recipe: Callable[..., Any]) -> str:
    """The arXiv number in a recipe's docstring, or the venue at the end of its first brackets."""
    text = inspect.getdoc(recipe) or ""
    found = re.search(r"arXiv:\d{4}\.\d{5}", text) or re.search(r"[^,(]+ 20\d\d(?=\))", text)
    return found.group().strip() if found else ""


def describe(name: str) -> str:
    """The docstring of a recipe, its filled slots, and its options with their defaults."""
    if name not in RECIPES and name not in BASELINES:
        raise unknown("method", name, [*RECIPES, *BASELINES])
    if name in BASELINES:
        return "\n".join([f"{name}: {_told(BASELINES[name])}", "", *_options(name)])
    recipe = RECIPES[name]
    filled = [f"  {slot}: {part}" for slot, part in recipe().filled().items()]
    lines = [f"{name}: {_told(recipe)}", "", "Slots that are not those of plain DARTS:"]
    return "\n".join([*lines, *(filled or ["  (none)"]), "", *_options(name)])


def _told(recipe: Callable[..., Any]) -> str:
    """A docstring for the terminal: formulas without markup, in signs."""
    text = re.sub(r":math:`([^`]*)`|\.\. math:: ?", r"\1", inspect.getdoc(recipe) or "")
    return re.sub(r"\\([a-zA-Z]+|[,|\\;])", _sign, text)


def _sign(command: re.Match[str]) -> str:
    name = command[1]
    if name in SIGNS:
        return SIGNS[name]
    case, letter = "SMALL" if name.islower() else "CAPITAL", name.upper().replace("BDA", "DA")
    with suppress(KeyError):
        return unicodedata.lookup(f"GREEK {case} LETTER {letter}")
    return command[0].removeprefix("\\")


def _options(name: str) -> list[str]:
    knobs = defaults({**RECIPES, **BASELINES}[name]).items()
    shown = [f"  --method-option {knob}={value}" for knob, value in knobs]
    return ["Options and their defaults:", *(shown or ["  (none)"])]


def _parts(method: Method) -> str:
    """The filled slots: the names of their parts, without numbers."""
    plain, found = Method(), []
    for slot in method.filled():
        value = getattr(method, slot)
        names = [_name(part) for part in (value if isinstance(value, tuple) else (value,))]
        if slot == "without":
            names = [" ".join((slot, *names))]
        elif isinstance(value, float | int):
            names = [slot]
        elif names == [_name(getattr(plain, slot))]:  # other numbers alone
            names = [slot] if slot == "initial" else []
        found += [f"{n} {name}s" if n > 1 else name for name, n in Counter(names).items()]
    return ", ".join(found) or "(nothing)"


def _name(part: Any) -> str:
    """The name of a part, with what is switched on in it."""
    if not is_dataclass(part):
        return getattr(part, "__name__", None) or str(part)
    on = [field.name for field in fields(part) if getattr(part, field.name) is True]
    return type(part).__name__ + (f"({', '.join(on)})" if on else "")
