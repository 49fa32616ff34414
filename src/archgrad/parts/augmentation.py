"""Augmentations that a method asks for: (images, state) -> images, both (B, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from archgrad.data.transform import boxes
from archgrad.errors import ArchgradError
from archgrad.parts.schedule import Linear, Number, extremes, now
from archgrad.parts.state import State

__all__ = ["RandomCutout"]

Augment = Callable[[Tensor, State], Tensor]


@dataclass(frozen=True)
class RandomCutout:
    """Cutout of a square of `side` pixels in each image with probability `probability`.

    RobustDARTS (arXiv:1909.09656) raises it linearly in the search. The center is uniform over the
    image, the square clipped at its border; it is filled with 0, the mean after
    normalization. `ArchgradError` for a `side` below 1 and a `probability` that is not from 0 to 1.

    >>> import torch
    >>> from archgrad.parts.augmentation import RandomCutout
    >>> from archgrad.parts.relaxation import Softmax
    >>> from archgrad.parts.state import State
    >>> images = RandomCutout(4, probability=1.0)(torch.ones(2, 3, 8, 8), State(None, Softmax()))
    >>> bool((images == 0).any()), images.shape
    (True, torch.Size([2, 3, 8, 8]))
    """

    side: int = 16
    probability: Number = Linear(0.0, 0.2)

    def __post_init__(self) -> None:
        least, most = extremes(self.probability)
        if self.side < 1 or not 0 <= least <= most <= 1:
            raise ArchgradError(
                f"cutout: side {self.side} must be at least 1 pixel, probability "
                f"{self.probability} from 0 to 1"
            )

    def __call__(self, images: Tensor, state: State) -> Tensor:
        generator, size = state.generator(), images.shape[2:]
        chosen = torch.rand(len(images), generator=generator) < now(
            self.probability, state.progress
        )
        centers = [torch.randint(n, (len(images),), generator=generator) for n in size]
        hidden = boxes(torch.stack(centers, dim=1), self.side, size)
        hidden &= chosen.view(-1, *[1] * (images.ndim - 1))
        return images.masked_fill(hidden.to(images.device), 0.0)
