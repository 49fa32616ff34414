"""Images brought as a torch Dataset or a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from archgrad.data.arrays import check_labels, find_not_finite
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
from archgrad.data.workers import TIMEOUT, awaited
from archgrad.errors import ArchgradError
from archgrad.tensors.dimensions import SIDES


class DatasetSource:
    """A map-style torch Dataset of (image, label): a tensor (C, H, W) or (H, W) and an integer.

    With `dims` 1 the images are signals (C, L) or (L,), with 3 volumes (C, D, H, W) or (D, H, W).
    Float images are used in the range they have, uint8 is divided by 255. `workers` processes
    read the images. `classes`, where given, bounds the labels. `labels` are those of a `targets`
    attribute, of a TensorDataset, or of a Subset of either, and None for any other data set.

    Order and augmentation follow from (seed, epoch) alone. Randomness inside the data set is the
    user's: no seed is set for it here, so an epoch is bit-equal only if `dataset[i]` is. Raises
    `ArchgradError` for a data set that is empty, that only iterates, or with a label out of range.

    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> from archgrad.data import DatasetSource
    >>> images = DatasetSource(TensorDataset(torch.rand(10, 3, 8, 8), torch.arange(10) % 2))
    >>> len(images), images.shape
    (10, (3, 8, 8))
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        workers: int = 0,
        *,
        classes: int | None = None,
        name: str = "dataset",
        dims: int = 2,
    ) -> None:
        if isinstance(dataset, IterableDataset):
            raise ArchgradError(
                f"{name} is a {type(dataset).__name__}, an IterableDataset; expected a map-style "
                "Dataset, so give a DataLoader of it instead"
            )
        if not _length(dataset, name):
            raise ArchgradError(f"{name} is empty; expected at least one image")
        self.dataset = dataset
        self.workers = workers
        self.classes = classes
        self.name = name
        self.dims = dims
        self.labels = known_labels(dataset)
        if self.labels is not None:
            check_labels(self.labels, classes, name)

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    @cached_property
    def shape(self) -> Shape:
        """Channels, height and width of the first image."""
        with torch.random.fork_rng(devices=[]):
            images, _ = collate([self.dataset[0]], self.dims)
        return tuple(images.shape[1:])

    def subset(self, indices: Indices) -> DatasetSource:
        """The images at `indices`, in that order.

        Raises `ArchgradError` for what is no list of places in the set.
        """
        chosen = Subset(self.dataset, index_tensor(indices, len(self)).tolist())
        options: dict[str, Any] = {"classes": self.classes, "name": self.name, "dims": self.dims}
        return DatasetSource(chosen, self.workers, **options)

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (a frozen value)
        normalization: Normalization | None,
        device: torch.device | str = "cpu",
    ) -> DatasetBatches:
        """Batches read by a DataLoader and transformed on `device`; as `ArraySource.batches`."""
        transform = Transform(augmentation, normalization, device)
        transform.check(self.shape)
        schedule = Schedule(len(self), batch_size, seed, shuffle)
        return DatasetBatches(self, schedule, transform, torch.device(device))


@dataclass(frozen=True)
class DatasetBatches:
    """Batches of a DatasetSource; `exact_resume` holds if the data set has no randomness in it."""

    source: DatasetSource
    schedule: Schedule
    transform: Transform
    device: torch.device
    exact_resume: bool = True

    def __len__(self) -> int:
        return len(self.schedule)

    def epoch(self, index: int) -> Iterator[Batch]:
        """The batches of epoch `index`."""
        source = self.source
        generator = epoch_generator(self.schedule.seed, index)
        noise = self.transform.noise(len(source), source.shape[1:], generator)
        plan = self.schedule.batches(generator)
        loader = DataLoader(
            source.dataset,
            batch_sampler=[chosen.tolist() for chosen in plan],
            num_workers=source.workers,
            collate_fn=partial(collate, dims=source.dims),
            generator=generator,  # else the loader would draw from the global generator
            timeout=TIMEOUT if source.workers else 0,
        )
        read = awaited(loader, lambda number: f"items {plan[number].tolist()} of {source.name}")
        for number, (chosen, (images, labels)) in enumerate(zip(plan, read, strict=True)):
            if images.shape[1:] != source.shape:
                raise ArchgradError(
                    f"{source.name}: found images of shape {tuple(images.shape[1:])}; expected "
                    f"{source.shape} as the first one, so resize them"
                )
            check_labels(labels, source.classes, source.name)
            found = find_not_finite(images)
            if found is not None:
                image = _origin(source.dataset, int(chosen[found[0]]))
                raise _not_finite(source.name, number, image, found[1])
            moved = images.to(self.device), noise[chosen].to(self.device)
            yield self.transform(*moved), labels.to(self.device)


