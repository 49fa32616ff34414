"""The only bilevel loop: alpha step, weight step, diagnostics, checkpoint; it names no method."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archgrad.architecture import Architecture
from archgrad.config import SearchConfig
from archgrad.data import Augmentation, Batches, Data
from archgrad.diagnostics import entropy, skip_share
from archgrad.errors import ArchgradError, Diverged
from archgrad.folder import (
    Run,
    append,
    fitting,
    load_checkpoint,
    read_lines,
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
    cosine,
    evaluate,
    first_infinite,
    peak_memory_mb,
    placed,
    random_state,
    resolve_device,
    restore_random_state,
    seeded,
)
from archgrad.methods import Method
from archgrad.parts.state import SGD, State
from archgrad.spaces import SearchSpace
from archgrad.supernet import Batch, Supernet

METRICS, ALPHAS = "metrics.jsonl", "alphas.jsonl"


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    ``alpha``: the final architecture parameters, group name -> (edges, operations); ``metrics``:
    one entry an epoch, as in metrics.jsonl; ``path``: the run folder, if there is one.
    """

    architecture: Architecture
    space: SearchSpace
    method: Method
    config: SearchConfig
    alpha: dict[str, Tensor]
    metrics: list[dict[str, Any]]
    path: Path | None = None

    def derive(self, channels: int | None = None, cells: int | None = None) -> nn.Module:
        """The found network, plain, with fresh weights, at the search's size or another."""
        return self.space.sized(channels, cells).derive(self.architecture)


