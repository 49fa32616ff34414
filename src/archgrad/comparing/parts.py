"""The data of a comparison, part by part; only `with_test` leads to the test part."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from archgrad.data import Augmentation, Data, TextSource
from archgrad.data.base import Source
from archgrad.data.splits import shuffled, stratified
from archgrad.errors import ArchgradError
from archgrad.language import LANGUAGE
from archgrad.retraining.scratch import load_data
from archgrad.settings.config import OWN
from archgrad.settings.data_config import DataConfig

Own = tuple[Data, Augmentation]  # data that came from Python

_load_once = lru_cache(maxsize=1)(load_data)  # the searches of a process share their data


class Parts(NamedTuple):
    """What each phase sees. None holds the test part.

    `search`: the training part without what selects; `short`: the same, and in place of a test
    part what selects; `full`: the whole training part; of images its mean and standard deviation
    normalize all parts. Text has its own validation part in all of them, for the search and for the
    averages of a retraining, and its vocabulary is that of the whole training part.
    """

    search: Data
    short: Data
    full: Data
    augmentation: Augmentation


def parts(config: DataConfig, own: Own | None, selection: float) -> Parts:
    """Cut off a part of the training part for the selection, always in the same way."""
    loaded, augmentation = _loaded(config, own)
    rest, selecting = _cut(loaded, selection)
    search = replace(loaded, train=rest, test=None)
    full = replace(loaded, test=None)
    return Parts(search, replace(search, test=selecting), full, augmentation)


def with_test(config: DataConfig, own: Own | None = None) -> Data:
    """The data set with its test part; for the end of a comparison, and to see that it fits."""
    return _loaded(config, own)[0]


def _loaded(config: DataConfig, own: Own | None) -> Own:
    """The data with a test part, which nothing looks at here."""
    if own is None and config.data == OWN:
        raise ArchgradError(
            "the data of this comparison came from Python and is not in its folder; give it again: "
            "archgrad.compare(data=..., resume=...)"
        )
    loaded, augmentation = _load_once(config) if own is None else own
    if loaded.valid is not None and loaded.task is not LANGUAGE:
        raise ArchgradError(
            f"data set {loaded.name} brings its own validation part; a comparison cuts one that no "
            "search sees from the training images: give these with the others"
        )
    if loaded.test is None:
        raise ArchgradError(
            f"data set {loaded.name} has no test part, and a comparison tests at its end; give one"
        )
    return loaded, augmentation


def _cut(loaded: Data, selection: float) -> tuple[Source, Source]:
    """By class where labels are known; of a text the end."""
    if isinstance(loaded.train, TextSource):
        return loaded.train.parted(selection)
    labels, count = loaded.train.labels, len(loaded.train)
    if labels is not None:
        rest, selecting = stratified(labels, 1 - selection, loaded.classes)
    else:
        rest, selecting = shuffled(count, round(count * (1 - selection)))
    if not len(rest) or not len(selecting):
        raise ArchgradError(
            f"selection_fraction {selection:g} of {count} training images leaves one part empty; "
            "expected images that select and others to search with: change it or add images"
        )
    return loaded.train.subset(rest), loaded.train.subset(selecting)
