"""The recurrent network of DARTS: an embedding, one cell over time, the embedding as decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.kernels import decoding
from archgrad.kernels.division import drawn
from archgrad.kernels.recurrence import ACTIVATIONS, NAMES, Node, Plan, recurrence
from archgrad.networks.choice import NONE, Choice
from archgrad.networks.operations import Zero
from archgrad.settings.text_config import TextOptions

DROPOUTS = ("output", "hidden", "input", "embedding", "words")
INITIAL = 0.04  # weights begin uniform in +- this (the original code)


@dataclass(frozen=True)
class Regularization:
    """How a language model is regularized; defaults are those of arXiv:1806.09055, appendix A.

    Rates of dropout, all with masks that are the same at every time step (arXiv:1512.05287):
    `output` of what is decoded, `hidden` of what enters a product within the cell, `input` of
    what enters the cell, `embedding` of what is looked up, `words` of whole words of the
    embedding. `activation` and `slowness`: coefficients of the mean square of the outputs, and
    of their change from step to step, in the loss (arXiv:1708.01009).
    """

    output: float = 0.75
    hidden: float = 0.25
    input: float = 0.75
    embedding: float = 0.2
    words: float = 0.0
    activation: float = 0.0
    slowness: float = 1e-3

    @classmethod
    def of(cls, options: TextOptions) -> Regularization:
        """As the options of a search or of a retraining have it."""
        dropouts = {n: getattr(options, f"dropout_{n}") for n in DROPOUTS}
        return cls(**dropouts, activation=options.activation, slowness=options.slowness)

    def __post_init__(self) -> None:
        for field in fields(self):
            value, rate = getattr(self, field.name), field.name in DROPOUTS
            if value < 0 or (rate and value >= 1):
                wanted = "a rate from 0, below 1" if rate else "0 or more"
                raise ArchgradError(
                    f"regularization: {field.name} is {value}, expected {wanted}; 0 turns it off"
                )


class Highway(nn.Module):
    r"""A candidate of an edge: (state, gate, candidate) -> state + gate (f(candidate) - state).

    Each (B, H). What a cell computes for all edges of a node at once, here for one.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, state: Tensor, gate: Tensor, candidate: Tensor) -> Tensor:
        changed: Tensor = state + gate * (ACTIVATIONS[self.name](candidate) - state)
        return changed


def operation(name: str) -> nn.Module:
    """A candidate by its name; `none` adds nothing."""
    return Zero() if name == NONE else Highway(name)


Single = tuple[str, int]  # an operation and its source


