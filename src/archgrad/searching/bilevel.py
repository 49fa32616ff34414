"""The only bilevel loop: alpha step, weight step, diagnostics, checkpoint; it names no method."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from archgrad.architecture import Architecture
from archgrad.data import Augmentation, Data
from archgrad.data.own import OwnData
from archgrad.errors import ArchgradError, Diverged, noted
from archgrad.kernels import native
from archgrad.networks.supernet import Batch
from archgrad.parts.derivatives import gradient
from archgrad.parts.method import Method, Recovery
from archgrad.parts.stage import Candidates, boundaries, shrink
from archgrad.parts.state import SGD, State
from archgrad.parts.stopping import Verdict
from archgrad.searching.callbacks import Beginning, Callback, EpochEnd, announce, told
from archgrad.searching.graphs import recorder
from archgrad.searching.groups import Groups
from archgrad.searching.leg import Leg, stages
from archgrad.searching.loaders import Loaders
from archgrad.searching.monitor import Monitor, undecided
from archgrad.searching.passes import Passes
from archgrad.searching.records import Records, begun_with
from archgrad.searching.result import SearchResult
from archgrad.searching.tuning import Tuning
from archgrad.settings.config import SearchConfig
from archgrad.spaces import SearchSpace
from archgrad.storage.files import SELECTION, write
from archgrad.storage.folder import Run
from archgrad.system.distributed import refuse_apart, world
from archgrad.system.loops import (
    Meter,
    check_interval,
    cosine,
    drawn_seed,
    first_infinite,
    peak_memory_mb,
    random_state,
    resolve_device,
    seeded,
)
from archgrad.tensors.precision import without_tf32


def bilevel_search(
    space: SearchSpace,
    data: Data | OwnData,
    method: Method,
    config: SearchConfig,
    *,
    augmentation: Augmentation | None = None,
    run: Run | None = None,
    callback: Callback | None = None,
) -> SearchResult:
    """Search an architecture (arXiv:1806.09055, algorithm 1); goes on from the run's checkpoint.

    Each step takes one batch of either half: alpha moves against the method's hypergradient, then
    the weights along the gradient of L_train. The test part of `data` is never touched.
    """
    device = resolve_device(config.device)
    callback = callback or Callback()
    held = run.working() if run is not None else nullcontext()
    random = seeded(config.seed, config.threads, device)
    with held, native.use(config.kernel), without_tf32(), random:
        search = BilevelSearch(space, data, method, config, augmentation, device, run)
        if run is not None:
            Groups.of(space, method).keep(run.path)
        outlook = search.monitor.outlook(search)
        with told(callback, Beginning("search", config, tuple(search.metrics), outlook)):
            result = search.run(callback)
        if run is not None:
            write(run.path / "architecture.json", result.architecture.to_json())
    return result


class BilevelSearch:
    """The moving parts of one search between two epochs."""

    def __init__(
        self,
        space: SearchSpace,
        data: Data | OwnData,
        method: Method,
        config: SearchConfig,
        augmentation: Augmentation | None,
        device: torch.device,
        run: Run | None,
    ) -> None:
        self.space, self.method, self.config = space, method, config
        self.device, self.relaxation, self.task = device, method.relaxation, data.task
        self.kernels = native.note(device)
        self.loaders = Loaders.of(data, config, augmentation or data.augmentation, device)
        self.stages = stages(method)
        self.bounds = boundaries(self.stages, config.epochs)
        self.memory: dict[str, Any] = {}
        self.told: set[str] = set()
        self.metrics: list[dict[str, Any]] = []
        self.derived: Architecture | None = None  # of the last epoch, as `strength`
        self.verdict: Verdict | None = None
        self.done = self.recovered = 0  # epochs done; the epoch that it last went back to
        self.begin(0, None)
        self.monitor = Monitor(self)
        self.records = Records(run, begun_with(space, data, config))
        self.records.restore(self)

    def run(self, callback: Callback) -> SearchResult:
        """All epochs that are left, and what they give."""
        if self.done == 0 and (price := self.monitor.price()) is not None:
            callback.warning(price)
        if self.config.graphs == "on" and not world().alone:
            callback.warning("graphs on: several processes make a search without CUDA graphs")
        elif self.config.graphs == "on" and recorder(self.device) is None:
            callback.warning(f"graphs on: a GPU alone has CUDA graphs, not {self.device}")
        self.recover(callback)  # where it was interrupted before it could
        while self.verdict is None and self.done < self.config.epochs:
            announce(self.epoch(callback), callback)
            self.recover(callback)
        result = self.selected()
        if result.undecided is not None:
            callback.warning(result.undecided)
        return result

    def begin(self, stage: int, candidates: Candidates | None) -> None:
        """Build the supernet and the optimizers of a stage."""
        self.stage, self.candidates = stage, candidates
        arguments = self.space, self.method, self.stages[stage], candidates, self.config
        self.leg = Leg.of(*arguments, self.device, self.task)
        with torch.no_grad():
            self.strength = self.state().strength(self.leg.net.alpha)
        self.start = {name: value.clone() for name, value in self.strength.items()}
        wanted = self.config.graphs == "on" and world().alone
        recording = recorder(self.device) if wanted else None
        self.passes = Passes(self.leg.net, self.method.hypergradient, recording)

    def next_stage(self) -> None:
        """The strongest candidates go on to a new supernet."""
        before, stage = self.leg, self.stages[self.stage + 1]
        candidates = self.candidates
        if stage.candidates is not None:
            strength = self.state().strength(before.net.alpha)
            rows = {name: value.tolist() for name, value in strength.items()}
            candidates = shrink(before.space.groups, rows, stage.candidates)
        self.begin(self.stage + 1, candidates)
        self.leg.net.spent = before.net.spent
        if stage.inherit:
            self.leg.inherit(before)
        self.memory.clear()

    def epoch(self, callback: Callback) -> EpochEnd:
        """One pass over the weights' half, then diagnostics, metrics and a checkpoint."""
        started, before = time.perf_counter(), self.derived
        if self.stage + 1 < len(self.stages) and self.done == self.bounds[self.stage + 1]:
            self.next_stage()
        config, epoch = self.config, self.done
        first, last = self._span()
        rate = cosine(config.learning_rate, config.final_learning_rate, epoch - first, last - first)
        meter = self.steps(epoch, rate, callback=callback)
        self.done = epoch + 1
        (net := self.leg.net).advance(self._progress(self.done))
        metrics = {
            "epoch": self.done,
            "learning_rate": rate,
            **meter.means(),
            **self.monitor.measure(self, self.done),
            "spent": net.spent,
        }
        if self.method.cost is not None:
            with torch.no_grad():
                expected = self.method.cost(self.leg.net.alpha, self.state())
            metrics["expected_cost"] = float(expected)
        kept = {**net.weights, **{name: net.slots.buffer(name) for name in net.finite}}
        kept |= {**net.alpha, "valid_loss": torch.tensor(metrics["valid_loss"])}
        if (bad := first_infinite(kept)) is not None:
            raise self._diverged(bad, epoch, len(self.loaders.train))
        refuse_apart({**kept, **random_state(self.device)})
        self.metrics.append(metrics)
        self._judge(metrics, callback)
        metrics["seconds"] = round(time.perf_counter() - started, 3)
        metrics["memory_mb"] = round(peak_memory_mb(self.device), 1)
        self.records.save(self)
        assert self.derived is not None
        alpha = {name: value.detach() for name, value in self.leg.net.alpha.items()}
        return EpochEnd(metrics, config.epochs, self.derived, before, alpha, self.strength)

    def steps(
        self,
        epoch: int,
        rate: float,
        *,
        progress: float | None = None,
        callback: Callback | None = None,
    ) -> Meter:
        """All steps of an epoch (counted from 0); `progress` fixed where it is given."""
        self.leg.net.model.train()
        meter, steps = Meter(check_interval(self.device)), len(self.loaders.train)
        for step, (train, valid) in enumerate(self.loaders.epoch(epoch)):
            at = self._progress(epoch + step / steps) if progress is None else progress
            self.leg.weight_optimizer.param_groups[0]["lr"] = self.task.rate(rate, train)
            self.leg.net.advance(at)
            state = self._augmented(self.state(train, valid, at, drawn_seed(), step))
            resting = progress is None and self._resting(epoch + step / steps)
            with noted(f"in epoch {epoch + 1}, step {step + 1}"):
                if not resting and step % self.method.interval == 0:
                    state = self.alpha_step(state, meter)
                self.weight_step(replace(state, seed=drawn_seed()), meter)
            meter.next()
            self._check(meter, epoch)
            if callback is not None:
                self._tell(callback)
                callback.step(step + 1, steps)
        if not meter.values:
            raise ArchgradError(
                "no step could be made: every batch held a single example, and BatchNorm needs "
                "two, or there was none; use larger batches, and loaders that begin anew every "
                "epoch"
            )
        self._check(meter, epoch, last=True)
        return meter

    def _tell(self, callback: Callback) -> None:
        """Say once why a pass is not recorded."""
        for note in self.passes.notes:
            if note not in self.told:
                self.told.add(note)
                callback.warning(note)

    def state(
        self,
        train: Batch | None = None,
        valid: Batch | None = None,
        progress: float | None = None,
        seed: int = 0,
        step: int = 0,
    ) -> State:
        return State(
            problem=self.leg.net,
            relaxation=self.relaxation,
            train=train,
            valid=valid,
            optimizer=SGD.of(
                self.leg.weight_optimizer, self.leg.net.weights, self.config.second_order_clip
            ),
            groups=self.leg.space.groups,
            progress=self._progress(self.done) if progress is None else progress,
            seed=seed,
            step=step,
            memory=self.memory,
        )

    def alpha_step(self, state: State, meter: Meter) -> State:
        """Move alpha; the state with what the estimate tells the weight step."""
        net, method = self.leg.net, self.method
        estimate = self.passes.estimate(state)
        if estimate is None:
            return state
        found = [estimate.gradient]
        found += [gradient(term(net.alpha, state), net.alpha) for term in method.regularizers]
        for name, alpha in net.alpha.items():
            alpha.grad = sum((g[name] for g in found[1:]), start=found[0][name])
        before = {name: alpha.detach().clone() for name, alpha in net.alpha.items()}
        self.leg.arch_optimizer.step()
        if method.projection is not None:
            with torch.no_grad():
                for name, value in method.projection(before, net.alpha, estimate).items():
                    net.alpha[name].copy_(value)
        meter.add(alpha_loss=estimate.loss)
        return replace(state, valid_gradient=estimate.valid_gradient)

    def weight_step(self, state: State, meter: Meter) -> None:
        net, method = self.leg.net, self.method
        with torch.no_grad():
            mixing = self.relaxation(net.alpha, state)
        if method.perturbation is not None:
            mixing = method.perturbation(mixing, state)
        learned = self.passes.learn(mixing, state.train)
        gradients = dict(learned.gradient)
        if method.weight_gradient is not None:
            gradients |= method.weight_gradient(dict(gradients), net.alpha, state)
        for name, weight in net.weights.items():
            weight.grad = gradients[name]
        nn.utils.clip_grad_norm_(net.weights.values(), self.config.clip)
        self.leg.weight_optimizer.step()
        meter.add(train_loss=learned.loss, weight=learned.examples)
        if learned.metric is not None:
            name = f"train_{net.task.name}"
            meter.add(**{name: learned.metric}, weight=learned.examples, judged=False)

    def _augmented(self, state: State) -> State:
        if self.method.augmentation is None:
            return state
        (train, labels), (valid, others) = state.train, state.valid
        train, valid = (self.method.augmentation(images, state) for images in (train, valid))
        return replace(state, train=(train, labels), valid=(valid, others))

    def _span(self) -> tuple[int, int]:
        """The epochs between which schedules and learning rate run: stages that inherit join."""
        first = last = self.stage
        while self.stages[first].inherit and first > 0:
            first -= 1
        while last + 1 < len(self.stages) and self.stages[last + 1].inherit:
            last += 1
        return self.bounds[first], self.bounds[last + 1]

    def _progress(self, epoch: float) -> float:
        first, last = self._span()
        return min(1.0, (epoch - first) / (last - first))

    def _resting(self, epoch: float) -> bool:
        first, last = self.bounds[self.stage], self.bounds[self.stage + 1]
        return (epoch - first) / (last - first) < self.method.warm_up

    def _judge(self, metrics: dict[str, Any], callback: Callback) -> None:
        """What the guard and the stopping rule say after an epoch."""
        mode = self.config.guard
        begun = self.monitor.guard.begun(self.metrics) if mode != "off" else []
        if begun:
            metrics["warnings"] = [finding.sentence for finding in begun]
            metrics["warning_kinds"] = [finding.kind for finding in begun]
        for finding in begun:
            callback.warning(f"epoch {self.done}: {finding.sentence}")
        collapse = [finding.sentence for finding in begun if finding.collapse]
        if collapse and mode in ("stop", "rollback"):
            healthy = max(1, self.monitor.guard.last_healthy(self.metrics))
            back = healthy if mode == "rollback" else self.done
            self.verdict = Verdict("; ".join(collapse), back, final=True)
        elif self.method.stopping is not None and not self._recovered_fully():
            self.verdict = self.method.stopping(self.metrics)

    def recover(self, callback: Callback) -> None:
        """Go back to the epoch of the verdict with more weight decay, if the method does so."""
        verdict = self.verdict
        if self.method.recovery is None or verdict is None or verdict.final:
            return
        back, more = max(verdict.epoch, self.recovered), self._more_decay(self.method.recovery)
        self.records.return_to(self, back)
        self.leg.weight_optimizer.param_groups[0]["weight_decay"] = more
        self.verdict, self.recovered = None, back
        self.records.save(self, again=True)
        callback.went_back(back)
        callback.warning(f"{verdict.reason}; back to epoch {back}, weight decay {more:g}")

    def _more_decay(self, recovery: Recovery) -> float:
        decay: float = self.leg.weight_optimizer.param_groups[0]["weight_decay"]
        return max(decay, min(decay * recovery.factor, recovery.cap))

    def _recovered_fully(self) -> bool:
        """Whether the weight decay is as large as recoveries may make it."""
        recovery, (group,) = self.method.recovery, self.leg.weight_optimizer.param_groups
        return recovery is not None and self._more_decay(recovery) == group["weight_decay"]

    def _check(self, meter: Meter, epoch: int, last: bool = False) -> None:
        bad = meter.first_bad(last)
        if bad is not None:
            raise self._diverged(bad[0], epoch, bad[1] + 1)

    def _diverged(self, what: str, epoch: int, step: int) -> Diverged:
        return Diverged(
            f"{what} became infinite or not a number in epoch {epoch + 1}, step {step}; "
            f"{self.records.last_good(self)}. Try a learning rate below "
            f"{self.config.learning_rate}, a gradient clip below {self.config.clip}, or look for "
            "extreme values in the data"
        )

    def selected(self) -> SearchResult:
        """The result; what a selection took for it is a line beside those of the epochs."""
        started, before = time.perf_counter(), self.leg.net.spent
        result = self.result()
        if self.records.run is not None and self.method.selection is not None:
            took = round(time.perf_counter() - started, 3)
            line = {"spent": result.spent - before, "seconds": took}
            write(self.records.run.path / SELECTION, json.dumps(line) + "\n")
        return result

    def result(self) -> SearchResult:
        """The architecture of the last alpha, or of the verdict's epoch."""
        groups, alpha = self.leg.space.groups, self.leg.net.alpha
        if self.verdict is not None and self.verdict.epoch != self.done:
            groups, alpha = self.records.alpha_of(self, self.verdict.epoch)
        if self.method.selection is not None:
            cells = self.method.selection(Tuning(self))
        else:
            with torch.no_grad():
                cells = self.method.discretization(alpha, replace(self.state(), groups=groups))
        return SearchResult(
            Architecture(space=self.space.name, cells=cells),
            self.space,
            self.method,
            self.config,
            {name: value.detach().cpu().clone() for name, value in alpha.items()},
            self.metrics,
            self.records.run.path if self.records.run else None,
            None if self.verdict is None else self.verdict.reason,
            self.leg.net.model.cpu() if self.space.input_shape is None else None,
            spent=self.leg.net.spent,
            undecided=undecided(self, self.verdict.epoch if self.verdict else self.done),
            replay=self.records.replay(),
        )
