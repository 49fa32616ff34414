"""From a configuration to a baseline's search that has passed every check."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from archgrad.baselines.children import Children
from archgrad.baselines.searching import Objective, baseline_search, too_small
from archgrad.baselines.value import Proposal, Strategy
from archgrad.benchmarks import Table, TableObjective, nas_bench_201
from archgrad.columns import VALIDATION
from archgrad.data import Augmentation, Data
from archgrad.data.own import OwnData
from archgrad.errors import ArchgradError
from archgrad.resources.budget import Limit
from archgrad.resources.spending import amount, of_first_order
from archgrad.searching.callbacks import Callback
from archgrad.searching.records import begun_with, warn_of_order
from archgrad.searching.result import SearchResult
from archgrad.settings.config import SearchConfig
from archgrad.spaces import SearchSpace
from archgrad.spaces.nas_bench_201 import NAME
from archgrad.spaces.own import OwnModel
from archgrad.storage.files import EVALUATIONS
from archgrad.storage.folder import Run
from archgrad.task import CLASSIFICATION, Task

TABLE_EVALUATIONS = 100  # of a table, where nothing else is said
OF_TRAINING = ("budget", "budget_seconds", "child_epochs")
OF_BASELINES = ("child_epochs", "table", "evaluations")


@dataclass(frozen=True)
class LookUps:
    """The scores of a table; each costs one evaluation."""

    objective: TableObjective
    unit: str = "evaluations"

    @classmethod
    def of(cls, path: str) -> LookUps:
        """Of a file, without the columns that a search has no business with."""
        table = nas_bench_201(path)
        seen = Table({VALIDATION: table.column(VALIDATION)}, table.origin)
        return cls(TableObjective(seen, report=VALIDATION))

    def price(self, proposal: Proposal) -> int:
        """One, whatever the share: the table holds whole trainings."""
        return 1

    def score(self, proposal: Proposal, number: int) -> float:
        """What the table says."""
        return self.objective(proposal.architecture)

    def fingerprint(self) -> str:
        """Other scores have another one."""
        scores = self.objective.table.column(self.objective.score)
        return hashlib.sha256(scores.tobytes()).hexdigest()


@dataclass(frozen=True)
class Baseline:
    """A strategy with what scores its proposals and what it may spend on that."""

    space: SearchSpace
    strategy: Strategy
    objective: Objective
    budget: float
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
        begun = begun_with(space, data, config)
        budget: float
        if config.table is not None:
            look_ups = LookUps.of(config.table)
            objective: Objective = look_ups
            budget = config.evaluations or TABLE_EVALUATIONS
            begun["data"] = look_ups.fingerprint()
        else:
            objective = Children(space, data, config, augmentation)
            budget = _budget(space, data, config, augmentation)
            if isinstance(space, OwnModel):
                begun["weights of the model"] = _digest(space.model)
        first = next(strategy(space, torch.Generator().manual_seed(config.seed)))
        if (price := objective.price(first)) > budget:
            raise too_small(budget, price, objective.unit)
        return cls(space, strategy, objective, budget, config, begun)

    @property
    def task(self) -> Task:
        """What is learned; tables hold accuracies."""
        return self.objective.task if isinstance(self.objective, Children) else CLASSIFICATION

    def search(self, run: Run | None = None, callback: Callback | None = None) -> SearchResult:
        """Run it, or go on with it where `run` holds scores."""
        seconds = self.config.budget_seconds
        if seconds is not None:
            (callback or Callback()).warning(
                f"budget_seconds {seconds:g} ends the search by the time that evaluations take; "
                "begun anew, it may make another number of them"
            )
        kept = run is not None and (run.path / EVALUATIONS).is_file()
        if kept and isinstance(self.objective, Children) and not self.objective.exact_resume:
            warn_of_order("the evaluations that are kept")
        return baseline_search(
            self.space,
            self.strategy,
            self.objective,
            self.budget,
            self.config,
            seconds=seconds or math.inf,
            begun_with=self.begun_with,
            run=run,
            callback=callback,
            task=self.task,
        )


def _budget(
    space: SearchSpace, data: Data | OwnData, config: SearchConfig, augmentation: Augmentation
) -> float:
    """In multiply-adds; none where seconds are given."""
    if config.budget_seconds is not None:
        return math.inf
    return amount(config) or of_first_order(space, data, config, augmentation)


def _digest(model: nn.Module) -> str:
    """Of all weights and buffers."""
    found = hashlib.sha256()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def check_gradient_method(config: SearchConfig) -> None:
    """Refuse options of baselines beside a method that trains a supernet."""
    if given := [name for name in OF_BASELINES if getattr(config, name) is not None]:
        raise ArchgradError(
            f"{', '.join(given)}: found beside method {config.method}, which trains a supernet; "
            "these go with a baseline (see archgrad methods): leave them out"
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
    of_training = [name for name in OF_TRAINING if getattr(config, name) is not None]
    if config.table is not None and of_training:
        raise ArchgradError(
            f"{of_training[0]} is about training, and with a table nothing is trained; leave it "
            "out, and say with evaluations how often the table may be asked"
        )
