"""What every candidate of every choice of a space costs, place by place: tables that add up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from archgrad import untrusted
from archgrad.architecture import Architecture, Cell
from archgrad.costing.cost import cost, count_parameters
from archgrad.costing.walking import Given, Met, check_apart, walk
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Group
from archgrad.networks.counting import counting
from archgrad.networks.nesting import Path as Inside
from archgrad.networks.nesting import answering, followed, hollow
from archgrad.spaces import SearchSpace
from archgrad.spaces.own import OwnModel

Kind = Literal["parameters", "multiply_adds", "latency"]
FORMAT = "archgrad-cost-table/1"
MEASURE_OWN = "with archgrad.measure_latency(model, example=...) of the model of this run"
UNITS: dict[str, str] = {
    "parameters": "parameters", "multiply_adds": "multiply-adds", "latency": "ms"
}  # fmt: skip
CHECKED, CHECKED_OWN = 2, 8  # random networks whose costs are compared with the predicted ones


@dataclass(frozen=True)
class Place:
    """A choice as it is met in a forward pass, and what its candidates cost there.

    `place`: the name of the choice in the model; `shape`: of its input, with the batch;
    `costs`: operation -> cost, as in a derived network, without that of choices inside it;
    `spread`: of latencies, the interquartile range; `inside`: the candidates that hold this
    place, as (group, candidate) from the outside in: it costs something where all are chosen.
    """

    place: str
    group: str
    edge: int
    shape: tuple[int, ...]
    costs: dict[str, float]
    spread: dict[str, float] = field(default_factory=dict)
    inside: Inside = ()


def place_of(met: Met, costs: dict[str, float], spread: dict[str, float] | None = None) -> Place:
    """A place of a table, where a forward pass met a choice."""
    where = met.place, met.choice.group, met.choice.row, met.shape
    return Place(*where, costs, spread or {}, met.inside)


Rows = list[list[float]]  # (edges, operations)


@dataclass(frozen=True, eq=False)
class CostTable:
    """The cost of an architecture as a sum over its choices and a `fixed` rest.

    Choices inside candidates that are not chosen cost nothing.

    `kind`: exact parameters or multiply_adds (of one image), or a measured latency in ms;
    `edges`: (source, node) of each row of a group; `places`: what the candidates cost;
    `error`: of the prediction, mean absolute relative, over random derived networks;
    `about`: where, when and how a latency was measured.

    Where an architecture leaves a node out of a cell's output, later cells are narrower than the
    table knows, and the prediction is too large.
    """

    kind: Kind
    space: str
    fixed: float
    edges: dict[str, tuple[tuple[int, int], ...]]
    places: tuple[Place, ...] = field(repr=False)
    error: float = 0.0
    about: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def groups(self) -> dict[str, list[dict[str, float]]]:
        """Group name -> for each edge operation -> cost, summed over all places."""
        return self._summed(self.places)

    def _summed(self, places: Iterable[Place]) -> dict[str, list[dict[str, float]]]:
        found = {name: [dict[str, float]() for _ in edges] for name, edges in self.edges.items()}
        for place in places:
            row = found[place.group][place.edge]
            for name, value in place.costs.items():
                row[name] = row.get(name, 0.0) + value
        return found

    @cached_property
    def _by_path(self) -> dict[Inside, dict[str, list[dict[str, float]]]]:
        paths = dict.fromkeys(place.inside for place in self.places)
        return {path: self._summed(p for p in self.places if p.inside == path) for path in paths}

    def rows(self, group: Group) -> Rows:
        """The costs of a group's candidates, (edges, operations), summed over all places.

        The group may offer fewer candidates than the table knows. Raises `ArchgradError` where it
        offers one that the table does not know.
        """
        known = self.groups.get(group.name, [])
        for edge, names in enumerate(group.candidates):
            row = known[edge] if edge < len(known) else {}
            missing = [name for name in names if name not in row]
            if missing:
                raise ArchgradError(
                    f"the table of {self.kind} of space {self.space} has no {missing[0]} for edge "
                    f"{edge} of {group.name}; make the table for this space"
                )
        return _offered(known, group)

    def rows_by_path(self, group: Group) -> dict[Inside, Rows]:
        """The same apart, by the candidates of other choices that hold the places."""
        self.rows(group)
        found = {path: groups[group.name] for path, groups in self._by_path.items()}
        return {path: _offered(costs, group) for path, costs in found.items() if any(costs)}

    def predict(self, cells: Architecture | Iterable[Cell]) -> float:
        """The cost of an architecture: exact for parameters and multiply-adds."""
        cells = cells.cells if isinstance(cells, Architecture) else tuple(cells)
        chosen = {cell.name: cell.operations for cell in cells}
        run = [found for path, found in self._by_path.items() if followed(path, chosen)]
        return self.fixed + sum(self._chosen(cell, found) for found in run for cell in cells)

    def _chosen(self, cell: Cell, groups: Mapping[str, list[dict[str, float]]]) -> float:
        rows = dict(zip(self.edges[cell.name], groups[cell.name], strict=True))
        return sum(
            rows[source, node].get(operation, 0.0)
            for node, edges in enumerate(cell.nodes, start=cell.inputs)
            for operation, source in edges
        )

    def to_json(self) -> str:
        """Text that `load` reads back."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def load(cls, path: str | Path) -> CostTable:
        """Read a file that `to_json` wrote; `ArchgradError` for what is no such table."""
        try:
            values = untrusted.mapping_of_json(Path(path))
            if (found := values.pop("format", None)) != FORMAT:
                raise ValueError(f"format {found}, expected {FORMAT}")
            values["edges"] = {
                name: tuple((int(source), int(node)) for source, node in edges)
                for name, edges in values["edges"].items()
            }
            places = (_place(values) for values in values["places"])
            table = cls(**{**values, "places": tuple(places)})
            if table.kind not in UNITS or not table.groups:
                raise ValueError(f"kind {table.kind} of groups {[*table.groups]}")
            return table
        except (
            OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError,
        ) as error:  # fmt: skip
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ArchgradError(
                f"cost table {path} cannot be read: {reason}; expected a file as written by "
                "archgrad measure-latency"
            ) from None

    def check_fits(self, space: SearchSpace, origin: str) -> None:
        """Raise `ArchgradError` for a table of another space, or of this one at another size.

        `origin`: how the message calls the table, such as its file.
        """
        own = isinstance(space, OwnModel)
        if self.space != space.name:
            expected = "an own model" if own else space.name
            raise ArchgradError(
                f"{origin} is a table of space {self.space}, expected one of {expected}; make it "
                + (MEASURE_OWN if own else f"with archgrad measure-latency --space {space.name}")
            )
        made = f"{origin} was made for "
        made += "another model" if own else f"another size of space {space.name}"
        remedy = "make it " + (
            MEASURE_OWN if own else "with the channels, cells and images of this run"
        )
        met = {(p.place, p.group, p.edge, p.inside): p for p in self.places}
        batch = int(self.about.get("batch", 1))
        walked, _, examples = walk(space, batch=batch)
        seen = {(m.place, m.choice.group, m.choice.row, m.inside): m for m in walked}
        for key, now in seen.items():
            here = f"{made}: choice {key[0]}"
            if key not in met:
                raise ArchgradError(f"{here} is not in it; {remedy}")
            if not _alike(met[key].shape, now.shape, batch, examples):
                raise ArchgradError(
                    f"{here} sees an input of shape {now.shape}, in the table {met[key].shape}; "
                    + remedy
                )
            if missing := set(now.choice.names) - met[key].costs.keys():
                raise ArchgradError(
                    f"{origin} has no {sorted(missing)[0]} at choice {key[0]}; make it for the "
                    "candidates of this run"
                )
        if len(met) > len(seen):
            raise ArchgradError(
                f"{made}: it has {len(met)} choices, this run {len(seen)}; {remedy}"
            )


