"""Regularized (aging) evolution with the mutation of the DARTS space."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch

from archgrad.baselines.decisions import Decisions
from archgrad.baselines.value import Proposal, Scored, Search, Strategy
from archgrad.errors import ArchgradError
from archgrad.spaces import SearchSpace


@dataclass(frozen=True)
class Evolution:
    """See `evolution`."""

    population: int
    sample: int

    def __post_init__(self) -> None:
        if self.population < 1:
            raise ArchgradError(
                f"option population of evolution: found {self.population}, expected at least 1"
            )
        if not 1 <= self.sample <= self.population:
            raise ArchgradError(
                f"option sample of evolution: found {self.sample}, expected 1 to the population, "
                f"which is {self.population}"
            )

    def __call__(self, space: SearchSpace, generator: torch.Generator) -> Search:
        decisions = Decisions.of(space)
        alive: deque[Scored] = deque(maxlen=self.population)  # the oldest falls out
        while True:
            if len(alive) < self.population:
                architecture = decisions.uniform(generator)
            else:
                drawn = torch.randint(self.population, (self.sample,), generator=generator)
                parent = max((alive[i] for i in drawn.tolist()), key=lambda one: one.score)
                architecture = decisions.mutated(parent.architecture, generator)
            score = yield Proposal(architecture)
            alive.append(Scored(architecture, 1.0, score))


def evolution(*, population: int = 10, sample: int = 3) -> Strategy:
    """Regularized evolution (Real et al., AAAI 2019, arXiv:1802.01548, algorithm 1).

    `population` uniform draws; then each time the best of `sample` of them, drawn with
    replacement, is mutated, and the child takes the place of the oldest, however good that is. It
    never ends.

    Differs from the paper: one mutation, of a source or an operation with equal chance
    (`Decisions.mutated`), none that changes nothing; population and sample as in the code of
    NAS-Bench-201, for budgets of some hundred architectures.
    """
    return Evolution(population, sample)