class LoaderSource:
    """A DataLoader of (images (B, C, H, W), labels (B,)), whose batches are used as they come.

    With `dims` 1 they are signals (B, C, L), with 3 volumes (B, C, D, H, W). `classes`, where
    given, bounds the labels; `name` leads each message. Its own batch size and order hold, so an
    epoch cannot be replayed: `exact_resume` is False. Augmentation and normalization apply only
    where asked for. Raises `ArchgradError` once a batch is of another form.

    >>> import torch
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> from archgrad.data import LoaderSource
    >>> pairs = TensorDataset(torch.rand(10, 3, 8, 8), torch.arange(10) % 2)
    >>> LoaderSource(DataLoader(pairs, batch_size=5)).shape
    (3, 8, 8)
    """

    def __init__(
        self,
        loader: DataLoader[Any],
        *,
        classes: int | None = None,
        name: str = "loader",
        dims: int = 2,
    ) -> None:
        self.loader = loader
        self.classes = classes
        self.name = name
        self.dims = dims
        self.labels: Tensor | None = None

    def __len__(self) -> int:
        return _length(self.loader.dataset, f"the data set of {self.name}")

    @cached_property
    def shape(self) -> Shape:
        """Channels, height and width of the first image; the first batch is read to know it.

        Raises `ArchgradError` for a loader without a batch.
        """
        with torch.random.fork_rng(devices=[]):
            for batch in self.loader:
                images, _ = self.check(batch)
                return tuple(images.shape[1:])
        raise ArchgradError(f"{self.name} is empty; expected at least one batch")

    def subset(self, indices: Indices) -> LoaderSource:
        """Not possible: always an `ArchgradError`."""
        raise ArchgradError(
            f"{self.name}: a DataLoader cannot be split; give a second one as valid=, or give "
            "its data set instead"
        )

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (a frozen value)
        normalization: Normalization | None,
        device: torch.device | str = "cpu",
    ) -> LoaderBatches:
        """The loader's batches on `device`; `batch_size` and `shuffle` are the loader's own."""
        transform = Transform(augmentation, normalization, device)
        return LoaderBatches(self, seed, transform, torch.device(device))

    def check(self, batch: Any) -> Batch:
        """A batch of the loader as images and int64 labels, or an `ArchgradError`."""
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            size = f" of length {len(batch)}" if isinstance(batch, tuple | list) else ""
            raise ArchgradError(
                f"{self.name}: a batch is a {type(batch).__name__}{size}; expected a pair "
                "(images, labels)"
            )
        images, labels = batch
        if not _is_images(images, self.dims + 2):
            raise ArchgradError(
                f"{self.name}: images are {describe(images)}; expected a float or uint8 tensor "
                f"(B, C, {SIDES[self.dims]})"
            )
        if not _is_integers(labels) or labels.ndim != 1 or len(labels) != len(images):
            raise ArchgradError(
                f"{self.name}: labels are {describe(labels)}; expected an integer tensor of "
                f"{len(images)} labels, one an image"
            )
        check_labels(labels, self.classes, self.name)
        return images, labels.to(torch.int64)


