"""What a selection may do with the supernet at the end of a search: evaluate it, train it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from archgrad.architecture import Cell
from archgrad.parts.architectures import alone
from archgrad.parts.relaxation import Masked
from archgrad.searching.loaders import several
from archgrad.system.loops import cosine

if TYPE_CHECKING:
    from archgrad.searching.bilevel import BilevelSearch


class Tuning:
    """A search that is done: evaluate it without some candidates, and train it on so.

    Implements `archgrad.parts.selection.Trained`. Epochs of tuning go on with the data order after
    those of the search.
    """

    def __init__(self, search: BilevelSearch) -> None:
        self.search = search
        self.groups = search.leg.space.groups
        self.inner = search.method.relaxation
        search.leg.net.advance(1.0)  # a resumed one has not made a step

    def score(self, mask: Mapping[str, Tensor]) -> tuple[float, float]:
        """Mean loss and accuracy on alpha's half, with batch statistics, typical weights."""
        search, net = self.search, self.search.leg.net
        self._restrict(mask)
        with torch.no_grad():
            mixing = search.relaxation(net.alpha, replace(search.state(), sample=False))
        net.evaluation_mode()
        batches = several(search.loaders.check.epoch(0))
        return net.evaluate(mixing, batches)

    def score_alone(self, cells: tuple[Cell, ...], batches: int | None) -> tuple[float, float]:
        """Mean loss and accuracy of an architecture, with batch statistics; see `Trained`."""
        search, net = self.search, self.search.leg.net
        net.evaluation_mode()
        some = islice(several(search.loaders.check.epoch(0)), batches)
        return net.evaluate(alone(self.groups, cells, net.alpha), some)

    def tune(self, mask: Mapping[str, Tensor], epochs: int, start: int, of: int) -> None:
        """Train weights and alpha on with the mask; see `Trained.tune`."""
        self._restrict(mask)
        config = self.search.config
        for epoch in range(start, start + epochs):
            rate = cosine(0.1 * config.learning_rate, 0.0, epoch, of)
            self.search.steps(config.epochs + epoch, rate, progress=1.0)

    def random(self, below: int) -> int:
        """A random number from 0 to `below - 1`."""
        return int(torch.randint(below, ()))

    def _restrict(self, mask: Mapping[str, Tensor]) -> None:
        placed = {name: value.to(self.search.device) for name, value in mask.items()}
        self.search.relaxation = Masked(self.inner, placed)
