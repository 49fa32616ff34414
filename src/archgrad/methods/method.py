"""A method of the family as a value: one part for each slot; an empty slot is plain DARTS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass

import torch
from torch import Tensor

from archgrad.architecture import Cell
from archgrad.parts.discretization import StrongestEdges
from archgrad.parts.hypergradient import Estimate, first_order
from archgrad.parts.optimizer import Adam
from archgrad.parts.relaxation import softmax
from archgrad.parts.state import State
from archgrad.supernet import Alpha, Mixing

Hypergradient = Callable[[Alpha, State], Estimate]


@dataclass(frozen=True)
class Method:
    """The parts of a search; the search loop calls them and knows no method by name."""

    relaxation: Callable[[Alpha, State], Mixing] = softmax
    hypergradient: Hypergradient = first_order
    arch_optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer] = Adam()
    discretization: Callable[[Alpha, State], tuple[Cell, ...]] = StrongestEdges()

    def slots(self) -> dict[str, str]:
        """Slot name -> the part in it, for tables."""
        return {field.name: _label(getattr(self, field.name)) for field in fields(self)}


def _label(part: object) -> str:
    """The part's name, with those of its numbers that are not the default."""
    if not is_dataclass(part) or isinstance(part, type):
        return getattr(part, "__name__", None) or repr(part)
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    changed = [f"{f.name}={values[f.name]}" for f in fields(part) if values[f.name] != f.default]
    return type(part).__name__ + (f"({', '.join(changed)})" if changed else "")
