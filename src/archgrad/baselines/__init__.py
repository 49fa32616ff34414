"""The baselines by name: searches that train architectures one by one, or ask a table."""

from __future__ import annotations

from collections.abc import Callable

from archgrad.baselines.evolution import evolution
from archgrad.baselines.halving import halving
from archgrad.baselines.random_search import random
from archgrad.baselines.reinforce import reinforce
from archgrad.baselines.value import Proposal, Scored, Search, Strategy, best

__all__ = ["BASELINES", "Proposal", "Scored", "Search", "Strategy", "best"]

BASELINES: dict[str, Callable[..., Strategy]] = {
    "random": random,
    "evolution": evolution,
    "reinforce": reinforce,
    "halving": halving,
}
"""Name -> the function that makes the `Strategy`; its arguments are the options."""
