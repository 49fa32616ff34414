"""One retraining: its moving parts between two epochs, and what it goes on from."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from archgrad.architecture import Architecture
from archgrad.data import Augmentation, Data
from archgrad.errors import ArchgradError, Diverged
from archgrad.kernels.division import add_gradients
from archgrad.measure import perplexity
from archgrad.retraining.averaging import Average, stalled
from archgrad.retraining.image_learning import ImageLearning
from archgrad.retraining.language_learning import LanguageLearning
from archgrad.retraining.learning import Learning
from archgrad.retraining.schedules import learning_rate
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces import SearchSpace
from archgrad.storage.files import METRICS, append
from archgrad.storage.folder import (
    fitting,
    load_checkpoint,
    refuse_other,
    save_checkpoint,
    truncate,
)
from archgrad.system.distributed import from_first, refuse_apart
from archgrad.system.loops import (
    Meter,
    check_interval,
    first_infinite,
    random_state,
    restore_random_state,
)

WEIGHTS = "weights.safetensors"
KEPT = ("train_loss", "seconds", "valid_losses", "best", "rollbacks")  # in a checkpoint
ROLLBACKS = 3


@dataclass(frozen=True)
class Retraining:
    """One architecture to train from scratch with one seed; `folder` holds what it leaves."""

    label: str
    architecture: Architecture
    space: SearchSpace  # at the size of the retraining
    config: TrainConfig
    seed: int
    folder: Path | None = None
    transferred_from: str | None = None  # the data set of the search, where this one is another

    def network(self) -> Any:
        """The trained network of a finished retraining, in eval mode, on the CPU."""
        network = self.space.derive(self.architecture)
        if self.folder is None or not (self.folder / WEIGHTS).is_file():
            raise ArchgradError(f"{self.label}, seed {self.seed}, left no weights on disk")
        with fitting(self.folder / WEIGHTS):
            network.load_state_dict(load_file(self.folder / WEIGHTS))
        return network.eval()


class Training:
    """The moving parts of one retraining between two epochs.

    Where there is a validation part it is judged after every epoch: with `averaged` the epoch
    after it has `stalled` begins an average of the weights, which is judged from then on; with
    `keep` best the best epoch's network is the result, and what training goes back to where a
    loss is not finite, `ROLLBACKS` times at most. As in the original code, but for this: the epoch
    that failed counts, so that its random numbers are not drawn again.
    """

    def __init__(
        self, job: Retraining, data: Data, augmentation: Augmentation, device: torch.device
    ) -> None:
        self.job, self.config, self.device, self.task = job, job.config, device, data.task
        self.learning: Learning = learning_of(data)(
            job.space, job.architecture, job.config, job.seed, data, augmentation, device
        )
        self.network, self.batches = self.learning.network, self.learning.batches
        self.average = Average(self.network, job.config.ema) if job.config.ema else None
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=job.config.learning_rate,
            momentum=job.config.momentum,
            weight_decay=job.config.weight_decay,
            nesterov=job.config.nesterov,
        )
        self.train_loss, self.seconds = float("nan"), 0.0
        self.valid_losses: list[float] = []
        self.best: dict[str, Any] | None = None  # the state after the best epoch, its number, loss
        self.rollbacks = 0
        self.begun_with = begun_with(job) | {"data": data.fingerprint()}
        self.done = self._restore()

    @property
    def result(self) -> Any:
        """The network as it is judged: the average, where there is one."""
        return self.network if self.average is None else self.average.network

    def finish(self) -> dict[str, Any]:
        """Take up the network that counts; what a score holds of its validation."""
        if self.best is not None:
            self._take(self.best)
        if not self.valid_losses:
            return {}
        epoch, loss = self.done, self.valid_losses[-1]
        if self.best is not None:
            epoch, loss = self.best["epoch"], self.best["valid_loss"]
        return {"valid_loss": loss, "kept_epoch": epoch, "rollbacks": self.rollbacks}

    def epoch(self, epoch: int) -> dict[str, Any]:
        started, rate = time.perf_counter(), learning_rate(self.config, epoch)
        metrics = {"epoch": epoch + 1, "learning_rate": rate}
        try:
            metrics |= self._train(epoch, rate)
            metrics |= self._validate(epoch)
        except Diverged as error:
            metrics |= self._roll_back(error)
        seconds = time.perf_counter() - started
        self.seconds += seconds
        metrics["seconds"] = round(seconds, 3)
        self.done = epoch + 1
        self._save(metrics)
        return metrics

    def _train(self, epoch: int, rate: float) -> dict[str, float]:
        config, meter = self.config, Meter(check_interval(self.device))
        self.learning.begin(epoch)
        for batch in self.batches.epoch(epoch):
            found = self.learning.forward(batch)
            self.optimizer.zero_grad(set_to_none=True)
            found.total.backward()
            add_gradients(self.network.parameters(), batch)
            if config.clip:
                nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
            self.optimizer.param_groups[0]["lr"] = self.task.rate(rate, batch)
            self.optimizer.step()
            if self.average is not None:
                self.average.update()
            meter.add(weight=found.weight, judged=True, **found.reported)
            meter.next()
            self._check(meter, epoch)
        self._check(meter, epoch, last=True)
        means = meter.means()
        self.train_loss = means["train_loss"]
        if (bad := first_infinite(self.network.state_dict())) is not None:
            raise self.diverged(bad, epoch, len(self.batches))
        return means

    def _validate(self, epoch: int) -> dict[str, Any]:
        loss, config, averaging = self.learning.validate(self.result), self.config, self.average
        if loss is None:
            return {}
        if not math.isfinite(perplexity(loss)):
            raise self.diverged("validation loss", epoch, len(self.batches))
        if config.keep == "best" and (self.best is None or loss < self.best["valid_loss"]):
            state = copy.deepcopy(self._state())
            self.best = {"epoch": epoch + 1, "valid_loss": loss, **state}
        late = stalled(self.valid_losses, loss, config.non_monotone)
        if config.averaged and averaging is None and late:
            self.average = Average(self.network, 1.0)
        self.valid_losses.append(loss)
        return {
            "valid_loss": loss,
            "valid_perplexity": perplexity(loss),
            "averaging": averaging is not None,
        }

    def _roll_back(self, error: Diverged) -> dict[str, Any]:
        if self.best is None:
            raise error
        if self.rollbacks == ROLLBACKS:
            raise Diverged(f"{error}; {ROLLBACKS} times it went back to the best epoch") from None
        self.rollbacks += 1
        self._take(self.best)
        return {"rolled_back_to": self.best["epoch"]}

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

    def _state(self) -> dict[str, Any]:
        """What training goes on with."""
        return {
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average and self.average.state_dict(),
        }

    def _take(self, state: Mapping[str, Any]) -> None:
        """Take up what `_state` returned."""
        self.network.load_state_dict(state["model"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.average = None
        if state["average"] is not None:
            self.average = Average(self.network, self.config.ema or 1.0)
            self.average.load_state_dict(state["average"])

    def _save(self, metrics: dict[str, Any]) -> None:
        refuse_apart({**self.network.state_dict(), **random_state(self.device)})
        if self.job.folder is None:
            return
        append(self.job.folder / METRICS, metrics)
        content = {
            **self._state(),
            "epoch": self.done,
            "begun_with": self.begun_with,
            "random": random_state(self.device),
            **{name: getattr(self, name) for name in KEPT},
        }
        save_checkpoint(self.job.folder / "checkpoints", content)

    def _restore(self) -> int:
        content = from_first(self._kept)
        if content is None:
            return 0
        folder = self.job.folder
        with nullcontext() if folder is None else fitting(folder):
            self._take(content)
            for name in KEPT:
                setattr(self, name, content[name])
            restore_random_state(content["random"], self.device)
        return int(content["epoch"])

    def _kept(self) -> dict[str, Any] | None:
        """The checkpoint, with the lines of its epochs alone beside it."""
        folder = self.job.folder
        if folder is None:
            return None
        content, done = load_checkpoint(folder / "checkpoints", self.device), 0
        if content is not None:
            with fitting(folder):
                refuse_other(content["begun_with"], self.begun_with, folder)
                done = int(content["epoch"])
        truncate(folder / METRICS, done)
        return content


def learning_of(data: Data) -> type[ImageLearning] | type[LanguageLearning]:
    """How this kind of data is learned."""
    return LanguageLearning if data.of_text else ImageLearning


def begun_with(job: Retraining) -> dict[str, Any]:
    """What a kept result must agree with to be that of this job."""
    options = job.config.model_dump(mode="json", exclude={"seeds", "seed", "jobs"})
    return {"options": options, "architecture": job.architecture.to_json()}
