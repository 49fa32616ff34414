"""A user's own model as a search space: choices anywhere in any module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from archgrad.architecture import Architecture, Cell
from archgrad.errors import ArchgradError, unknown
from archgrad.networks.choice import Choice, Edge, Group
from archgrad.networks.choices import replaced
from archgrad.settings.config import OWN
from archgrad.task import Task
from archgrad.tensors.trees import cut, moved, size


class OwnModel:
    """A model with choices; it is copied, never changed.

    Every name of a choice is a group with one row, so an architecture has a cell a name, with one
    node and an edge for each candidate that is kept. `groups` come in the order of the model.
    """

    name = OWN
    classes = None
    input_shape = None

    def __init__(self, model: nn.Module) -> None:
        for place, parameter in model.named_parameters():
            if is_lazy(parameter):
                raise ArchgradError(
                    f"parameter {place} of the model has no shape yet; run the model once on a "
                    "batch, or give the sizes instead of a lazy module"
                )
        self.model = copy.deepcopy(model)
        self.example: tuple[Task, Any] | None = None  # a batch, and how the model is called with it
        for place, module in self.model.named_modules():
            if isinstance(module, Choice) and not module.group:
                module.group = place or "choice"
        self.groups = _groups(self.model)

    @classmethod
    def with_example(
        cls, model: nn.Module, example: Any, forward: Callable[..., Any] | None = None
    ) -> OwnModel:
        """A space that knows what its model costs.

        `example`: an input tensor, or a batch as the data have it, (input, target) or what
        `forward(model, batch)` takes.
        """
        if isinstance(example, Tensor) and forward is None:
            example = (example, None)
        made = cls(model)
        made.example = Task.of(None, None, forward), example
        return made

    def run(self, model: nn.Module, device: torch.device, batch: int) -> int:
        """Call a derived model with the first examples; how many there were."""
        if self.example is None:
            raise ArchgradError(
                "the cost of an own model is that of calling it, and no example is known; give one "
                "as example=, a batch as the data have them"
            )
        task, given = self.example
        some = moved(cut(given, batch), device)
        task.forward(model, some)
        return size(some)

    @property
    def cells(self) -> NoReturn:
        """Asked for where a method makes the supernet deeper."""
        raise ArchgradError(
            "this method searches with a growing number of cells, which an own model does not "
            "have; use another method, or its stages without more cells"
        )

    def supernet(self, edges: Sequence[Edge] = ()) -> nn.Module:
        """A copy of the model, its weights as they are."""
        if edges:
            names = ", ".join(type(edge).__name__ for edge in edges)
            raise ArchgradError(
                f"this method puts parts around the candidates of an edge ({names}) that must know "
                "its channels, and a choice of an own model does not say them; use another method"
            )
        return copy.deepcopy(self.model)

    def derive(
        self, architecture: Architecture, auxiliary: bool = False, model: nn.Module | None = None
    ) -> Any:
        """The model with what was chosen in place of its choices.

        Weights are those of `model`, a trained supernet, or of the model as it was given.
        """
        if auxiliary:
            raise ArchgradError("an own model has no auxiliary head; use an auxiliary weight of 0")
        self.validate(architecture)
        made = copy.deepcopy(self.model if model is None else model)
        kept = {cell.name: cell.operations for cell in architecture.cells}
        while choices := [m for m in made.modules() if isinstance(m, Choice)]:
            outer = choices[0]  # candidates that are not chosen go with all choices inside them
            if outer.group not in kept:
                raise self._undecided(kept)
            made = replaced(made, {id(outer): outer.chosen(kept[outer.group])})
        return made

    def validate(self, architecture: Architecture) -> None:
        """Refuse an architecture of another model, with what differs.

        Choices inside a candidate that is not chosen need not be decided.
        """
        groups = {group.name: group for group in self.groups}
        if architecture.space != self.name:
            raise ArchgradError(
                f"the architecture is of space {architecture.space}, not of an own model"
            )
        decided = {cell.name for cell in architecture.cells}
        if not decided <= groups.keys():
            raise self._undecided(decided)
        for cell in architecture.cells:
            group, (names,) = groups[cell.name], groups[cell.name].candidates
            for operation in cell.operations:
                if operation not in names:
                    raise unknown(f"candidate of choice {cell.name}", operation, names)
            if len(cell.nodes) != 1 or len(cell.operations) != group.picks:
                raise ArchgradError(
                    f"choice {cell.name} keeps {list(cell.operations)}; expected {group.picks} of "
                    f"{list(names)}"
                )

    def _undecided(self, decided: Iterable[str]) -> ArchgradError:
        return ArchgradError(
            f"the architecture decides {sorted(decided)}; expected the choices of this model, "
            f"{sorted(group.name for group in self.groups)}"
        )

    def sized(self, channels: int | None = None, cells: int | None = None) -> OwnModel:
        """An own model has the size it has."""
        if channels is not None or cells is not None:
            raise ArchgradError("an own model has one size; leave out channels and cells")
        return self

    def restricted(self, candidates: Mapping[str, Sequence[Iterable[str]]]) -> OwnModel:
        """With these candidates alone: group name -> their names, row by row."""
        made = OwnModel(self.model)
        for choice in _choices(made.model):
            (row,) = candidates[choice.group]
            choice.restrict(list(row))
        made.groups = _groups(made.model)
        return made

    def without(self, operations: Collection[str]) -> OwnModel:
        """Without candidates of these names."""
        left = {g.name: [[n for n in g.candidates[0] if n not in operations]] for g in self.groups}
        for name, (row,) in left.items():
            if not row:
                raise ArchgradError(
                    f"this method does not offer {sorted(operations)}, and choice {name} has no "
                    "other candidates; add one, or use another method"
                )
        return self.restricted(left)

    def random_architecture(self, generator: torch.Generator) -> Architecture:
        """Uniform: any candidates of each choice, as many as it keeps."""
        cells = []
        for group in self.groups:
            (names,) = group.candidates
            order = torch.randperm(len(names), generator=generator)[: group.picks].sort().values
            cells.append(_cell(group, [names[i] for i in order.tolist()]))
        return Architecture(space=self.name, cells=tuple(cells))


def _cell(group: Group, names: Sequence[str]) -> Cell:
    edges = tuple((name, 0) for name in names)
    return Cell(name=group.name, inputs=1, nodes=(edges,), output=(1,))


def _choices(model: nn.Module) -> list[Choice]:
    return [module for module in model.modules() if isinstance(module, Choice)]


def _groups(model: nn.Module) -> tuple[Group, ...]:
    found: dict[str, Choice] = {}
    for choice in _choices(model):
        first = found.setdefault(choice.group, choice)
        if (first.names, first.picks) != (choice.names, choice.picks):
            raise ArchgradError(
                f"two choices are called {choice.group}, one keeps {first.picks} of the candidates "
                f"{list(first.names)}, one {choice.picks} of {list(choice.names)}; choices of one "
                "name are decided together, so give them the same candidates, or other names"
            )
    if not found:
        raise ArchgradError(
            f"this {type(model).__name__} has no choices; put an archgrad.Choice in it, or use "
            "archgrad.insert_choices"
        )
    return tuple(
        Group(name, 1, ((0, 1),), (choice.names,), keep_none=True, picks=choice.picks,
              edges_per_node=None)
        for name, choice in found.items()
    )  # fmt: skip
