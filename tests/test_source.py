"""The written source: the same function, by torch alone, as one would write it by hand."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archgrad.architecture import Architecture, Cell, published, published_names
from archgrad.exporting.source import live, source
from archgrad.exporting.trained import Trained
from archgrad.networks.operations import NAS_BENCH_201, OPERATIONS
from archgrad.spaces import space
from archgrad.spaces.cells import CellSpace
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.mbconv import MBConv
from archgrad.spaces.nas_bench_201 import NasBench201, from_string
from exports import difference, imported, trained, well_written, written

SOME = [name for name in OPERATIONS if name != "none"]


@st.composite
def darts_cells(draw: st.DrawFn, name: str) -> Cell:
    """Nodes with none to three edges; those with some may be left out of the output."""
    nodes: list[tuple[tuple[str, int], ...]] = []
    for node in range(2, 2 + draw(st.integers(1, 4))):
        usable = [0, 1, *(s for s in range(2, node) if nodes[s - 2])]
        least = 0 if any(nodes) else 1
        sources = draw(st.lists(st.sampled_from(usable), unique=True, min_size=least, max_size=3))
        nodes.append(tuple((draw(st.sampled_from(SOME)), source) for source in sources))
    full = [node for node, edges in enumerate(nodes, start=2) if edges]
    output = draw(st.lists(st.sampled_from(full), unique=True, min_size=1))
    return Cell(name=name, inputs=2, nodes=tuple(nodes), output=tuple(sorted(output)))


@st.composite
def darts_networks(draw: st.DrawFn) -> tuple[CellSpace, Architecture]:
    cells = draw(darts_cells("normal")), draw(darts_cells("reduce"))
    imagenet = draw(st.booleans())
    made = DartsCNN(
        channels=draw(st.integers(2, 3)),
        cells=draw(st.integers(3, 5)),
        in_channels=draw(st.integers(1, 3)),
        classes=3,
        image_size=(33, 40) if imagenet else (9, 8),
        imagenet=imagenet,
    )
    return made, Architecture(space="darts-cnn", cells=cells)


@st.composite
def benchmark_networks(draw: st.DrawFn) -> tuple[CellSpace, Architecture]:
    names = [draw(st.sampled_from(list(NAS_BENCH_201))) for _ in range(6)]
    made = NasBench201(channels=3, cells=draw(st.integers(1, 2)), classes=3, image_size=(9, 8))
    return made, cell_of(*names)


def cell_of(*names: str) -> Architecture:
    a, b, c, d, e, f = names
    return from_string(f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|")


def check(made: CellSpace, architecture: Architecture) -> None:
    found = trained(made, architecture)
    x = torch.randn(3, *made.input_shape, generator=torch.Generator().manual_seed(1))
    with tempfile.TemporaryDirectory() as folder:
        network = written(found, Path(folder)).load()
        assert not network.training
        assert difference(found.network, network, x) <= 1e-6
        assert difference(found.network.train(), network.train(), x) <= 1e-5
        well_written(Path(folder) / "model.py")


@settings(max_examples=12)
@given(darts_networks())
def test_it_is_the_network_of_the_darts_space(case: tuple[CellSpace, Architecture]) -> None:
    check(*case)


@settings(max_examples=8)
@given(benchmark_networks())
def test_it_is_the_network_of_nas_bench_201(case: tuple[CellSpace, Architecture]) -> None:
    check(*case)


@settings(max_examples=6)
@given(st.integers(1, 2), st.sampled_from([2, 3, 32]), st.integers(0, 99))
def test_it_is_the_network_of_a_chain(cells: int, channels: int, seed: int) -> None:
    made = MBConv(channels=channels, cells=cells, image_size=(9, 8), in_channels=1, classes=3)
    check(made, made.random_architecture(torch.Generator().manual_seed(seed)))


def test_a_chain_of_other_sizes_has_no_source() -> None:
    made = MBConv(channels=4, cells=1, image_size=(8, 8), strides=(2, 1, 1, 1, 1, 1, 1))
    assert trained(made, made.random_architecture(torch.Generator().manual_seed(0))).sizes is None


@pytest.mark.parametrize("name", ["s1", "s2", "s3", "s4"])
def test_it_is_the_network_of_the_restricted_spaces(name: str) -> None:
    made = space(name, channels=2, cells=4, image_size=(8, 8))
    assert isinstance(made, CellSpace)
    found = made.random_architecture(torch.Generator().manual_seed(0))
    assert ("noise" in str(found)) == (name == "s4")
    check(made, found)


IMAGES = sorted(name for name in published_names() if published(name).space == "darts-cnn")


@pytest.mark.parametrize("name", IMAGES)
def test_published_cells_give_the_class_its_name(name: str, tmp_path: Path) -> None:
    found = trained(DartsCNN(channels=2, cells=3, image_size=(8, 8)), published(name))
    module = written(found, tmp_path)
    expected = {"DARTS_V2": "DartsV2", "PC_DARTS_IMAGENET": "PcDartsImagenet"}
    if name in expected:
        assert type(module.load()).__name__ == expected[name]
    assert f"architecture  {name}, as published" in module.__doc__


def test_wide_sums_and_many_nodes_are_broken_as_ruff_does(tmp_path: Path) -> None:
    """Nodes of up to nine edges: sums of one line, of an own line, of many lines."""
    made = DartsCNN(channels=2, cells=3, image_size=(8, 8))
    nodes = tuple(
        tuple(("dil_conv_3x3" if source % 2 else "skip_connect", source) for source in range(node))
        for node in range(2, 10)
    )
    normal = Cell(name="normal", inputs=2, nodes=nodes, output=(9,))
    many = tuple((("max_pool_3x3", 0),) for _ in range(20))
    reduce = Cell(name="reduce", inputs=2, nodes=many, output=tuple(range(2, 22)))
    found = trained(made, Architecture(space="darts-cnn", cells=(normal, reduce)))
    module = written(found, tmp_path)
    well_written(tmp_path / "model.py")
    assert difference(found.network, module.load(), torch.randn(2, 3, 8, 8)) <= 1e-6


# --- the text ----------------------------------------------------------------------------------


def text_of(found: Trained) -> str:
    assert found.sizes is not None
    return source(found, found.sizes)


def test_a_cell_reads_as_one_would_write_it() -> None:
    nodes = (
        (("sep_conv_3x3", 0), ("skip_connect", 1)),
        (("max_pool_3x3", 2), ("dil_conv_5x5", 0)),
    )
    cells = [Cell(name=n, inputs=2, nodes=nodes, output=(2, 3)) for n in ("normal", "reduce")]
    found = trained(
        DartsCNN(channels=4, cells=5, image_size=(8, 8)),
        Architecture(space="darts-cnn", cells=tuple(cells)),
    )
    text = text_of(found)
    assert (
        """\
