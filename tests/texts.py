"""A text of a few words, for what reads the scores and lines of language models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from archgrad.data import Augmentation, Data
from archgrad.language import LANGUAGE, Memory, Segment
from archgrad.networks.recurrent import Regularization
from archgrad.settings.config import SearchConfig
from archgrad.spaces import DartsRNN

WORDS = ("a", "b", "c", "d", "e")


@dataclass(frozen=True, eq=False)
class Text:
    """Tokens (N,), as a source of segments of ``steps``."""

    tokens: Tensor
    steps: int = 5
    labels: None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def subset(self, indices: Any) -> Text:
        return Text(self.tokens[: len(indices)])

    def batches(self, batch_size: int, **options: Any) -> Segments:
        streams = self.tokens[: len(self) // batch_size * batch_size].view(batch_size, -1)
        return Segments(streams.T, self.steps)


@dataclass(frozen=True, eq=False)
class Segments:
    """The same segments in every epoch, whose state is what the memory holds by then."""

    streams: Tensor
    steps: int
    exact_resume: bool = True

    def __len__(self) -> int:
        return (len(self.streams) - 1) // self.steps

    def epoch(self, index: int) -> Iterator[Any]:
        memory = Memory()
        for start in range(0, len(self) * self.steps, self.steps):
            tokens, target = (
                self.streams[first : first + self.steps] for first in (start, start + 1)
            )
            yield Segment(tokens, target, memory.state, memory)


def text(tokens: int = 200) -> Data:
    """Random words: none can be told from those before it."""
    drawn = torch.randint(len(WORDS), (tokens,), generator=torch.Generator().manual_seed(0))
    part: Any = Text(drawn)
    return Data("text", part, part, (), WORDS, None, Augmentation(), valid=part, task=LANGUAGE)


SPACE = DartsRNN(hidden=4, nodes=2, classes=len(WORDS), regularization=Regularization(0, 0, 0, 0))


def config(**changes: Any) -> SearchConfig:
    return SearchConfig(
        **{"space": "darts-rnn", "epochs": 1, "batch_size": 5, "watch_fraction": 0.25, **changes}
    )
