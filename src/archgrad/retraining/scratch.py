"""Retraining a discrete architecture from scratch, and its one evaluation on the test part."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save

from archgrad import data as data_sets
from archgrad.architecture import Architecture
from archgrad.costing.cost import cost
from archgrad.data import Augmentation, Data
from archgrad.data.workers import reading
from archgrad.errors import ArchgradError, remembered
from archgrad.retraining.learning import training_batches
from archgrad.retraining.training import WEIGHTS, Retraining, Training, learning_of
from archgrad.searching.callbacks import Beginning, Callback, EpochEnd, told
from archgrad.settings import recipes
from archgrad.settings.data_config import DataConfig
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces import SearchSpace
from archgrad.storage.files import (
    METRICS,  # what belongs to a retraining is imported here
    RESULT,
    read_lines,
    write,
)
from archgrad.system.distributed import from_first
from archgrad.system.loops import resolve_device, seeded
from archgrad.tensors.precision import check as check_precision
from archgrad.tensors.precision import without_tf32


class Paused(Exception):
    """The time given for a piece of a retraining is over; its checkpoint is written."""


Score = dict[str, Any]  # label, seed, accuracy, loss, train_loss, seconds, parameters, ...


def retrainings(
    label: str,
    architecture: Architecture,
    space: SearchSpace,
    config: TrainConfig,
    folder: Path | None = None,
    transferred_from: str | None = None,
) -> list[Retraining]:
    """One job a seed; each keeps what it leaves under `folder/label`."""
    seeds = range(config.seed, config.seed + config.seeds)
    folders = [folder / label / f"seed-{seed}" if folder else None for seed in seeds]
    return [
        Retraining(label, architecture, space, config, seed, place, transferred_from)
        for seed, place in zip(seeds, folders, strict=True)
    ]


def retrain(
    job: Retraining,
    data: Data,
    *,
    augmentation: Augmentation | None = None,
    callback: Callback | None = None,
    deadline: float = math.inf,
    tested: bool = True,
) -> tuple[Score, Any]:
    """Train on the whole training part, test once at the end; mostly the last network counts.

    SGD with the schedule of `archgrad.retraining.schedules` and clipping, of images as in
    `archgrad.retraining.image_learning`, of text as in `archgrad.retraining.language_learning`;
    with `ema`, or once `averaged` SGD has begun, the average of `archgrad.retraining.averaging` is
    tested and kept; `keep` best: see `Training`. A killed retraining goes on after its last whole
    epoch. The test is in float32, whatever the precision, so the weights that are kept give it
    again.

    `deadline`: of `time.monotonic`; raises `Paused` after an epoch where another one of that
    length would not end before it. Without `tested` no test part is needed or read, and the
    score has neither accuracy (of text: perplexity) nor loss.
    """
    if data.test is None and tested:
        raise _no_test(data)
    config, device = job.config, resolve_device(job.config.device)
    callback = callback or Callback()
    augmentation = augmentation or data.augmentation
    with _mended(job), seeded(job.seed, config.threads, device), without_tf32():
        training = Training(job, data, augmentation, device)
        lines = read_lines(job.folder / METRICS) if job.folder else []
        with told(callback, Beginning(f"{job.label}/seed-{job.seed}", config, lines)):
            _epochs(training, callback, deadline)
        validated = training.finish()
        network = training.result.eval()
        judged = _judged(training, network) if tested else {}
    score = {
        "begun_with": training.begun_with,
        "label": job.label,
        "seed": job.seed,
        **judged,
        **validated,
        "train_loss": training.train_loss,
        "input_shape": list(data.shape),
        "normalization": _normalization(data),
        "seconds": round(training.seconds, 3),
        "transferred_from": job.transferred_from,
        **vars(cost(job.space, job.architecture)),
    }
    if job.folder is not None:
        weights = {n: t for n, t in network.state_dict().items() if not n.startswith("auxiliary.")}
        content = save({n: t.cpu().contiguous() for n, t in weights.items()})
        write(job.folder / WEIGHTS, content)
        write(job.folder / RESULT, json.dumps(score, indent=2, allow_nan=False) + "\n")
        shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)
    return score, network


@contextmanager
def _mended(job: Retraining) -> Iterator[None]:
    """Faults of the machine in one line, which says what is kept."""
    name = f"retraining {job.label}, seed {job.seed}"
    kept = "whole epochs are kept: resume it" if job.folder else "nothing is kept: train it again"
    smaller = "or begin a new one with a smaller batch_size, fewer channels or cells"
    with reading(f"of {name} {kept}"), remembered(name, f"{kept} once memory is free, {smaller}"):
        yield


def _epochs(training: Training, callback: Callback, deadline: float) -> None:
    """All that are left, up to the deadline."""
    cell, epochs = training.job.architecture, training.job.config.epochs
    for epoch in range(training.done, epochs):
        metrics = training.epoch(epoch)
        callback.epoch_end(EpochEnd(metrics, epochs, cell, cell))
        if "rolled_back_to" in metrics:
            callback.warning(
                f"epoch {metrics['epoch']} diverged, back to {metrics['rolled_back_to']}"
            )
        if epoch + 1 < epochs and late(deadline, metrics["seconds"]):
            raise Paused


def late(deadline: float, needed: float = 0.0) -> bool:
    """Whether what needs these seconds would end after it: by the clock of the first process."""
    return deadline < math.inf and from_first(lambda: time.monotonic() + needed > deadline)


def _judged(training: Training, network: Any) -> dict[str, Any]:
    """What the test part says of a network."""
    judged = training.learning.test(network)
    if not all(map(math.isfinite, judged.values())):
        raise training.diverged("test loss", training.done - 1, len(training.batches))
    return judged


def _normalization(data: Data) -> dict[str, list[float]] | None:
    """Mean and standard deviation of each channel, as JSON gives them back."""
    values = data.normalization
    return None if values is None else {"mean": list(values.mean), "std": list(values.std)}


def check(
    space: SearchSpace,
    architecture: Architecture,
    config: TrainConfig,
    data: Data,
    augmentation: Augmentation,
) -> None:
    """Refuse, before any work, a retraining that cannot be done."""
    if data.test is None:
        raise _no_test(data)
    recipes.check(config.model_dump(), space.name, data.shape)
    learning_of(data).check(space, architecture, config, data)
    device = resolve_device(config.device)
    check_precision(config.precision, device)
    training_batches(data, config, augmentation, config.seed, device)


def _no_test(data: Data) -> ArchgradError:
    return ArchgradError(f"data set {data.name} has no test part; give one with test=")


def load_data(config: DataConfig) -> tuple[Data, Augmentation]:
    """The data set of a configuration and the augmentation of its training images."""
    data = data_sets.load(
        config.data,
        config.data_root,
        image_size=config.image_size,
        subset=config.subset,
        dims=config.dims,
        stream=config.stream,
        workers=config.workers,
        data_timeout=config.data_timeout,
        level=config.level,
        vocabulary=config.vocabulary,
        encoding=config.encoding,
    )
    return data, augmentation_of(data, config)


def augmentation_of(data: Data, config: DataConfig) -> Augmentation:
    """The data set's own augmentation with what the configuration changes."""
    names = ("crop_padding", "flip", "resized_crop", "color_jitter")
    given = {name: value for name in names if (value := getattr(config, name)) is not None}
    if given and data.of_text:
        raise ArchgradError(
            f"{next(iter(given))} is given for {data.name}, which is text; expected images with "
            "it, so leave it out"
        )
    if config.resized_crop:
        given = {"crop_padding": 0, **given}
    return replace(data.augmentation, **given)
