"""Deterministic choices of images by class: stratified halves and balanced subsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from archgrad.errors import ArchgradError

Array: TypeAlias = "np.ndarray[Any, Any]"


def stratified(labels: Tensor, fraction: float, classes: Sequence[str]) -> tuple[Array, Array]:
    """Indices of two parts, each in stored order; the first holds `fraction` of every class.

    Both parts hold every class: ArchgradError where one has fewer than two images.
    """
    values = labels.numpy()
    generator = np.random.default_rng(0)
    chosen = np.zeros(len(values), dtype=bool)
    seen = 0
    for label, name in enumerate(classes):
        members = generator.permutation(np.flatnonzero(values == label))
        if len(members) < 2:
            raise ArchgradError(
                f'class "{name}" has {len(members)} training images; a split needs 2 or more of '
                "each class, so add images or leave the class out"
            )
        # Rounding the running total keeps the size of the part exact over many small classes.
        take = round((seen + len(members)) * fraction) - round(seen * fraction)
        chosen[members[: min(max(take, 1), len(members) - 1)]] = True
        seen += len(members)
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def shuffled(count: int, first: int) -> tuple[Array, Array]:
    """Indices of `first` random images and of the rest, in stored order, labels unknown."""
    order = np.random.default_rng(0).permutation(count)
    taken, rest = np.split(order, [first])
    return np.sort(taken), np.sort(rest)


def balanced(labels: Tensor, count: int) -> Array:
    """Indices of `count` images in stored order, as many of each class as there can be."""
    if not 1 <= count <= len(labels):
        raise ArchgradError(
            f"subset is {count}; expected 1..{len(labels)}, as the training set has "
            f"{len(labels)} images"
        )
    values = labels.numpy()
    order = np.random.default_rng(0).permutation(len(values))
    rank = np.empty(len(values), dtype=np.int64)
    for label in np.unique(values):
        members = order[values[order] == label]
        rank[members] = np.arange(len(members))
    return np.sort(np.lexsort((values, rank))[:count])


def check_every_class(labels: Tensor, classes: Sequence[str], part: str, remedy: str) -> None:
    """Raise ArchgradError naming the first class that has no image in `labels`."""
    counts = np.bincount(labels.numpy(), minlength=len(classes))
    for name, count in zip(classes, counts, strict=False):
        if not count:
            raise ArchgradError(
                f'class "{name}" has no image in {part} of {len(labels)} images; expected every '
                f"one of {len(classes)} classes, so {remedy}"
            )
