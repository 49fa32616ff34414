"""Order, augmentation and normalization of batches, drawn from a seed and an epoch index."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from archgrad.data.base import Augmentation, Normalization, Shape
from archgrad.data.photographs import crop, jitter
from archgrad.errors import ArchgradError
from archgrad.tensors.dimensions import shown, wide


def epoch_generator(seed: int, epoch: int) -> Generator:
    """A CPU generator of its own for each pair of seed and epoch; global state is not touched."""
    digest = hashlib.blake2b(f"{seed},{epoch}".encode(), digest_size=8).digest()
    return Generator(device="cpu").manual_seed(int.from_bytes(digest, "big") % 2**63)


@dataclass(frozen=True)
class Schedule:
    """Which of `count` images make up each batch of an epoch.

    The last smaller batch is kept, except that a shuffled pass leaves out a last batch of a
    single image: BatchNorm needs two values.
    """

    count: int
    batch_size: int
    seed: int
    shuffle: bool

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ArchgradError(f"batch size is {self.batch_size}; expected 1 or more")
        if self.shuffle and self.batch_size > self.count:
            raise ArchgradError(
                f"found {self.count} images for training, fewer than the batch size "
                f"{self.batch_size}; give a batch size of {self.count} or less, or more images"
            )

    def __len__(self) -> int:
        full, rest = divmod(self.count, self.batch_size)
        return full + (rest > int(self.shuffle))

    def batches(
        self, generator: Generator, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        """The image indices of each batch, int64 on the device, moved there in one piece."""
        if self.shuffle:
            order = torch.randperm(self.count, generator=generator, device="cpu")
        else:
            order = torch.arange(self.count, device="cpu")
        return torch.split(order.to(device), self.batch_size)[: len(self)]


class Transform:
    """An `Augmentation`, scaling to [0, 1] and normalization of whole batches on one device."""

    def __init__(
        self,
        augmentation: Augmentation,
        normalization: Normalization | None,
        device: torch.device | str,
    ) -> None:
        self.augmentation = augmentation
        self._scale: tuple[Tensor, Tensor] | None = None
        if normalization is not None:
            mean = torch.tensor(normalization.mean, dtype=torch.float32, device=device)
            std = torch.tensor(normalization.std, dtype=torch.float32, device=device)
            self._scale = mean, std

    def check(self, shape: Shape) -> None:
        """Raise ArchgradError unless images (C, H, W) of this shape can be transformed."""
        channels, size = shape[0], shape[1:]
        if self._scale is not None and self._scale[0].numel() != channels:
            raise ArchgradError(
                f"normalization has {self._scale[0].numel()} channels, the images have "
                f"{channels}; give one mean and one std for each channel"
            )
        if self.augmentation.resized_crop and len(size) != 2:
            raise ArchgradError(
                f"resized_crop is on for data of shape {shape}; expected images (channels, height, "
                "width), so turn it off"
            )
        if self.augmentation.color_jitter and (channels != 3 or len(size) != 2):
            raise ArchgradError(
                f"color_jitter is {self.augmentation.color_jitter} for data of shape {shape}; "
                "expected color images (3, height, width), so set it to 0"
            )
        side = min(size)
        for name in ("crop_padding", "cutout"):
            found = getattr(self.augmentation, name)
            if found >= side:
                raise ArchgradError(
                    f"{name} is {found}, which can blank whole images of {shown(size)} "
                    f"pixels; expected at most {side - 1}, so give a smaller {name} (0 turns it "
                    "off)"
                )

    def noise(self, count: int, size: Sequence[int], generator: Generator) -> Tensor:
        """Random numbers (count, 6) int64 on the CPU, one row an image; 4 of signals, 8 of volumes.

        Columns: crop row, crop column, flip, cutout center row and column, and a key from which
        resized crop and color jitter follow. All are always drawn, so that turning one
        augmentation on leaves the others as they were.
        """
        shifts = 2 * self.augmentation.crop_padding + 1
        draws = [
            torch.randint(high, (count,), generator=generator, device="cpu")
            for high in (*[shifts] * len(size), 2, *size)
        ]
        apart = Generator(device="cpu").set_state(generator.get_state())  # keys move nothing else
        keys = torch.randint(2**62, (count,), generator=apart, device="cpu")
        return torch.stack([*draws, keys], dim=1)

    def __call__(self, images: Tensor, noise: Tensor) -> Tensor:
        """Images (B, C, H, W) uint8 or float and their rows of `noise` -> float32 images."""
        keys, augmentation = noise[:, -1], self.augmentation
        if augmentation.resized_crop:
            images = crop(_scaled(images), keys)
        scaled = _scaled(self._crop_and_flip(images, noise))
        if augmentation.color_jitter:
            scaled = jitter(scaled, keys, augmentation.color_jitter)
        if self._scale is not None:
            mean, std = (wide(value, images) for value in self._scale)
            scaled = (scaled - mean) / std
        return self._cutout(scaled, noise)

    def _crop_and_flip(self, images: Tensor, noise: Tensor) -> Tensor:
        padding = self.augmentation.crop_padding
        if not padding and not self.augmentation.flip:
            return images
        count, channels, *size = images.shape
        device, dims = images.device, len(size)
        places = [
            torch.arange(length, device=device) + noise[:, side : side + 1]
            for side, length in enumerate(size)
        ]
        if self.augmentation.flip:
            flipped = noise[:, dims : dims + 1] == 1
            places[-1] = torch.where(flipped, places[-1].flip(1), places[-1])
        return F.pad(images, (padding,) * (2 * dims))[
            _along(torch.arange(count, device=device)[:, None], 0, dims),
            wide(torch.arange(channels, device=device), images),
            *(_along(place, axis, dims) for axis, place in enumerate(places, start=2)),
        ]

    def _cutout(self, images: Tensor, noise: Tensor) -> Tensor:
        side, size = self.augmentation.cutout, images.shape[2:]
        if not side:
            return images
        centers = noise[:, len(size) + 1 : 2 * len(size) + 1]
        return images.masked_fill(boxes(centers, side, size), 0.0)


def _scaled(images: Tensor) -> Tensor:
    """As float32, uint8 divided by 255."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def boxes(centers: Tensor, side: int, size: Sequence[int]) -> Tensor:
    """Where positions lie in the `side` pixels around each center (B, dims): (B, 1, *size)."""
    pairs = enumerate(zip(centers.unbind(1), size, strict=True), start=2)
    inside = [_along(_within(c, side, length), axis, len(size)) for axis, (c, length) in pairs]
    return reduce(torch.logical_and, inside)


def _along(values: Tensor, axis: int, dims: int) -> Tensor:
    """(B, n) as (B, 1, 1, ...) with n in place of the 1 at the axis."""
    shape = [len(values)] + [1] * (dims + 1)
    shape[axis] = -1
    return values.view(shape)


def _within(center: Tensor, side: int, length: int) -> Tensor:
    """Where positions 0..length-1 lie in the `side` pixels around each center, (B, length)."""
    offset = torch.arange(length, device=center.device) - (center[:, None] - side // 2)
    return (offset >= 0) & (offset < side)
