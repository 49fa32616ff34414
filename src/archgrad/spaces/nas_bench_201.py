"""The cell space of NAS-Bench-201, and its architecture strings (arXiv:2001.00326)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from archgrad.architecture import Architecture, Cell
from archgrad.errors import ArchgradError, unknown
from archgrad.networks.choice import Edge, Group
from archgrad.networks.network import Classifier, Nodes, Wiring
from archgrad.networks.operations import NAS_BENCH_201, relu_conv_norm
from archgrad.spaces.cells import CellSpace

NAME, CELL, STAGES, NODES = "nas-bench-201", "cell", 3, (1, 2, 3)
EDGES = tuple((source, node) for node in NODES for source in range(node))
OUTPUT = NODES[-1:]


@dataclass(frozen=True)
class NasBench201(CellSpace):
    """NAS-Bench-201: 6 edges, 5 operations, one cell type (arXiv:2001.00326).

    Stem, three stages of `cells` cells with a residual block that halves the image and doubles
    the channels before the second and the third, pooling, linear. A derived cell keeps every edge,
    and `none` is a choice like the others: 5^6 = 15,625 cells. `candidates`: one entry, the
    operations of the edges (0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3). Images of any size are
    taken: the average pooling of a residual block rounds odd sizes up as its convolution does (the
    original stops there). Convolutions have no bias in search either (the original has one in front
    of BatchNorm, where it changes nothing). Raises `ArchgradError` as `DartsCNN`.

    >>> from archgrad.spaces import NasBench201
    >>> NasBench201().groups[0].shape
    (6, 5)
    """

    cells: int = 5
    name: str = NAME

    factories = NAS_BENCH_201
    group_names = (CELL,)
    known_dims = (2,)
    halvings = STAGES - 1

    @property
    def groups(self) -> tuple[Group, ...]:
        """All cells share the one group of choices."""
        offered = self.candidates[0] if self.candidates else (tuple(NAS_BENCH_201),) * len(EDGES)
        return (Group(CELL, 1, EDGES, offered, None, keep_none=True, output=OUTPUT),)

    def supernet(self, edges: Sequence[Edge] = ()) -> Stages:
        """The network with a choice on every edge, whose BatchNorm has no affine parameters."""
        return self._network(self._choices(edges)[CELL])

    def plain(self) -> Stages:
        """The supernet whose candidates are as derived networks have them, to see their cost."""
        return self._network(self._choices((), search=False)[CELL])

    def derive(self, architecture: Architecture, auxiliary: bool = False) -> Stages:
        """The plain network of an architecture, freshly initialized; drop path on its edges."""
        self.validate(architecture)
        self._refuse_auxiliary(auxiliary)
        return self._network(self._singles(architecture)[CELL])

    def _network(self, wiring: Wiring) -> Stages:
        return Stages(self.in_channels, self.classes, self.channels, self.cells, wiring)

    def _validate_nodes(self, group: Group, cell: Cell) -> None:
        found = [[source for _, source in edges] for edges in cell.nodes]
        expected = [list(range(node)) for node in NODES]
        if found != expected or cell.output != OUTPUT:
            raise ArchgradError(
                f"cell {cell.name}: nodes have the sources {found}, output {list(cell.output)}; "
                f"space {self.name} has {expected} and {list(OUTPUT)}"
            )

    def random_architecture(self, generator: torch.Generator) -> Architecture:
        """Uniform over all cells: any operation on each edge, `none` included."""
        rows = self.groups[0].candidates
        picks = [int(torch.randint(len(names), (1,), generator=generator)) for names in rows]
        return _architecture([names[pick] for names, pick in zip(rows, picks, strict=True)])

    def all_architectures(self) -> Iterator[Architecture]:
        """Every architecture of the space, isomorphic ones apart."""
        return (_architecture(names) for names in product(*self.groups[0].candidates))


def from_string(text: str) -> Architecture:
    """The architecture of a string of the benchmark, as `|skip_connect~0|+|none~0|none~1|+...`.

    One part a node, joined by +; one entry a source, as operation~source.

    >>> text = "|none~0|+|none~0|skip_connect~1|+|none~0|nor_conv_3x3~1|avg_pool_3x3~2|"
    >>> to_string(from_string(text)) == text
    True
    """
    parts = text.split("+")
    if len(parts) != len(NODES):
        raise _wrong(text, f"found {len(parts)} nodes, expected {len(NODES)} joined by +")
    names = []
    for node, part in zip(NODES, parts, strict=True):
        entries = part.split("|")
        if len(entries) != node + 2 or entries[0] or entries[-1]:
            raise _wrong(text, f'node {node} is "{part}", expected {node} entries between bars')
        for source, entry in enumerate(entries[1:-1]):
            name, mark, number = entry.partition("~")
            if not mark or number != str(source):
                raise _wrong(text, f'found "{entry}", expected an operation and ~{source}')
            if name not in NAS_BENCH_201:
                raise _wrong(text, str(unknown("operation", name, NAS_BENCH_201)))
            names.append(name)
    return _architecture(names)


def to_string(architecture: Architecture) -> str:
    """The string of the benchmark for an architecture of this space."""
    NasBench201().validate(architecture)
    nodes = architecture.cell(CELL).nodes
    return "+".join(
        "|" + "|".join(f"{name}~{source}" for name, source in edges) + "|" for edges in nodes
    )


def _wrong(text: str, reason: str) -> ArchgradError:
    return ArchgradError(f'architecture string "{text}": {reason}')


def _architecture(names: Iterable[str]) -> Architecture:
    """From the operations of the edges, in the order of `EDGES`."""
    edges = list(zip(names, EDGES, strict=True))
    nodes = tuple(
        tuple((name, source) for name, (source, target) in edges if target == node)
        for node in NODES
    )
    cell = Cell(name=CELL, inputs=1, nodes=nodes, output=OUTPUT)
    return Architecture(space=NAME, cells=(cell,))


class ResidualBlock(nn.Module):
    """Halve height and width and change the channels: two 3x3 convolutions beside a shortcut.

    (B, inputs, H, W) -> (B, outputs, ceil(H/2), ceil(W/2)). The shortcut averages 2x2 pixels, at
    the end of an odd side those that are there.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            relu_conv_norm(inputs, outputs, True, kernel=3, stride=2),
            relu_conv_norm(outputs, outputs, True, kernel=3),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shortcut(x) + self.residual(x)
        return out


class Stages(Classifier):
    """Stem, three stages of cells, BatchNorm, ReLU, global average pooling, linear.

    BatchNorm outside the cells is affine, in search as well.
    """

    def __init__(
        self, in_channels: int, classes: int, channels: int, cells: int, wiring: Wiring
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.cells = nn.Sequential()
        for stage in range(STAGES):
            if stage > 0:
                self.cells.append(ResidualBlock(channels, 2 * channels))
                channels *= 2
            for _ in range(cells):
                self.cells.append(Nodes([nn.Identity()], channels, wiring, OUTPUT))
        self.head = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.classifier = nn.Linear(channels, classes)

    def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, None]:
        """The logits; there is no auxiliary head."""
        return self.classifier(self.head(self.cells(self.stem(x)))), None
