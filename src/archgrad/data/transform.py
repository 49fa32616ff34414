"""Order, augmentation and normalization of batches, drawn from a seed and an epoch index."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from archgrad.data.base import Augmentation, Normalization, Shape
from archgrad.errors import ArchgradError


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
    """Crop, flip, scaling to [0, 1], normalization and cutout of whole batches on one device."""

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
            self._scale = mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)

    def check(self, shape: Shape) -> None:
        """Raise ArchgradError unless images (C, H, W) of this shape can be transformed."""
        channels, *size = shape
        if self._scale is not None and self._scale[0].numel() != channels:
            raise ArchgradError(
                f"normalization has {self._scale[0].numel()} channels, the images have "
                f"{channels}; give one mean and one std for each channel"
            )
        side = min(size)
        for name in ("crop_padding", "cutout"):
            found = getattr(self.augmentation, name)
            if found >= side:
                raise ArchgradError(
                    f"{name} is {found}, which can blank whole images of {size[0]}x{size[1]} "
                    f"pixels; expected at most {side - 1}, so give a smaller {name} (0 turns it "
                    "off)"
                )

    def noise(self, count: int, size: tuple[int, int], generator: Generator) -> Tensor:
        """Random numbers (count, 5) int64 on the CPU, one row an image.

        Columns: crop row, crop column, flip, cutout center row and column. All are always drawn,
        so that turning one augmentation on leaves the others as they were.
        """
        shifts = 2 * self.augmentation.crop_padding + 1
        draws = [
            torch.randint(high, (count,), generator=generator, device="cpu")
            for high in (shifts, shifts, 2, *size)
        ]
        return torch.stack(draws, dim=1)

    def __call__(self, images: Tensor, noise: Tensor) -> Tensor:
        """Images (B, C, H, W) uint8 or float and their rows of `noise` -> float32 images."""
        moved = self._crop_and_flip(images, noise)
        scaled = moved.float() / 255 if moved.dtype == torch.uint8 else moved.float()
        if self._scale is not None:
            mean, std = self._scale
            scaled = (scaled - mean) / std
        return self._cutout(scaled, noise)

    def _crop_and_flip(self, images: Tensor, noise: Tensor) -> Tensor:
        padding = self.augmentation.crop_padding
        if not padding and not self.augmentation.flip:
            return images
        count, channels, height, width = images.shape
        device = images.device
        rows = torch.arange(height, device=device) + noise[:, 0:1]
        columns = torch.arange(width, device=device) + noise[:, 1:2]
        if self.augmentation.flip:
            columns = torch.where(noise[:, 2:3] == 1, columns.flip(1), columns)
        return F.pad(images, (padding,) * 4)[
            torch.arange(count, device=device).view(-1, 1, 1, 1),
            torch.arange(channels, device=device).view(1, -1, 1, 1),
            rows[:, None, :, None],
            columns[:, None, None, :],
        ]

    def _cutout(self, images: Tensor, noise: Tensor) -> Tensor:
        side = self.augmentation.cutout
        if not side:
            return images
        rows, columns = (
            within(center, side, length)
            for center, length in zip(noise[:, 3:].unbind(1), images.shape[2:], strict=True)
        )
        return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0.0)


def within(center: Tensor, side: int, length: int) -> Tensor:
    """Where positions 0..length-1 lie in the `side` pixels around each center, (B, length)."""
    offset = torch.arange(length, device=center.device) - (center[:, None] - side // 2)
    return (offset >= 0) & (offset < side)
