"""Candidates that hold choices of their own: what they are, and cost, without these."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from itertools import cycle
from typing import Any

from torch import nn

from archgrad.networks.choice import Choice
from archgrad.networks.choices import replaced
from archgrad.networks.operations import Zero

Path = tuple[tuple[str, str], ...]  # (group, candidate) from the outside in, all of them chosen


def holds_choices(module: nn.Module) -> bool:
    """Whether any choice is inside."""
    return any(isinstance(inner, Choice) for inner in module.modules())


def followed(path: Path, chosen: Mapping[str, Collection[str]]) -> bool:
    """Whether an architecture that chose these, by group, runs what is inside the path."""
    return all(candidate in chosen.get(group, ()) for group, candidate in path)


def typical(choice: Choice) -> list[int]:
    """The candidate whose output stands for that of the choice: the last that computes anything."""
    computed = [i for i, c in enumerate(choice.candidates) if not isinstance(c, Zero)]
    return [(computed or [len(choice.names) - 1])[-1]]


def hollow(module: nn.Module) -> nn.Module:
    """The module without what is inside its choices; itself where it has none."""
    return _without(module, lambda choice: nn.Identity())


def answering(module: nn.Module, run: Callable[[nn.Module], Any]) -> nn.Module:
    """The module with choices that cost nothing; itself where it has none.

    It is run once: what its choices then answer, they answer at every later run, in that order.
    """
    if not holds_choices(module):
        return module
    made = _without(module, _Answer)
    run(made)
    for inner in made.modules():
        if isinstance(inner, _Answer):
            inner.settle()
    return made


def _without(module: nn.Module, put: Callable[[Choice], nn.Module]) -> nn.Module:
    made = copy.deepcopy(module) if holds_choices(module) else module
    while choices := [inner for inner in made.modules() if isinstance(inner, Choice)]:
        made = replaced(made, {id(choices[0]): put(choices[0])})
    return made


class _Answer(nn.Module):
    """In place of a choice: computes a candidate and keeps its outputs, then gives these alone."""

    def __init__(self, choice: Choice) -> None:
        super().__init__()
        (index,) = typical(choice)
        names = [choice.names[index], *(n for n in choice.names if n != choice.names[index])]
        self.computed: nn.Module | None = choice.chosen(names[: choice.picks])
        self.answers: list[Any] = []

    def settle(self) -> None:
        self.computed, self.again = None, cycle(self.answers)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        if self.computed is None:
            return next(self.again)
        self.answers.append(self.computed(*inputs, **options))
        return self.answers[-1]
