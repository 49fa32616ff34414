"""The batches of a search: one half for the weights, one for alpha, a part that neither sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch

from archgrad.data import Augmentation, Batches, Data, TextSource, own
from archgrad.data.base import Source
from archgrad.data.own import OwnData
from archgrad.data.splits import shuffled
from archgrad.data.text import FEWEST, at
from archgrad.data.torchdata import LoaderSource
from archgrad.networks.supernet import Batch
from archgrad.settings.config import SearchConfig
from archgrad.tensors.trees import size


@dataclass(frozen=True)
class Loaders:
    """Batches of the weights' half, of alpha's half, and of two parts without augmentation.

    `check`: alpha's half; `watch`: the part of it that neither weights nor alpha see, or None;
    `examples`: how many a pass over `train` and one over `check` see.
    """

    train: Batches
    valid: Batches
    check: Batches
    watch: Batches | None = None
    watch_images: int = 0
    examples: tuple[int, int] = (0, 0)

    @classmethod
    def of(
        cls,
        data: Data | OwnData,
        config: SearchConfig,
        augmentation: Augmentation,
        device: torch.device,
    ) -> Loaders:
        if isinstance(data, OwnData):
            return cls._of_own(data, config, device)
        weights_half, alpha_half = (at(half, config) for half in data.split(config.train_fraction))
        alpha_half, watched = _watched(alpha_half, config)
        common = {"normalization": data.normalization, "device": device}
        random = {"shuffle": True, "augmentation": augmentation, **common}
        size, seed = config.batch_size, config.seed
        return cls(
            weights_half.batches(size, seed=2 * seed, **random),  # type: ignore[arg-type]
            alpha_half.batches(size, seed=2 * seed + 1, **random),  # type: ignore[arg-type]
            alpha_half.batches(size, **common),  # type: ignore[arg-type]
            None if watched is None else watched.batches(size, **common),  # type: ignore[arg-type]
            0 if watched is None else len(watched),
            examples=(len(weights_half), len(alpha_half)),
        )

    @classmethod
    def _of_own(cls, data: OwnData, config: SearchConfig, device: torch.device) -> Loaders:
        weights_half, alpha_half = data.halves(config.train_fraction)
        size, seed = config.batch_size, config.seed
        return cls(
            own.batches(weights_half, size, seed=2 * seed, shuffle=True, device=device),
            own.batches(alpha_half, size, seed=2 * seed + 1, shuffle=True, device=device),
            own.batches(alpha_half, size, seed=0, shuffle=False, device=device),
            examples=(own.examples(weights_half, size), own.examples(alpha_half, size)),
        )

    def state_dict(self) -> dict[str, Any]:
        """The states of loaders that keep one."""
        parts = {"train": self.train, "valid": self.valid}
        return {n: p.state_dict() for n, p in parts.items() if isinstance(p, own.LoaderBatches)}

    def load_state_dict(self, states: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        for name, state in states.items():
            getattr(self, name).load_state_dict(state)

    def epoch(self, index: int) -> Iterator[tuple[Batch, Batch]]:
        """Pairs of a training and a validation batch; the shorter half is walked again.

        Batches of a single image are left out: BatchNorm needs two.
        """
        return zip(several(self.train.epoch(index)), self._again(index), strict=False)

    def _again(self, index: int) -> Iterator[Batch]:
        """Validation batches, pass after pass, as long as a pass has any."""
        passes = 1 + -(-len(self.train) // max(1, len(self.valid)))
        for turn in count():
            found = False
            for batch in several(self.valid.epoch(index * passes + turn)):
                found = True
                yield batch
            if not found:
                return

    @property
    def exact_resume(self) -> bool:
        """Whether an epoch can be repeated bit for bit, whatever ran before."""
        return self.train.exact_resume and self.valid.exact_resume


def _watched(source: Source, config: SearchConfig) -> tuple[Source, Source | None]:
    """A source without a random part of it, and that part; None where it cannot be cut.

    Of a text it is the last part.
    """
    if isinstance(source, LoaderSource):
        return source, None
    taken = int(len(source) * config.watch_fraction)
    if isinstance(source, TextSource):
        enough = min(taken, len(source) - taken) >= FEWEST * config.batch_size
        return source.parted(config.watch_fraction) if enough else (source, None)
    if taken < 2 or len(source) - taken < config.batch_size:
        return source, None
    part, rest = shuffled(len(source), taken)
    return source.subset(rest), source.subset(part)


def several(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches of at least two examples, and those that do not tell, such as texts."""
    return (batch for batch in batches if size(batch, unknown=2) > 1)
