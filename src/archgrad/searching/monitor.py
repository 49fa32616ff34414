"""Diagnostics of a running search: what is measured after an epoch, and the guard that reads it.

All are measured in the same way for every method and space, on stated subsets, at epochs set by
counted passes: see `Monitor.plan`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from archgrad.architecture import Architecture
from archgrad.costing.cost import Cost, cost
from archgrad.data.own import LoaderBatches
from archgrad.errors import noted
from archgrad.networks.mixing import Mixing, one_hot
from archgrad.networks.supernet import Alpha
from archgrad.parts.derivatives import OnceDifferentiable, detached
from archgrad.parts.state import State
from archgrad.parts.weight_gradient import layer_gradients
from archgrad.searching import diagnostics
from archgrad.searching.cadence import (
    FORWARD,
    GRADIENT,
    HESSIAN_VECTOR,
    Cadence,
    Diagnostic,
    cadence,
    regular,
)
from archgrad.searching.decided import MOVED, decided_nothing
from archgrad.searching.guard import Guard
from archgrad.searching.loaders import several
from archgrad.searching.timeleft import Outlook
from archgrad.spaces import SearchSpace
from archgrad.tensors.trees import cut, size

if TYPE_CHECKING:
    from archgrad.searching.bilevel import BilevelSearch

ITERATIONS = 10  # of the Lanczos iteration: within a few percent on a supernet (a test)
SUBSET = 16  # batches of alpha's half for the discretization gap
BUDGET = 0.05  # of the passes of a search
RANDOM_CELLS = 39  # for the percentiles of cost; the middle 95 % needs at least 20


class Monitor:
    """Measures a search after each epoch. `plan` says when, and which part of its passes.

    - `discrete_accuracy`: the supernet with the derived cells' operations alone, on the first 16
      batches of alpha's half; its gap to `valid_accuracy` is the discretization gap;
    - `watch_accuracy`: on the part that neither weights nor alpha see, all of it; these three
      have the name of another metric where the task has one, as `valid_perplexity`;
    - `eigenvalue`: of the Hessian of L_val over alpha, on the first half batch of alpha's half
      (half, so that it needs no more memory than a step), at least two epochs apart;
    - `layer_alignment`: on the first batch of the weights' half of that epoch.

    Without passes: `moved`, how far the strength of any candidate is from where its stage began,
    as a share of the mean of its edge (`undecided`).

    Costs beside passes: `parameters_percentile` and `multiply_adds_percentile` compare the
    derived cells with 39 random ones, without computing a network.
    """

    def __init__(self, search: BilevelSearch) -> None:
        config, loaders = search.config, search.loaders
        self.guard = Guard.of(config.epochs, search.leg.space.groups)
        steps = max(1, len(loaders.train))
        needed = dict(getattr(search.method.stopping, "reads", {}))
        found = {
            "discrete_accuracy": Diagnostic(FORWARD * min(SUBSET, len(loaders.check))),
            "layer_alignment": Diagnostic(GRADIENT),
            "eigenvalue": Diagnostic(ITERATIONS * HESSIAN_VECTOR / 2, needed.get("eigenvalue", 2)),
        }
        if loaders.watch is not None:
            found["watch_accuracy"] = Diagnostic(FORWARD * len(loaders.watch))
        wanted = found if config.guard != "off" else {k: v for k, v in found.items() if k in needed}
        self.plan: Cadence = cadence(
            wanted,
            epochs=config.epochs,
            steps=steps,
            gradients=1 + 1 / search.method.interval,
            budget=BUDGET,
        )
        for name in needed:  # a stopping rule needs its readings, whatever they cost
            self.plan.epochs[name] = regular(config.epochs, needed[name])

    def outlook(self, search: BilevelSearch) -> Outlook:
        """What the epochs will be like, for a guess of the time that is left."""
        method, epochs = search.method, range(1, search.config.epochs + 1)
        planned = self.plan.epochs.items()
        due = (frozenset(name for name, at in planned if epoch in at) for epoch in epochs)
        return Outlook(
            tuple(search.bounds),
            method.warm_up,
            method.interval,
            tuple(due),
            method.selection is not None,
        )

    def price(self) -> str | None:
        """What the diagnostics cost where that is much for the length of the search."""
        if self.plan.share <= BUDGET:
            return None
        epochs = ", ".join(map(str, self.plan.epochs.get("eigenvalue", ())))
        return (
            f"diagnostics take {self.plan.share:.0%} of the passes of so short a search "
            f"(eigenvalue after epochs {epochs}); --guard off leaves them out"
        )

    def measure(self, search: BilevelSearch, epoch: int) -> dict[str, Any]:
        """The metrics of the epoch that has just been done, counted from 1.

        The search's random state and that of its loaders are left as they are: what is measured
        changes no result.
        """
        states = search.loaders.state_dict()
        devices = [search.device] if search.device.type == "cuda" else []
        with torch.random.fork_rng(devices), noted(f"in the diagnostics after epoch {epoch}"):
            found = self._measure(search, epoch)
        search.loaders.load_state_dict(states)
        return found

    def evaluate(self, search: BilevelSearch) -> tuple[float, float]:
        """Loss and accuracy on alpha's half, with typical mixing weights."""
        search.leg.net.evaluation_mode()
        batches = several(search.loaders.check.epoch(0))
        return search.leg.net.evaluate(_typical(search, search.state()), batches)

    def touch(self, search: BilevelSearch) -> None:
        """What needs most memory of all that is planned, once: a plan of the search asks."""
        state, net = search.state(), search.leg.net
        net.model.train()
        if "layer_alignment" in self.plan.epochs:
            train = next(several(search.loaders.train.epoch(0)))
            _alignment(search, _typical(search, state), replace(state, train=train))
        if "eigenvalue" in self.plan.epochs:
            _eigenvalue(search, net.alpha, replace(state, sample=False), iterations=1)

    def _measure(self, search: BilevelSearch, epoch: int) -> dict[str, Any]:
        state, alpha = search.state(), search.leg.net.alpha
        loss, right = self.evaluate(search)
        net, task = search.leg.net, search.leg.net.task
        mixing = _typical(search, state)
        with torch.no_grad():
            strength = state.strength(alpha)
            cells = search.method.discretization(alpha, state)
        search.strength = strength
        search.derived = Architecture(space=search.space.name, cells=cells)
        found: dict[str, Any] = {
            "valid_loss": loss,
            f"valid_{task.name}": task.written(right),
            "entropy": diagnostics.entropy(strength),
            "moved": diagnostics.moved(search.start, strength),
            "operations": max(group.shape[1] for group in state.groups),
            "classes": search.space.classes,
            "skip_share": diagnostics.skip_share(cells),
            "parameter_free_share": diagnostics.parameter_free_share(cells),
            "skips": diagnostics.skip_counts(cells),
            "ranking": diagnostics.ranking(strength, state.groups),
        }
        due = {name for name, epochs in self.plan.epochs.items() if epoch in epochs}
        if "discrete_accuracy" in due:
            some = islice(several(search.loaders.check.epoch(0)), SUBSET)
            single = one_hot(state.groups, cells, strength)
            found[f"discrete_{task.name}"] = task.written(net.evaluate(single, some)[1])
        if "watch_accuracy" in due and search.loaders.watch is not None:
            batches = several(search.loaders.watch.epoch(0))
            found[f"watch_{task.name}"] = task.written(net.evaluate(mixing, batches)[1])
            found[f"watch_{task.measure.over}"] = search.loaders.watch_images
        net.model.train()
        if "layer_alignment" in due:
            train = next(several(search.loaders.train.epoch(epoch - 1)))
            found["layer_alignment"] = _alignment(search, mixing, replace(state, train=train))
        if "eigenvalue" in due:
            try:
                value = _eigenvalue(search, alpha, replace(state, sample=False), ITERATIONS)
            except OnceDifferentiable:
                if "eigenvalue" in getattr(search.method.stopping, "reads", {}):
                    raise
                value = math.nan
            found |= {"eigenvalue": value} if math.isfinite(value) else {}
        if search.config.guard != "off" and search.space.input_shape:
            found |= self._cost(search, search.derived)
        return found

    def _cost(self, search: BilevelSearch, derived: Architecture) -> dict[str, float]:
        """Where the derived cells stand among random ones of the space."""
        random = _random_costs(search.space)
        own = cost(search.space, derived)
        return {
            f"{what}_percentile": diagnostics.percentile(
                getattr(own, what), [getattr(one, what) for one in random]
            )
            for what in ("parameters", "multiply_adds")
        }


