"""Images held in memory: checks, conversion and batches made on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archgrad.data.base import (
    Augmentation,
    Batch,
    Indices,
    Normalization,
    Shape,
    describe,
    index_tensor,
    is_dense,
)
from archgrad.data.transform import Schedule, Transform, epoch_generator
from archgrad.errors import ArchgradError
from archgrad.tensors.dimensions import SIDES, functions, others

_CHUNK = 1024


class ArraySource:
    """Images (N, C, H, W) uint8 (0..255) or float and labels (N,) of an integer type.

    With `dims` 1 signals (N, C, L), with 3 volumes (N, C, D, H, W). The tensors are never written
    to. Raises `ArchgradError` for a wrong rank, type or length, a negative label, an empty set, an
    image that is not finite or a tensor that is sparse or holds no values; `name` leads each
    message.

    >>> import torch
    >>> from archgrad.data import ArraySource
    >>> images = ArraySource(torch.rand(10, 3, 8, 8), torch.arange(10) % 2)
    >>> len(images), images.shape, len(images.subset([0, 2, 4]))
    (10, (3, 8, 8), 3)
    """

    def __init__(self, x: Tensor, y: Tensor, name: str = "images", dims: int = 2) -> None:
        _check_dense(x, f"{name}: x")
        _check_dense(y, f"{name}: y")
        if x.ndim != dims + 2 or not x.numel():
            raise ArchgradError(
                f"{name}: x has shape {tuple(x.shape)}; expected images (N, C, {SIDES[dims]}), at "
                "least one"
            )
        if x.dtype != torch.uint8 and not x.is_floating_point():
            raise ArchgradError(
                f"{name}: x has type {x.dtype}; expected uint8 (0..255) or float, so convert it"
            )
        if y.ndim != 1 or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
            raise ArchgradError(
                f"{name}: y has shape {tuple(y.shape)} and type {y.dtype}; expected one integer "
                "label an image, shape (N,)"
            )
        if len(x) != len(y):
            raise ArchgradError(
                f"{name}: x has {len(x)} images and y has {len(y)} labels; expected one label an "
                "image"
            )
        self.name, self.dims = name, dims
        self.x = x.detach() if x.dtype == torch.uint8 else x.detach().float()
        self.labels = y.detach().to("cpu", torch.int64)
        check_labels(self.labels, None, name)
        self._check_finite()

    def _check_finite(self) -> None:
        for start in range(0, len(self), _CHUNK):
            found = find_not_finite(self.x[start : start + _CHUNK])
            if found is not None:
                raise ArchgradError(
                    f"{self.name}: image {start + found[0]} holds a value that is not finite in "
                    "float32; expected numbers, so mend or remove it"
                )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> Shape:
        """Channels, height and width."""
        return tuple(self.x.shape[1:])

    def subset(self, indices: Indices) -> ArraySource:
        """The images at `indices`, copied, in that order.

        Raises `ArchgradError` for what is no list of places in the set.
        """
        chosen = index_tensor(indices, len(self))
        x = self.x[chosen.to(self.x.device)]
        return ArraySource(x, self.labels[chosen], self.name, self.dims)

    def resized(self, side: int | None) -> ArraySource:
        """The images as squares of `side` pixels by area averaging, of the same type."""
        if side is None or set(self.shape[1:]) == {side}:
            return self
        pool = functions(self.x).adaptive_pool
        parts = [pool(part.float(), side) for part in torch.split(self.x, _CHUNK)]
        if self.x.dtype == torch.uint8:
            parts = [part.round().to(torch.uint8) for part in parts]
        return ArraySource(torch.cat(parts), self.labels, self.name, self.dims)

    def normalization(self) -> Normalization:
        """Mean and standard deviation per channel, each std at least 1e-6."""
        total = torch.zeros(self.shape[0], dtype=torch.float64)
        squares = torch.zeros_like(total)
        for part in torch.split(self.x, _CHUNK):
            values = part.to("cpu", torch.float64) / (255 if part.dtype == torch.uint8 else 1)
            total += values.sum(others(values))
            squares += values.square().sum(others(values))
        pixels = self.x.numel() / self.shape[0]
        mean = total / pixels
        std = (squares / pixels - mean.square()).clamp(min=0).sqrt().clamp(min=1e-6)
        return Normalization(tuple(mean.tolist()), tuple(std.tolist()))

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (a frozen value)
        normalization: Normalization | None,
        device: torch.device | str = "cpu",
    ) -> ArrayBatches:
        """Batches made on `device`, where the images are moved once, in their own type.

        All random numbers of an epoch are drawn up front from (seed, epoch), one row an image of
        this source: what happens to an image does not depend on its place or on the batch size.
        A shuffled pass leaves out a last batch of a single image (BatchNorm needs two) and raises
        `ArchgradError` for a batch size larger than the set; any other last batch is kept.
        """
        transform = Transform(augmentation, normalization, device)
        transform.check(self.shape)
        schedule = Schedule(len(self), batch_size, seed, shuffle)
        return ArrayBatches(self.x.to(device), self.labels.to(device), schedule, transform)


@dataclass(frozen=True)
class ArrayBatches:
    """Batches of an ArraySource; see `ArraySource.batches`."""

    x: Tensor
    y: Tensor
    schedule: Schedule
    transform: Transform
    exact_resume: bool = True

    def __len__(self) -> int:
        return len(self.schedule)

    def epoch(self, index: int) -> Iterator[Batch]:
        """The batches of epoch `index`, bit-equal each time.

        Order and random numbers are moved to the device before the first batch; after that a GPU
        is never waited for.
        """
        generator = epoch_generator(self.schedule.seed, index)
        noise = self.transform.noise(len(self.x), self.x.shape[2:], generator).to(self.x.device)
        for chosen in self.schedule.batches(generator, self.x.device):
            yield self.transform(self.x[chosen], noise[chosen]), self.y[chosen]


def check_labels(labels: Tensor, classes: int | None, name: str) -> None:
    """Raise `ArchgradError` for the first label outside 0..classes-1 (or below 0)."""
    bad = labels < 0 if classes is None else (labels < 0) | (labels >= classes)
    if bad.any():
        index = int(bad.int().argmax())
        expected = "0 or more" if classes is None else f"0..{classes - 1}"
        raise ArchgradError(
            f"{name}: label {int(labels[index])} at index {index} is out of range; expected "
            f"{expected}, so number the classes from 0"
        )


def find_not_finite(images: Tensor) -> tuple[int, str] | None:
    """The place of the first image (N, C, H, W) that is not finite in float32 and what it holds,
    "nan" or "inf"; None where all are finite.
    """
    if images.dtype == torch.uint8:
        return None
    bad = ~images.float().isfinite().flatten(1).all(1)
    if not bad.any():
        return None
    index = int(bad.int().argmax())
    return index, "nan" if images[index].isnan().any() else "inf"


def array_source(x: Any, y: Any, name: str, dims: int = 2) -> ArraySource:
    """A source of numpy or torch arrays: x (N, H, W), (N, H, W, C) or (N, C, H, W).

    With `dims` 1 signals (N, L) or (N, C, L), with 3 volumes (N, D, H, W) or (N, C, D, H, W).
    """
    found = _tensor(x, f"{name}: x")
    found = _channels_first(found, name) if dims == 2 else _with_channels(found, name, dims)
    return ArraySource(found, _tensor(y, f"{name}: y"), name, dims)


def _tensor(value: Any, name: str) -> Tensor:
    if isinstance(value, Tensor):
        _check_dense(value, name)
        return value
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ArchgradError(
            f"{name} is a {type(value).__name__} that makes no array ({error}); expected a numpy "
            "array or a torch tensor of numbers, all images of one shape"
        ) from None
    if array.dtype.kind not in "uif":
        raise ArchgradError(
            f"{name} is a {type(value).__name__} of type {array.dtype}; expected a numpy array or "
            "a torch tensor of numbers"
        )
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    elif array.dtype != np.uint8:
        array = array.astype(np.int64, copy=False)
    # torch takes neither negative strides nor (without a warning) read-only memory.
    array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _check_dense(value: Tensor, name: str) -> None:
    if not is_dense(value):
        raise ArchgradError(
            f"{name} is {describe(value)}; expected a numpy array or a dense torch tensor of "
            "numbers, so convert it"
        )


def _channels_first(x: Tensor, name: str) -> Tensor:
    """(N, C, H, W): the channels are the axis that makes the image square, or is of size 1 or 3."""
    if x.ndim == 3:
        return x.unsqueeze(1)
    if x.ndim == 4:
        _, a, b, c = x.shape
        for first, last in ((b == c, a == b), (a in (1, 3), c in (1, 3))):
            if first != last:
                return x if first else x.permute(0, 3, 1, 2).contiguous()
    raise ArchgradError(
        f"{name}: x has shape {tuple(x.shape)}; expected (N, H, W), (N, H, W, C) or (N, C, H, W) "
        "with square images, or with just one of the second and last axis of size 1 or 3, "
        "the channels"
    )


def _with_channels(x: Tensor, name: str, dims: int) -> Tensor:
    """Signals or volumes, whose channels are the second axis, or a single one without an axis."""
    if x.ndim not in (dims + 1, dims + 2):
        raise ArchgradError(
            f"{name}: x has shape {tuple(x.shape)}; expected (N, C, {SIDES[dims]}), or "
            f"(N, {SIDES[dims]}) of a single channel, as dims is {dims}: reshape x "
            "or give other dims"
        )
    return x if x.ndim == dims + 2 else x.unsqueeze(1)
