"""A data set: its training and test images, classes and usual treatment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from torch import Tensor

from archgrad.data.arrays import ArraySource, check_labels
from archgrad.data.base import Augmentation, Normalization, Shape, Source
from archgrad.data.fingerprint import fingerprint
from archgrad.data.splits import balanced, check_every_class, shuffled, stratified
from archgrad.data.stream import StreamSource
from archgrad.data.torchdata import LoaderSource
from archgrad.errors import ArchgradError
from archgrad.task import CLASSIFICATION, Task

_HELD_OUT = 0.2

Images: TypeAlias = ArraySource | StreamSource


@dataclass(frozen=True)
class Data:
    """A data set for a search.

    - `name`: as it is shown; `train`, `test`: its images, `test` None where there are none.
    - `shape`: channels, height, width; of signals channels, length; () of text.
    - `classes`: their names, in the order of the labels; of text the vocabulary.
    - `normalization`: None where images are used as the source yields them.
    - `augmentation`: what is usual for this data set, without cutout.
    - `valid`: only where the user brings a validation set of his own.
    - `paper_split`: `split` takes the first and the last images in stored order, as the DARTS code
      does for CIFAR-10, rather than a stratified choice.
    - `task`: loss and metric.

    `archgrad.data.load` and `archgrad.data.as_data` make it.

    >>> import archgrad
    >>> data = archgrad.data.load("digits", subset=100)
    >>> len(data.train), len(data.test), data.shape, len(data.classes)
    (100, 359, (1, 8, 8), 10)
    >>> [len(half) for half in data.split()]
    [50, 50]
    """

    name: str
    train: Source
    test: Source | None
    shape: Shape
    classes: tuple[str, ...]
    normalization: Normalization | None
    augmentation: Augmentation
    valid: Source | None = None
    paper_split: bool = False
    task: Task = CLASSIFICATION

    @property
    def of_text(self) -> bool:
        """Whether its examples are tokens, which have no shape."""
        return not self.shape

    def split(self, fraction: float = 0.5) -> tuple[Source, Source]:
        """Images for the weights and images for the architecture parameters.

        With `valid` these are `train` and `valid`. Otherwise `train` is cut in two, always in the
        same way: `fraction` of it for the weights, the rest for the architecture. Each part must
        hold every class (`ArchgradError`). Where labels are not known the choice is random and the
        classes are not checked. A DataLoader cannot be cut: `ArchgradError` without `valid`.
        """
        if self.valid is not None:
            return self.train, self.valid
        if isinstance(self.train, LoaderSource):
            raise ArchgradError(
                "valid is None; expected a DataLoader as for training, since a DataLoader cannot "
                "be split, so give a second one as valid=, or give its data set instead"
            )
        if not 0 < fraction < 1:
            raise ArchgradError(
                f"split fraction is {fraction}; expected a number between 0 and 1, such as 0.5"
            )
        labels = self.train.labels
        if self.paper_split:
            order = np.arange(len(self.train))
            first, rest = np.split(order, [int(len(order) * fraction)])
        elif labels is not None:
            first, rest = stratified(labels, fraction, self.classes)
        else:
            count = len(self.train)
            first, rest = shuffled(count, int(count * fraction))
        if labels is not None:
            for part in (first, rest):
                check_every_class(
                    labels[part], self.classes, "a split part", "change the fraction or add images"
                )
        return self.train.subset(first), self.train.subset(rest)

    def fingerprint(self) -> str:
        """16 hexadecimal digits, equal for the same data in any process.

        They follow from the shape, the classes, and the labels and a sample of the images of
        `train` and `valid`; see `archgrad.data.fingerprint`.
        """
        return fingerprint(self.shape, self.classes, self.train, self.valid)


@dataclass(frozen=True)
class Parts:
    """Images as read, before any choice; `classes` None: numbered 0..largest training label."""

    train: Images
    test: Images | None = None
    valid: Images | None = None
    classes: tuple[str, ...] | None = None


def assemble(
    name: str,
    parts: Parts,
    *,
    image_size: int | None = None,
    subset: int | None = None,
    hold_out: bool = False,
    flip: bool = False,
    normalization: Normalization | None = None,
    paper_split: bool = False,
) -> Data:
    """Check the parts, hold out a test part of 20 % if asked and missing, cut and resize.

    The usual crop padding is an eighth of the height of images, and 0 of signals and volumes;
    images that are streamed get random resized crops instead.
    `normalization` None is computed from the training images. A `subset` is class-balanced and
    split by class, not by `paper_split`.
    """
    if image_size is not None and image_size < 1:
        raise ArchgradError(f"image_size is {image_size}; expected a side of 1 or more pixels")
    classes = parts.classes or numbered_by(parts.train.labels, "train")
    check_parts(parts.train, {"valid": parts.valid, "test": parts.test}, classes)
    train, test = parts.train, parts.test
    if test is None and hold_out:
        held, kept = stratified(train.labels, _HELD_OUT, classes)
        train, test = train.subset(kept), train.subset(held)
    if subset is not None:
        train = train.subset(balanced(train.labels, subset))
        check_subset(train.labels, classes)
    train = train.resized(image_size)
    if isinstance(train, StreamSource):
        augmentation = Augmentation(flip=flip, resized_crop=True)
    else:
        augmentation = Augmentation(train.shape[1] // 8 if train.dims == 2 else 0, flip)
    test = None if test is None else test.resized(image_size)
    valid = None if parts.valid is None else parts.valid.resized(image_size)
    return Data(
        name=name,
        train=train,
        test=test,
        shape=train.shape,
        classes=classes,
        normalization=normalization or train.normalization(),
        augmentation=augmentation,
        valid=valid,
        paper_split=paper_split and subset is None,
    )


class _Measured(Protocol):
    @property
    def labels(self) -> Tensor | None: ...
    @property
    def shape(self) -> Shape: ...


def check_parts(
    train: _Measured, others: Mapping[str, _Measured | None], classes: Sequence[str]
) -> None:
    """Raise `ArchgradError` unless labels are in range, `train` holds every class and the others
    have its shape; parts that are None and labels that are not known are passed over.
    """
    for name, part in {"train": train, **others}.items():
        if part is None:
            continue
        if part.labels is not None:
            check_labels(part.labels, len(classes), name)
        if part.shape != train.shape:
            raise ArchgradError(
                f"{name} images have shape {part.shape} and train images {train.shape} (channels, "
                "then the size); expected the same, so convert or resize them"
            )
    if train.labels is not None:
        check_every_class(
            train.labels, classes, "the training set", "add images or renumber the classes"
        )


def check_subset(labels: Tensor | None, classes: Sequence[str]) -> None:
    """Raise `ArchgradError` unless a class-balanced subset still holds every class."""
    if labels is not None:
        check_every_class(labels, classes, "the subset", f"give a subset of {len(classes)} or more")


def numbered(count: int) -> tuple[str, ...]:
    """Names of classes that have none: "0", "1", ..."""
    return tuple(map(str, range(count)))


def numbered_by(labels: Tensor, name: str) -> tuple[str, ...]:
    """The names "0" to the largest label; `ArchgradError` where some class must lack an image."""
    largest = int(labels.max()) if len(labels) else -1
    if largest >= len(labels) > 0:
        raise ArchgradError(
            f"{name}: label {largest} at index {int(labels.argmax())} is too large for "
            f"{len(labels)} images, as each class below it needs one; expected "
            f"0..{len(labels) - 1}, so number the classes from 0 without gaps"
        )
    return numbered(largest + 1)