def undecided(search: BilevelSearch, epoch: int) -> str | None:
    """That alpha, as it was after an epoch, had hardly moved, and what to do; None where it had.

    A search is judged that moves alpha and derives from it, and that has something to choose.
    """
    method = search.method
    line = next((line for line in search.metrics if line["epoch"] == epoch), {})
    open_groups = [group for group in search.leg.space.groups if group.shape[1] > group.picks]
    if method.selection is not None or "alpha_loss" not in line or not open_groups:
        return None
    sentence = decided_nothing(line.get("moved", MOVED))
    if sentence is None:
        return None
    rate = search.leg.arch_optimizer.param_groups[0]["lr"]
    return (
        f"{sentence}; search for more epochs, or raise alpha's learning rate, here "
        f"{rate:g}, as by --method-option alpha_learning_rate={10 * rate:g} (in Python "
        f'method_options={{"alpha_learning_rate": {10 * rate:g}}})'
    )


@lru_cache(maxsize=8)
def _random_costs(space: SearchSpace) -> tuple[Cost, ...]:
    generator = torch.Generator().manual_seed(0)
    architectures = [space.random_architecture(generator) for _ in range(RANDOM_CELLS)]
    return tuple(cost(space, architecture) for architecture in architectures)


@torch.no_grad()
def _typical(search: BilevelSearch, state: State) -> Mixing:
    """The mixing weights without a draw."""
    return state.relaxation(search.leg.net.alpha, replace(state, sample=False))


def _alignment(search: BilevelSearch, mixing: Mixing, state: State) -> float:
    """Mean over the groups that have several cells."""
    whole = Mixing(mixing, mixing.edges)
    groups, slopes, _ = layer_gradients(search.leg.net, whole, state)
    found = [
        diagnostics.layer_alignment([torch.cat([slopes[i].flatten() for i in c]) for c in cells])
        for cells in groups
        if len(cells) > 1
    ]
    return sum(found) / len(found) if found else 1.0


def _eigenvalue(search: BilevelSearch, alpha: Alpha, state: State, iterations: int) -> float:
    """Where one path alone is computed, that of the mixture its probabilities stand for."""
    batch = next(several(search.loaders.check.epoch(0)))
    if not isinstance(search.loaders.check, LoaderBatches):  # whose batches may be of any structure
        batch = cut(batch, max(2, size(batch) // 2))
    weights = detached(search.leg.net.weights)

    def loss(moving: Alpha) -> torch.Tensor:
        mixing = state.relaxation(moving, state)
        if mixing.active:
            mixing = Mixing(state.strength(moving))
        return state.loss(mixing, batch, weights)

    generator = torch.Generator().manual_seed(0)
    return diagnostics.dominant_eigenvalue(loss, alpha, iterations=iterations, generator=generator)
