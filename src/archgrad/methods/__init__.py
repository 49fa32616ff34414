"""The methods by name; `archgrad methods` prints them as a table method x slot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archgrad.errors import ArchgradError
from archgrad.methods.beyond_gradients import darts_pt, lambda_darts, oles, shapley
from archgrad.methods.calling import made
from archgrad.methods.darts import darts, darts_2nd, idarts, single_level_darts
from archgrad.methods.fair_darts import fair_darts
from archgrad.methods.p_darts import p_darts
from archgrad.methods.pc_darts import pc_darts
from archgrad.methods.proxyless import proxyless
from archgrad.methods.random_ws import random_ws
from archgrad.methods.regularized import aer, beta_darts, darts_minus, gaea
from archgrad.methods.robust_darts import robust_darts
from archgrad.methods.sampling import drnas, gdas, snas
from archgrad.methods.smooth_darts import sdarts_adv, sdarts_rs
from archgrad.parts.method import Method, Recovery

__all__ = ["RECIPES", "Method", "Recovery", "method"]

RECIPES: dict[str, Callable[..., Method]] = {
    "darts": darts,
    "darts_2nd": darts_2nd,
    "single_level": single_level_darts,
    "idarts": idarts,
    "pc_darts": pc_darts,
    "fair_darts": fair_darts,
    "proxyless": proxyless,
    "robust_darts": robust_darts,
    "p_darts": p_darts,
    "snas": snas,
    "gdas": gdas,
    "drnas": drnas,
    "sdarts_rs": sdarts_rs,
    "sdarts_adv": sdarts_adv,
    "darts_minus": darts_minus,
    "beta_darts": beta_darts,
    "gaea": gaea,
    "darts_pt": darts_pt,
    "oles": oles,
    "aer": aer,
    "lambda_darts": lambda_darts,
    "shapley": shapley,
    "random_ws": random_ws,
}
"""Name -> the function that makes the `Method`; its arguments are the options of `method`."""


def method(name: str | Method, **options: Any) -> Method:
    """The method called `name` (a `Method` passes through); `options` are the recipe's own.

    `archgrad methods` prints the names, `archgrad methods NAME` the options of one with their
    defaults, its equation and its paper. Raises `ArchgradError` for an unknown name, for an option
    that the recipe does not have, and for options beside a `Method`.

    >>> import archgrad
    >>> archgrad.method("pc_darts", k=2).filled()["edges"]
    'PartialChannels(k=2)'
    >>> archgrad.methods.RECIPES["pc_darts"].__doc__.splitlines()[0]
    'PC-DARTS (Xu et al., ICLR 2020, arXiv:1907.05737).'
    """
    if isinstance(name, Method):
        if options:
            raise ArchgradError(f"options {sorted(options)} go with a method's name, not its value")
        return name
    return made("method", RECIPES, name, options)