class NormalCell(nn.Module):
    \"""Two states in, 2 * channels out; keeps height and width.\"""

    def __init__(self, older: int, newer: int, channels: int, halve: bool) -> None:
        super().__init__()
        self.input0 = FactorizedReduce(older, channels) if halve else project(older, channels)
        self.input1 = project(newer, channels)
        self.node2_from0 = sep_conv(channels, kernel=3, stride=1)
        self.node3_from2 = nn.MaxPool2d(3, stride=1, padding=1)
        self.node3_from0 = dil_conv(channels, kernel=5, stride=1)

    def forward(self, older: Tensor, newer: Tensor) -> Tensor:
        s0 = self.input0(older)
        s1 = self.input1(newer)
        s2 = self.node2_from0(s0) + s1
        s3 = self.node3_from2(s2) + self.node3_from0(s0)
        return torch.cat([s2, s3], dim=1)
"""
        in text
    )
    assert "self.node2_from1 = FactorizedReduce(channels, channels)" in text  # stride 2
    assert "NormalCell(older=12, newer=12, channels=4, halve=False)," in text
    assert "ReductionCell(older=12, newer=8, channels=8)," in text
    assert "class FoundNetwork(nn.Module):" in text
    assert "archgrad" not in text.split('"""', 2)[2]


def test_only_what_is_used_is_written() -> None:
    plain = (("skip_connect", 0), ("skip_connect", 1))
    cells = [Cell(name=n, inputs=2, nodes=(plain,), output=(2,)) for n in ("normal", "reduce")]
    skips = Architecture(space="darts-cnn", cells=tuple(cells))
    text = text_of(trained(DartsCNN(channels=2, cells=3, image_size=(8, 8)), skips))
    for helper in ("sep_conv", "dil_conv", "separable", "Pool2d", "noise", "ResidualBlock"):
        assert helper not in text
    assert "return s0 + s1" in text
    text = text_of(trained(NasBench201(channels=2, cells=1), cell_of(*["skip_connect"] * 6)))
    assert "*(Cell() for _ in range(1))," in text
    assert "def __init__(self, channels" not in text


