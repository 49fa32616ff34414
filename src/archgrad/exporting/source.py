"""Writes a trained network as one readable Python file that needs torch alone."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

import archgrad
from archgrad.architecture import Cell
from archgrad.exporting import source_recurrent
from archgrad.exporting.rebuilding import Sizes, TextSizes
from archgrad.exporting.source_chain import chain, chain_weights
from archgrad.exporting.source_parts import (
    CIFAR_STATES,
    CIFAR_STEM,
    DARTS_NETWORK,
    HELPERS,
    IMAGENET_STATES,
    IMAGENET_STEM,
    INTRODUCTION,
    MAIN,
    MODULES,
    STAGES_NETWORK,
    USE,
    WIDTH,
    broken,
)
from archgrad.exporting.trained import Trained
from archgrad.networks.choice import NONE
from archgrad.networks.network import reductions
from archgrad.networks.recurrent import LanguageModel
from archgrad.spaces.mbconv import Chain
from archgrad.spaces.nas_bench_201 import STAGES

CELLS = {"normal": "NormalCell", "reduce": "ReductionCell"}
PURPOSES = {"normal": "keeps height and width", "reduce": "halves height and width"}


def source(trained: Trained, sizes: Sizes | TextSizes) -> str:
    """The text of model.py; it loads `weights`."""
    name = class_name(trained)
    if isinstance(sizes, TextSizes):
        blocks = _text(name, trained)
    else:
        shape = ", ".join(map(str, sizes.shape))
        blocks = [*_images(name, trained, sizes), USE.format(name=name), MAIN.format(shape=shape)]
    for helper, text in reversed(HELPERS.items()):
        if any(f"{helper}(" in block for block in blocks):
            blocks.insert(0, text)
    functional = any("F." in block for block in blocks)
    called = any("Callable" in block for block in blocks)
    standard = "from collections.abc import Callable\n" * called + "from pathlib import Path"
    torch = "import torch\n" + "import torch.nn.functional as F\n" * functional
    imports = f"import json\n{standard}\n\n{torch}from torch import Tensor, nn"
    body = "\n\n\n".join(block.strip("\n") for block in (imports, *blocks))
    return f"{_docstring(name, trained, sizes)}\n\n{body}\n"


def _images(name: str, trained: Trained, sizes: Sizes) -> list[str]:
    """The classes of a classifier of images."""
    if isinstance(trained.network, Chain):
        return chain(name, trained.network)
    cells = {cell.name: live(cell) for cell in trained.architecture.cells}
    if "cell" in cells:
        return _stages(name, cells["cell"], sizes)
    return _darts(name, cells, sizes)


def _text(name: str, trained: Trained) -> list[str]:
    """All of a language model."""
    assert isinstance(trained.network, LanguageModel)
    (cell,) = trained.architecture.cells
    made = source_recurrent.recurrent(name, cell, trained.network)
    known = trained.vocabulary is not None
    return [*made, USE.format(name=name), *source_recurrent.ending(name, known)]


def weights(trained: Trained, sizes: Sizes | TextSizes) -> dict[str, Tensor]:
    """What model.py loads: the trained weights under the names of the written classes."""
    if isinstance(trained.network, LanguageModel):
        return source_recurrent.recurrent_weights(trained.network)
    if isinstance(trained.network, Chain):
        return chain_weights(trained.network)
    assert isinstance(sizes, Sizes)
    kinds = [cell.name for cell in trained.architecture.cells]
    cells = {cell.name: cell for cell in trained.architecture.cells}
    edges = {kind: list(_edges(cells[kind])) for kind in kinds}
    alive = {kind: set(_edges(live(cells[kind]))) for kind in kinds}
    inputs = {kind: {edge.source for edge in alive[kind]} for kind in kinds}
    found = {}
    for name, tensor in trained.network.state_dict().items():
        match = re.fullmatch(r"cells\.(\d+)\.(edges|preprocess)\.?(\d+)\.(.+)", name)
        if match is None:
            found[name if sizes.imagenet else name.replace("stem0.", "stem.")] = tensor
            continue
        index, part, number, rest = match.groups()
        kind = "cell" if "cell" in cells else _kind(int(index), sizes)
        if part == "edges" and (edge := edges[kind][int(number)]) in alive[kind]:
            found[f"cells.{index}.{edge.attribute}.{rest.removeprefix('0.')}"] = tensor
        elif part == "preprocess" and int(number) in inputs[kind]:
            found[f"cells.{index}.input{number}.{rest}"] = tensor
    return found


def class_name(trained: Trained) -> str:
    """FoundNetwork, or the published name as that of a class, such as DartsV2."""
    if trained.name == "found":
        return "FoundNetwork"
    return "".join(part.capitalize() for part in trained.name.split("_"))


def live(cell: Cell) -> Cell:
    """The cell without edges that are none, and without those that its output does not need."""
    needed, nodes = set(cell.output), list(cell.nodes)
    for index in reversed(range(len(nodes))):
        wanted = index + cell.inputs in needed
        nodes[index] = tuple(edge for edge in nodes[index] if wanted and edge[0] != NONE)
        needed |= {source for _, source in nodes[index]}
    return cell.model_copy(update={"nodes": tuple(nodes)})


class Edge(NamedTuple):
    """An edge of a cell."""

    node: int
    source: int
    operation: str

    @property
    def attribute(self) -> str:
        """What it is called in the written cell."""
        return f"node{self.node}_from{self.source}"

    def module(self, stride: int) -> str | None:
        """What makes its module; None where it has none."""
        if self.operation == "noise" or (self.operation == "skip_connect" and stride == 1):
            return None
        return MODULES[self.operation].format(stride=stride)

    def term(self, stride: int) -> str:
        """What it adds to its node."""
        if self.operation == "noise":
            return f"noise(s{self.source}, stride={stride})"
        if self.module(stride) is None:
            return f"s{self.source}"
        return f"self.{self.attribute}(s{self.source})"


def _edges(cell: Cell) -> Iterator[Edge]:
    for node, edges in enumerate(cell.nodes, start=cell.inputs):
        yield from (Edge(node, source, operation) for operation, source in edges)


def _modules(cell: Cell, stride: int) -> list[str]:
    """The lines of `__init__` that make the edges."""
    return [
        f"        self.{edge.attribute} = {module}"
        for edge in _edges(cell)
        if (module := edge.module(stride if edge.source < cell.inputs else 1))
    ]


def _states(cell: Cell, stride: int) -> list[str]:
    """The lines of `forward` from the inputs s0, ... to the output."""
    edges, lines = list(_edges(cell)), []
    used = {*cell.output, *(edge.source for edge in edges)}
    for node in range(cell.inputs, cell.inputs + len(cell.nodes)):
        terms = [e.term(stride if e.source < cell.inputs else 1) for e in edges if e.node == node]
        if node in used:
            target = "return" if cell.output == (node,) else f"s{node} ="
            lines += broken(target, terms or ["torch.zeros_like(s0)"])
    return lines if len(cell.output) == 1 else [*lines, *_joined(cell.output)]


def _joined(nodes: Sequence[int]) -> list[str]:
    """The output of more than one node."""
    line = f"        return torch.cat([{', '.join(f's{node}' for node in nodes)}], dim=1)"
    if len(line) <= WIDTH:
        return [line]
    lines = ["return torch.cat(", "    [", *(f"        s{n}," for n in nodes), "    ],"]
    return [f"        {line}" for line in (*lines, "    dim=1,", ")")]


def _darts(name: str, cells: Mapping[str, Cell], sizes: Sizes) -> list[str]:
    """The classes of a network of the DARTS space."""
    halved: dict[str, set[bool]] = {kind: set() for kind in cells}
    channels, made = sizes.channels, []
    width = channels if sizes.imagenet else 3 * channels
    older, newer, after = width, width, sizes.imagenet
    for index in range(sizes.cells):
        kind = _kind(index, sizes)
        channels *= 2 if kind == "reduce" else 1
        halved[kind].add(after)
        made.append((kind, older, newer, channels, after))
        older, newer, after = newer, channels * len(cells[kind].output), kind == "reduce"
    calls = [
        f"                {CELLS[kind]}(older={older}, newer={newer}, channels={channels}"
        + (f", halve={halve})," if len(halved[kind]) > 1 else "),")
        for kind, older, newer, channels, halve in made
    ]
    stem = IMAGENET_STEM if sizes.imagenet else CIFAR_STEM
    states = IMAGENET_STATES if sizes.imagenet else CIFAR_STATES
    network = DARTS_NETWORK.format(
        name=name,
        cells=sizes.cells,
        inputs=sizes.in_channels,
        classes=sizes.classes,
        stem=stem.format(inputs=sizes.in_channels, width=width, half=width // 2),
        made="\n".join(calls),
        features=newer,
        states=states,
    )
    return [*(_darts_cell(kind, cells[kind], halved[kind]) for kind in cells), network]


def _darts_cell(kind: str, cell: Cell, halved: set[bool]) -> str:
    stride = 2 if kind == "reduce" else 1
    plain, half = "project(older, channels)", "FactorizedReduce(older, channels)"
    chosen = (
        f"{half} if halve else {plain}" if len(halved) > 1 else half if True in halved else plain
    )
    inputs = {edge.source for edge in _edges(cell)}
    made = [f"        self.input0 = {chosen}"] * (0 in inputs)
    made += ["        self.input1 = project(newer, channels)"] * (1 in inputs)
    flag = ", halve: bool" if len(halved) > 1 else ""
    lines = [
        f"class {CELLS[kind]}(nn.Module):",
        f'    """Two states in, {len(cell.output)} * channels out; {PURPOSES[kind]}."""',
        "",
        f"    def __init__(self, older: int, newer: int, channels: int{flag}) -> None:",
        "        super().__init__()",
        *made,
        *_modules(cell, stride),
        "",
        "    def forward(self, older: Tensor, newer: Tensor) -> Tensor:",
        *["        s0 = self.input0(older)"] * (0 in inputs),
        *["        s1 = self.input1(newer)"] * (1 in inputs),
        *_states(cell, stride),
    ]
    return "\n".join(lines)


def _stages(name: str, cell: Cell, sizes: Sizes) -> list[str]:
    """The classes of a network of NAS-Bench-201."""
    modules = _modules(cell, 1)
    wide = any("channels" in line for line in modules)
    lines = ["class Cell(nn.Module):", '    """One state in, one of the same shape out."""', ""]
    if modules:
        given = ", channels: int" if wide else ""
        lines += [f"    def __init__(self{given}) -> None:", "        super().__init__()"]
        lines += [*modules, ""]
    lines += ["    def forward(self, s0: Tensor) -> Tensor:", *_states(cell, 1)]
    widths = [sizes.channels << stage for stage in range(STAGES)]
    made = []
    for stage, width in enumerate(widths):
        if stage > 0:
            made.append(f"            ResidualBlock({widths[stage - 1]}, {width}),")
        call = f"Cell({width})" if wide else "Cell()"
        made.append(f"            *({call} for _ in range({sizes.cells})),")
    network = STAGES_NETWORK.format(
        name=name,
        inputs=sizes.in_channels,
        classes=sizes.classes,
        stem=CIFAR_STEM.format(inputs=sizes.in_channels, width=sizes.channels),
        made="\n".join(made),
        width=widths[-1],
    )
    return ["\n".join(lines), network]


def _kind(index: int, sizes: Sizes) -> str:
    return "reduce" if index in reductions(sizes.cells) else "normal"


def _docstring(name: str, trained: Trained, sizes: Sizes | TextSizes) -> str:
    """What the network is, how it was found, how it is used."""
    story = trained.story()
    if any(live(cell) != cell for cell in trained.architecture.cells):
        story["left out"] = "edges that are none or lead to no output; the cost counts them"
    label = max(map(len, story)) + 2
    facts = [
        textwrap.fill(
            f"{what:<{label}}{text}", WIDTH, subsequent_indent=" " * label, break_on_hyphens=False
        )
        for what, text in story.items()
    ]
    introduction, more = INTRODUCTION, {"shape": ", ".join(map(str, sizes.shape))}
    if isinstance(sizes, TextSizes):
        introduction = source_recurrent.INTRODUCTION
        more = {"words": source_recurrent.ENCODED * (trained.vocabulary is not None)}
    text = introduction.format(
        name=name, version=archgrad.__version__, facts="\n".join(facts), sizes=sizes, **more
    )
    return '"""' + text.replace("\\", "/").replace('"', "'") + '"""'