@dataclass(frozen=True)
class Loaders:
    """The batches of a search: the weights' half, alpha's half, and alpha's half for evaluation."""

    train: Batches
    valid: Batches
    check: Batches

    @classmethod
    def of(
        cls, data: Data, config: SearchConfig, augmentation: Augmentation, device: torch.device
    ) -> Loaders:
        weights_half, alpha_half = data.split(config.train_fraction)
        common = {"normalization": data.normalization, "device": device}
        shuffled = {"shuffle": True, "augmentation": augmentation, **common}
        size, seed = config.batch_size, config.seed
        return cls(
            weights_half.batches(size, seed=2 * seed, **shuffled),  # type: ignore[arg-type]
            alpha_half.batches(size, seed=2 * seed + 1, **shuffled),  # type: ignore[arg-type]
            alpha_half.batches(size, **common),  # type: ignore[arg-type]
        )

    def epoch(self, index: int) -> Iterator[tuple[Batch, Batch]]:
        """Pairs of a training and a validation batch; the shorter half is walked again.

        Batches of a single image are left out: BatchNorm needs two.
        """
        passes = 1 + -(-len(self.train) // max(1, len(self.valid)))
        valid = (b for turn in range(passes) for b in self.valid.epoch(index * passes + turn))
        return zip(_pairs(self.train.epoch(index)), _pairs(valid), strict=False)

    def evaluation(self) -> Iterator[Batch]:
        """Alpha's half in order, without augmentation."""
        return _pairs(self.check.epoch(0))

    @property
    def exact_resume(self) -> bool:
        """Whether an epoch can be repeated bit for bit, whatever ran before."""
        return self.train.exact_resume and self.valid.exact_resume


def _pairs(batches: Iterable[Batch]) -> Iterator[Batch]:
    return (batch for batch in batches if len(batch[1]) > 1)


def bilevel_search(
    space: SearchSpace,
    data: Data,
    method: Method,
    config: SearchConfig,
    *,
    augmentation: Augmentation | None = None,
    run: Run | None = None,
    listener: Listener | None = None,
) -> SearchResult:
    """Search an architecture (arXiv:1806.09055, algorithm 1); goes on from the run's checkpoint.

    Each step takes one batch of either half: alpha moves against the method's hypergradient, then
    the weights along the gradient of L_train. The test part of ``data`` is never touched.
    """
    device = resolve_device(config.device)
    listener = listener or Silent()
    held = run.working() if run is not None else nullcontext()
    with held, seeded(config.seed, config.threads, device):
        search = BilevelSearch(space, data, method, config, augmentation, device, run)
        for epoch in range(search.done, config.epochs):
            listener.epoch(search.epoch(epoch, listener), config.epochs)
        result = search.result()
        if run is not None:
            write(run.path / "architecture.json", result.architecture.to_json())
    return result


class BilevelSearch:
    """The moving parts of one search between two epochs."""

    def __init__(
        self,
        space: SearchSpace,
        data: Data,
        method: Method,
        config: SearchConfig,
        augmentation: Augmentation | None,
        device: torch.device,
        run: Run | None,
    ) -> None:
        self.space, self.method, self.config = space, method, config
        self.device, self.run = device, run
        self.loaders = Loaders.of(data, config, augmentation or data.augmentation, device)
        self.net = Supernet(placed(space.supernet(), device), space.groups)
        self.weight_optimizer = torch.optim.SGD(
            self.net.weights.values(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        self.arch_optimizer = method.arch_optimizer(self.net.alpha.values())
        self.metrics: list[dict[str, Any]] = []
        self.begun_with = {"options": config.model_dump(mode="json"), "data": data.fingerprint()}
        self.done = self._restore()

    def epoch(self, epoch: int, listener: Listener) -> dict[str, Any]:
        """One pass over the weights' half, then diagnostics, metrics and a checkpoint."""
        started = time.perf_counter()
        config, steps = self.config, len(self.loaders.train)
        rate = cosine(config.learning_rate, config.final_learning_rate, epoch, config.epochs)
        self.weight_optimizer.param_groups[0]["lr"] = rate
        self.net.model.train()
        meter = Meter(check_interval(self.device))
        for step, (train, valid) in enumerate(self.loaders.epoch(epoch)):
            state = self.state(train, valid, (epoch + step / steps) / config.epochs)
            self.alpha_step(state, meter)
            self.weight_step(state, meter)
            self._check(meter, epoch)
            listener.step(step + 1, steps)
        if not meter.values:
            raise ArchgradError(
                "no step could be made: every batch held a single image, and BatchNorm needs two; "
                "use larger batches"
            )
        self._check(meter, epoch, last=True)
        metrics = self._measure(epoch, rate, meter, started)
        kept = {**self.net.weights, **dict(self.net.model.named_buffers()), **self.net.alpha}
        kept["valid_loss"] = torch.tensor(metrics["valid_loss"], device=self.device)
        if (bad := first_infinite(kept)) is not None:
            raise self._diverged(bad, epoch, steps)
        self.metrics.append(metrics)
        self._save(epoch + 1, metrics)
        return metrics

    def state(
        self, train: Batch | None = None, valid: Batch | None = None, progress: float = 1.0
    ) -> State:
        return State(
            problem=self.net,
            relaxation=self.method.relaxation,
            train=train,
            valid=valid,
            optimizer=SGD.of(self.weight_optimizer, self.net.weights),
            groups=self.net.groups,
            progress=progress,
        )

    def alpha_step(self, state: State, meter: Meter) -> None:
        estimate = self.method.hypergradient(self.net.alpha, state)
        for name, alpha in self.net.alpha.items():
            alpha.grad = estimate.gradient[name]
        self.arch_optimizer.step()
        meter.add(alpha_loss=estimate.loss)

    def weight_step(self, state: State, meter: Meter) -> None:
        inputs, target = state.train
        mixing = self._mixing(state)
        logits = self.net.forward(mixing, inputs, update_statistics=True)
        loss = self.net.criterion(logits, target)
        self.weight_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.weights.values(), self.config.clip)
        self.weight_optimizer.step()
        meter.add(train_loss=loss, train_accuracy=accuracy(logits, target))

    @torch.no_grad()
    def _mixing(self, state: State) -> Mapping[str, Tensor]:
        return self.method.relaxation(self.net.alpha, state)

    def _measure(self, epoch: int, rate: float, meter: Meter, started: float) -> dict[str, Any]:
        state = self.state()
        mixing = self._mixing(state)
        self.net.evaluation_mode()
        loss, right = evaluate(
            lambda inputs: self.net.forward(mixing, inputs), self.loaders.evaluation()
        )
        return {
            "epoch": epoch + 1,
            "learning_rate": rate,
            **meter.means(),
            "valid_loss": loss,
            "valid_accuracy": right,
            "entropy": entropy(mixing),
            "skip_share": skip_share(self.method.discretization(self.net.alpha, state)),
            "seconds": round(time.perf_counter() - started, 3),
            "memory_mb": round(peak_memory_mb(self.device), 1),
        }

    def _check(self, meter: Meter, epoch: int, last: bool = False) -> None:
        bad = meter.first_bad(last)
        if bad is not None:
            raise self._diverged(bad[0], epoch, bad[1] + 1)

    def _diverged(self, what: str, epoch: int, step: int) -> Diverged:
        kept = "no epoch was finished before"
        if self.metrics:
            kept = f"epoch {self.metrics[-1]['epoch']} is the last good one"
            if self.run is not None:
                kept += f", kept in {self.run.path / 'checkpoints' / 'last.pt'}"
        return Diverged(
            f"{what} became infinite or not a number in epoch {epoch + 1}, step {step}; "
            f"{kept}. Try a learning rate below {self.config.learning_rate}, a gradient clip below "
            f"{self.config.clip}, or look for extreme values in the images"
        )

    def result(self) -> SearchResult:
        """The architecture of the present alpha."""
        cells = self.method.discretization(self.net.alpha, self.state())
        architecture = Architecture(space=self.space.name, cells=cells)
        alpha = {name: value.detach().cpu().clone() for name, value in self.net.alpha.items()}
        path = self.run.path if self.run else None
        return SearchResult(
            architecture, self.space, self.method, self.config, alpha, self.metrics, path
        )

    def _save(self, done: int, metrics: Mapping[str, Any]) -> None:
        if self.run is None:
            return
        alpha = {name: value.tolist() for name, value in self.net.alpha.items()}
        append(self.run.path / METRICS, metrics)
        append(self.run.path / ALPHAS, {"epoch": done, "alpha": alpha})
        content = {
            "epoch": done,
            "begun_with": self.begun_with,
            "model": self.net.model.state_dict(),
            "alpha": {name: value.detach() for name, value in self.net.alpha.items()},
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "arch_optimizer": self.arch_optimizer.state_dict(),
            "random": random_state(self.device),
        }
        save_checkpoint(self.run.path / "checkpoints", content)

    def _restore(self) -> int:
        """Take up the run's checkpoint, if there is one; the number of epochs done."""
        if self.run is None:
            return 0
        content = load_checkpoint(self.run.path / "checkpoints", self.device)
        done = 0
        if content is not None:
            with fitting(self.run.path):
                refuse_other(content["begun_with"], self.begun_with, self.run.path)
                done = int(content["epoch"])
            if not self.loaders.exact_resume:
                warnings.warn(
                    "the batches come from a DataLoader, whose order may depend on more than "
                    "torch's random state: the resumed search may differ from an uninterrupted one",
                    stacklevel=2,
                )
        self.metrics = truncate(self.run.path / METRICS, done)
        truncate(self.run.path / ALPHAS, done)
        if content is None:
            return 0
        with fitting(self.run.path):
            self.net.model.load_state_dict(content["model"])
            with torch.no_grad():
                for name, alpha in self.net.alpha.items():
                    alpha.copy_(content["alpha"][name])
            self.weight_optimizer.load_state_dict(content["weight_optimizer"])
            self.arch_optimizer.load_state_dict(content["arch_optimizer"])
        restore_random_state(content["random"], self.device)
        return done


def derive(run: Run, space: SearchSpace, method: Method, epoch: int | None = None) -> Architecture:
    """Another discretization of a finished or running search: of its last or of the given epoch."""
    lines = read_lines(run.path / ALPHAS)
    epochs = [line.get("epoch") for line in lines]
    chosen = next((line for line in lines if line.get("epoch") == (epoch or epochs[-1])), None)
    if chosen is None:
        raise ArchgradError(
            f"run {run.path} has no epoch {epoch or 1}; "
            + (f"expected {epochs[0]} to {epochs[-1]}" if epochs else "it finished none so far")
        )
    with fitting(run.path / ALPHAS):
        alpha = {group.name: torch.tensor(chosen["alpha"][group.name]) for group in space.groups}
        if any(tuple(alpha[group.name].shape) != group.shape for group in space.groups):
            raise ValueError("other groups than the space of config.yaml")
    state = State(problem=None, relaxation=method.relaxation, groups=space.groups)  # type: ignore[arg-type]
    return Architecture(space=space.name, cells=method.discretization(alpha, state))
