"""The DARTS convolutional cell space (arXiv:1806.09055): 14 edges, 8 operations, two cell types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from archgrad.architecture import Architecture, Cell
from archgrad.choice import Choice, Group
from archgrad.errors import ArchgradError, unknown
from archgrad.network import DropPath, EdgeFactory, Network, Wiring, reductions
from archgrad.operations import OPERATIONS

INPUTS = 2


@dataclass(frozen=True)
class DartsCNN:
    """A recipe that builds the supernet and every derived network of the space.

    ``channels``: of the first cells (doubled by each reduction cell); ``nodes``: intermediate
    nodes of a cell; ``image_size``: (height, width) in pixels; ``imagenet``: the three-convolution
    stem of the ImageNet form, which divides the image by 8 before the first cell;
    ``edges_per_node``: how many edges a derived node keeps.

    >>> space = DartsCNN(channels=4, cells=5, in_channels=1, image_size=(8, 8))
    >>> [group.shape for group in space.groups]
    [(14, 8), (14, 8)]
    """

    channels: int = 16
    cells: int = 8
    nodes: int = 4
    in_channels: int = 3
    image_size: tuple[int, int] = (32, 32)
    classes: int = 10
    edges_per_node: int = 2
    operations: tuple[str, ...] = tuple(OPERATIONS)
    imagenet: bool = False

    name = "darts-cnn"

    def __post_init__(self) -> None:
        least = {"channels": 2, "cells": 3, "nodes": 1, "in_channels": 1, "classes": 2}
        for field, smallest in {**least, "edges_per_node": 1}.items():
            if getattr(self, field) < smallest:
                raise ArchgradError(
                    f"space {self.name}: {field} is {getattr(self, field)}, expected at least "
                    f"{smallest}"
                )
        for operation in self.operations:
            if operation not in OPERATIONS:
                raise unknown(f"operation of space {self.name}", operation, OPERATIONS)
        if len(set(self.operations)) < len(self.operations) or not {*self.operations} - {"none"}:
            raise ArchgradError(
                f"space {self.name}: operations are {list(self.operations)}; expected different "
                "ones, at least one of them not none"
            )
        if self.edges_per_node > INPUTS:
            raise ArchgradError(
                f"space {self.name}: a derived node shall keep {self.edges_per_node} edges, but "
                f"node {INPUTS} has only {INPUTS} incoming ones; expected 1 to {INPUTS}"
            )
        if min(self.image_size) < self.smallest_image:
            height, width = self.image_size
            raise ArchgradError(
                f"space {self.name}: an image of {height}x{width} pixels would shrink below one "
                f"pixel in {self.cells} cells with {len(reductions(self.cells))} reductions; "
                f"expected at least {self.smallest_image} pixels a side: use larger images"
            )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        return (self.in_channels, *self.image_size)

    @property
    def smallest_image(self) -> int:
        """Smallest side, in pixels, that every halving can still halve."""
        return self._smallest(1)

    @property
    def smallest_auxiliary_image(self) -> int:
        """Smallest side, in pixels, that leaves the auxiliary head the feature map it needs."""
        return self._smallest(7 if self.imagenet else 8)

    def _smallest(self, final: int) -> int:
        halvings = len(reductions(self.cells)) + (3 if self.imagenet else 0)
        # each halving maps n to ceil(n / 2), and cannot halve a single pixel
        return max(1 << (halvings - 1), (final - 1) << halvings) + 1

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of choices: all normal cells share one, all reduction cells the other."""
        edges = tuple(
            (source, node) for node in range(INPUTS, INPUTS + self.nodes) for source in range(node)
        )
        candidates = (self.operations,) * len(edges)
        return tuple(
            Group(name, INPUTS, edges, candidates, self.edges_per_node)
            for name in ("normal", "reduce")
        )

    def supernet(self) -> Network:
        """The network with a choice on every edge, BatchNorm without affine parameters."""
        wirings = {}
        for group in self.groups:
            nodes: list[list[tuple[int, EdgeFactory]]] = [[] for _ in range(self.nodes)]
            for row, (source, node) in enumerate(group.edges):
                nodes[node - INPUTS].append((source, partial(_choice, group, row)))
            wirings[group.name] = nodes
        output = range(INPUTS, INPUTS + self.nodes)
        return self._network(wirings, {name: output for name in wirings}, affine=False)

    def derive(self, architecture: Architecture, auxiliary: bool = False) -> Network:
        """The plain network of an architecture, freshly initialized; drop path on its edges."""
        self.validate(architecture)
        if auxiliary and min(self.image_size) < self.smallest_auxiliary_image:
            height, width = self.image_size
            raise ArchgradError(
                f"the auxiliary head needs images of at least {self.smallest_auxiliary_image} "
                f"pixels a side in space {self.name}, found {height}x{width}; "
                "use an auxiliary weight of 0 or larger images"
            )
        wirings = {
            cell.name: [
                [(source, partial(_single, operation)) for operation, source in edges]
                for edges in cell.nodes
            ]
            for cell in architecture.cells
        }
        outputs = {cell.name: cell.output for cell in architecture.cells}
        return self._network(wirings, outputs, affine=True, auxiliary=auxiliary)

    def sized(self, channels: int | None = None, cells: int | None = None) -> DartsCNN:
        """The same space with another width or depth, as for retraining."""
        return replace(self, channels=channels or self.channels, cells=cells or self.cells)

    def _network(
        self,
        wirings: Mapping[str, Wiring],
        outputs: Mapping[str, Sequence[int]],
        *,
        affine: bool,
        auxiliary: bool = False,
    ) -> Network:
        return Network(
            in_channels=self.in_channels,
            classes=self.classes,
            channels=self.channels,
            cells=self.cells,
            wirings=wirings,
            outputs=outputs,
            affine=affine,
            imagenet=self.imagenet,
            auxiliary=auxiliary,
        )

    def validate(self, architecture: Architecture) -> None:
        """Refuse an architecture that this space cannot build."""
        names = {cell.name for cell in architecture.cells}
        if architecture.space != self.name or names != {"normal", "reduce"}:
            raise ArchgradError(
                f"architecture of space {architecture.space} with cells {sorted(names)} does not "
                f"fit space {self.name}; expected that space and the cells normal and reduce"
            )
        for cell in architecture.cells:
            if cell.inputs != INPUTS:
                raise ArchgradError(
                    f"cell {cell.name} has {cell.inputs} inputs, space {self.name} has {INPUTS}"
                )
            for operation in cell.operations:
                if operation not in self.operations or operation == "none":
                    known = [name for name in self.operations if name != "none"]
                    raise ArchgradError(
                        f'cell {cell.name}: operation "{operation}" cannot be built in space '
                        f"{self.name}; known: {', '.join(known)}"
                    )
            for node, edges in enumerate(cell.nodes, start=INPUTS):
                sources = [source for _, source in edges]
                if not sources or len(set(sources)) != len(sources):
                    raise ArchgradError(
                        f"cell {cell.name}: node {node} has the sources {sources}; "
                        "expected at least one, all different"
                    )

    def random_architecture(self, generator: torch.Generator) -> Architecture:
        """Uniform: ``edges_per_node`` distinct sources a node, any operation but none on each.

        This is the sampler of the paper's random baseline.
        """
        names = [name for name in self.operations if name != "none"]

        def node_edges(node: int) -> tuple[tuple[str, int], ...]:
            order = torch.randperm(node, generator=generator)[: self.edges_per_node]
            picks = torch.randint(len(names), (self.edges_per_node,), generator=generator)
            return tuple(
                (names[pick], source)
                for source, pick in sorted(zip(order.tolist(), picks.tolist(), strict=True))
            )

        nodes = range(INPUTS, INPUTS + self.nodes)
        cells = tuple(
            Cell(
                name=group.name,
                inputs=INPUTS,
                nodes=tuple(node_edges(node) for node in nodes),
                output=tuple(nodes),
            )
            for group in self.groups
        )
        return Architecture(space=self.name, cells=cells)


def _choice(group: Group, row: int, channels: int, stride: int) -> nn.Module:
    candidates = {name: OPERATIONS[name](channels, stride, True) for name in group.candidates[row]}
    return Choice(candidates, group.name, row)


def _single(operation: str, channels: int, stride: int) -> nn.Module:
    module = OPERATIONS[operation](channels, stride, False)
    # the paper's drop path spares identities
    return module if isinstance(module, nn.Identity) else nn.Sequential(module, DropPath())
