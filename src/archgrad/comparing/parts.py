"""The data of a comparison, part by part; only `with_test` leads to the test images."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from archgrad.config import DataConfig
from archgrad.data import Augmentation, Data
from archgrad.data.base import Source
from archgrad.data.splits import shuffled, stratified
from archgrad.errors import ArchgradError
from archgrad.retraining import load_data

Own = tuple[Data, Augmentation]  # data that came from Python


class Parts(NamedTuple):
    """What each phase sees. None holds the test images.

    ``search``: the training images without those that select; ``short``: the same, and in place of
    a test part those that select; ``full``: all training images.
    """

    search: Data
    short: Data
    full: Data
    augmentation: Augmentation


def parts(config: DataConfig, own: Own | None, selection: float) -> Parts:
    """Cut off a part of the training images for the selection, always in the same way."""
    loaded, augmentation = load_data(config) if own is None else own
    if loaded.valid is not None:
        raise ArchgradError(
            f"data {loaded.name} brings its own validation part; a comparison cuts one that no "
            "search sees from the training images: give these with the others"
        )
    rest, selecting = _cut(loaded, selection)
    search = replace(loaded, train=rest, test=None)
    full = replace(loaded, test=None)
    return Parts(search, replace(search, test=selecting), full, augmentation)


def _cut(loaded: Data, selection: float) -> tuple[Source, Source]:
    labels = loaded.train.labels
    if labels is None:
        count = len(loaded.train)
        rest, selecting = shuffled(count, round(count * (1 - selection)))
    else:
        rest, selecting = stratified(labels, 1 - selection, loaded.classes)
    return loaded.train.subset(rest), loaded.train.subset(selecting)


def with_test(config: DataConfig, own: Own | None = None) -> Data:
    """The data set with its test part; for the end of a comparison alone."""
    loaded = load_data(config)[0] if own is None else own[0]
    if loaded.test is None:
        raise ArchgradError(
            f"data set {loaded.name} has no test part; a comparison tests at its end: give one"
        )
    return loaded
