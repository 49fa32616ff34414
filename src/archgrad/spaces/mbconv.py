"""The chain of inverted residual blocks of ProxylessNAS (arXiv:1812.00332)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from archgrad.architecture import Architecture, Cell
from archgrad.errors import ArchgradError
from archgrad.networks.choice import NONE, Edge, Group, build
from archgrad.networks.network import Classifier, DropPath
from archgrad.networks.operations import Zero
from archgrad.networks.recompute import Recomputable
from archgrad.spaces.cells import CellSpace

NAME, EDGE = "mbconv", (0, 1)
STEM, WIDTHS, HEAD = 32, (24, 40, 80, 96, 192, 320), 1280
STRIDES = (2, 2, 2, 2, 1, 2, 1)  # of the stem and of the stages
LEAST_MAP = 4  # pixels a side in front of the head where strides are left out; 7 in the paper


class Place(NamedTuple):
    """Where a layer stands: its channels before and behind, and its stride."""

    inputs: int
    outputs: int
    stride: int

    @property
    def residual(self) -> bool:
        """Whether the layer adds its operation to its input."""
        return self.stride == 1 and self.inputs == self.outputs


@dataclass(frozen=True)
class MBConv(CellSpace):
    """ProxylessNAS: a chain of 21 inverted residual blocks, 15 may be none (arXiv:1812.00332).

    Stem (3x3 convolution), a fixed MBConv1 3x3 of half its width, stages of layers, 1x1
    convolution, pooling, linear. The operation `mbconvE_KxK` is an inverted residual block of
    expansion E with a depthwise KxK convolution. Where a layer keeps size and channels, its
    operation is added to its input, and `none` is a choice like the others: the layer is skipped.
    Every layer is a group of one edge and a cell of the architecture, from "layer 1" on; so depth
    is part of an architecture, and `sized` changes the width alone.

    `channels`: of the stem; all other widths are in proportion, rounded up (the original rounds
    to multiples of 8), where `widths` of the stages and `head_width` are not given. `cells`:
    layers of a stage, one of the last, where `depths` of the stages are not given. `strides`:
    of the stem and of each stage; None: those of the paper, the first of them left out until 4
    pixels a side reach the head (32x32: 1, 1, 2, 2, 1, 2, 1). `candidates`: an entry a layer.

    The defaults are the paper's for ImageNet. BatchNorm is affine in search too, with an eps of
    1e-3. Differs from the original: weights start as PyTorch has it, there normal. Raises
    `ArchgradError` as `DartsCNN`, and for a layer that cannot be skipped and offers `none`.

    >>> from archgrad.spaces import MBConv
    >>> [group.shape for group in MBConv(cells=2).groups[:2]]
    [(1, 6), (1, 7)]
    """

    channels: int = STEM
    cells: int = 4
    image_size: tuple[int, ...] = (224, 224)
    classes: int = 1000
    name: str = NAME
    widths: tuple[int, ...] | None = None
    depths: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None
    head_width: int | None = None
    kernels: tuple[int, ...] = (3, 5, 7)
    expansions: tuple[int, ...] = (3, 6)

    known_dims = (2,)
    least: ClassVar[Mapping[str, int]] = {**CellSpace.least, "channels": 2}
    mend = "use larger images or fewer strides of 2"

    def __post_init__(self) -> None:
        super().__post_init__()
        for group, place in zip(self.groups, self.places, strict=True):
            if group.keep_none and not place.residual:
                raise ArchgradError(
                    f"space {self.name}, {group.name}: found the candidate none, but from "
                    f"{place.inputs} to {place.outputs} channels with stride {place.stride} no "
                    "layer can be skipped; leave it out"
                )

    def _check_sizes(self) -> None:
        super()._check_sizes()
        stages = len(self._widths)
        rules: tuple[tuple[str, Sequence[int], int, Callable[[int], bool], str], ...] = (
            ("widths", self._widths, stages, _positive, "above 0"),
            ("depths", self._depths, stages, _positive, "above 0, one a stage"),
            ("strides", self._strides, stages + 1, (1, 2).__contains__, "1 or 2, stem and stages"),
            ("head_width", (self._head,), 1, _positive, "above 0"),
            ("kernels", self.kernels, len(self.kernels), _odd, "odd and above 0"),
            ("expansions", self.expansions, len(self.expansions), _positive, "above 0"),
        )
        for option, found, count, right, expected in rules:
            if len(found) != count or not all(map(right, found)):
                raise ArchgradError(
                    f"space {self.name}: {option} {list(found)}; expected {count} numbers, "
                    f"{expected}"
                )

    @property
    def _widths(self) -> tuple[int, ...]:
        return self.widths or tuple(self._proportional(width) for width in WIDTHS)

    @property
    def _head(self) -> int:
        return self._proportional(HEAD) if self.head_width is None else self.head_width

    @property
    def _depths(self) -> tuple[int, ...]:
        return self.depths or (*(self.cells,) * (len(self._widths) - 1), 1)

    @property
    def _strides(self) -> tuple[int, ...]:
        strides = self.strides or STRIDES
        for index in range(0 if self.strides else len(STRIDES)):
            if _ratio(min(self.image_size), prod(strides)) >= LEAST_MAP:
                break
            strides = (*(1,) * (index + 1), *STRIDES[index + 1 :])
        return strides

    def _proportional(self, width: int) -> int:
        return _ratio(width * self.channels, STEM)

    @property
    def halvings(self) -> int:
        """How often an image is halved on its way to the classifier."""
        return self._strides.count(2)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the layers stand, from the first on."""
        found, inputs = [], _ratio(self.channels, 2)
        stages = zip(self._widths, self._depths, self._strides[1:], strict=True)
        for outputs, depth, stride in stages:
            found += [Place(inputs, outputs, stride), *[Place(outputs, outputs, 1)] * (depth - 1)]
            inputs = outputs
        return tuple(found)

    @property
    def blocks(self) -> dict[str, tuple[int, int]]:
        """Expansion and kernel of each block by its name."""
        return {f"mbconv{e}_{k}x{k}": (e, k) for k in self.kernels for e in self.expansions}

    @property
    def known(self) -> Collection[str]:
        """The operations that a layer can hold."""
        return (*self.blocks, NONE)

    @property
    def group_names(self) -> tuple[str, ...]:
        """The names of the layers."""
        return tuple(f"layer {number}" for number in range(1, sum(self._depths) + 1))

    @property
    def groups(self) -> tuple[Group, ...]:
        """One group a layer."""
        offered = self.candidates or tuple(
            ((*self.blocks, NONE) if place.residual else (*self.blocks,),) for place in self.places
        )
        return tuple(
            Group(name, 1, (EDGE,), rows, None, keep_none=any(NONE in row for row in rows))
            for name, rows in zip(self.group_names, offered, strict=True)
        )

    def sized(self, channels: int | None = None, cells: int | None = None) -> Self:
        """The same layers with another width; `ArchgradError` for another depth."""
        if cells not in (None, self.cells):
            raise ArchgradError(
                f"space {self.name}: found cells {cells}, expected {self.cells}: the depth of a "
                "chain is part of its architectures; use the same in the whole search and in "
                "retraining"
            )
        if channels is None:
            return self

        def scaled(width: int) -> int:
            return _ratio(width * channels, self.channels)

        return replace(
            self,
            channels=channels,
            widths=self.widths and tuple(map(scaled, self.widths)),
            head_width=self.head_width and scaled(self.head_width),
        )

    def supernet(self, edges: Sequence[Edge] = ()) -> Chain:
        """The network with a choice in every layer."""
        return self._network(
            Layer(self._choice(group, place, edges), place.residual)
            for group, place in zip(self.groups, self.places, strict=True)
        )

    def derive(self, architecture: Architecture, auxiliary: bool = False) -> Chain:
        """The plain network of an architecture, freshly initialized.

        Drop path stands on the operations that are added to their input, and on no others.
        """
        self.validate(architecture)
        self._refuse_auxiliary(auxiliary)
        names = (architecture.cell(name).operations[0] for name in self.group_names)
        return self._network(
            self._single(name, place) for name, place in zip(names, self.places, strict=True)
        )

    def _network(self, layers: Iterable[nn.Module]) -> Chain:
        stem = conv_norm_relu(self.in_channels, self.channels, 3, self._strides[0])
        first = inverted_residual(self.channels, self.places[0].inputs, 1, 3, 1)
        return Chain(
            nn.Sequential(*stem, first), layers, self._widths[-1], self._head, self.classes
        )

    def _choice(self, group: Group, place: Place, edges: Sequence[Edge]) -> nn.Module:
        same = place.inputs == place.outputs

        def candidate(name: str, width: int, stride: int) -> nn.Module:  # parts may narrow it
            return self._operation(name, Place(width, width if same else place.outputs, stride))

        return build(
            candidate, group, 0, place.inputs, place.stride, edges=edges, outputs=place.outputs
        )

    def _single(self, name: str, place: Place) -> nn.Module:
        if name == NONE:
            return nn.Identity()
        block = self._operation(name, place)
        return Layer(nn.Sequential(block, DropPath()) if place.residual else block, place.residual)

    def _operation(self, name: str, place: Place) -> nn.Module:
        if name == NONE:
            return Zero(place.stride)
        return inverted_residual(place.inputs, place.outputs, *self.blocks[name], place.stride)

    def validate(self, architecture: Architecture) -> None:
        """Raise `ArchgradError` for an architecture that this space cannot build."""
        found, expected = len(architecture.cells), len(self.places)
        if architecture.space == self.name and found != expected:
            raise ArchgradError(
                f"an architecture of {found} layers does not fit space {self.name} of {expected}: "
                "depth is part of it; use the cells or depths of the search that found it"
            )
        super().validate(architecture)

    def _validate_nodes(self, group: Group, cell: Cell) -> None:
        found = [[source for _, source in edges] for edges in cell.nodes]
        if found != [[0]]:
            raise ArchgradError(
                f"cell {cell.name}: nodes have the sources {found}; space {self.name} has one "
                "node with one operation, from source 0"
            )

    def random_architecture(self, generator: torch.Generator) -> Architecture:
        """Uniform over all chains: any candidate in each layer, `none` included."""

        def cell(group: Group) -> Cell:
            (names,) = group.candidates
            name = names[int(torch.randint(len(names), (1,), generator=generator))]
            return Cell(name=group.name, inputs=1, nodes=(((name, 0),),), output=(1,))

        return Architecture(space=self.name, cells=tuple(map(cell, self.groups)))


