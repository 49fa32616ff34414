"""The budget of a search in multiply-adds, and what plain DARTS would take of it."""

from __future__ import annotations

from archgrad.data import Augmentation, Data
from archgrad.data.own import OwnData
from archgrad.methods import RECIPES
from archgrad.resources.fitting import of_epochs
from archgrad.resources.probe import Wanted
from archgrad.settings.config import SearchConfig
from archgrad.settings.units import work
from archgrad.spaces import SearchSpace

REFERENCE = "darts"  # first order


def amount(config: SearchConfig) -> int | None:
    """The budget of a search in multiply-adds, if it has one."""
    return None if config.budget is None else round(work(config.budget))


def shown(config: SearchConfig, spent: int) -> str:
    """What a search has spent, for people."""
    if config.table is not None:
        return f"spent {spent} evaluations of the table"
    of = "" if config.budget is None else f" of a budget of {config.budget}"
    return f"spent {spent:.4g} multiply-adds{of}"


def of_first_order(
    space: SearchSpace, data: Data | OwnData, config: SearchConfig, augmentation: Augmentation
) -> int:
    """What first-order DARTS with these options takes, evaluations and diagnostics included."""
    return of_epochs(Wanted(space, data, RECIPES[REFERENCE](), config, augmentation))
