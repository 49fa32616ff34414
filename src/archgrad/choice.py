"""A place in a model with several candidate operations, and the slot for its mixing weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.operations import Zero


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


class Choice(nn.Module):
    """The mixed operation: sum_o w_o o(x) over the candidates (arXiv:1806.09055, equation 2).

    ``mixing`` is set before each forward pass (by the supernet): one weight a candidate, shape
    ``(operations,)``. Candidates of type `Zero` are not computed: they add nothing, and the
    gradient of their weight is exactly zero either way.
    """

    mixing: Tensor | None

    def __init__(self, candidates: Mapping[str, nn.Module], group: str, row: int) -> None:
        super().__init__()
        self.names = tuple(candidates)
        self.candidates = nn.ModuleList(candidates.values())
        self.group, self.row = group, row
        self.mixing = None

    def forward(self, x: Tensor) -> Tensor:
        if self.mixing is None:
            raise ArchgradError(
                f"choice {self.group}[{self.row}] has no mixing weights; run the model through "
                "archgrad.Supernet, or derive a discrete network first"
            )
        terms = [
            weight * operation(x)
            for weight, operation in zip(self.mixing.unbind(), self.candidates, strict=True)
            if not isinstance(operation, Zero)
        ]
        if not terms:
            zero: Tensor = self.candidates[0](x)
            return zero
        total: Tensor = sum(terms[1:], start=terms[0])
        return total
