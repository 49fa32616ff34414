"""What the cell spaces share: sizes, the candidates of every edge, wiring, and their checks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Self

import torch
from torch import nn

from archgrad.architecture import Architecture
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Edge, build
from archgrad.networks.network import Classifier, DropPath, EdgeFactory, Wiring
from archgrad.networks.operations import Factory
from archgrad.spaces.grouped import Edges, Grouped
from archgrad.tensors.dimensions import LAYERS, shown


@dataclass(frozen=True)
class CellSpace(Grouped):
    """A space of networks made of cells, whose edges hold the operations that are searched.

    `channels`: of the first cells; `image_size`: (height, width) in pixels, with `dims` 1
    (length,) of a signal, with 3 (depth, height, width) of a volume; `candidates`: for each group
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
    def known(self) -> Collection[str]:
        """The operations that can stand on an edge."""
        return self.factories

    @property
    def factories(self) -> Mapping[str, Factory]:
        """The operations by name, where an edge is all that they need to know."""
        return {}

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

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_dims()
        self._check_groups()
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

    def _refuse_auxiliary(self, auxiliary: bool) -> None:
        if auxiliary:
            raise ArchgradError(
                f"space {self.name} has no auxiliary head, as its published networks were trained "
                "without; use an auxiliary weight of 0"
            )

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
