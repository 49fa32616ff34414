"""From a configuration to a baseline's search that has passed every check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from archgrad.baselines.children import Children
from archgrad.baselines.searching import Objective, baseline_search, too_small
from archgrad.baselines.value import Proposal, Strategy
from archgrad.benchmarks import TableObjective, nas_bench_201
from archgrad.budget import Limit
from archgrad.config import SearchConfig
from archgrad.data import Augmentation, Data
from archgrad.data.own import OwnData
from archgrad.errors import ArchgradError
from archgrad.folder import Run
from archgrad.loops import Listener
from archgrad.result import SearchResult
from archgrad.spaces import SearchSpace
from archgrad.spaces.nas_bench_201 import NAME
from archgrad.spending import amount, of_first_order

EVALUATIONS = 100  # of a table, where nothing else is said


@dataclass(frozen=True)
class LookUps:
    """The scores of a table; each costs one evaluation."""

    objective: TableObjective
    unit: str = "evaluations"

    def price(self, proposal: Proposal) -> int:
        """One, whatever the share: the table holds whole trainings."""
        return 1

    def score(self, proposal: Proposal, number: int) -> float:
        """What the table says."""
        return self.objective(proposal.architecture)


@dataclass(frozen=True)
class Baseline:
    """A strategy with what scores its proposals and what it may spend on that."""

    space: SearchSpace
    strategy: Strategy
    objective: Objective
    budget: int
    config: SearchConfig
    begun_with: dict[str, Any]

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        strategy: Strategy,
        config: SearchConfig,
        data: Data | OwnData,
        augmentation: Augmentation,
    ) -> Baseline:
        """Refuse what does not fit, and a budget that does not pay for a first evaluation."""
        _check(config, space)
        begun_with: dict[str, Any] = {"options": config.model_dump(mode="json")}
        if config.table is None:
            begun_with["data"] = data.fingerprint()
            objective: Objective = Children(space, data, config, augmentation)
            budget = amount(config) or of_first_order(space, data, config, augmentation)
        else:
            objective = LookUps(TableObjective(nas_bench_201(config.table)))
            budget = config.evaluations or EVALUATIONS
        first = next(strategy(space, torch.Generator().manual_seed(config.seed)))
        if (price := objective.price(first)) > budget:
            raise too_small(budget, price, objective.unit)
        return cls(space, strategy, objective, budget, config, begun_with)

    def search(self, run: Run | None = None, listener: Listener | None = None) -> SearchResult:
        """Run it, or go on with it where ``run`` holds scores."""
        return baseline_search(
            self.space,
            self.strategy,
            self.objective,
            self.budget,
            self.config,
            seconds=self.config.budget_seconds,
            begun_with=self.begun_with,
            run=run,
            listener=listener,
        )


def _check(config: SearchConfig, space: SearchSpace) -> None:
    if (limit := Limit.of(config)) is not None:
        raise ArchgradError(
            f"{limit.flag} is kept by the discretization of alpha, and a baseline has none; use a "
            "gradient method, or leave the limit out"
        )
    if config.table is not None and space.name != NAME:
        raise ArchgradError(
            f"table {config.table} holds cells of space {NAME}, and the space is {space.name}; "
            f"use --space {NAME}, or leave the table out"
        )
    if config.table is None and config.evaluations is not None:
        raise ArchgradError(
            "evaluations go with a table, and there is none; give one, or say with budget how much "
            "training may cost"
        )
    if config.table is not None and config.budget is not None:
        raise ArchgradError(
            "a budget of multiply-adds pays for training, and with a table nothing is trained; say "
            "with evaluations how often it may be asked"
        )