def test_edges_that_lead_nowhere_are_left_out(tmp_path: Path) -> None:
    """Nodes 1 and 2 are computed in the library, but node 3 takes the input alone."""
    conv, none = "nor_conv_3x3", "none"
    found = trained(NasBench201(channels=2, cells=1), cell_of(conv, conv, conv, conv, none, none))
    (cell,) = found.architecture.cells
    assert live(cell).nodes == ((), (), ((conv, 0),))
    module = written(found, tmp_path)
    names = module.load().state_dict()
    assert "cells.0.node3_from0.1.weight" in names
    assert not any("node1" in name or "node2" in name for name in names)
    assert "left out" in module.__doc__
    assert difference(found.network, module.load(), torch.randn(2, 3, 8, 8)) <= 1e-6


def test_a_cell_of_nothing_but_none_gives_zeros(tmp_path: Path) -> None:
    found = trained(NasBench201(channels=2, cells=1), cell_of(*["none"] * 6))
    module = written(found, tmp_path)
    assert "return torch.zeros_like(s0)" in text_of(found)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(found.network(x), module.load()(x))


def test_the_docstring_says_what_is_known() -> None:
    made = DartsCNN(channels=2, cells=3, in_channels=1, image_size=(8, 12))
    text = text_of(trained(made, published("DARTS_V2"))).split('"""')[1]
    lines = dict(line.split(maxsplit=1) for line in text.splitlines() if "  " in line[:14])
    assert lines["images"] == "scaled to [0, 1], minus mean (0.25), divided by std (0.5)"
    assert lines["training"] == "from scratch, 5 epochs, seed 0"
    assert lines["cost"] == "1,234 parameters, 56,789 multiply-adds for an image of 1x8x12"
    assert lines["accuracy"] == "75.00 %, on 400 test images"
    assert "(B, 1, 8, 12) float32 -> (B, 10)" in text
    assert not {"data", "method", "search"} & set(lines)  # not known here


# --- its use -----------------------------------------------------------------------------------


@pytest.fixture
def module_folder(tmp_path: Path) -> tuple[Trained, Path]:
    found = trained(DartsCNN(channels=2, cells=3, image_size=(8, 8)), published("DARTS_V1"))
    written(found, tmp_path)
    return found, tmp_path


def test_it_needs_torch_alone(module_folder: tuple[Trained, Path], tmp_path: Path) -> None:
    found, folder = module_folder
    x = torch.randn(2, 3, 8, 8)
    torch.save(x, tmp_path / "x.pt")
    code = (
        "import runpy, sys\n"
        "for name in ('archgrad', 'safetensors', 'yaml', 'pydantic', 'scipy'):\n"
        "    sys.modules[name] = None\n"
        "model = runpy.run_path('model.py', run_name='__main__')\n"
        "torch = model['torch']\n"
        "y = model['load']()(torch.load('x.pt', weights_only=True)).detach()\n"
        "torch.save(y, 'y.pt')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "as published" in done.stdout
    assert "logits of a random image: [" in done.stdout
    y = torch.load(folder / "y.pt", weights_only=True)
    torch.testing.assert_close(y, found.network(x).detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("wrong", ["another network", "cut", "no safetensors", "empty"])
def test_wrong_weights_are_refused_in_plain_words(
    wrong: str, module_folder: tuple[Trained, Path], tmp_path: Path
) -> None:
    _, folder = module_folder
    module, path = imported(folder / "model.py"), folder / "model.safetensors"
    expected = "is not a whole safetensors file"
    if wrong == "another network":
        (tmp_path / "other").mkdir()
        wider = DartsCNN(channels=3, cells=3, image_size=(8, 8))
        written(trained(wider, published("DARTS_V1")), tmp_path / "other")
        path = tmp_path / "other" / "model.safetensors"
        expected = "does not hold the weights of DartsV1; give the model.safetensors that was"
    elif wrong == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.write_bytes(b"" if wrong == "empty" else b"PK\x03\x04 this is a zip archive")
    with pytest.raises(ValueError, match=expected) as error:
        module.load(path)
    assert path.name in str(error.value)
