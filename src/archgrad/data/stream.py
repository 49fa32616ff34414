"""Image folders too large for memory: each image is read when a batch needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from archgrad.data.arrays import ArraySource
from archgrad.data.base import (
    Augmentation,
    Batch,
    Indices,
    Normalization,
    Shape,
    index_tensor,
)
from archgrad.data.images import centered, class_files, randomly_cropped, read_image
from archgrad.data.transform import Schedule, Transform, epoch_generator
from archgrad.data.workers import TIMEOUT, awaited
from archgrad.errors import ArchgradError

Array: TypeAlias = "np.ndarray[Any, Any]"
_MEASURED = 512  # images, for mean and standard deviation
_SAMPLED = 64  # files, for the fingerprint
# Else processes that were spawned, as retrainings are, would import torch in each worker anew.
_FORK = "fork" if sys.platform == "linux" else None


@dataclass(frozen=True, eq=False)
class StreamSource:
    """Color images (3, side, side) uint8, read from `folder` / class / file by `workers` processes.

    `files`: the names of the files as bytes (N,), `labels` (N,) int64 the places of their classes
    in `classes`. An image is resized so that its short side is 256/224 of `side`, and its middle
    cut out; with `Augmentation.resized_crop` a random box of the whole image is resized to `side`
    instead. Both are bilinear, and smoothed where they make the image smaller.

    What is read follows from (seed, epoch) alone, not from the number of workers (0: this process
    reads). A file that is no image is an `ArchgradError` that names it, once its batch is read, and
    so is a process that died, or delivers nothing for `timeout` seconds (0: any time).
    """

    folder: Path
    classes: tuple[str, ...]
    files: Array
    labels: Tensor
    side: int
    workers: int = 0
    name: str = "images"
    dims: int = 2
    timeout: float = TIMEOUT

    @classmethod
    def of(
        cls,
        folder: Path,
        side: int,
        workers: int = 0,
        name: str = "images",
        timeout: float = TIMEOUT,
    ) -> StreamSource:
        """All files of a folder with one subfolder a class."""
        found = class_files(folder)
        files = np.array([os.fsencode(name) for names in found.values() for name in names])
        counts = torch.tensor([len(names) for names in found.values()])
        labels = torch.repeat_interleave(torch.arange(len(found)), counts)
        return cls(folder, tuple(found), files, labels, side, workers, name, timeout=timeout)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> Shape:
        """Channels, height and width."""
        return (3, self.side, self.side)

    def path(self, index: int) -> Path:
        """The file of an image."""
        folder = self.folder / self.classes[int(self.labels[index])]
        return folder / os.fsdecode(self.files[index])

    def image(self, index: int, key: int | None = None) -> Tensor:
        """An image (3, side, side) uint8; with a `key` a random crop of it."""
        treat = (
            partial(centered, side=self.side)
            if key is None
            else partial(randomly_cropped, side=self.side, key=key)
        )
        return torch.from_numpy(read_image(self.path(index), treat)).permute(2, 0, 1)

    def subset(self, indices: Indices) -> StreamSource:
        """The images at `indices`, in that order."""
        chosen = index_tensor(indices, len(self))
        return replace(self, files=self.files[chosen.numpy()], labels=self.labels[chosen])

    def resized(self, side: int | None) -> StreamSource:
        """The images at another side."""
        return self if side is None else replace(self, side=side)

    def normalization(self) -> Normalization:
        """Mean and standard deviation per channel of 512 evenly spaced images, or of all."""
        some = [self.image(index) for index in _spaced(len(self), _MEASURED)]
        return ArraySource(torch.stack(some), torch.zeros(len(some)).long()).normalization()

    def sample(self) -> bytes:
        """The names of all files and the contents of 64 evenly spaced ones."""
        some = (self.path(index).read_bytes() for index in _spaced(len(self), _SAMPLED))
        return b"/".join([*self.files.tolist(), *some])

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (a frozen value)
        normalization: Normalization | None,
        device: torch.device | str = "cpu",
    ) -> StreamBatches:
        """Batches read by a DataLoader and transformed on `device`; as `ArraySource.batches`."""
        cropped, rest = augmentation.resized_crop, replace(augmentation, resized_crop=False)
        transform = Transform(rest, normalization, device)
        transform.check(self.shape)
        schedule = Schedule(len(self), batch_size, seed, shuffle)
        return StreamBatches(self, schedule, transform, torch.device(device), cropped)


@dataclass(frozen=True)
class StreamBatches:
    """Batches of a StreamSource; `cropped`: each image is a random crop of its file."""

    source: StreamSource
    schedule: Schedule
    transform: Transform
    device: torch.device
    cropped: bool
    exact_resume: bool = True

    def __len__(self) -> int:
        return len(self.schedule)

    def epoch(self, index: int) -> Iterator[Batch]:
        """The batches of epoch `index`, bit-equal each time."""
        source, on_gpu = self.source, self.device.type == "cuda"
        generator = epoch_generator(self.schedule.seed, index)
        noise = self.transform.noise(len(source), source.shape[1:], generator)
        plan = self.schedule.batches(generator)
        loader: DataLoader[Any] = DataLoader(
            _Reads(source, self.cropped),
            batch_size=None,
            sampler=[torch.stack([chosen, noise[chosen, -1]]).numpy() for chosen in plan],
            num_workers=source.workers,
            multiprocessing_context=_FORK if source.workers else None,
            pin_memory=on_gpu,
            generator=generator,  # else the loader would draw from the global generator
            timeout=source.timeout if source.workers else 0,
        )

        def wanted(number: int) -> str:
            files = plan[number].tolist()
            return f"{len(files)} images, the first of them {source.path(files[0])}"

        for chosen, images in zip(plan, awaited(loader, wanted), strict=True):
            if isinstance(images, str):
                raise ArchgradError(images)
            moved = (t.to(self.device, non_blocking=on_gpu) for t in (images, noise[chosen]))
            yield self.transform(*moved), source.labels[chosen].to(self.device)


@dataclass(frozen=True)
class _Reads(Dataset[Any]):
    """What a worker does: image indices and keys (2, B) -> images (B, 3, side, side)."""

    source: StreamSource
    cropped: bool

    def __getitem__(self, rows: Array) -> Tensor | str:
        keys = rows[1].tolist() if self.cropped else [None] * rows.shape[1]
        try:
            pairs = zip(rows[0].tolist(), keys, strict=True)
            return torch.stack([self.source.image(index, key) for index, key in pairs])
        except ArchgradError as error:  # raised in a worker, it would come with its traceback
            return str(error)


def _spaced(count: int, most: int) -> list[int]:
    """At most so many evenly spaced indices."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, most))]
