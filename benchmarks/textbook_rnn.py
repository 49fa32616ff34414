"""The textbook forms of a recurrent DARTS search, which the speed of archgrad is measured against.

The model of `archgrad.networks.recurrent` time step by time step in plain operations, in two forms:
**edges**, a product, a gate and all operations for each of the 36 edges by itself, and **stacked**,
that of the original code (arXiv:1806.09055): one product a node over its stacked sources,
operations one by one.
Parameters have the library's names, and dropout draws its masks in the library's order, so the same
seed gives the same loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archgrad.architecture import Architecture
from archgrad.language import Segment
from archgrad.networks.recurrent import Regularization
from textbook import Textbook

OPERATIONS: dict[str, Callable[[Tensor], Tensor] | None] = {
    "none": None,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}


class Masks(NamedTuple):
    """What a cell's inputs and states are multiplied by, None for nothing."""

    inputs: Tensor | None
    states: Tensor | None


def highway(state: Tensor, product: Tensor, operation: Callable[[Tensor], Tensor]) -> Tensor:
    gate, candidate = product.chunk(2, dim=-1)
    return state + gate.sigmoid() * (operation(candidate) - state)


def masked(value: Tensor, mask: Tensor | None) -> Tensor:
    return value if mask is None else value * mask


def normalized(state: Tensor) -> Tensor:
    return F.batch_norm(state, None, None, training=True)


class Cell(nn.Module):
    """The first state and the mean of the others; what is between them is of the forms."""

    def __init__(self, hidden: int, nodes: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.empty(2 * hidden, 2 * hidden))
        self.weights = nn.ParameterList(torch.empty(hidden, 2 * hidden) for _ in range(nodes))

    def begin(self, x: Tensor, state: Tensor, masks: Masks) -> Tensor:
        both = torch.cat([masked(x, masks.inputs), masked(state, masks.states)], dim=-1)
        return highway(state, both @ self.first, torch.tanh)


class Edges(Cell):
    """A search cell, edge by edge."""

    def forward(self, x: Tensor, state: Tensor, masks: Masks, mixing: Tensor) -> Tensor:
        states, rows = [normalized(self.begin(x, state, masks))], iter(mixing)
        for weight in self.weights:
            total = torch.zeros_like(state)
            for source in states:
                gate, candidate = (masked(source, masks.states) @ weight).chunk(2, dim=-1)
                gate = gate.sigmoid()
                for share, operation in zip(next(rows), OPERATIONS.values(), strict=True):
                    if operation is not None:
                        total = total + share * (source + gate * (operation(candidate) - source))
            states.append(normalized(total))
        return torch.stack(states[1:]).mean(dim=0)


class Stacked(Cell):
    """A search cell, the edges of a node at once."""

    def forward(self, x: Tensor, state: Tensor, masks: Masks, mixing: Tensor) -> Tensor:
        states, row = [normalized(self.begin(x, state, masks))], 0
        for weight in self.weights:
            sources = torch.stack(states)
            gate, candidate = (masked(sources, masks.states) @ weight).chunk(2, dim=-1)
            gate, total = gate.sigmoid(), torch.zeros_like(state)
            shares = mixing[row : row + len(states)].view(len(states), -1, 1, 1)
            for k, operation in enumerate(OPERATIONS.values()):
                if operation is not None:
                    changed = sources + gate * (operation(candidate) - sources)
                    total = total + (shares[:, k] * changed).sum(dim=0)
            row += len(states)
            states.append(normalized(total))
        return torch.stack(states[1:]).mean(dim=0)


class Derived(Cell):
    """The cell of an architecture, node by node."""

    def __init__(self, hidden: int, architecture: Architecture) -> None:
        (cell,) = architecture.cells
        super().__init__(hidden, len(cell.nodes))
        self.edges = [edge for (edge,) in cell.nodes]
        self.output = cell.output

    def forward(self, x: Tensor, state: Tensor, masks: Masks, mixing: None) -> Tensor:
        states = [self.begin(x, state, masks)]
        for weight, (name, source) in zip(self.weights, self.edges, strict=True):
            before, operation = states[source], OPERATIONS[name]
            assert operation is not None
            states.append(highway(before, masked(before, masks.states) @ weight, operation))
        return torch.stack([states[node] for node in self.output]).mean(dim=0)


FORMS = {"edges": Edges, "stacked": Stacked}


class Language(nn.Module):
    """`archgrad.networks.recurrent.LanguageModel` with such a cell; always with its penalty."""

    def __init__(self, vocabulary: int, hidden: int, cell: Cell, rates: Regularization) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(vocabulary, hidden))
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.cell, self.rates = cell, rates
        for name, weight in self.named_parameters():
            if name != "bias":
                nn.init.uniform_(weight, -0.04, 0.04)

    def forward(
        self, tokens: Tensor, state: Tensor, mixing: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        rates, embedding = self.rates, self.embedding
        batch, hidden = state.shape
        words = masked(embedding, self.mask(rates.words, len(embedding), 1))
        looked_up = F.embedding(tokens, words)
        looked_up = masked(looked_up, self.mask(rates.embedding, 1, batch, hidden))
        masks = Masks(self.mask(rates.input, batch, hidden), self.mask(rates.hidden, batch, hidden))
        steps = []
        for x in looked_up:
            state = self.cell(x, state, masks, mixing)
            steps.append(state)
        outputs = torch.stack(steps)
        decoded = masked(outputs, self.mask(rates.output, 1, batch, hidden))
        penalty = rates.activation * decoded.square().mean()
        penalty = penalty + rates.slowness * (outputs[1:] - outputs[:-1]).square().mean()
        return F.linear(decoded, embedding, self.bias), state, penalty

    def mask(self, rate: float, *shape: int) -> Tensor | None:
        if not rate:
            return None
        return self.embedding.new_empty(shape).bernoulli_(1 - rate) / (1 - rate)


class Book(Textbook):
    """Network, alpha and the steps of a search, with the options of the library's ``options``."""

    def __init__(
        self, form: str, vocabulary: int, hidden: int, nodes: int, rates: Regularization,
        learning_rate: float, weight_decay: float, clip: float,
    ) -> None:  # fmt: skip
        self.network = Language(vocabulary, hidden, FORMS[form](hidden, nodes), rates)
        edges = nodes * (nodes + 1) // 2
        self.alpha = {"recurrent": (1e-3 * torch.randn(edges, len(OPERATIONS))).requires_grad_()}
        self.clip = self.second_clip = clip
        self.sgd = torch.optim.SGD(
            self.network.parameters(), lr=learning_rate, weight_decay=weight_decay
        )
        self.adam = torch.optim.Adam(
            self.alpha.values(), lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3
        )

    def loss(self, network: nn.Module, batch: Segment) -> Tensor:  # type: ignore[override]
        return losses(network, batch, self.alpha["recurrent"])[0]

    def trained(self, network: nn.Module, batch: Segment) -> Tensor:  # type: ignore[override]
        return sum(losses(network, batch, self.alpha["recurrent"]))


def losses(network: nn.Module, batch: Segment, alpha: Tensor | None = None) -> Sequence[Tensor]:
    """Cross-entropy and penalty."""
    mixing = () if alpha is None else (alpha.softmax(dim=-1),)
    logits, _, penalty = network(batch.tokens, batch.state, *mixing)
    return F.cross_entropy(logits.flatten(0, 1), batch.target.flatten()), penalty