@dataclass(frozen=True)
class LoaderBatches:
    """Batches of a LoaderSource, as its DataLoader yields them."""

    source: LoaderSource
    seed: int
    transform: Transform
    device: torch.device
    exact_resume: bool = False

    def __len__(self) -> int:
        return _length(self.source.loader, self.source.name)

    def epoch(self, index: int) -> Iterator[Batch]:
        """One pass over the loader; random numbers are drawn by place, as images have no index."""
        generator = epoch_generator(self.seed, index)
        read = awaited(
            self.source.loader, lambda number: f"batch {number + 1} of {self.source.name}"
        )
        for number, batch in enumerate(read):
            images, labels = self.source.check(batch)
            found = find_not_finite(images)
            if found is not None:
                raise _not_finite(self.source.name, number, f"{found[0]} of the batch", found[1])
            self.transform.check(tuple(images.shape[1:]))
            noise = self.transform.noise(len(images), images.shape[2:], generator)
            moved = images.to(self.device), noise.to(self.device)
            yield self.transform(*moved), labels.to(self.device)


def collate(items: Sequence[Any], dims: int = 2) -> Batch:
    """Items (image, label) of a Dataset -> images (B, C, H, W) and labels (B,) int64."""
    images: list[Tensor] = []
    labels: list[int] = []
    for item in items:
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise ArchgradError(
                f"the data set yields a {type(item).__name__}; expected pairs (image, label)"
            )
        image, label = item
        if not _is_images(image, dims) and not _is_images(image, dims + 1):
            raise ArchgradError(
                f"the data set yields images that are {describe(image)}; expected a float or "
                f"uint8 tensor (C, {SIDES[dims]}) or ({SIDES[dims]}), so add a transform such as "
                "ToTensor"
            )
        if not isinstance(label, int | np.integer) and not (
            _is_integers(label) and label.ndim == 0
        ):
            raise ArchgradError(
                f"the data set yields labels that are {describe(label)}; expected an integer"
            )
        images.append(image if image.ndim == dims + 1 else image.unsqueeze(0))
        labels.append(int(label))
    kinds = sorted({describe(image) for image in images})
    if len(kinds) > 1:
        raise ArchgradError(
            f"the data set yields images that are {' and '.join(kinds)}; expected one shape and "
            "one type, so resize or convert them"
        )
    return torch.stack(images), torch.tensor(labels, dtype=torch.int64)


def known_labels(dataset: Any) -> Tensor | None:
    """Labels (N,) int64 on the CPU where the data set tells them without reading its images."""
    if isinstance(dataset, Subset):
        labels = known_labels(dataset.dataset)
        return None if labels is None else labels[torch.as_tensor(dataset.indices)]
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        targets: Any = dataset.tensors[1]
    elif getattr(dataset, "target_transform", None) is None:
        targets = getattr(dataset, "targets", None)
    else:
        targets = None
    try:
        labels = targets if isinstance(targets, Tensor) else torch.from_numpy(np.array(targets))
    except (TypeError, ValueError):
        return None
    known = _is_integers(labels) and labels.shape == (len(dataset),)
    return labels.to("cpu", torch.int64) if known else None


def _origin(dataset: Any, index: int) -> str:
    """An image as the user counts it: its index in the data set that subsets were taken of."""
    while isinstance(dataset, Subset):
        dataset, index = dataset.dataset, int(dataset.indices[index])
    return f"{index} of the {type(dataset).__name__}"


def _not_finite(name: str, batch: int, image: str, found: str) -> ArchgradError:
    return ArchgradError(
        f"{name}: batch {batch}, image {image}: found {found}, expected finite values in float32, "
        "so mend or remove it"
    )


def _length(value: Any, name: str) -> int:
    try:
        return len(value)
    except TypeError:
        raise ArchgradError(
            f"{name} has no length; expected a data set of known size, so define __len__"
        ) from None


def _is_images(value: Any, rank: int) -> bool:
    return (
        isinstance(value, Tensor)
        and is_dense(value)
        and value.ndim == rank
        and (value.dtype == torch.uint8 or value.is_floating_point())
    )


def _is_integers(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and is_dense(value)
        and not value.is_floating_point()
        and not value.is_complex()
        and value.dtype != torch.bool
    )