class Layer(Recomputable):
    """A choice or a block, added to its input where the layer is `residual`."""

    def __init__(self, operation: nn.Module, residual: bool) -> None:
        super().__init__()
        self.operation, self.residual = operation, residual

    def compute(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        out: Tensor = self.operation(x)
        return x + out if self.residual else out


class Chain(Classifier):
    """Stem, layers, 1x1 convolution from `width` to `head` channels, pooling, linear."""

    def __init__(
        self, stem: nn.Module, layers: Iterable[nn.Module], width: int, head: int, classes: int
    ) -> None:
        super().__init__()
        self.stem, self.layers = stem, nn.Sequential(*layers)
        self.head = nn.Sequential(
            *conv_norm_relu(width, head, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.classifier = nn.Linear(head, classes)

    def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, None]:
        """The logits; there is no auxiliary head."""
        return self.classifier(self.head(self.layers(self.stem(x)))), None


def inverted_residual(
    inputs: int, outputs: int, expansion: int, kernel: int, stride: int
) -> nn.Sequential:
    """1x1 convolution to `expansion` times the channels (none for 1), depthwise, 1x1 to outputs.

    BatchNorm after each, ReLU6 after all but the last. (B, inputs, H, W) -> (B, outputs,
    ceil(H/stride), ceil(W/stride)).
    """
    width = expansion * inputs
    return nn.Sequential(
        *(conv_norm_relu(inputs, width, 1) if expansion > 1 else ()),
        *conv_norm_relu(width, width, kernel, stride, groups=width),
        *conv_norm_relu(width, outputs, 1)[:-1],
    )


def conv_norm_relu(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> tuple[nn.Module, ...]:
    """Convolution without bias, BatchNorm, ReLU6."""
    return (
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
        nn.ReLU6(),
    )


def _ratio(number: int, by: int) -> int:
    """Rounded up."""
    return -(-number // by)


def _positive(number: int) -> bool:
    return number > 0


def _odd(number: int) -> bool:
    return number > 0 and number % 2 == 1
