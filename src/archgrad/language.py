"""What is learned of text: the next token, segment by segment, with the state carried along."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from archgrad.kernels.decoding import cross_entropy
from archgrad.kernels.division import present
from archgrad.kernels.duals import at_rest
from archgrad.measure import PERPLEXITY, perplexity
from archgrad.task import Model, Task
from archgrad.tensors.trees import mapped


class Memory:
    """What a stream of text remembers from one segment to the next: (B, H), None at its start.

    The last pass over a segment writes it: in a search that is the step of the weights, of the
    other half the pass at which alpha's gradient is taken, as in the original code.
    """

    def __init__(self) -> None:
        self.state: Any = None


class Segment(NamedTuple):
    """A piece of B texts side by side: `tokens` and the next ones, `target`: (T, B) int64.

    `state`: the hidden state before it, (B, H), or None; `memory`: of its stream; `share`: of
    the learning rate, its length as a part of the usual one (arXiv:1708.01009).
    """

    tokens: Tensor
    target: Tensor
    state: Any
    memory: Memory
    share: float = 1.0

    def shortened(self, steps: int) -> Segment:
        """Its first steps, after the same state."""
        return self._replace(tokens=self.tokens[:steps], target=self.target[:steps])

    @property
    def beside(self) -> int:
        """How many texts are side by side: what several processes divide among them."""
        return self.tokens.shape[1]

    def texts(self, start: int, stop: int) -> Segment:
        """Some of the texts, each with its state."""
        some = self.tokens[:, start:stop], self.target[:, start:stop]
        return Segment(*some, mapped(lambda s: s[start:stop], self.state), self.memory, self.share)


def _read(model: Model, segment: Segment) -> tuple[Any, Tensor]:
    """((logits, penalty), target); the stream remembers how it went on.

    Of a pass that processes divide the loss stands in place of the logits, which are many.
    """
    logits, state, penalty = model(segment.tokens, segment.state, penalized=True)
    segment.memory.state = mapped(at_rest, state)
    if (division := present()) is not None:
        segment.memory.state = division.whole(segment.memory.state, axis=0)
        logits = cross_entropy(logits, segment.target)
    return (logits, penalty), segment.target


def _cross_entropy(output: Any, target: Tensor) -> Tensor:
    """Mean over all tokens, in nats."""
    logits = output[0]
    known = isinstance(logits, Tensor) and not logits.ndim
    return logits if known else cross_entropy(logits, target)


LANGUAGE = Task(
    loss=_cross_entropy,
    metric=None,
    name=PERPLEXITY.name,
    forward=_read,
    penalty=lambda output: output[1],
    share=lambda segment: segment.share,
    measure=PERPLEXITY,
    shown=lambda score: perplexity(-score),
)
