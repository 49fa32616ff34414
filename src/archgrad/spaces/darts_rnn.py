"""The recurrent cell space of DARTS (arXiv:1806.09055, section 3.2): language models."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import nn

from archgrad.architecture import RECURRENT, Architecture, Cell
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice, Edge, Group
from archgrad.networks.recurrent import LanguageModel, RecurrentCell, Regularization, operation
from archgrad.spaces.grouped import Edges, Grouped

NAME, CELL = "darts-rnn", RECURRENT
OPERATIONS = ("none", "tanh", "relu", "sigmoid", "identity")


@dataclass(frozen=True)
class DartsRNN(Grouped):
    """Language models with one recurrent cell of searched activations (arXiv:1806.09055).

    State 0 is made of the input and the previous hidden state; each of `nodes` intermediate nodes
    takes every earlier state through an activation with a highway bypass, one matrix a node shared
    by all its edges; the mean of all intermediate nodes is the next hidden state. With 8 nodes
    these are 36 edges of 5 operations. A derived node keeps its strongest edge (8! 4^8 cells); one
    that has none (arXiv:1911.12126) is left out, of the mean too.

    `hidden`: units H of the embedding and of every state; `classes`: words V of the vocabulary;
    `candidates`: one entry, the operations of the edges (0, 1), (0, 2), (1, 2), (0, 3), ...
    Parameters: V H + V + 2 (2H) H + nodes 2 H H: embedding, decoder's bias, first matrix, nodes;
    those of the embedding are the decoder's too. Raises `ArchgradError` for a size below the least,
    and for candidates that are not known.

    >>> from archgrad.spaces import DartsRNN
    >>> DartsRNN().groups[0].shape
    (36, 5)
    """

    hidden: int = 300
    nodes: int = 8
    classes: int = 10_000
    candidates: tuple[Edges, ...] | None = None
    regularization: Regularization = Regularization()
    name: str = NAME

    group_names: ClassVar[tuple[str, ...]] = (CELL,)
    input_shape: ClassVar[tuple[int, ...]] = ()  # of a token
    cells: ClassVar[int] = 1
    dims: ClassVar[int] = 0

    def __post_init__(self) -> None:
        for option, least in {"hidden": 1, "nodes": 1, "classes": 2}.items():
            if getattr(self, option) < least:
                raise ArchgradError(
                    f"space {self.name}: {option} is {getattr(self, option)}, expected at least "
                    f"{least}"
                )
        self._check_groups()

    @property
    def known(self) -> Collection[str]:
        """The operations that can stand on an edge."""
        return OPERATIONS

    @property
    def groups(self) -> tuple[Group, ...]:
        """The edges of the one cell."""
        edges = tuple((source, node) for node in self._nodes for source in range(node))
        offered = self.candidates[0] if self.candidates else (OPERATIONS,) * len(edges)
        return (Group(CELL, 1, edges, offered, 1, output=tuple(self._nodes)),)

    @property
    def _nodes(self) -> range:
        return range(1, self.nodes + 1)

    def offered(self, group: Group, source: int, node: int) -> tuple[str, ...]:
        """What a derived edge may hold; in cells of any size where all edges offer the same."""
        if self.candidates is None:
            return self._derivable(group, OPERATIONS)
        return super().offered(group, source, node)

    def supernet(self, edges: Sequence[Edge] = ()) -> LanguageModel:
        """The model with a choice on every edge, whose states are normalized by the batch.

        Raises `ArchgradError` for `edges`: its candidates are activations, with nothing around
        them.
        """
        if edges:
            parts = ", ".join(type(edge).__name__ for edge in edges)
            raise ArchgradError(
                f"this method puts parts around the candidates of an edge ({parts}), and those of "
                f"space {self.name} are activations, which share what is around them; use another "
                "method"
            )
        (group,) = self.groups
        nodes: list[list[Choice]] = [[] for _ in self._nodes]
        for row, ((_, node), names) in enumerate(zip(group.edges, group.candidates, strict=True)):
            made = {name: operation(name) for name in names}
            nodes[node - 1].append(Choice(made, group.name, row))
        return self._model(nodes)

    def plain(self) -> LanguageModel:
        """The supernet; no operation has a cost of its own."""
        return self.supernet()

    def derive(self, architecture: Architecture, auxiliary: bool = False) -> LanguageModel:
        """The plain model of an architecture, freshly initialized, without normalization.

        It has as many nodes as the architecture. Raises `ArchgradError` for an architecture of
        another space, and where an auxiliary head is asked for.
        """
        if auxiliary:
            raise ArchgradError(
                f"space {self.name} has no auxiliary head; use an auxiliary weight of 0"
            )
        self.validate(architecture)
        nodes = architecture.cell(CELL).nodes
        numbers = {0: 0}  # without the nodes that have no edge
        for node, edges in enumerate(nodes, start=1):
            if edges:
                numbers[node] = len(numbers)
        return self._model([(name, numbers[source]) for edges in nodes for name, source in edges])

    def _model(self, nodes: Sequence[Sequence[Choice] | tuple[str, int]]) -> LanguageModel:
        cell = RecurrentCell(self.hidden, self.hidden, nodes)
        return LanguageModel(self.classes, cell, self.regularization)

    def _validate_nodes(self, group: Group, cell: Cell) -> None:
        kept = [node for node, edges in enumerate(cell.nodes, start=1) if edges]
        counts = [len(edges) for edges in cell.nodes]
        if max(counts) > 1 or not kept or list(cell.output) != kept:
            raise ArchgradError(
                f"cell {cell.name}: nodes have {counts} edges, output {list(cell.output)}; space "
                f"{self.name} has nodes with one edge each, or none where it was too weak, but not "
                f"everywhere, and as output all that have one, here {kept}"
            )
        for node, edges in enumerate(cell.nodes, start=1):
            for _, source in edges:
                if source not in (0, *kept):
                    raise ArchgradError(
                        f"cell {cell.name}: node {node} takes node {source}, which has no edge; "
                        "leave that edge out"
                    )

    def random_architecture(self, generator: torch.Generator) -> Architecture:
        """Uniform: any earlier state and any operation but none for each node."""
        (group,) = self.groups
        nodes = []
        for node in self._nodes:
            source = int(torch.randint(node, (1,), generator=generator))
            names = self.offered(group, source, node)
            pick = int(torch.randint(len(names), (1,), generator=generator))
            nodes.append(((names[pick], source),))
        cell = Cell(name=CELL, inputs=1, nodes=tuple(nodes), output=tuple(self._nodes))
        return Architecture(space=self.name, cells=(cell,))

    def sized(self, channels: int | None = None, cells: int | None = None) -> Self:
        """The space itself: it has one cell, and hidden units in place of channels.

        Raises `ArchgradError` where a size is given.
        """
        if (channels, cells) != (None, None):
            raise ArchgradError(
                f"space {self.name} has one cell and no channels; give hidden in their place"
            )
        return self

    def run(self, model: nn.Module, device: torch.device, batch: int) -> int:
        """Call a model with this many texts of one token."""
        model(torch.zeros(1, batch, dtype=torch.int64, device=device))
        return batch
