"""The values and protocols that every source of labeled images shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from archgrad.errors import ArchgradError

Batch: TypeAlias = tuple[Tensor, Tensor]
"""Images (B, C, H, W) float32, normalized, and labels (B,) int64.

What is said of images holds for signals (B, C, L) and volumes (B, C, D, H, W) too.
"""

Shape: TypeAlias = tuple[int, ...]
"""Channels, height, width; of a signal channels, length; of a volume channels, depth, ..."""

Indices: TypeAlias = "Sequence[int] | np.ndarray[Any, Any] | Tensor"


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images.

    In this order: crops, flip, color jitter, normalization, cutout.

    - `resized_crop`: a random box of 8 % to 100 % of the image, resized to the image's size.
    - `crop_padding`: pixels of black (raw zero) around the image before a random crop back to its
      size.
    - `flip`: mirror left and right with probability 1/2.
    - `cutout`: side in pixels of a square set to 0 after normalization, its center uniform over the
      image, clipped at the borders (DeVries and Taylor 2017, arXiv:1708.04552).
    - `color_jitter`: up to how far brightness, contrast and saturation of color images change, as a
      part of themselves, and twice how far hue, in turns (0..1); see `archgrad.data.photographs`.

    Of signals and volumes likewise: crop and cutout in every dimension, flip along the last one.
    Raises `ArchgradError` for pixels below 0 and for a `color_jitter` that is not from 0 to 1.

    >>> from archgrad.data import Augmentation
    >>> Augmentation(crop_padding=4, flip=True, cutout=16)
    Augmentation(crop_padding=4, flip=True, cutout=16, resized_crop=False, color_jitter=0.0)
    """

    crop_padding: int = 0
    flip: bool = False
    cutout: int = 0
    resized_crop: bool = False
    color_jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("crop_padding", "cutout"):
            if getattr(self, name) < 0:
                raise ArchgradError(
                    f"{name} is {getattr(self, name)}; expected a number of pixels, 0 or more "
                    "(0 turns it off)"
                )
        if not 0 <= self.color_jitter <= 1:
            raise ArchgradError(
                f"color_jitter is {self.color_jitter}; expected a number from 0 to 1, such as 0.4 "
                "(0 turns it off)"
            )


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation per channel, of images scaled to [0, 1].

    Raises `ArchgradError` unless there is one mean and one positive std for each channel.

    >>> from archgrad.data import Normalization
    >>> Normalization(mean=(0.5,), std=(0.25,)).std
    (0.25,)
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise ArchgradError(
                f"normalization has mean {self.mean} and std {self.std}; expected one mean and "
                "one positive std for each channel"
            )


class Batches(Protocol):
    """The batches of one source, an epoch at a time; `len` is how many there are in one.

    >>> import archgrad
    >>> data = archgrad.data.load("digits")
    >>> batches = data.train.batches(64, shuffle=True, normalization=data.normalization)
    >>> images, labels = next(batches.epoch(0))
    >>> images.shape, labels.shape, len(batches)
    (torch.Size([64, 1, 8, 8]), torch.Size([64]), 23)
    """

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, index: int) -> Iterator[Batch]:
        """The batches of epoch `index`: the same bits each time, whatever ran before."""

    @property
    def exact_resume(self) -> bool:
        """Whether `epoch` keeps that promise."""


class Source(Protocol):
    """A set of labeled images (N, C, H, W), or of signals or volumes; `len` is N."""

    def __len__(self) -> int:
        """Images in the set."""

    @property
    def labels(self) -> Tensor | None:
        """Labels (N,) int64 where they are known without reading every image."""

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        augmentation: Augmentation = ...,
        normalization: Normalization | None,
        device: torch.device | str = "cpu",
    ) -> Batches:
        """Batches of `batch_size` images on `device`, normalized and with this `augmentation`.

        With `shuffle` (a training pass) the order changes from epoch to epoch, a batch size
        larger than the set is an `ArchgradError`, and a last batch that would hold a single image
        is left out of that epoch, as BatchNorm needs two. Every other smaller last batch is kept.
        """

    def subset(self, indices: Indices) -> Source:
        """The images at `indices`, in that order."""


def is_dense(tensor: Tensor) -> bool:
    """Whether the tensor holds its values one by one: neither sparse, nested nor a meta tensor."""
    return tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_meta


def describe(value: Any) -> str:
    """What a value is, for a message."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    if value.is_nested:
        return "a nested tensor"
    layout = "" if value.layout == torch.strided else f" of layout {value.layout}"
    place = " on the meta device, without values" if value.is_meta else ""
    return f"a tensor{layout} of shape {tuple(value.shape)} and type {value.dtype}{place}"


def index_tensor(indices: Indices, count: int) -> Tensor:
    """`indices` as an int64 tensor, each checked to lie in 0..count-1."""
    array = np.asarray(indices.cpu() if isinstance(indices, Tensor) else indices)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not array.size:
        raise ArchgradError(
            f"subset indices have shape {array.shape} and type {array.dtype}; expected a list of "
            "one or more integers"
        )
    if array.min() < 0 or array.max() >= count:
        raise ArchgradError(
            f"subset indices run from {array.min()} to {array.max()}; expected 0..{count - 1}, as "
            f"the set has {count} images"
        )
    return torch.from_numpy(array.astype(np.int64))
