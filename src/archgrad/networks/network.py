"""The one network: a supernet while its edges are choices, a plain network once they are single.

Structure: arXiv:1806.09055, sections 2.1 and 3.1, and appendix A. What sits on an edge is decided
by the factories in the wiring; nothing here knows whether it is building a supernet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from archgrad.networks.choice import Choice, State, Summand, total
from archgrad.networks.operations import FactorizedReduce, relu_conv_norm
from archgrad.networks.recompute import Recomputable
from archgrad.tensors.dimensions import LAYERS

EdgeFactory = Callable[[int, int], nn.Module]  # (channels, stride) -> what sits on the edge
Wiring = Sequence[Sequence[tuple[int, EdgeFactory]]]  # for each node its (source, factory) pairs


class DropPath(nn.Module):
    """Drop a whole path per image with probability `rate`, scaling the kept by 1/(1 - rate).

    Input and output (B, C, ...). Acts in training only; `rate` is set by the training loop
    (scheduled drop path, arXiv:1806.09055, appendix A.1): a number, or a scalar tensor, whose value
    may change without a new compilation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rate: float | Tensor = 0.0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or (isinstance(self.rate, float) and self.rate == 0.0):
            return x
        keep = 1.0 - self.rate
        shape = x.shape[0], *[1] * (x.ndim - 1)
        mask = torch.empty(shape, device=x.device, dtype=x.dtype).bernoulli_(keep)
        return x * mask / keep


class Nodes(Recomputable):
    """The states of a cell: its inputs, each preprocessed; nodes that sum the edges into them.

    The output is the concatenation of the nodes `output`, along the channels. Edges that leave
    an input have the given `stride`. A node without edges is not computed.
    """

    def __init__(
        self,
        preprocess: Sequence[nn.Module],
        channels: int,
        wiring: Wiring,
        output: Sequence[int],
        stride: int = 1,
    ) -> None:
        super().__init__()
        for index, module in enumerate(preprocess):
            self.add_module(f"preprocess{index}", module)
        self.sources = tuple(tuple(source for source, _ in edges) for edges in wiring)
        self.output = tuple(output)
        self.edges = nn.ModuleList(
            factory(channels, stride if source < len(preprocess) else 1)
            for edges in wiring
            for source, factory in edges
        )

    def compute(self, *inputs: Tensor) -> Tensor:
        values = {index: getattr(self, f"preprocess{index}")(x) for index, x in enumerate(inputs)}
        states: dict[int, State] = {}
        edges = iter(self.edges)
        for node, sources in enumerate(self.sources, start=len(inputs)):
            outputs: list[Tensor] = []
            terms: list[Summand] = []
            entering = [(source, next(edges)) for source in sources]
            for source, edge in [e for e in entering if not _left_out(e[1])] or entering:
                if isinstance(edge, Choice):
                    if source not in states:
                        states[source] = State(values[source], self._leaving(source))
                    terms += edge.terms(states[source])
                else:
                    outputs.append(edge(values[source]))
            if terms:
                outputs.append(total(terms))
            if outputs:
                values[node] = sum(outputs[1:], start=outputs[0])
        return torch.cat([values[node] for node in self.output], dim=1)

    def _leaving(self, state: int) -> list[Choice]:
        """The choices that a state goes into."""
        sources = [source for sources in self.sources for source in sources]
        pairs = zip(sources, self.edges, strict=True)
        return [e for source, e in pairs if source == state and isinstance(e, Choice)]


def _left_out(edge: nn.Module) -> bool:
    """Whether nothing of an edge is computed: a path leaves it out."""
    row = edge.mixing if isinstance(edge, Choice) and not edge.around else None
    return row is not None and row.active is not None and not (*row.active, *row.watched)


class Cell(Nodes):
    """A cell of the DARTS space: two inputs, preprocessed to `channels`.

    In a reduction cell the edges that leave the two inputs have stride 2.
    """

    def __init__(
        self,
        inputs: tuple[int, int],
        channels: int,
        wiring: Wiring,
        output: Sequence[int],
        *,
        reduction: bool,
        after_reduction: bool,
        affine: bool,
        dims: int = 2,
    ) -> None:
        first = FactorizedReduce if after_reduction else relu_conv_norm
        preprocess = [
            first(inputs[0], channels, affine, dims=dims),
            relu_conv_norm(inputs[1], channels, affine, dims=dims),
        ]
        super().__init__(preprocess, channels, wiring, output, 2 if reduction else 1)


