"""A model with choices, its architecture parameters alpha, and the losses a search needs of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from archgrad.errors import ArchgradError
from archgrad.kernels.division import Division, computing, spread
from archgrad.networks.choice import Choice, Group, Row
from archgrad.networks.counting import Count, counted
from archgrad.networks.mixing import Mixing
from archgrad.networks.operations import statistics
from archgrad.system.loops import first_infinite
from archgrad.task import CLASSIFICATION, Model, Task
from archgrad.tensors.precision import Precision, autocast, full
from archgrad.tensors.slots import Slots
from archgrad.tensors.trees import describe, size, tensors

Alpha = Mapping[str, Tensor]  # group name -> (edges, operations), and what a relaxation adds
Initial = Callable[[Mapping[str, tuple[int, ...]], torch.Generator | None], dict[str, Tensor]]
Weights = Mapping[str, Tensor]  # parameter name -> tensor
Batch = Any  # (images, labels), or what a `Task` understands


@dataclass(frozen=True)
class Normal:
    """Alpha starts as scale N(0, 1); 1e-3 in the original code.

    >>> import archgrad
    >>> from archgrad.networks.supernet import Normal
    >>> archgrad.Method(initial=Normal(0.01)).filled()
    {'initial': 'Normal(scale=0.01)'}
    """

    scale: float = 1e-3

    def __call__(
        self, shapes: Mapping[str, tuple[int, ...]], generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        return {n: self.scale * torch.randn(s, generator=generator) for n, s in shapes.items()}


class Supernet:
    """A model whose choices are run with mixing weights.

    Alpha lives here, in `alpha`, and never among the parameters of the model: no weight decay,
    clipping or weight optimizer can reach it. `weights`: the parameters that require a gradient,
    which a search trains; others stay as they are. `initial` makes alpha's first values from the
    shapes of the groups and of `extra`, what the relaxation has beside the weights of candidates,
    with the random numbers of `generator`. `task`: loss and metric, and how the model is called
    with a batch. `precision`: of every forward pass, see `archgrad.tensors.precision.autocast`.
    `spent`: with `counting` the multiply-adds of all passes so far, see
    `archgrad.networks.counting`; supernets that are `known_as` the same are counted once.

    `archgrad.search` makes it; by hand it is for a loop of your own. Raises `ArchgradError` for a
    model without choices, and for choices that do not fit the `groups`.

    >>> import archgrad, torch
    >>> space = archgrad.space("nas-bench-201", channels=4, cells=1, in_channels=1)
    >>> net = archgrad.Supernet(space.supernet(), space.groups)
    >>> {name: tuple(alpha.shape) for name, alpha in net.alpha.items()}
    {'cell': (6, 5)}
    >>> mixing = {name: alpha.softmax(-1) for name, alpha in net.alpha.items()}
    >>> net.forward(mixing, torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        *,
        task: Task = CLASSIFICATION,
        initial: Initial = Normal(),
        extra: Mapping[str, tuple[int, ...]] | None = None,
        precision: Precision = "float32",
        counting: bool = False,
        known_as: Hashable | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.model = model
        self.groups = tuple(groups)
        self.task, self.precision = task, precision
        self.counting, self.known_as, self.spent = counting, known_as, 0
        self.count: Count | None = None  # known after the first pass
        self.choices = [module for module in model.modules() if isinstance(module, Choice)]
        shapes = {group.name: group.shape for group in groups}
        if len(shapes) < len(self.groups):
            raise ArchgradError(f"groups {[g.name for g in groups]} must have different names")
        if not self.choices:
            raise ArchgradError("the model has no choices; put at least one archgrad.Choice in it")
        for choice in self.choices:
            edges, operations = shapes.get(choice.group, (0, 0))
            if not 0 <= choice.row < edges or len(choice.names) != operations:
                raise ArchgradError(
                    f"choice {choice.group}[{choice.row}] with {len(choice.names)} candidates "
                    f"does not fit the groups {shapes}"
                )
        parameters = dict(model.named_parameters())
        self.weights: dict[str, Tensor] = {n: p for n, p in parameters.items() if p.requires_grad}
        self.slots = Slots(model)
        buffers = {name: self.slots.buffer(name) for name in self.slots.buffers}
        self.finite = [n for n, b in buffers.items() if b.is_meta or not first_infinite({n: b})]
        self.device = next((p.device for p in parameters.values()), torch.device("cpu"))
        start = initial({**shapes, **(extra or {})}, generator)
        self.alpha: dict[str, Tensor] = {
            name: value.to(self.device).requires_grad_() for name, value in start.items()
        }
        self.moving = [module for module in model.modules() if hasattr(module, "progress")]

    def advance(self, progress: float) -> None:
        """Tell the modules that change in the course of a search: `progress` in [0, 1]."""
        for module in self.moving:
            setattr(module, "progress", progress)  # noqa: B010

    def forward(
        self,
        mixing: Mapping[str, Tensor] | Sequence[Row],
        inputs: Tensor,
        weights: Weights | None = None,
        *,
        update_statistics: bool = False,
    ) -> Tensor:
        """The model's output, with its own weights or the given ones; float32 at least.

        `mixing` holds the weights by group, (edges, operations), or one `Row` a choice where cells
        shall differ; `inputs`: what the model is called with, (B, ...); `weights`: parameter name
        -> tensor.

        Unless `update_statistics`, buffers such as BatchNorm's running statistics are left
        as they are: the model works on copies.
        """
        output: Tensor = self._run(mixing, _called, inputs, weights, update_statistics)
        return output

    def outputs(
        self,
        mixing: Mapping[str, Tensor] | Sequence[Row],
        batch: Batch,
        weights: Weights | None = None,
        *,
        update_statistics: bool = False,
    ) -> tuple[Any, Any]:
        """Output and target of a batch, as the task has them; else as `forward`.

        Raises `ArchgradError` where the task's `forward` returns no pair.
        """
        found = self._run(mixing, self.task.forward, batch, weights, update_statistics)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise ArchgradError(f"forward returned {describe(found)}; expected (output, target)")
        return found[0], found[1]

    def _run(
        self,
        mixing: Mapping[str, Tensor] | Sequence[Row],
        call: Callable[[Model, Batch], Any],
        batch: Batch,
        weights: Weights | None,
        update_statistics: bool,
    ) -> Any:
        if isinstance(mixing, Mapping):
            rows = (mixing if isinstance(mixing, Mixing) else Mixing(mixing)).rows(self.choices)
        else:
            rows = list(mixing)
        if self.counting and self.count is None:
            self.count = counted(self, call, batch)  # before the pass: a stream remembers the last
        division = Division.of(batch)
        computed = list(self._computed(rows))
        given = {name: weights[name] for name in computed if name in weights} if weights else {}
        if division is not None:
            whole = {name: self.weights[name] for name in computed if name in self.weights}
            given, rows = _spread({**whole, **given}, rows)
        for choice, row in zip(self.choices, rows, strict=True):
            choice.mixing = row
        try:
            if not update_statistics:
                kept = self.slots
                given |= {n: kept.buffer(n).clone() for n in computed if n in kept.buffers}
            placed = self.slots.everywhere(given)

            def model(*inputs: Any, **options: Any) -> Any:
                # Not tied by `functional_call`: it would swap a module that is registered twice
                # twice, and leave the given tensors in it.
                return functional_call(self.model, placed, inputs, options, tie_weights=False)

            inside = autocast(self.precision, self.device), computing(division)
            with inside[0], inside[1], statistics(kept=update_statistics):
                found = call(model, batch if division is None else division.part(batch))
        finally:
            for choice in self.choices:
                choice.mixing = None  # a model that holds no graph can be copied and saved
        if self.counting and self.count is not None:
            graph = torch.is_grad_enabled()  # without, weights among the outputs need none
            backward = graph and any(tensor.requires_grad for tensor in tensors(found))
            self.spent += self.count.spent(rows, size(batch), backward)
        found = full(found)
        return found if division is None else division.whole(found)

    def _computed(self, rows: Sequence[Row]) -> Iterator[str]:
        """Names of the parameters and buffers of what is computed with these rows.

        So that a single path costs what it computes, however many candidates it was chosen from.
        """
        common, own = self._names
        yield from common
        for row, names in zip(rows, own, strict=True):
            if row.active is None:
                yield from chain.from_iterable(names)
            else:
                yield from chain.from_iterable(names[i] for i in {*row.active, *row.watched})

    @cached_property
    def _names(self) -> tuple[list[str], list[list[list[str]]]]:
        """Parameters and buffers outside the candidates; those of each candidate of each choice.

        Where tensors have several names, all of them count as outside.
        """
        names = [*self.weights, *self.slots.buffers]
        if self.slots.tied:
            return names, [[[] for _ in choice.candidates] for choice in self.choices]
        places = {id(m): name for name, m in self.model.named_modules()}
        own = [
            [
                [f"{places[id(c)]}.{n}" for n, _ in chain(c.named_parameters(), c.named_buffers())]
                for c in choice.candidates
            ]
            for choice in self.choices
        ]
        inside = {name for choice in own for names in choice for name in names}
        return [name for name in names if name not in inside], own

    def evaluation_mode(self) -> None:
        """Evaluate like the alpha step sees the model: BatchNorm by batch statistics.

        The paper does so throughout the search; running statistics lag behind on short searches.
        """
        self.model.eval()
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train()

    def loss(
        self, mixing: Mixing | Sequence[Row], batch: Batch, weights: Weights | None = None
    ) -> Tensor:
        """The scalar loss of a batch; running statistics stay as they are."""
        return self.task.minimized(*self.outputs(mixing, batch, weights))

    @torch.no_grad()
    def metric(self, mixing: Mixing | Sequence[Row], batch: Batch) -> float:
        """The task's metric on a batch, higher is better; running statistics stay."""
        output, target = self.outputs(mixing, batch)
        found = self.task.reported(output, target)
        if found is None:
            return -float(self.task.minimized(output, target))
        return float(found)

    @torch.no_grad()
    def evaluate(
        self, mixing: Mixing | Sequence[Row], batches: Iterable[Batch]
    ) -> tuple[float, float]:
        """Mean loss and metric over all examples; see `Task.evaluate`."""
        return self.task.evaluate(lambda batch: self.outputs(mixing, batch), batches)

    @cached_property
    def parameters_of_candidates(self) -> dict[str, list[str]]:
        """Candidate of one choice, by its place in the model -> the names of its parameters."""
        places = {id(m): name for name, m in self.model.named_modules()}
        found = {}
        for choice in self.choices:
            for candidate in choice.candidates:
                place = places[id(candidate)]
                names = [f"{place}.{name}" for name, _ in candidate.named_parameters()]
                names = [name for name in names if name in self.weights]  # tied: another's
                if names:
                    found[place] = names
        return found


def _spread(weights: Weights, rows: Sequence[Row]) -> tuple[dict[str, Tensor], list[Row]]:
    """Weights and rows as inputs of this process's part of a pass."""
    edges = [row.edge for row in rows if row.edge is not None]
    found = iter(spread([*weights.values(), *(row.weights for row in rows), *edges]))
    given = {name: next(found) for name in weights}
    mixed = [row._replace(weights=next(found)) for row in rows]
    return given, [row if row.edge is None else row._replace(edge=next(found)) for row in mixed]


def _called(model: Model, inputs: Tensor) -> Any:
    return model(inputs)
