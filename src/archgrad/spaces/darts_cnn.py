"""The DARTS convolutional cell space (arXiv:1806.09055)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import ClassVar

import torch

from archgrad.architecture import Architecture, Cell
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Edge, Group
from archgrad.networks.network import Network, Wiring, reductions
from archgrad.networks.operations import OPERATIONS, Factory, candidates
from archgrad.spaces.cells import CellSpace
from archgrad.tensors.dimensions import shown

INPUTS = 2


@dataclass(frozen=True)
class DartsCNN(CellSpace):
    """The DARTS convolutional space: 14 edges, 8 operations, two cell types (arXiv:1806.09055).

    A recipe that builds the supernet and every derived network. `channels`: of the first cells
    (doubled by each reduction cell); `nodes`: intermediate nodes of a cell; `operations`: on every
    edge, unless `candidates` gives them for each edge of the normal and of the reduction cell;
    `imagenet`: the three-convolution stem of the ImageNet form, which divides the image by 8 before
    the first cell (in derived networks `channels` wide, as in arXiv:1806.09055, in the supernet
    three times as wide, as in the ImageNet search of arXiv:1907.05737); `edges_per_node`: how many
    edges a derived node keeps. A derived node may have fewer, or none at all (arXiv:1911.12126): it
    is then left out of the cell's output.

    The same cells in one to three dimensions: `dims` 1 with `image_size` (L,) for signals, 3 with
    (D, H, W) for volumes. Operations keep their names (`sep_conv_3x3` has 3 taps in each
    dimension), and so does the space: a cell that was found in one can be built in another. Raises
    `ArchgradError` for a size below the least, for images that would shrink below one pixel, and
    for candidates that are not known.

    >>> from archgrad.spaces import DartsCNN
    >>> space = DartsCNN(channels=4, cells=5, in_channels=1, image_size=(8, 8))
    >>> [group.shape for group in space.groups]
    [(14, 8), (14, 8)]
    >>> DartsCNN(dims=1, image_size=(100,)).input_shape
    (3, 100)
    """

    cells: int = 8
    name: str = "darts-cnn"
    nodes: int = 4
    edges_per_node: int = 2
    operations: tuple[str, ...] = tuple(OPERATIONS)
    imagenet: bool = False

    group_names = ("normal", "reduce")
    least: ClassVar[Mapping[str, int]] = {
        **CellSpace.least,
        **{"channels": 2, "cells": 3, "nodes": 1, "edges_per_node": 1},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.edges_per_node > INPUTS:
            raise ArchgradError(
                f"space {self.name}: a derived node shall keep {self.edges_per_node} edges, but "
                f"node {INPUTS} has only {INPUTS} incoming ones; expected 1 to {INPUTS}"
            )

    @property
    def factories(self) -> Mapping[str, Factory]:
        """The operations of these dimensions, and noise."""
        return candidates(self.dims)

    @property
    def halvings(self) -> int:
        """Two reduction cells; three strided convolutions in the stem of the ImageNet form."""
        return len(reductions(self.cells)) + (3 if self.imagenet else 0)

    @property
    def smallest_auxiliary_image(self) -> int:
        """Smallest side, in pixels, that leaves the auxiliary head the feature map it needs."""
        return self._smallest(7 if self.imagenet else 8)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of choices: all normal cells share one, all reduction cells the other."""
        edges = tuple((source, node) for node in self._nodes for source in range(node))
        candidates = self.candidates or ((self.operations,) * len(edges),) * 2
        return tuple(
            Group(name, INPUTS, edges, offered, self.edges_per_node)
            for name, offered in zip(self.group_names, candidates, strict=True)
        )

    @property
    def _nodes(self) -> range:
        return range(INPUTS, INPUTS + self.nodes)

    def offered(self, group: Group, source: int, node: int) -> tuple[str, ...]:
        """What a derived edge may hold; in cells of any size where all edges offer the same."""
        if self.candidates is None:
            return self._derivable(group, self.operations)
        return super().offered(group, source, node)

    def supernet(self, edges: Sequence[Edge] = ()) -> Network:
        """The network with a choice on every edge, BatchNorm without affine parameters."""
        wirings, stem = self._choices(edges), 3 * self.channels
        return self._network(wirings, self._whole, affine=False, stem=stem)

    def plain(self) -> Network:
        """The supernet whose candidates are as derived networks have them, to see their cost."""
        return self._network(self._choices((), search=False), self._whole, affine=True)

    @property
    def _whole(self) -> Mapping[str, Sequence[int]]:
        """The output of cells whose nodes all have edges."""
        return {group.name: self._nodes for group in self.groups}

    def derive(self, architecture: Architecture, auxiliary: bool = False) -> Network:
        """The plain network of an architecture, freshly initialized; drop path on its edges.

        `auxiliary`: with the auxiliary head. Raises `ArchgradError` for an architecture of another
        space, and for images that are too small for the head.
        """
        self.validate(architecture)
        if auxiliary and min(self.image_size) < self.smallest_auxiliary_image:
            raise ArchgradError(
                f"the auxiliary head needs images of at least {self.smallest_auxiliary_image} "
                f"pixels a side in space {self.name}, found {shown(self.image_size)}; "
                "use larger images, or no such head: --auxiliary-weight 0, of archgrad run and "
                "compare --train-auxiliary-weight 0"
            )
        outputs = {cell.name: cell.output for cell in architecture.cells}
        return self._network(self._singles(architecture), outputs, affine=True, auxiliary=auxiliary)

    def _network(
        self,
        wirings: Mapping[str, Wiring],
        outputs: Mapping[str, Sequence[int]],
        *,
        affine: bool,
        auxiliary: bool = False,
        stem: int | None = None,
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
            dims=self.dims,
            stem=stem,
        )

    def _validate_nodes(self, group: Group, cell: Cell) -> None:
        isolated = {i for i, edges in enumerate(cell.nodes, start=INPUTS) if not edges}
        for node, edges in enumerate(cell.nodes, start=INPUTS):
            sources = [source for _, source in edges]
            if len(set(sources)) != len(sources):
                raise ArchgradError(
                    f"cell {cell.name}: node {node} has the sources {sources}; expected them "
                    "all different"
                )
            if isolated & set(sources):
                raise ArchgradError(
                    f"cell {cell.name}: node {node} takes node {min(isolated & set(sources))}, "
                    "which has no incoming edges; leave that edge out"
                )
        if isolated & set(cell.output):
            raise ArchgradError(
                f"cell {cell.name}: node {min(isolated & set(cell.output))} has no incoming edges "
                f"and cannot be in the output {list(cell.output)}; leave it out"
            )

    def random_architecture(self, generator: torch.Generator) -> Architecture:
        """Uniform: `edges_per_node` distinct sources a node, any operation but none on each.

        This is the sampler of the paper's random baseline.
        """

        def node_edges(group: Group, node: int) -> tuple[tuple[str, int], ...]:
            sources = torch.randperm(node, generator=generator)[: self.edges_per_node].tolist()
            names = [self.offered(group, source, node) for source in sources]
            picks = [int(torch.randint(len(n), (1,), generator=generator)) for n in names]
            edges = [(n[pick], source) for n, pick, source in zip(names, picks, sources)]
            return tuple(sorted(edges, key=itemgetter(1)))

        cells = tuple(
            Cell(
                name=group.name,
                inputs=INPUTS,
                nodes=tuple(node_edges(group, node) for node in self._nodes),
                output=tuple(self._nodes),
            )
            for group in self.groups
        )
        return Architecture(space=self.name, cells=cells)
