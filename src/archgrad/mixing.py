"""The mixing weights of all choices for one forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from archgrad.choice import Choice, Row

Paths = Mapping[str, Sequence[Sequence[int]]]  # group name -> candidates of each edge


class Mixing(dict[str, Tensor]):
    """Group name -> (edges, operations), the weights of the candidates; and how they are run.

    `edges`: group name -> (edges,), weights of whole edges (none for a group that is not in it);
    `active`: the candidates that are computed (all for a group that is not in it); `watched`:
    those computed without a graph (see `archgrad.choice.Row`).

    A relaxation returns one, see examples/new_variant.py.

    >>> import torch
    >>> from archgrad.mixing import Mixing
    >>> mixing = Mixing({"cell": torch.tensor([[0.25, 0.75]])})
    >>> mixing["cell"], mixing.edges
    (tensor([[0.2500, 0.7500]]), {})
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        edges: Mapping[str, Tensor] | None = None,
        active: Paths | None = None,
        watched: Paths | None = None,
    ) -> None:
        super().__init__(weights)
        self.edges, self.active, self.watched = edges or {}, active or {}, watched or {}

    def replaced(self, weights: Mapping[str, Tensor]) -> Mixing:
        """The same with other weights of the candidates."""
        return Mixing(weights, self.edges, self.active, self.watched)

    def rows(self, choices: Iterable[Choice]) -> list[Row]:
        """What each choice is run with."""
        weights = {name: value.unbind() for name, value in self.items()}
        edges = {name: value.unbind() for name, value in self.edges.items()}
        return [
            Row(
                weights[c.group][c.row],
                edges[c.group][c.row] if c.group in edges else None,
                self.active[c.group][c.row] if c.group in self.active else None,
                self.watched[c.group][c.row] if c.group in self.watched else (),
            )
            for c in choices
        ]
