"""The two gradients of a search step, computed as they are or recorded as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from archgrad.networks.choice import Row
from archgrad.networks.mixing import Mixing
from archgrad.networks.supernet import Alpha, Batch, Supernet
from archgrad.parts.derivatives import leaves
from archgrad.parts.hypergradient import Estimate, at_rest
from archgrad.parts.state import State
from archgrad.searching.graphs import Graphed, Recorder, Result, Tensors
from archgrad.system.loops import random_state

# What a state says that changes from step to step without being a tensor.
CHANGING = {
    "progress": "the progress of the search",
    "seed": "the seed of the step",
    "step": "the number of the step",
    "memory": "what is kept from step to step",
    "valid_gradient": "a gradient of another pass",
}


UNLIKE = "a batch is not a pair of tensors"


class Learned(NamedTuple):
    """Loss, metric (None without one), and the gradient of the weights by name, None if unused.

    `examples`: in the batch.
    """

    loss: Tensor
    metric: Tensor | None
    gradient: dict[str, Tensor | None]
    examples: int


class Passes:
    """The hypergradient of alpha and the gradient of the weights, of one supernet.

    With a `recorder` each is recorded, where all that it depends on are tensors that stay where
    they are: not where the hypergradient or the relaxation looks at what changes from step to step
    (a draw looks at the seed), where the forward pass draws random numbers, where modules change
    with the progress, or where some candidates alone are computed. `notes` says so.
    """

    def __init__(
        self,
        net: Supernet,
        hypergradient: Callable[[Alpha, State], Estimate | None],
        recorder: Recorder | None = None,
    ) -> None:
        self.net, self.hypergradient = net, hypergradient
        self.state: State | None = None  # of the present estimate
        self.alpha: Graphed[Estimate | None] | None = None
        self.weights: Graphed[Learned] | None = None
        if recorder is not None:
            recorder = Counting(recorder, net)
            if hypergradient is not at_rest:
                self.alpha = Graphed("alpha's step", self._estimate, self._try_estimate, recorder)
            self.weights = Graphed("the weights' step", self._learn, self._try_learn, recorder)
            for graphed in (self.alpha, self.weights) if net.moving else ():
                if graphed is not None:
                    graphed.give_up("modules of the network change with the progress of the search")

    @property
    def notes(self) -> list[str]:
        """Why what shall be recorded is not, a line each."""
        return [g.note for g in (self.alpha, self.weights) if g is not None and g.note is not None]

    def estimate(self, state: State) -> Estimate | None:
        """The hypergradient. Where it is recorded, the next one overwrites it."""
        if self.alpha is not None and not (_pair(state.train) and _pair(state.valid)):
            self.alpha.give_up(UNLIKE)
        if self.alpha is None or self.alpha.note is not None:
            return self.hypergradient(self.net.alpha, state)
        if self.state is not None and state.relaxation is not self.state.relaxation:
            self.alpha.forget()
        self.state, optimizer = state, state.optimizer
        device = state.train[0].device
        rate = torch.full((), float(optimizer.learning_rate), dtype=torch.float64, device=device)
        inputs = {"rate": rate}
        for part, batch in (("train", state.train), ("valid", state.valid)):
            inputs |= {f"{part} inputs": batch[0], f"{part} target": batch[1]}
        velocity = optimizer.velocity or {}
        return self.alpha(inputs, (optimizer.momentum, optimizer.weight_decay, len(velocity)))

    def learn(self, mixing: Mixing, batch: Batch) -> Learned:
        """The gradient of the weights on a batch; running statistics see it.

        Where it is recorded, the next one overwrites it.
        """
        if self.weights is not None and (mixing.active or mixing.watched):
            self.weights.give_up("only some candidates are computed, others in every step")
        if self.weights is not None and not _pair(batch):
            self.weights.give_up(UNLIKE)
        if self.weights is None or self.weights.note is not None:
            return self._gradient(mixing, batch)
        inputs = {"inputs": batch[0], "target": batch[1]}
        inputs |= {f"weights {name}": value for name, value in mixing.items()}
        inputs |= {f"edges {name}": value for name, value in mixing.edges.items()}
        return self.weights(inputs)

    def _estimate(self, given: Tensors) -> Estimate | None:
        return self.hypergradient(leaves(self.net.alpha), self._watched(given, strict=True))

    def _try_estimate(self, given: Tensors) -> tuple[Estimate | None, str | None]:
        state = self._watched(given, strict=False)
        found = self.hypergradient(leaves(self.net.alpha), state)
        return found, _looked_at(state.seen)

    def _watched(self, given: Tensors, strict: bool) -> Watched:
        """The present state with these batches and this learning rate."""
        assert self.state is not None
        kept = {f.name: getattr(self.state, f.name) for f in fields(State)}
        for part in ("train", "valid"):
            kept[part] = given[f"{part} inputs"], given[f"{part} target"]
        kept["optimizer"] = replace(self.state.optimizer, learning_rate=given["rate"])
        return Watched(**kept, strict=strict)

    def _learn(self, given: Tensors) -> Learned:
        mixing = Mixing(_below("weights", given), _below("edges", given))
        return self._gradient(mixing, (given["inputs"], given["target"]))

    def _try_learn(self, given: Tensors) -> tuple[Learned, str | None]:
        seen: set[str] = set()
        with _noting_noise(given["inputs"].device, seen):
            found = self._learn(given)
        return found, _looked_at(seen)

    def _gradient(self, mixing: Mixing, batch: Batch) -> Learned:
        # With leaves of its own: what PyTorch keeps beside a leaf remembers the stream of its first
        # use, and a recording must not wait for another stream.
        weights = leaves(self.net.weights)
        output, target = self.net.outputs(mixing, batch, weights, update_statistics=True)
        loss = self.net.task.minimized(output, target)
        metric = self.net.task.reported(output, target)
        metric = None if metric is None else metric.to(loss.device)
        examples = self.net.task.examples(batch, target)
        self.net.task.trained(loss, output).backward()
        gradient = {name: weight.grad for name, weight in weights.items()}
        return Learned(loss.detach(), metric, gradient, examples)


@dataclass(frozen=True)
class Counting:
    """A recorder after whose replays a supernet has spent what it did in the recording."""

    inner: Recorder
    net: Supernet

    def aside(self, run: Callable[[], Result]) -> Result:
        return self.inner.aside(run)

    def record(self, run: Callable[[], Result]) -> Callable[[], Result]:
        before = self.net.spent
        try:
            replay = self.inner.record(run)
            cost = self.net.spent - before
        finally:
            self.net.spent = before  # nothing was computed

        def counted() -> Result:
            self.net.spent += cost
            return replay()

        return counted


@dataclass(frozen=True)
class Watched(State):
    """A state that notes in `seen` when a part looks at what changes from step to step.

    `strict`: it refuses that instead, and seeds nothing, for what is recorded draws nothing.
    """

    seen: set[str] = field(default_factory=set)
    strict: bool = False

    def __getattribute__(self, name: str) -> Any:
        if name in CHANGING:
            if self.strict:
                raise RuntimeError(f"it depends on {CHANGING[name]}")
            self.seen.add(CHANGING[name])
        return super().__getattribute__(name)

    @contextmanager
    def _same_noise(self, mixing: Mixing | Sequence[Row]) -> Iterator[None]:
        if self.strict:
            yield
            return
        before = set(self.seen)
        with super()._same_noise(mixing):
            self.seen.intersection_update(before)  # it was not the part that looked at the seed
            with _noting_noise(self.train[0].device, self.seen):
                yield


@contextmanager
def _noting_noise(device: torch.device, seen: set[str]) -> Iterator[None]:
    """Note in `seen` whether torch's random numbers were drawn."""
    before = random_state(device)
    yield
    after = random_state(device)
    if any(not torch.equal(state, after[name]) for name, state in before.items()):
        seen.add("random numbers")


def _looked_at(seen: set[str]) -> str | None:
    return f"it depends on {' and '.join(sorted(seen))}" if seen else None


def _pair(batch: Any) -> bool:
    return (
        isinstance(batch, tuple | list)
        and len(batch) == 2
        and all(isinstance(part, Tensor) for part in batch)
    )


def _below(prefix: str, given: Tensors) -> Mapping[str, Tensor]:
    start = f"{prefix} "
    return {n.removeprefix(start): value for n, value in given.items() if n.startswith(start)}
