"""Retraining a discrete architecture from scratch, and its one evaluation on the test part."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from archgrad import data as data_sets
from archgrad import recipes
from archgrad.architecture import Architecture
from archgrad.averaging import Average
from archgrad.compiling import Forward, compiled
from archgrad.config import DataConfig, TrainConfig
from archgrad.cost import cost
from archgrad.data import Augmentation, Batches, Data
from archgrad.errors import ArchgradError, Diverged
from archgrad.folder import (
    append,
    fitting,
    load_checkpoint,
    refuse_other,
    save_checkpoint,
    truncate,
    write,
)
from archgrad.loops import (
    Listener,
    Meter,
    Silent,
    accuracy,
    check_interval,
    evaluate,
    first_infinite,
    placed,
    random_state,
    resolve_device,
    restore_random_state,
    seeded,
)
from archgrad.network import Classifier, DropPath
from archgrad.precision import autocast, full_type, without_tf32
from archgrad.precision import check as check_precision
from archgrad.schedules import learning_rate
from archgrad.spaces import SearchSpace

METRICS, RESULT, WEIGHTS = "metrics.jsonl", "result.json", "weights.safetensors"


@dataclass(frozen=True)
class Retraining:
    """One architecture to train from scratch with one seed; ``folder`` holds what it leaves."""

    label: str
    architecture: Architecture
    space: SearchSpace  # at the size of the retraining
    config: TrainConfig
    seed: int
    folder: Path | None = None
    transferred_from: str | None = None  # the data set of the search, where this one is another

    def network(self) -> Classifier:
        """The trained network of a finished retraining, in eval mode, on the CPU."""
        network: Classifier = self.space.derive(self.architecture)
        if self.folder is None or not (self.folder / WEIGHTS).is_file():
            raise ArchgradError(f"{self.label}, seed {self.seed}, left no weights on disk")
        network.load_state_dict(load_file(self.folder / WEIGHTS))
        return network.eval()


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
    """One job a seed; each keeps what it leaves under ``folder/label``."""
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
    listener: Listener | None = None,
    deadline: float = math.inf,
    tested: bool = True,
) -> tuple[Score, Classifier]:
    """Train on the whole training part, test once at the end: the last epoch's network counts.

    SGD with the schedule of `archgrad.schedules`, clipping, cutout, drop path rising linearly from
    0, auxiliary head (arXiv:1806.09055, appendix A.1); with ``ema`` the average of
    `archgrad.averaging` is tested and kept. A killed retraining goes on after its last whole epoch.
    The test is in float32, whatever the precision, so the weights that are kept give it again.

    ``deadline``: of `time.monotonic`; raises `Paused` after an epoch where another one of that
    length would not end before it. Without ``tested`` no test part is needed or read, and the
    score has neither accuracy nor loss.
    """
    if data.test is None and tested:
        raise _no_test(data)
    config, device = job.config, resolve_device(job.config.device)
    listener = listener or Silent()
    augmentation = augmentation or data.augmentation
    with seeded(job.seed, config.threads, device), without_tf32():
        training = Training(job, data, augmentation, device)
        for epoch in range(training.done, config.epochs):
            metrics = training.epoch(epoch)
            listener.epoch(metrics, config.epochs)
            if time.monotonic() + metrics["seconds"] > deadline and epoch + 1 < config.epochs:
                raise Paused
        network = training.result.eval()
        judged = _judged(training, network, data) if tested else {}
    score = {
        "begun_with": training.begun_with,
        "label": job.label,
        "seed": job.seed,
        **judged,
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


def _judged(training: Training, network: Classifier, data: Data) -> dict[str, Any]:
    """Accuracy and loss on the test part."""
    assert data.test is not None
    size, normalization = training.config.batch_size, data.normalization
    test = data.test.batches(size, normalization=normalization, device=training.device)
    loss, right = evaluate(network, test.epoch(0))
    if not math.isfinite(loss):
        raise training.diverged("test loss", training.config.epochs - 1, len(training.batches))
    return {"accuracy": right, "loss": loss, "test_images": len(data.test)}


def _normalization(data: Data) -> dict[str, list[float]] | None:
    """Mean and standard deviation of each channel, as JSON gives them back."""
    values = data.normalization
    return None if values is None else {"mean": list(values.mean), "std": list(values.std)}


class Training:
    """The moving parts of one retraining between two epochs."""

    def __init__(
        self, job: Retraining, data: Data, augmentation: Augmentation, device: torch.device
    ) -> None:
        self.job, self.config, self.device = job, job.config, device
        auxiliary = job.config.auxiliary_weight > 0
        network: Classifier = job.space.derive(job.architecture, auxiliary=auxiliary)
        contiguous = job.config.memory_format == "contiguous"
        self.network = placed(network, device, own=contiguous)
        self.average = Average(self.network, job.config.ema) if job.config.ema else None
        self.fast: Forward | None = None
        self.drop_path = torch.zeros((), device=device)
        self.batches = training_batches(data, job.config, augmentation, job.seed, device)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=job.config.learning_rate,
            momentum=job.config.momentum,
            weight_decay=job.config.weight_decay,
            nesterov=job.config.nesterov,
        )
        self.train_loss, self.seconds = float("nan"), 0.0
        self.begun_with = begun_with(job) | {"data": data.fingerprint()}
        self.done = self._restore()

    @property
    def result(self) -> Classifier:
        """The network that is tested and kept: the average, where there is one."""
        return self.network if self.average is None else self.average.network

    def epoch(self, epoch: int) -> dict[str, Any]:
        started, config = time.perf_counter(), self.config
        rate = learning_rate(config, epoch)
        self.optimizer.param_groups[0]["lr"] = rate
        self._drop_paths(config.drop_path * epoch / config.epochs)
        self.network.train()
        meter = Meter(check_interval(self.device))
        for inputs, target in self.batches.epoch(epoch):
            forward = self._forward(inputs)
            with autocast(config.precision, self.device):
                logits, extra = forward(inputs)
            loss = self._loss(logits, target)
            total = (
                loss
                if extra is None
                else (loss + config.auxiliary_weight * self._loss(extra, target))
            )
            self.optimizer.zero_grad(set_to_none=True)
            total.backward()
            if config.clip:
                nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
            self.optimizer.step()
            if self.average is not None:
                self.average.update()
            meter.add(train_loss=total, train_accuracy=accuracy(logits, target))
            meter.next()
            self._check(meter, epoch)
        self._check(meter, epoch, last=True)
        means = meter.means()
        self.train_loss = means["train_loss"]
        if (bad := first_infinite(self.network.state_dict())) is not None:
            raise self.diverged(bad, epoch, len(self.batches))
        seconds = time.perf_counter() - started
        self.seconds += seconds
        metrics = {"epoch": epoch + 1, "learning_rate": rate, **means, "seconds": round(seconds, 3)}
        self._save(epoch + 1, metrics)
        return metrics

    def _drop_paths(self, rate: float) -> None:
        self.drop_path.fill_(rate)
        for module in self.network.modules():
            if isinstance(module, DropPath):
                module.rate = rate if self.config.compile == "off" else self.drop_path

    def _forward(self, inputs: Tensor) -> Forward:
        """The compiled pass; a smaller last batch goes through the network as it is."""
        if self.config.compile == "off" or len(inputs) != self.config.batch_size:
            return self.network.forward_with_auxiliary
        if self.fast is None:
            self.fast = compiled(self.network, inputs, self.config.precision)
        return self.fast

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        logits, smoothing = logits.to(full_type(logits.dtype)), self.config.label_smoothing
        return F.cross_entropy(logits, target, label_smoothing=smoothing)

    def _check(self, meter: Meter, epoch: int, last: bool = False) -> None:
        bad = meter.first_bad(last)
        if bad is not None:
            raise self.diverged(bad[0], epoch, bad[1] + 1)

    def diverged(self, what: str, epoch: int, step: int) -> Diverged:
        """The error for a value that is not finite."""
        return Diverged(
            f"retraining {self.job.label}, seed {self.job.seed}: {what} became infinite or not a "
            f"number in epoch {epoch + 1}, step {step}; finished retrainings and whole epochs are "
            f"kept. Try a learning rate below {self.config.learning_rate}"
        )

    def _save(self, done: int, metrics: dict[str, Any]) -> None:
        if self.job.folder is None:
            return
        append(self.job.folder / METRICS, metrics)
        content = {
            "epoch": done,
            "begun_with": self.begun_with,
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average and self.average.state_dict(),
            "random": random_state(self.device),
            "seconds": self.seconds,
            "train_loss": self.train_loss,
        }
        save_checkpoint(self.job.folder / "checkpoints", content)

    def _restore(self) -> int:
        folder = self.job.folder
        if folder is None:
            return 0
        content = load_checkpoint(folder / "checkpoints", self.device)
        if content is None:
            truncate(folder / METRICS, 0)
            return 0
        with fitting(folder):
            refuse_other(content["begun_with"], self.begun_with, folder)
            done = int(content["epoch"])
            self.network.load_state_dict(content["model"])
            self.optimizer.load_state_dict(content["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(content["average"])
            self.seconds, self.train_loss = content["seconds"], content["train_loss"]
            restore_random_state(content["random"], self.device)
        truncate(folder / METRICS, done)
        return done


def begun_with(job: Retraining) -> dict[str, Any]:
    """What a kept result must agree with to be that of this job."""
    options = job.config.model_dump(mode="json", exclude={"seeds", "seed", "jobs"})
    return {"options": options, "architecture": job.architecture.to_json()}


def training_batches(
    data: Data, config: TrainConfig, augmentation: Augmentation, seed: int, device: torch.device
) -> Batches:
    """Shuffled and augmented batches of the whole training part, with the recipe's cutout."""
    return data.train.batches(
        config.batch_size,
        seed=seed,
        shuffle=True,
        augmentation=replace(augmentation, cutout=config.cutout),
        normalization=data.normalization,
        device=device,
    )


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
    space.derive(architecture, auxiliary=config.auxiliary_weight > 0)
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
        level=config.level,
        vocabulary=config.vocabulary,
        encoding=config.encoding,
    )
    return data, augmentation_of(data, config)


def augmentation_of(data: Data, config: DataConfig) -> Augmentation:
    """The data set's own augmentation with what the configuration changes."""
    names = ("crop_padding", "flip", "resized_crop", "color_jitter")
    given = {name: value for name in names if (value := getattr(config, name)) is not None}
    if given and not data.shape:
        raise ArchgradError(
            f"{next(iter(given))} is given for {data.name}, which is text; expected images with "
            "it, so leave it out"
        )
    if config.resized_crop:
        given = {"crop_padding": 0, **given}
    return replace(data.augmentation, **given)
