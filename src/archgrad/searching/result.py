"""What a search found: the architecture, its alpha and metrics, and the network of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch import Tensor, nn

from archgrad.architecture import Architecture
from archgrad.errors import ArchgradError, unknown
from archgrad.settings.config import SearchConfig
from archgrad.spaces import SearchSpace
from archgrad.spaces.own import OwnModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from archgrad.baselines.value import Strategy
    from archgrad.parts.method import Method
    from archgrad.resources.budget import CostReport


class Origin(NamedTuple):
    """The name of a search's data set, and its classes where they are known."""

    data: str
    classes: tuple[str, ...] | None


@dataclass(frozen=True)
class SearchResult:
    """What a search found, as `archgrad.search` returns it.

    - `architecture`: the one that was derived or selected.
    - `space`, `method`, `config`: what was searched, how, and with which options.
    - `alpha`: the architecture parameters it was derived from, group name -> (edges, operations);
      none of a baseline.
    - `metrics`: one entry an epoch, as in metrics.jsonl; of a baseline one an evaluation, as in
      evaluations.jsonl.
    - `path`: the run folder, if there is one.
    - `stopped`: what the stopping rule or the guard ended it for, or None.
    - `model`: an own model's trained supernet.
    - `cost`: whether the architecture meets the limit of cost, if there is one.
    - `origin`: the data set, where it has classes.
    - `spent`: multiply-adds of all passes of the search, see `archgrad.networks.counting`; of a
      baseline with a table its evaluations.
    - `undecided`: that alpha has hardly moved, and what to do, or None.
    - `replay`: one entry an epoch, as in alphas.jsonl: alpha, the strength of every candidate, and
      the cells it gave.
    """

    architecture: Architecture
    space: SearchSpace = field(repr=False)
    method: Method | Strategy = field(repr=False)
    config: SearchConfig = field(repr=False)
    alpha: dict[str, Tensor] = field(repr=False)
    metrics: list[dict[str, Any]] = field(repr=False)
    path: Path | None = None
    stopped: str | None = None
    model: nn.Module | None = field(default=None, repr=False)
    cost: CostReport | None = None
    origin: Origin | None = None
    spent: int = 0
    undecided: str | None = None
    replay: Sequence[Mapping[str, Any]] = field(default=(), repr=False)

    @property
    def strength(self) -> dict[tuple[str, str, int, int], float]:
        """What the edges that were kept counted for: (cell, operation, source, node) -> strength.

        Where the architecture was derived; empty of a baseline.
        """
        from archgrad.reporting.courses import strengths

        return strengths(self)

    def __str__(self) -> str:
        """The cells, and what is to be said of them."""
        said = (self.stopped, self.cost, self.undecided)
        return "\n".join(map(str, [self.architecture, *filter(None, said)]))

    def plot(self, width: float = 6.75) -> Figure:
        """How the search went, as a figure for a paper, `width` inches wide; needs matplotlib.

        Losses, the measure, entropy and eigenvalue with the guard's warnings, and what the edges
        that were kept counted for; of a baseline the scores of its evaluations. A page of two
        columns is 6.75 inches wide, a column 3.25: there the panels stand below one another. Raises
        `ArchgradError` where matplotlib is not installed. How to save it: docs/figures.md.
        """
        from archgrad.reporting.figures import of_search

        return of_search(self, width)

    def _repr_html_(self) -> str:
        from archgrad.reporting.markup import of_search

        return of_search(self)

    def derive(
        self,
        channels: int | None = None,
        cells: int | None = None,
        *,
        weights: Literal["kept", "fresh"] | None = None,
    ) -> nn.Module:
        """The found network, plain PyTorch, in training mode.

        Of a named space with fresh weights, at the search's size or with other `channels` and
        `cells`. Of an own model with the weights of the search (`weights` "kept", the default) or
        "fresh": every module that has a `reset_parameters` is asked to draw its weights anew, but
        frozen ones stay. A baseline keeps no weights: there the default are those that the model
        was given with. Parameters that a module of yours holds itself stay: `archgrad.build` gives
        a network from your own factory.

        Raises `ArchgradError` for weights "kept" where there are none, and for a size of an own
        model.
        """
        if weights not in (None, "kept", "fresh"):
            raise unknown("weights", weights, ("kept", "fresh"))
        if not isinstance(self.space, OwnModel):
            if weights == "kept":
                raise ArchgradError(
                    f"networks of space {self.space.name} have other layers than the supernet and "
                    "start with fresh weights; leave out weights, and train it"
                )
            fresh: nn.Module = self.space.sized(channels, cells).derive(self.architecture)
            return fresh
        if weights == "kept" and self.model is None:
            raise ArchgradError(
                "a baseline keeps no weights of the networks that it trained; leave out weights, "
                "and train it"
            )
        made: nn.Module = self.space.sized(channels, cells).derive(
            self.architecture, model=self.model
        )
        if weights == "fresh":
            made.apply(_reset)
        return made.train()


def _reset(module: nn.Module) -> None:
    held = list(module.parameters(recurse=False)) or list(module.parameters())
    if held and not any(parameter.requires_grad for parameter in held):
        return
    for name in ("reset_parameters", "_reset_parameters"):  # attention has the second
        reset = getattr(module, name, None)
        if callable(reset):
            reset()
