"""The verbs `derive` and `build`: architectures of a search, networks of an architecture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from archgrad.architecture import Architecture, resolve
from archgrad.baselines import BASELINES
from archgrad.errors import ArchgradError
from archgrad.preparing.prepared import (
    prepare,
    search_method,
    section,
)
from archgrad.resources.budget import Limit, kept
from archgrad.settings.config import OWN
from archgrad.spaces.own import OwnModel
from archgrad.storage.folder import Run
from archgrad.tensors.trees import describe
from archgrad.verbs import deriving

if TYPE_CHECKING:
    pass


def derive(
    folder: str | Path,
    epoch: int | None = None,
    *,
    rule: str | None = None,
    tuning_epochs: int = 5,
    data: Any = None,
) -> Architecture:
    """The architecture of a search's last epoch, or of the given one (counted from 1).

    - `folder`: the run folder of the search; `epoch`: None for the last.
    - `rule`: "strongest", "skip_limit" or "threshold" in place of the method's own, or
      "perturbation": from the trained supernet itself (arXiv:2108.04392); it takes the last epoch
      and needs the data of the search.
    - `tuning_epochs`: epochs of training between two decisions of the rule "perturbation".
    - `data`: those of the search, for the rule "perturbation", where they came from Python.

    Of an own model or space the architecture is read from the folder, without it; a method that
    came from Python is not in the folder, and such a run is refused. Raises `ArchgradError` for
    that, for an epoch that is not there, and for a rule that the search does not allow.

    >>> import archgrad
    >>> size = {"space": "nas-bench-201", "channels": 2, "cells": 1, "subset": 40, "batch_size": 10}
    >>> result = archgrad.search(data="digits", epochs=2, guard="off", out="runs/first", **size)
    >>> archgrad.derive("runs/first") == result.architecture
    True
    >>> archgrad.derive("runs/first", epoch=1).space
    'nas-bench-201'
    """
    run = Run.open(folder)
    if section(run.config).method in BASELINES:
        if (epoch, rule) != (None, None):
            raise ArchgradError(
                f"{section(run.config).method} has no alpha of any epoch to derive from; its lines "
                "are in evaluations.jsonl: leave out epoch and rule for the best of them"
            )
        return resolve(run.path)
    if rule == deriving.PERTURBATION:
        if section(run.config).space == OWN:
            raise ArchgradError(
                f"rule {rule} judges the supernet, and the space of this run came from Python and "
                "is not in its folder; search by the method darts_pt, or use another rule"
            )
        if epoch is not None:
            raise ArchgradError(
                f"rule {rule} judges the supernet, whose weights are kept of the last epoch alone; "
                "leave out the epoch"
            )
        if Limit.of(section(run.config)) is not None:
            raise ArchgradError(
                f"rule {rule} judges the supernet and knows no limit of cost, and this search has "
                "one; use another rule"
            )
        return deriving.derive_by_perturbation(run, prepare(run.config, data=data), tuning_epochs)
    config = section(run.config)
    method = deriving.with_rule(search_method(config), rule)
    if method.selection is not None and rule is None and epoch is None:
        return resolve(run.path)  # what the selection found at the end of the search
    return deriving.derive(run, kept(run, config, method), epoch)


def build(factory: Callable[[], nn.Module], architecture: Architecture) -> nn.Module:
    """The model that `factory` makes, with what the architecture chose in place of its choices.

    `factory`: a function that makes the model with its choices, such as its class; `architecture`:
    of that model. Plain PyTorch with the weights the factory gave it; those of `result.derive()`
    fit into it: `build(factory, architecture).load_state_dict(...)`. Raises `ArchgradError` for a
    factory that is a model or makes none, and for an architecture of another model.

    >>> import archgrad
    >>> from torch import nn
    >>> def factory():
    ...     block = {"linear": nn.Linear(4, 4), "skip": nn.Identity()}
    ...     return nn.Sequential(archgrad.Choice(block, "block"), nn.Linear(4, 2))
    >>> nodes = ((("skip", 0),),)
    >>> cell = archgrad.Cell(name="block", inputs=1, nodes=nodes, output=(1,))
    >>> archgrad.build(factory, archgrad.Architecture(space="own", cells=(cell,)))
    Sequential(
      (0): Identity()
      (1): Linear(in_features=4, out_features=2, bias=True)
    )
    """
    model = factory if isinstance(factory, nn.Module) else factory()
    if model is factory or not isinstance(model, nn.Module):
        raise ArchgradError(
            f"build: found {describe(model)}; expected a function that makes the model with its "
            "choices, such as its class"
        )
    made: nn.Module = OwnModel(model).derive(architecture)
    return made
