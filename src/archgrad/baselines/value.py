"""What a baseline is: a strategy that proposes architectures and is told their scores."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple

import torch

from archgrad.architecture import Architecture
from archgrad.spaces import SearchSpace


class Proposal(NamedTuple):
    """An architecture to train and to score.

    `share`: of the full training, above 0 and at most 1; below 1 where a strategy gives most
    architectures a short one.

    >>> import archgrad, torch
    >>> strategy = archgrad.baselines.BASELINES["random"]()
    >>> space = archgrad.space("nas-bench-201", channels=4, cells=1)
    >>> search = strategy(space, torch.Generator().manual_seed(0))
    >>> proposal = next(search)
    >>> proposal.architecture.space, proposal.share
    ('nas-bench-201', 1.0)
    >>> search.send(0.5).architecture == proposal.architecture
    False
    """

    architecture: Architecture
    share: float = 1.0


class Scored(NamedTuple):
    """A proposal that was trained; `score`: on validation data, higher is better.

    `architecture` and `share` are those of the proposal. A score of -inf: the training failed.
    """

    architecture: Architecture
    share: float
    score: float


Search = Generator[Proposal, float, None]
"""Yields a proposal and is sent its score, -inf for a training that failed. It ends when nothing
is left to propose, or never."""

Strategy = Callable[[SearchSpace, torch.Generator], Search]
"""Begins a search. All its randomness is the generator's: sent the same scores, it proposes the
same, so a search is resumed by sending it the scores that were kept."""


def best(scored: Iterable[Scored]) -> Scored:
    """What a search has found: the best score among the largest shares; of equal ones the first.

    Scores of different shares are not compared: a longer training alone makes a score higher.

    >>> import archgrad
    >>> from archgrad.baselines import Scored, best
    >>> first, second = archgrad.published("DARTS_V1"), archgrad.published("DARTS_V2")
    >>> best([Scored(first, 1.0, 0.91), Scored(second, 0.1, 0.99)]).architecture == first
    True
    """
    return max(scored, key=lambda one: (one.share, one.score))
