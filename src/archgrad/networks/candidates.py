"""Candidates as they are given to a choice: named modules, or functions that make one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from archgrad.errors import ArchgradError, noted
from archgrad.tensors.trees import describe

Candidate = nn.Module | Callable[[], nn.Module]


def checked(candidates: Mapping[str, Candidate]) -> tuple[str, ...]:
    """The names of candidates, once all are texts."""
    if not isinstance(candidates, Mapping) or not candidates:
        raise ArchgradError(
            f"a choice got {describe(candidates)}; expected its candidates by name, as "
            '{"conv": nn.Conv2d(8, 8, 3, padding=1), "skip": nn.Identity()}'
        )
    for name in candidates:
        if not isinstance(name, str) or not name:
            raise ArchgradError(f"a candidate is called {name!r}; expected a text as its name")
    return tuple(candidates)


def made(name: str, candidate: Candidate, choice: str | None) -> nn.Module:
    """The module that a candidate is, or makes."""
    if not isinstance(candidate, nn.Module) and callable(candidate):
        with noted(f"in choice {choice or 'without a name'}, candidate {name}, called to make it"):
            candidate = candidate()
    if not isinstance(candidate, nn.Module):
        raise ArchgradError(
            f"candidate {name} is {describe(candidate)}; expected a module, or a function without "
            "arguments that returns one"
        )
    return candidate
