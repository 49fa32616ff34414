"""The verb `train`: retraining from scratch, and its one test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archgrad.architecture import Architecture
from archgrad.exporting.trained import TrainResult
from archgrad.preparing.prepared import (
    fits,
    prepare_data,
    retraining_space,
)
from archgrad.retraining.scratch import check, retrain, retrainings
from archgrad.retraining.sizing import retrained
from archgrad.retraining.transfer import transferred_from
from archgrad.searching.callbacks import Callback, Callbacks
from archgrad.searching.result import SearchResult
from archgrad.settings import config as configuration
from archgrad.spaces import SPACES
from archgrad.system.distributed import from_first
from archgrad.verbs.arguments import (
    TRAIN,
    data_of,
    retrainable,
    sections_of,
)

if TYPE_CHECKING:
    pass


def train(
    what: str | Path | Architecture | SearchResult,
    data: Any = None,
    *,
    test: Any = None,
    classes: int | None = None,
    transfer: bool = False,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> TrainResult:
    """Retrain an architecture from scratch, once a seed, and test each final network once.

    - `what`: a search result, an architecture, a published name such as "DARTS_V2", a JSON file or
      a run folder.
    - `data`: as for `search`, with a test part (default: the data of the run folder, else
      "digits").
    - `test`: the test part of data from Python, of the same kind as `data`; `classes`: as for
      `search`.
    - `transfer`: the data may have other classes than those of the search, which are refused
      without it; each score notes the search's data as "transferred_from".
    - `callbacks`: hear of every retraining.
    - `options`: any field of `archgrad.settings.train_config.TrainConfig` or
      `archgrad.settings.data_config.DataConfig`, as `epochs=20, seeds=1`, or
      `recipe="darts-cifar10"`: the options of a paper (`archgrad.settings.recipes`), which others
      override.

    Retrainings run one after the other. Raises `ArchgradError` for wrong input, for data without a
    test part and for an architecture of an own model, and `Diverged` when a loss is not finite.

    >>> import archgrad
    >>> small = {"subset": 40, "batch_size": 20, "epochs": 1, "channels": 2, "cells": 3}
    >>> trained = archgrad.train("DARTS_V2", "digits", seeds=2, **small)
    >>> len(trained.networks), all(0 <= accuracy <= 1 for accuracy in trained.accuracies)
    (2, True)
    """
    architecture = retrainable(what)
    sections = sections_of(options, TRAIN, data)
    if data is None:
        sections["data"] = {**from_first(lambda: data_of(what)), **sections["data"]}
    elif isinstance(what, SearchResult):  # else signals would be taken for images of one channel
        sections["data"].setdefault("dims", getattr(what.space, "dims", 2) or 2)  # of text 0
    config = configuration.build(sections, space=architecture.space)
    assert config.train is not None
    loaded, augmentation = prepare_data(config.data, data, test=test, classes=classes)
    origin = transferred_from(what, loaded, transfer)
    searched = what.space if isinstance(what, SearchResult) and fits(what.space, loaded) else None
    if searched is None or architecture.space in SPACES:  # which refuses what does not go with it
        space = retraining_space(config.train, loaded, architecture.space)
    if searched is not None:
        space = retrained(searched, config.train)
    check(space, architecture, config.train, loaded, augmentation)
    jobs = retrainings("found", architecture, space, config.train, transferred_from=origin)
    heard = Callbacks(callbacks)
    done = [retrain(j, loaded, augmentation=augmentation, callback=heard) for j in jobs]
    vocabulary = loaded.classes if loaded.of_text else None
    scores, networks = [score for score, _ in done], [network for _, network in done]
    return TrainResult(architecture, scores, networks, vocabulary)
