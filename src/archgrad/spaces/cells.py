"""What the cell spaces share: sizes, the candidates of every edge, wiring, and their checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Self

import torch
from torch import nn

from archgrad.architecture import Architecture, Cell
from archgrad.choice import Edge, Group, build
from archgrad.dimensions import LAYERS, shown
from archgrad.errors import ArchgradError, unknown
from archgrad.network import Classifier, DropPath, EdgeFactory, Wiring
from archgrad.operations import Factory

Edges = tuple[tuple[str, ...], ...]  # for each edge of a group the names of its candidates
NONE = "none"


@dataclass(frozen=True)
class CellSpace(ABC):
    """A space of networks made of cells, whose edges hold the operations that are searched.

    ``channels``: of the first cells; ``image_size``: (height, width) in pixels, with ``dims`` 1
    (length,) of a signal, with 3 (depth, height, width) of a volume; ``candidates``: for each group
    and each of its edges, node by node, the operations to choose from (None: those of the space on
    every edge). All edges of a group offer the same number of them.
    """

    channels: int = 16
    cells: int = 8
    in_channels: int = 3
    image_size: tuple[int, ...] = (32, 32)
    classes: int = 10
    candidates: tuple[Edges, ...] | None = None
    name: str = ""
    dims: int = field(default=2, kw_only=True)

    known_dims: ClassVar[Collection[int]] = tuple(LAYERS)
    least: ClassVar[Mapping[str, int]] = {"channels": 1, "cells": 1, "in_channels": 1, "classes": 2}
    mend: ClassVar[str] = "use larger images"

    @property
    @abstractmethod
    def group_names(self) -> tuple[str, ...]:
        """The names of the groups, in order."""

    @property
    def factories(self) -> Mapping[str, Factory]:
        """The operations by name, where an edge is all that they need to know."""
        return {}

    @property
    @abstractmethod
    def groups(self) -> tuple[Group, ...]:
        """The groups of choices, one cell of the architecture each."""

    @property
    @abstractmethod
    def halvings(self) -> int:
        """How often an image is halved on its way to the classifier."""

    @abstractmethod
    def supernet(self, edges: Sequence[Edge] = ()) -> Classifier:
        """The network with a choice on every edge, built with these edge parts."""

    def plain(self) -> Classifier:
        """The supernet whose candidates are as derived networks have them, to see their cost."""
        return self.supernet()

    @abstractmethod
    def derive(self, architecture: Architecture, auxiliary: bool = False) -> Classifier:
        """The plain network of an architecture, freshly initialized."""

    @abstractmethod
    def random_architecture(self, generator: torch.Generator) -> Architecture:
        """A random architecture of the space."""

    @property
    def known(self) -> Collection[str]:
        """The operations that can stand on an edge."""
        return self.factories

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_dims()
        if self.candidates is not None and len(self.candidates) != len(self.group_names):
            raise ArchgradError(
                f"space {self.name}: found candidates for {len(self.candidates)} groups, expected "
                f"one entry for each of {', '.join(self.group_names)}"
            )
        for group in self.groups:
            self._check_candidates(group)
        if min(self.image_size) < self.smallest_image:
            raise ArchgradError(
                f"space {self.name}: an image of {shown(self.image_size)} pixels would shrink "
                f"below one pixel in {self.halvings} halvings; expected at least "
                f"{self.smallest_image} pixels a side: {self.mend}"
            )

    def _check_dims(self) -> None:
        if self.dims not in self.known_dims:
            raise ArchgradError(
                f"space {self.name}: dims is {self.dims}, expected "
                f"{' or '.join(map(str, self.known_dims))}; use that, or another space"
            )
        if len(self.image_size) != self.dims:
            raise ArchgradError(
                f"space {self.name}: image_size is {self.image_size}, expected {self.dims} "
                f"number{'s' if self.dims > 1 else ''} for dims {self.dims}; give one for each "
                "dimension, or other dims"
            )

    def _check_sizes(self) -> None:
        for option, smallest in self.least.items():
            if getattr(self, option) < smallest:
                raise ArchgradError(
                    f"space {self.name}: {option} is {getattr(self, option)}, expected at least "
                    f"{smallest}"
                )

    def _check_candidates(self, group: Group) -> None:
        where = f"space {self.name}, group {group.name}"
        if len(group.candidates) != len(group.edges):
            raise ArchgradError(
                f"{where}: found candidates for {len(group.candidates)} edges, expected "
                f"{len(group.edges)}, one entry an edge"
            )
        for edge, names in zip(group.edges, group.candidates, strict=True):
            for name in names:
                if name not in self.known:
                    raise unknown(f"operation of space {self.name}", name, self.known)
            if len(set(names)) < len(names) or not set(self._derivable(group, names)):
                wanted = "at least one" + ("" if group.keep_none else " of them not none")
                raise ArchgradError(
                    f"{where}: edge {edge[0]} to {edge[1]} offers {list(names)}; expected "
                    f"different operations, {wanted}"
                )
        counts = {len(names) for names in group.candidates}
        if len(counts) > 1:
            raise ArchgradError(
                f"{where}: edges offer {min(counts)} to {max(counts)} operations; expected the "
                "same number on each"
            )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, height, width) of an image; (channels, *image_size) in any dims."""
        return (self.in_channels, *self.image_size)

    @property
    def smallest_image(self) -> int:
        """Smallest side, in pixels, that every halving can still halve."""
        return self._smallest(1)

    def _smallest(self, final: int) -> int:
        # each halving maps n to ceil(n / 2), and cannot halve a single pixel
        return max((1 << self.halvings) >> 1, (final - 1) << self.halvings) + 1

    def sized(self, channels: int | None = None, cells: int | None = None) -> Self:
        """The same space with another width or depth, as for retraining."""
        return replace(self, channels=channels or self.channels, cells=cells or self.cells)

    def restricted(self, candidates: Mapping[str, Sequence[Iterable[str]]]) -> Self:
        """The same space with fewer candidates: group name -> operations of each edge.

        Every edge keeps a part of its present operations; a group that is not named keeps all.
        """
        present = {group.name: group for group in self.groups}
        for name in candidates:
            if name not in present:
                raise unknown(f"group of space {self.name}", name, present)
        kept = {
            name: tuple(tuple(row) for row in candidates.get(name, group.candidates))
            for name, group in present.items()
        }
        found = replace(self, candidates=tuple(kept.values()))
        for group in present.values():
            for edge, old, new in zip(group.edges, group.candidates, kept[group.name], strict=True):
                for name in new:
                    if name not in old:
                        raise ArchgradError(
                            f"space {self.name}, group {group.name}: edge {edge[0]} to {edge[1]} "
                            f"cannot be restricted to {name}; it offers {', '.join(old)}"
                        )
        return found

    def without(self, operations: Collection[str]) -> Self:
        """The same space without these operations on any edge; absent ones are ignored."""
        return self.restricted(
            {
                group.name: [
                    [name for name in names if name not in operations] for names in group.candidates
                ]
                for group in self.groups
            }
        )

    def offered(self, group: Group, source: int, node: int) -> tuple[str, ...]:
        """What a derived edge may hold; nothing where the space has no such edge."""
        rows = dict(zip(group.edges, group.candidates, strict=True))
        return self._derivable(group, rows.get((source, node), ()))

    @staticmethod
    def _derivable(group: Group, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if group.keep_none or name != NONE)

    def validate(self, architecture: Architecture) -> None:
        """Refuse an architecture that this space cannot build."""
        groups = {group.name: group for group in self.groups}
        names = {cell.name for cell in architecture.cells}
        if architecture.space != self.name or names != set(groups):
            raise ArchgradError(
                f"architecture of space {architecture.space} with cells {sorted(names)} does not "
                f"fit space {self.name}; expected that space and as cells {' and '.join(groups)}"
            )
        for cell in architecture.cells:
            group = groups[cell.name]
            if cell.inputs != group.inputs:
                raise ArchgradError(
                    f"cell {cell.name} has {cell.inputs} inputs, space {self.name} has "
                    f"{group.inputs}"
                )
            self._validate_nodes(group, cell)
            for node, edges in enumerate(cell.nodes, start=cell.inputs):
                for operation, source in edges:
                    known = self.offered(group, source, node)
                    if operation not in known:
                        raise ArchgradError(
                            f'cell {cell.name}: operation "{operation}" cannot be built on the '
                            f"edge {source} to {node} of space {self.name}; known: "
                            f"{', '.join(known) or 'none, there is no such edge'}"
                        )

    def _refuse_auxiliary(self, auxiliary: bool) -> None:
        if auxiliary:
            raise ArchgradError(
                f"space {self.name} has no auxiliary head, as its published networks were trained "
                "without; use an auxiliary weight of 0"
            )

    @abstractmethod
    def _validate_nodes(self, group: Group, cell: Cell) -> None:
        """Refuse a cell whose nodes and output this space cannot build."""

    def _choices(self, parts: Sequence[Edge], search: bool = True) -> dict[str, Wiring]:
        """What the supernet has on its edges: cell name -> the edges of each node."""

        def candidate(name: str, channels: int, stride: int) -> nn.Module:
            factory = self.factories[name]
            return factory(channels, stride, True) if search else _single(factory, channels, stride)

        wirings: dict[str, Wiring] = {}
        for group in self.groups:
            last = max(node for _, node in group.edges)
            nodes: list[list[tuple[int, EdgeFactory]]] = [
                [] for _ in range(last - group.inputs + 1)
            ]
            for row, (source, node) in enumerate(group.edges):
                edge = partial(build, candidate, group, row, edges=parts, dims=self.dims)
                nodes[node - group.inputs].append((source, edge))
            wirings[group.name] = nodes
        return wirings

    def _singles(self, architecture: Architecture) -> dict[str, Wiring]:
        """What a derived network has on its edges: cell name -> the edges of each node."""
        return {
            cell.name: [
                [(source, partial(_single, self.factories[name])) for name, source in edges]
                for edges in cell.nodes
            ]
            for cell in architecture.cells
        }


def _single(factory: Factory, channels: int, stride: int) -> nn.Module:
    module = factory(channels, stride, False)
    # the paper's drop path spares identities
    return module if isinstance(module, nn.Identity) else nn.Sequential(module, DropPath())
