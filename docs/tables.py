"""Writes the tables of docs/reference/methods.md from the library: `python docs/tables.py`."""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

from torch import nn  # noqa: E402

from archgrad.errors import ArchgradError  # noqa: E402
from archgrad.methods import RECIPES, Method  # noqa: E402
from archgrad.networks.choice import Choice  # noqa: E402
from archgrad.searching.leg import check  # noqa: E402
from archgrad.settings.config import SearchConfig  # noqa: E402
from archgrad.spaces import SPACES, SearchSpace, space  # noqa: E402
from archgrad.spaces.own import OwnModel  # noqa: E402
from page import fill  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "methods.md"
SLOTS = {
    "without": "operations that are not offered",
    "initial": "the first alpha",
    "relaxation": "alpha to mixing weights",
    "edges": "what is around the candidates of an edge",
    "hypergradient": "the gradient of alpha",
    "regularizers": "terms added to alpha's loss",
    "arch_optimizer": "the optimizer of alpha",
    "projection": "what becomes of alpha after a step",
    "perturbation": "of the mixing weights, in the weight step",
    "weight_gradient": "what becomes of the weights' gradient",
    "augmentation": "of the images, in both steps",
    "weight_decay": "of the weights, times the configuration's",
    "warm_up": "the share of the search in which alpha rests",
    "interval": "weight steps for each step of alpha",
    "stages": "parts of the search with other supernets",
    "discretization": "alpha to an architecture, every epoch",
    "selection": "the trained supernet to the final architecture",
    "stopping": "when to end early",
    "recovery": "to go back, and on with more weight decay",
}
# Options that put another part into a slot, so that the tables show it.
VARIANTS: tuple[tuple[str, str, Any], ...] = (
    ("drnas", "progressive", 1),
    ("robust_darts", "form", "l2"),
    ("robust_darts", "form", "drop_path"),
    ("robust_darts", "form", "adaptive"),
)


def methods() -> dict[str, Method]:
    """Every recipe with its defaults, then with the options that give it other parts."""
    found = {f"`{name}`": recipe() for name, recipe in RECIPES.items()}
    for name, option, value in VARIANTS:
        found[f"`{name}`, {option} {value}"] = RECIPES[name](**{option: value})
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def part(method: Method, slot: str) -> str:
    """What fills a slot, as `archgrad methods NAME` has it; of several stages the number."""
    value = getattr(method, slot)
    if isinstance(value, tuple) and len(value) > 1:
        names = Counter(type(each).__name__ for each in value)
        return ", ".join(f"{n} x {name}" for name, n in names.items())
    return method.slots()[slot]


def paper(recipe: Callable[..., Method]) -> str:
    """The first paragraph of a recipe's docstring, which names the paper, with a link to it."""
    text = " ".join((inspect.getdoc(recipe) or "").partition("\n\n")[0].split())
    return re.sub(r"arXiv:(\d{4}\.\d{5})", r"[\g<0>](https://arxiv.org/abs/\1)", text)


def by_method() -> str:
    """A row a method: every slot that is not that of plain DARTS, with its part; the paper."""
    papers = {f"`{name}`": paper(recipe) for name, recipe in RECIPES.items()}
    rows = [
        (
            name,
            "<br>".join(f"{slot}: `{part(method, slot)}`" for slot in method.filled()) or "-",
            papers.get(name, "as above"),
        )
        for name, method in methods().items()
    ]
    return table(("method", "slots that differ from plain DARTS", "paper"), rows)


def matrix() -> str:
    """Methods against slots: a mark where a method has a part of its own."""
    rows = [
        (name, *("x" if slot in method.filled() else "" for slot in SLOTS))
        for name, method in methods().items()
    ]
    return table(("method", *SLOTS), rows)


def by_slot() -> str:
    """A row a slot: what it is for, what plain DARTS has in it, who has something else."""
    plain = Method().slots()
    rows = []
    for slot, what in SLOTS.items():
        users: dict[str, list[str]] = {}
        for name, method in methods().items():
            if slot in method.filled():
                users.setdefault(part(method, slot).partition("(")[0], []).append(name)
        others = "<br>".join(f"`{one}`: {', '.join(names)}" for one, names in users.items())
        rows.append((f"`{slot}`", what, f"`{plain[slot]}`", others or "no method of the library"))
    return table(("slot", "what it is", "plain DARTS", "others"), rows)


def places() -> dict[str, SearchSpace]:
    """Every space, with few places where all are alike, and a model with a choice."""
    few: dict[str, dict[str, Any]] = {name: {"cells": 3} for name in ("s1", "s2", "s3", "s4")}
    few["darts-cnn"] = {"cells": 3, "nodes": 1}
    few["nas-bench-201"] = {"cells": 1}
    few["mbconv"] = {"kernels": (3, 5), "expansions": (3,)}
    choice = Choice({"linear": nn.Linear(2, 2), "skip": nn.Identity()})
    named = {f"`{name}`": space(name, **few.get(name, {})) for name in SPACES}
    return {**named, "own model": OwnModel(choice)}


def refusals() -> dict[str, dict[str, str]]:
    """Space -> method -> why it is refused, as a search would say at its beginning."""
    config, found = SearchConfig(), {}
    for where, place in places().items():
        found[where] = {}
        for name, method in methods().items():
            try:
                check(place, method, config)
            except ArchgradError as reason:
                found[where][name] = str(reason)
    return found


def spaces(refused: Mapping[str, Mapping[str, str]]) -> str:
    """Methods against spaces."""
    rows = [
        (name, *("no" if name in those else "yes" for those in refused.values()))
        for name in methods()
    ]
    return table(("method", *refused), rows)


def reasons(refused: Mapping[str, Mapping[str, str]]) -> str:
    rows = [
        (where, name, reason) for where, those in refused.items() for name, reason in those.items()
    ]
    return table(("space", "method", "what the search says"), rows)


def tables() -> dict[str, str]:
    """Name of the mark in the page -> what stands after it."""
    assert {*SLOTS} == {field.name for field in fields(Method)}, "SLOTS is not that of Method"
    refused = refusals()
    return {
        "methods": by_method(),
        "matrix": matrix(),
        "slots": by_slot(),
        "spaces": spaces(refused),
        "refusals": reasons(refused),
    }


if __name__ == "__main__":
    for name, text in tables().items():
        fill(PAGE, f"docs/tables.py, {name}", text)
