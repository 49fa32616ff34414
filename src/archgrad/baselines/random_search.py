"""Random search: the floor that every other search is measured against."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from archgrad.baselines.decisions import Decisions
from archgrad.baselines.value import Proposal, Search, Strategy
from archgrad.spaces import SearchSpace


@dataclass(frozen=True)
class RandomSearch:
    """See `random`."""

    def __call__(self, space: SearchSpace, generator: torch.Generator) -> Search:
        for architecture in Decisions.of(space).different(generator):
            yield Proposal(architecture)


def random() -> Strategy:
    """Uniform draws, none twice (arXiv:1806.09055, section 3.2; Li & Talwalkar, UAI 2019).

    It ends when the space has no other architecture.
    """
    return RandomSearch()
