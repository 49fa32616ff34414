"""A place in a model with several candidate operations, and the slot for its mixing weights."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.kernels.branches import Branch, Raw, branches
from archgrad.kernels.weighted_sum import Term, weighted_sum
from archgrad.operations import Branching, Zero


@dataclass(frozen=True)
class Group:
    """Choices that are decided together, one row of alpha each.

    ``edges`` gives (source, node) of each row and ``inputs`` the number of the cell's inputs;
    ``candidates`` the operation names of each row, all rows of the same length;
    ``edges_per_node`` how many edges a derived node keeps (None: every edge); ``keep_none``
    whether a derived edge may be ``none``; ``output`` the nodes that form the output of a derived
    cell (None: every node).
    """

    name: str
    inputs: int
    edges: tuple[tuple[int, int], ...]
    candidates: tuple[tuple[str, ...], ...]
    edges_per_node: int | None
    keep_none: bool = False
    output: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(edges, operations), the shape of this group's alpha."""
        return len(self.candidates), len(self.candidates[0])


class Row(NamedTuple):
    """What one choice is run with.

    ``weights``: (operations,); ``edge``: a scalar that weighs the whole edge; ``active``: the
    candidates that are computed (None: all); ``watched``: candidates whose output is computed
    without a graph, so that only the gradient of their weight exists: exact where that weight is 0.
    """

    weights: Tensor
    edge: Tensor | None = None
    active: Sequence[int] | None = None
    watched: Sequence[int] = ()


class Edge(Protocol):
    """A part that changes how a choice is built; see `archgrad.parts.edge`."""

    def width(self, channels: int) -> int:
        """Channels of what is inside, for an edge of this many."""

    def candidate(self, name: str, module: nn.Module) -> nn.Module:
        """The candidate, changed or not."""

    def around(self, channels: int, stride: int) -> nn.Module | None:
        """A module called as ``module(x, mix)`` in place of the mixed operation, or None."""


def build(
    candidates: Callable[[str, int, int], nn.Module],
    group: Group,
    row: int,
    channels: int,
    stride: int,
    *,
    edges: Sequence[Edge] = (),
) -> Choice:
    """A choice of ``group`` made of ``candidates(name, channels, stride)`` and of edge parts.

    The first of ``edges`` is the innermost.
    """
    around: list[nn.Module] = []
    width = channels
    for edge in reversed(edges):
        module = edge.around(width, stride)
        around = around if module is None else [module, *around]
        width = edge.width(width)
    made = {name: candidates(name, width, stride) for name in group.candidates[row]}
    for edge in edges:
        made = {name: edge.candidate(name, module) for name, module in made.items()}
    return Choice(made, group.name, row, around)


class Choice(nn.Module):
    """The mixed operation: sum_o w_o o(x) over the candidates (arXiv:1806.09055, equation 2).

    ``mixing`` is set before each forward pass (by the supernet). ``around`` are modules called as
    ``module(x, mix)``, from the inside out, that may change what the mixed operation sees and what
    becomes of it (partial channels, an auxiliary skip connection, drop path). Candidates of type
    `Zero` are not computed: they add nothing, and the gradient of their weight is exactly zero
    either way.
    """

    mixing: Row | None

    def __init__(
        self,
        candidates: Mapping[str, nn.Module],
        group: str,
        row: int,
        around: Iterable[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.names = tuple(candidates)
        self.candidates = nn.ModuleList(candidates.values())
        self.around = nn.ModuleList(around)
        self.group, self.row = group, row
        self.mixing = None

    def forward(self, x: Tensor) -> Tensor:
        return weighted_sum(self.terms(State(x, [self])))

    def terms(self, state: State) -> list[Term]:
        """What the choice adds to a node, summand by summand."""
        weights, edge, _, _ = self._row()
        if not self.around:
            terms = self._terms(state)
            return terms if edge is None else [Term(edge * w, value) for w, value in terms]
        run: Callable[[Tensor], Tensor] = self.mix
        for module in self.around:
            run = partial(module, mix=run)
        return [Term(torch.ones_like(weights[0]) if edge is None else edge, run(state.x))]

    def mix(self, x: Tensor) -> Tensor:
        """The weighted sum of the candidates."""
        return weighted_sum(self._terms(State(x, [self])))

    def branching(self) -> list[Branching]:
        """The candidates that are computed with a graph and share their first step."""
        active = self._row().active
        return [
            candidate
            for index, candidate in enumerate(self.candidates)
            if isinstance(candidate, Branching) and (active is None or index in active)
        ]

    def _row(self) -> Row:
        if self.mixing is None:
            raise ArchgradError(
                f"choice {self.group}[{self.row}] has no mixing weights; run the model through "
                "archgrad.Supernet, or derive a discrete network first"
            )
        return self.mixing

    def _terms(self, state: State) -> list[Term]:
        weights, _, active, watched = self._row()
        terms = []
        for index, (weight, operation) in enumerate(
            zip(weights.unbind(), self.candidates, strict=True)
        ):
            if isinstance(operation, Zero):
                continue
            if active is None or index in active:
                if isinstance(operation, Branching):
                    terms.append(Term(weight, operation.finish(state.raw(operation))))
                else:
                    terms.append(Term(weight, operation(state.x)))
            elif index in watched:
                with torch.no_grad():
                    output = operation(state.x)
                terms.append(Term(weight, output))
        return terms or [Term(weights.sum(), self._zero(state.x))]  # 0, still a function of alpha

    def _zero(self, x: Tensor) -> Tensor:
        """Zeros of the output's shape."""
        zero = next((c for c in self.candidates if isinstance(c, Zero)), None)
        if zero is not None:
            output: Tensor = zero(x)
            return output
        with torch.no_grad():
            output = self.candidates[0](x)
        return torch.zeros_like(output)


class State:
    """A state of a cell, (B, C, H, W), and the choices that it goes into.

    Their candidates' first steps are computed together, when the first of them is asked for.
    """

    def __init__(self, x: Tensor, choices: Sequence[Choice]) -> None:
        self.x, self.choices = x, choices
        self.found: dict[Hashable, Raw] = {}

    def raw(self, candidate: Branching) -> Raw:
        """The first step of a candidate."""
        key, branch = candidate.branch()
        if key not in self.found:
            wanted: dict[Hashable, Branch] = {key: branch}
            for choice in self.choices:
                if not choice.around:
                    wanted |= dict(c.branch() for c in choice.branching())
            self.found |= zip(wanted, branches(self.x, list(wanted.values())), strict=True)
        return self.found[key]