def _offered(costs: list[dict[str, float]], group: Group) -> Rows:
    pairs = zip(costs, group.candidates, strict=False)
    return [[row.get(name, 0.0) for name in names] for row, names in pairs]


def _place(values: Mapping[str, Any]) -> Place:
    """As JSON has it; older tables know no places inside others."""
    inside = tuple((str(group), str(name)) for group, name in values.get("inside", ()))
    return Place(**{**values, "shape": tuple(values["shape"]), "inside": inside})


def _alike(known: Sequence[int], now: Sequence[int], batch: int, examples: int) -> bool:
    """Whether shapes are equal but for the axis of the batch: fewer examples may be at hand."""
    differing = [(a, b) for a, b in zip(known, now, strict=False) if a != b]
    scaled = all(a * examples == b * batch for a, b in differing)
    return len(known) == len(now) and len(differing) <= 1 and scaled


def cost_table(
    space: SearchSpace | nn.Module,
    kind: Literal["parameters", "multiply_adds"],
    *,
    example: Any = None,
    forward: Callable[..., Any] | None = None,
) -> CostTable:
    """Exact parameters or multiply-adds of every candidate at every place; nothing is computed.

    `space`: a search space, or an own model with choices, for which `example` says what it is
    called with: an input tensor, or a batch as the data have it (`forward` as for
    `archgrad.search`); it is run once. `kind`: "parameters", or "multiply_adds" of one image (of
    one example of an own model).

    The rest of the network is the cost of one derived network without that of its choices, and the
    prediction is checked on others. Raises `ArchgradError` for an own model without an `example`,
    and for an `example` or a `forward` beside a space.

    >>> import archgrad, torch
    >>> block = {"linear": torch.nn.Linear(4, 4), "skip": torch.nn.Identity()}
    >>> model = torch.nn.Sequential(archgrad.Choice(block, "block"), torch.nn.Linear(4, 2))
    >>> table = archgrad.cost_table(model, "parameters", example=torch.zeros(2, 4))
    >>> table.fixed, table.groups["block"]
    (10.0, [{'linear': 20.0, 'skip': 0.0}])
    """
    space = as_space(space, example, forward)
    own = isinstance(space, OwnModel)
    places: list[Place] = []
    counted: dict[object, float] = {}
    walked, device, examples = walk(space)
    walked.sort(key=lambda met: len(met.inside))  # `again` looks for what holds a place
    for number, met in enumerate(walked):
        choice, costs = met.choice, {}
        for name, candidate in zip(choice.names, choice.candidates, strict=True):
            if kind == "parameters":
                chosen = hollow(choice.chosen([name] * choice.picks))
                count = count_parameters(chosen, frozen=own)
                costs[name] = 0.0 if met.again(walked[:number]) else float(count)
            else:
                key = met.key(candidate)
                if key not in counted:
                    given = met.given(device, torch.zeros_like)
                    counted[key] = _multiply_adds(candidate, given) / examples
                costs[name] = counted[key]
        places.append(place_of(met, costs))
    edges = {group.name: group.edges for group in space.groups}
    generator = torch.Generator().manual_seed(0)
    checked = CHECKED_OWN if own else CHECKED
    drawn = [space.random_architecture(generator) for _ in range(1 + checked)]
    exact = [float(getattr(cost(space, architecture), kind)) for architecture in drawn]
    bare = CostTable(kind, space.name, 0.0, edges, tuple(places))
    fixed = exact[0] - bare.predict(drawn[0])
    error = relative_error([fixed + bare.predict(one) for one in drawn[1:]], exact[1:])
    return CostTable(kind, space.name, fixed, edges, tuple(places), error)


def as_space(
    space: SearchSpace | nn.Module, example: Any, forward: Callable[..., Any] | None
) -> SearchSpace:
    """A space whose choices have costs, or an own model as one."""
    if isinstance(space, nn.Module):
        if example is None:
            raise ArchgradError(
                "the cost of an own model is that of calling it; give example=, an input tensor or "
                "a batch as the data have it"
            )
        return OwnModel.with_example(space, example, forward)
    if example is not None or forward is not None:
        raise ArchgradError("example and forward go with an own model; a space has its own shape")
    check_apart(space)
    return space


def relative_error(predicted: Iterable[float], found: Iterable[float]) -> float:
    """The mean absolute relative error of predictions."""
    errors = [abs(p - f) / f if f else abs(p) for p, f in zip(predicted, found, strict=True)]
    return sum(errors) / len(errors)


def _multiply_adds(candidate: nn.Module, given: Given) -> float:
    """Of one call, in convolutions and linear layers, without choices inside."""
    bare = answering(candidate, lambda module: module(*given.inputs, **given.options))
    with counting() as counter:
        bare(*given.inputs, **given.options)
    return float(counter.get_total_flops() / 2)