class RecurrentCell(nn.Module):
    """The cell of `archgrad.kernels.recurrence`: (T, B, inputs), (B, H) -> (T, B, H).

    `nodes`: for each intermediate node its `Choice` of every source (0, 1, ...) in a search, or
    in a derived network its one (operation, source); the mean of all nodes is the next state.
    Normalized in a search, by the statistics of the batch at each step; the
    original code also keeps running ones, for an evaluation that this library does not make.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        nodes: Sequence[Sequence[Choice] | Single],
    ) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.empty(inputs + hidden, 2 * hidden))
        self.weights = nn.ParameterList(torch.empty(hidden, 2 * hidden) for _ in nodes)
        self.choices = nn.ModuleList()
        self.singles: list[Single] = []
        for node in nodes:
            if isinstance(node[0], str):
                self.singles.append(node)  # type: ignore[arg-type]
            else:
                self.choices.append(nn.ModuleList(node))  # type: ignore[arg-type]
        search = len(self.choices) > 0
        plans = (
            [Node(0, len(node)) for node in nodes]
            if search
            else [Node(source, source + 1, _only(name)) for name, source in self.singles]
        )
        self.plan = Plan(tuple(plans), normalized=search)
        for weight in self.parameters():
            nn.init.uniform_(weight, -INITIAL, INITIAL)

    def forward(
        self,
        inputs: Tensor,
        state: Tensor,
        input_mask: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """`input_mask` (B, inputs), `mask` (B, H): variational dropout, None for none."""
        size = inputs.shape[-1]
        inputs = inputs if input_mask is None else inputs * input_mask
        projected, recurrent = inputs @ self.first[:size], self.first[size:]
        weights = list(self.weights)
        return recurrence(
            self.plan, projected, state, mask, recurrent, weights, self._mixing(projected)
        )

    def _mixing(self, like: Tensor) -> list[Tensor]:
        """For each node (edges, 4): how much of each activation an edge holds."""
        if self.singles:
            return [like.new_tensor([list(map(float, _only(name)))]) for name, _ in self.singles]
        found: list[Tensor] = []
        for choices in self.choices:
            rows = [_row(choice) for choice in choices]  # type: ignore[attr-defined]
            found.append(torch.stack(rows).to(like.dtype))
        return found


def _only(name: str) -> tuple[bool, ...]:
    return tuple(name == other for other in NAMES)


def _row(choice: Choice) -> Tensor:
    """The weights of the activations on one edge; 0 for what it does not offer or compute.

    That is still a function of the weights: all edges may have drawn `none`.
    """
    weights, edge, active, watched = choice.row_of_mixing()
    computed = range(len(choice.names)) if active is None else {*active, *watched}
    columns = {choice.names[i]: weights[i] for i in computed}
    none = 0 * weights.sum()
    row = torch.stack([columns.get(name, none) for name in NAMES])
    return row if edge is None else edge * row


class LanguageModel(nn.Module):
    """A language model: tokens (T, B) int64, state (B, H) or None -> logits (T, B, V), state.

    Embedding and decoder share their weights (arXiv:1608.05859). With `penalized`, as the loss
    takes it, the logits may be a `archgrad.kernels.decoding.Decoded`, and there is a third value:
    the penalty of `Regularization` for this pass, a scalar, 0 in evaluation mode.
    """

    def __init__(
        self, vocabulary: int, cell: RecurrentCell, regularization: Regularization
    ) -> None:
        super().__init__()
        hidden = cell.first.shape[1] // 2
        self.embedding = nn.Parameter(torch.empty(vocabulary, hidden))
        nn.init.uniform_(self.embedding, -INITIAL, INITIAL)
        self.cell = cell
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.regularization = regularization

    def forward(
        self, tokens: Tensor, state: Tensor | None = None, penalized: bool = False
    ) -> tuple[Any, ...]:
        rates, hidden = self.regularization, self.embedding.shape[1]
        embedding, batch = self.embedding, tokens.shape[1]
        if state is None:
            state = embedding.new_zeros(batch, hidden)
        looked_up = F.embedding(tokens, times(embedding, self._words(rates.words)))
        looked_up = times(looked_up, self._mask(rates.embedding, batch))
        masks = self._mask(rates.input, batch), self._mask(rates.hidden, batch)
        outputs = self.cell(looked_up, state, *masks)
        decoded = times(outputs, self._mask(rates.output, batch))
        if not penalized:
            return F.linear(decoded, embedding, self.bias), outputs[-1]
        found = decoding.decoded(decoded, embedding, self.bias)
        return found, outputs[-1], self._penalty(outputs, decoded)

    def _words(self, rate: float) -> Tensor | None:
        """What is kept of the vocabulary, (V, 1)."""
        return self._kept(rate, len(self.embedding), 1) if self.training and rate else None

    def _mask(self, rate: float, batch: int) -> Tensor | None:
        """What is kept of each text at all of its steps, (B, H)."""
        if not self.training or rate == 0:
            return None
        return drawn(partial(self._kept, rate), batch, self.embedding.shape[1])

    def _kept(self, rate: float, *shape: int) -> Tensor:
        return self.embedding.new_empty(shape).bernoulli_(1 - rate) / (1 - rate)

    def _penalty(self, outputs: Tensor, decoded: Tensor) -> Tensor:
        rates, total = self.regularization, outputs.new_zeros(())
        if self.training and rates.activation:
            total = total + rates.activation * decoded.square().mean()
        if self.training and rates.slowness and len(outputs) > 1:
            total = total + rates.slowness * outputs.diff(dim=0).square().mean()
        return total


def times(value: Tensor, mask: Tensor | None) -> Tensor:
    """The value where there is no mask."""
    return value if mask is None else value * mask
