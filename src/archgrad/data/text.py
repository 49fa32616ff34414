"""Text as a source of batches: streams side by side, cut into segments that follow one another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from archgrad.data.base import Augmentation, Indices, Normalization, Source, index_tensor
from archgrad.data.transform import epoch_generator
from archgrad.errors import ArchgradError
from archgrad.language import Memory, Segment
from archgrad.settings.text_config import TextOptions

FEWEST = 3  # tokens of a stream: two steps, as one that has a single step would be left out
_HALVED = 0.05  # how often a training segment has half the length
_SHORTEST = 5  # of segments whose lengths are drawn
_LONGER = 20  # how much longer than bptt one may be


@dataclass(frozen=True, eq=False)
class TextSource:
    """One long text: tokens (N,) int64, numbers of a vocabulary.

    `bptt`: steps of a segment, the reach of backpropagation through time. `spread`: standard
    deviation of its length in training, 0 for none. `name` leads each message. `ArchgradError` for
    tokens that are not such a tensor, a `bptt` below 2 and a `spread` below 0.

    >>> import torch
    >>> from archgrad.data import TextSource
    >>> batches = TextSource(torch.arange(100), bptt=5).batches(batch_size=4)
    >>> segment = next(batches.epoch(0))
    >>> segment.tokens[:, 0], segment.target[:, 0]
    (tensor([0, 1, 2, 3, 4]), tensor([1, 2, 3, 4, 5]))
    """

    tokens: Tensor
    bptt: int = 35
    spread: float = 0.0
    name: str = "text"

    def __post_init__(self) -> None:
        tokens = self.tokens
        if tokens.ndim != 1 or tokens.dtype != torch.int64 or not len(tokens):
            raise ArchgradError(
                f"{self.name}: tokens have shape {tuple(tokens.shape)} and type {tokens.dtype}; "
                "expected int64 numbers of shape (N,), at least one"
            )
        if int(tokens.min()) < 0:
            raise ArchgradError(
                f"{self.name}: the smallest token is {int(tokens.min())}; expected numbers of a "
                "vocabulary, 0 or more"
            )
        if self.bptt < 2:
            raise ArchgradError(f"bptt is {self.bptt}; expected 2 or more steps, such as 35")
        if not 0 <= self.spread < math.inf:
            raise ArchgradError(f"bptt_spread is {self.spread}; expected 0 or more steps, as 5")

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def labels(self) -> None:
        """None: every token is a target."""

    def subset(self, indices: Indices) -> TextSource:
        """A stretch of the text; `indices` must follow one another (`ArchgradError`)."""
        chosen = index_tensor(indices, len(self))
        first, last = int(chosen[0]), int(chosen[-1])
        if not torch.equal(chosen, torch.arange(first, first + len(chosen))):
            raise ArchgradError(
                f"{self.name}: a subset of {len(chosen)} tokens from {first} to {last} has gaps; "
                "expected a stretch of text, so give a range such as range(0, 1000)"
            )
        return replace(self, tokens=self.tokens[first : last + 1])

    def parted(self, fraction: float) -> tuple[TextSource, TextSource]:
        """The text without its last `fraction`, and that part.

        Raises `ArchgradError` where one of them would hold no token.
        """
        kept = len(self) - int(len(self) * fraction)
        if not 0 < kept < len(self):
            raise ArchgradError(
                f"{self.name}: a part of {fraction:g} of {len(self)} tokens leaves {kept} and "
                f"{len(self) - kept}; expected some in each, so give another fraction"
            )
        return self.subset(range(kept)), self.subset(range(kept, len(self)))

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (a frozen value)
        normalization: Normalization | None = None,
        device: torch.device | str = "cpu",
    ) -> TextBatches:
        """Segments of `batch_size` streams on `device`, in the order of the text.

        Stream b is the text from token b * (N // batch_size) on; the N % batch_size last tokens
        are left out. `shuffle`, a training pass, does not change the order but the lengths of
        the segments, see `TextBatches.lengths`. `augmentation` and `normalization` are of
        images: nothing follows from them. `ArchgradError` where streams have fewer than 3 tokens.
        """
        if batch_size < 1:
            raise ArchgradError(f"batch size is {batch_size}; expected 1 or more")
        steps = len(self) // batch_size
        if steps < FEWEST:
            most = len(self) // FEWEST
            remedy = f"a batch size of {most} or less, or more text" if most else "more text"
            raise ArchgradError(
                f"{self.name}: found {len(self)} tokens for a batch size of {batch_size}, streams "
                f"of {steps}; expected {FEWEST} tokens a stream or more, so give {remedy}"
            )
        streams = self.tokens[: steps * batch_size].view(batch_size, steps).t().contiguous()
        return TextBatches(streams.to(device), self.bptt, self.spread, seed, shuffle)


@dataclass(frozen=True, eq=False)
class TextBatches:
    """Segments of streams (steps, B) int64; see `TextSource.batches`."""

    streams: Tensor
    bptt: int
    spread: float
    seed: int
    shuffle: bool
    exact_resume: bool = True

    def __len__(self) -> int:
        """Segments of an epoch; where their lengths are drawn, as many as are expected."""
        steps = len(self.streams) - 1
        if self.shuffle:
            return math.ceil(steps / self._mean_length())
        full, rest = divmod(steps, self.bptt)
        return full + (rest > 1)

    def epoch(self, index: int) -> Iterator[Any]:
        """The `Segment`s of epoch `index`, the same bits each time.

        Each epoch begins with a new `Memory`. A segment's state is what the memory holds when the
        segment is asked for: what the model left there after the one before.
        """
        memory, start = Memory(), 0
        for length in self.lengths(index):
            end = start + length
            tokens, target = self.streams[start:end], self.streams[start + 1 : end + 1]
            yield Segment(tokens, target, memory.state, memory, length / self.bptt)
            start = end

    def lengths(self, index: int) -> Iterator[int]:
        """Steps of each segment of an epoch, 2 or more; a single step at the end joins the last.

        In training, as in the code of DARTS (arXiv:1806.09055) after AWD-LSTM (arXiv:1708.02182):
        mean m is bptt, or with probability 0.05 half of it; with a `spread` s the length is then
        max(5, int(normal(m, s))), at most bptt + 20. Drawn from (seed, epoch) alone.
        """
        left, generator = len(self.streams) - 1, epoch_generator(self.seed, index)
        while left:
            length = self._drawn(generator) if self.shuffle else self.bptt
            if left - length < 2:
                length = left
            yield length
            left -= length

    def _drawn(self, generator: Generator) -> int:
        halved = float(torch.rand((), generator=generator, dtype=torch.float64)) < _HALVED
        deviation = float(torch.randn((), generator=generator, dtype=torch.float64))
        mean = self.bptt / 2 if halved else self.bptt
        if not self.spread:
            return max(2, int(mean))
        return min(max(_SHORTEST, int(mean + self.spread * deviation)), self.bptt + _LONGER)

    def _mean_length(self) -> float:
        """The expectation of `_drawn`."""
        whole, half = (self._mean_around(mean) for mean in (self.bptt, self.bptt / 2))
        return (1 - _HALVED) * whole + _HALVED * half

    def _mean_around(self, mean: float) -> float:
        if not self.spread:
            return max(2, int(mean))
        lengths = np.arange(_SHORTEST + 1, self.bptt + _LONGER + 1)
        reached = [math.erfc((n - mean) / (self.spread * math.sqrt(2))) / 2 for n in lengths]
        return _SHORTEST + sum(reached)


def at(source: Source, config: TextOptions) -> Source:
    """A text with the segments that a configuration asks for; other sources as they are."""
    if not isinstance(source, TextSource):
        return source
    return replace(source, bptt=config.bptt, spread=config.bptt_spread)