class AuxiliaryHead(nn.Module):
    """The auxiliary classifier (used in training only): (B, C, H, W), H and W >= 8 -> (B, classes).

    Pooling 5x5 (stride 3; 2 in the ImageNet form, which takes H and W >= 7 and has no second
    BatchNorm, as the original code), 1x1 convolution to 128 channels, 2x2 convolution to 768,
    linear. Where a larger map leaves more than one position, they are averaged. In one and three
    dimensions the same, side by side.
    """

    def __init__(self, channels: int, classes: int, imagenet: bool, dims: int = 2) -> None:
        super().__init__()
        layers = LAYERS[dims]
        self.features = nn.Sequential(
            nn.ReLU(),
            layers.avg_pool(5, stride=2 if imagenet else 3),
            layers.conv(channels, 128, 1, bias=False),
            layers.norm(128),
            nn.ReLU(),
            layers.conv(128, 768, 2, bias=False),
            nn.Identity() if imagenet else layers.norm(768),
            nn.ReLU(),
            layers.adaptive_pool(1),
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


class Classifier(nn.Module):
    """A network of a space: (B, in_channels, H, W), or (B, *input_shape) -> (B, classes)."""

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_with_auxiliary(x)[0]

    def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The logits and, in training and where there is an auxiliary head, its logits."""
        raise NotImplementedError


class Network(Classifier):
    """Stem, cells, global average pooling, linear: (B, in_channels, H, W) -> (B, classes).

    `dims`: 2, or 1 for signals (B, in_channels, L), or 3 for volumes (B, in_channels, D, H, W).
    `wirings` and `outputs` hold "normal" and "reduce". Reduction cells stand at 1/3 and 2/3 of
    the depth and double the channels. The stem's BatchNorm is affine even in search. `stem`: how
    many channels it gives (None: 3 `channels`, in the ImageNet form `channels`).
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        channels: int,
        cells: int,
        wirings: Mapping[str, Wiring],
        outputs: Mapping[str, Sequence[int]],
        affine: bool,
        imagenet: bool = False,
        auxiliary: bool = False,
        dims: int = 2,
        stem: int | None = None,
    ) -> None:
        super().__init__()
        width = stem or (channels if imagenet else 3 * channels)
        self.stem0, self.stem1 = _stems(in_channels, width, imagenet, dims)
        before, previous, after_reduction = width, width, imagenet
        self.cells = nn.ModuleList()
        self.auxiliary: AuxiliaryHead | None = None
        for index in range(cells):
            kind = "reduce" if index in reductions(cells) else "normal"
            channels = channels * 2 if kind == "reduce" else channels
            cell = Cell(
                (before, previous),
                channels,
                wirings[kind],
                outputs[kind],
                reduction=kind == "reduce",
                after_reduction=after_reduction,
                affine=affine,
                dims=dims,
            )
            self.cells.append(cell)
            before, previous = previous, channels * len(outputs[kind])
            after_reduction = kind == "reduce"
            if auxiliary and index == 2 * cells // 3:
                self.auxiliary = AuxiliaryHead(previous, classes, imagenet, dims)
        self.pool = LAYERS[dims].adaptive_pool(1)
        self.classifier = nn.Linear(previous, classes)

    def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        s0 = self.stem0(x)
        s1 = self.stem1(s0)
        extra = None
        for index, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1)
            if self.training and self.auxiliary and index == 2 * len(self.cells) // 3:
                extra = self.auxiliary(s1)
        return self.classifier(self.pool(s1).flatten(1)), extra


def reductions(cells: int) -> tuple[int, int]:
    """Indices of the reduction cells, at 1/3 and 2/3 of the depth."""
    return cells // 3, 2 * cells // 3


def _stems(inputs: int, width: int, imagenet: bool, dims: int) -> tuple[nn.Module, nn.Module]:
    """The two stems, the second applied to the first's output, that give `width` channels."""
    layers = LAYERS[dims]

    def conv(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [
            layers.conv(inputs, outputs, 3, stride, padding=1, bias=False),
            layers.norm(outputs),
        ]

    if not imagenet:
        return nn.Sequential(*conv(inputs, width, 1)), nn.Identity()
    half = width // 2
    first = nn.Sequential(*conv(inputs, half, 2), nn.ReLU(), *conv(half, width, 2))
    return first, nn.Sequential(nn.ReLU(), *conv(width, width, 2))
