"""NAS-Bench-201: structure, sizes against the benchmark's own, strings, and every wrong one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from archgrad.architecture import Architecture, Cell
from archgrad.costing.cost import Cost, cost
from archgrad.errors import ArchgradError, printable
from archgrad.networks.choice import Choice
from archgrad.networks.mixing import Mixing
from archgrad.networks.network import DropPath
from archgrad.networks.operations import NAS_BENCH_201
from archgrad.networks.supernet import Supernet
from archgrad.parts.relaxation import Softmax
from archgrad.spaces import space
from archgrad.spaces.nas_bench_201 import NasBench201, ResidualBlock, from_string, to_string

NAMES = tuple(NAS_BENCH_201)
TINY = NasBench201(channels=2, cells=1, in_channels=1, image_size=(8, 8), classes=3)
EXAMPLE = (
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+"
    "|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
)


def uniform(name: str) -> str:
    """The string of the cell with one operation on every edge."""
    return "+".join("".join(f"|{name}~{s}" for s in range(n)) + "|" for n in (1, 2, 3))


SKIPS = uniform("skip_connect")  # what DARTS collapses to here
CELLS = st.lists(st.sampled_from(NAMES), min_size=6, max_size=6)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# --- structure ---------------------------------------------------------------------------------


def test_one_group_of_six_edges_that_may_all_be_none() -> None:
    (group,) = NasBench201().groups
    assert group.name == "cell"
    assert group.edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert group.candidates == (NAMES,) * 6
    assert (group.inputs, group.output) == (1, (3,))
    assert (group.edges_per_node, group.keep_none) == (None, True)


@pytest.mark.parametrize("cells", [1, 5])
def test_three_stages_with_residual_blocks_between(cells: int) -> None:
    with torch.device("meta"):
        blocks = list(replace(TINY, cells=cells).supernet().cells)
    assert len(blocks) == 3 * cells + 2
    residual = [i for i, block in enumerate(blocks) if isinstance(block, ResidualBlock)]
    assert residual == [cells, 2 * cells + 1]
    widths = [block.edges[0].candidates[3][1].in_channels for i, block in enumerate(blocks)
              if i not in residual]  # fmt: skip
    assert widths == [2] * cells + [4] * cells + [8] * cells
    choices = [block.edges for i, block in enumerate(blocks) if i not in residual]
    assert all([(c.group, c.row) for c in edges] == [("cell", r) for r in range(6)]
               for edges in choices)  # fmt: skip


def test_norms_of_candidates_alone_are_not_affine_in_search() -> None:
    def norms(network: nn.Module) -> Counter[bool]:
        return Counter(m.affine for m in network.modules() if isinstance(m, nn.BatchNorm2d))

    assert norms(TINY.supernet()) == {True: 1 + 2 * 2 + 1, False: 3 * 6 * 2}
    assert norms(TINY.derive(from_string(EXAMPLE))) == {True: 1 + 2 * 2 + 1 + 3 * 3}


def test_a_cell_sums_its_edges_into_the_last_node() -> None:
    """Every node by hand; a cell of skips is four times its input, one of none is zero."""
    torch.manual_seed(0)
    first = TINY.derive(from_string(EXAMPLE)).eval().cells[0]
    x = images(2, 2, 5, 6)
    conv1, conv2, pool, skip, conv3, _ = first.edges
    node1 = conv1(x)
    node2 = conv2(x) + pool(node1)
    torch.testing.assert_close(first(x), x + conv3(node1) + node2)
    assert isinstance(skip, nn.Identity)
    assert torch.equal(TINY.derive(from_string(SKIPS)).cells[0](x), 4 * x)
    assert not TINY.derive(from_string(uniform("none"))).cells[0](x).any()


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 3)])
def test_a_residual_block_equals_its_definition(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    block, x = ResidualBlock(3, 4), images(2, 3, *size)
    one, two, shortcut = (m.weight for m in block.modules() if isinstance(m, nn.Conv2d))
    out = F.batch_norm(F.conv2d(x.relu(), one, stride=2, padding=1), None, None, training=True)
    out = F.batch_norm(F.conv2d(out.relu(), two, padding=1), None, None, training=True)
    height, width = size
    pooled = torch.stack([
        torch.stack([x[..., i : i + 2, j : j + 2].mean(dim=(2, 3)) for j in range(0, width, 2)], -1)
        for i in range(0, height, 2)
    ], -2)  # fmt: skip
    torch.testing.assert_close(block(x), out + F.conv2d(pooled, shortcut))


def test_drop_path_stands_on_all_edges_but_identities() -> None:
    network = TINY.derive(from_string(EXAMPLE))
    assert sum(isinstance(module, DropPath) for module in network.modules()) == 3 * 4


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (1, 7, 9), (2, 3, 40), (1, 3, 3)])
def test_images_of_any_shape_give_logits(shape: tuple[int, int, int]) -> None:
    found = replace(TINY, in_channels=shape[0], image_size=shape[1:])
    assert found.input_shape == shape
    net = Supernet(found.supernet(), found.groups)
    out = net.forward(Softmax()(net.alpha, None), images(2, *shape))
    assert out.shape == (2, 3)
    assert out.isfinite().all()
    assert found.derive(from_string(EXAMPLE)).eval()(images(1, *shape)).shape == (1, 3)


def test_the_supernet_with_single_operations_is_the_derived_network() -> None:
    """In float64, in training mode, where the norm's scale of 1 and shift of 0 do nothing."""
    torch.manual_seed(0)
    architecture = from_string(EXAMPLE)
    derived, model = TINY.derive(architecture).double(), TINY.supernet().double()
    for single, mixed in zip(derived.cells, model.cells, strict=True):
        if isinstance(single, ResidualBlock):
            mixed.load_state_dict(single.state_dict())
            continue
        for edge, choice, name in zip(single.edges, mixed.edges, architecture.cells[0].operations):
            assert isinstance(choice, Choice)
            picked, source = choice.candidates[NAMES.index(name)], edge
            if not isinstance(edge, nn.Identity):
                source = edge[0]
            for new, old in zip(picked.parameters(), source.parameters()):
                new.data.copy_(old.data)
    for part in ("stem", "head", "classifier"):
        getattr(model, part).load_state_dict(getattr(derived, part).state_dict())
    one_hot = torch.zeros(6, 5, dtype=torch.float64)
    for row, name in enumerate(architecture.cells[0].operations):
        one_hot[row, NAMES.index(name)] = 1
    x = images(4, 1, 8, 8).double()
    net = Supernet(model, TINY.groups)
    torch.testing.assert_close(net.forward(Mixing({"cell": one_hot}), x), derived(x))


# --- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parameters", "multiply_adds"),
    [
        (SKIPS, 73_306, 7_783_040),
        (uniform("none"), 73_306, 7_783_040),
        (EXAMPLE, 802_426, 113_951_360),
        (uniform("nor_conv_3x3"), 1_531_546, 220_119_680),
    ],
)
def test_sizes_are_those_of_the_benchmark(text: str, parameters: int, multiply_adds: int) -> None:
    """As in its table (0.073306 M, 7.78 M ...), which counts the classifier's 10 biases as well."""
    assert cost(NasBench201(), from_string(text)) == Cost(parameters, multiply_adds)


def test_there_are_5_to_the_6_cells() -> None:
    assert len(set(map(to_string, NasBench201().all_architectures()))) == 15_625
    few = NasBench201().without(["none", "nor_conv_1x1", "avg_pool_3x3"])
    assert len(set(few.all_architectures())) == 2**6


# --- limits ------------------------------------------------------------------------------------


def test_exactly_the_smallest_image_works() -> None:
    assert replace(TINY, image_size=(3, 9)).smallest_image == 3
    with pytest.raises(ArchgradError, match="2x9 pixels would shrink below .* 2 halvings.* 3 pix"):
        replace(TINY, image_size=(2, 9))


@pytest.mark.parametrize(
    ("field", "smallest"), [("channels", 1), ("cells", 1), ("in_channels", 1), ("classes", 2)]
)
def test_values_out_of_range_are_named(field: str, smallest: int) -> None:
    values: dict[str, Any] = {field: smallest - 1}
    with pytest.raises(ArchgradError, match=f"{field} is {smallest - 1}, expected at least"):
        replace(TINY, **values)
    values[field] = smallest
    assert replace(TINY, **values).derive(from_string(EXAMPLE)) is not None


def test_there_is_no_auxiliary_head() -> None:
    with pytest.raises(ArchgradError, match="has no auxiliary head.* auxiliary weight of 0"):
        TINY.derive(from_string(EXAMPLE), auxiliary=True)
    network = TINY.derive(from_string(EXAMPLE)).train()
    logits, extra = network.forward_with_auxiliary(images(2, 1, 8, 8))
    assert logits.shape == (2, 3)
    assert extra is None


def test_options_of_other_spaces_are_not_known() -> None:
    assert space("nas-bench-201", channels=4) == NasBench201(channels=4)
    with pytest.raises(ArchgradError, match='option of space nas-bench-201 "nodes" is not known'):
        space("nas-bench-201", nodes=4)


NODES = from_string(EXAMPLE).cells[0].nodes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "normal"}, r"cells \['normal'\] does not fit .* and as cells cell$"),
        ({"inputs": 2, "nodes": NODES[1:], "output": (3,)}, "has 2 inputs, .* has 1"),
        ({"nodes": NODES[:2], "output": (2,)}, r"sources \[\[0\], \[0, 1\]\], output \[2\]"),
        ({"output": (2, 3)}, r"output \[2, 3\]; space nas-bench-201 has .* and \[3\]"),
        ({"nodes": (*NODES[:2], NODES[2][::-1])}, r"sources \[\[0\], \[0, 1\], \[2, 1, 0\]\]"),
        (
            {"nodes": ((("sep_conv_3x3", 0),), *NODES[1:])},
            '"sep_conv_3x3" cannot be built on the edge 0 to 1 .*; known: none, skip_connect',
        ),
    ],
)
def test_an_architecture_that_does_not_fit_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    values = {"name": "cell", "inputs": 1, "nodes": NODES, "output": (3,), **changes}
    wrong = Architecture(space="nas-bench-201", cells=(Cell.model_validate(values),))
    for use in (TINY.derive, to_string):
        with pytest.raises(ArchgradError, match=message):
            use(wrong)


def test_an_operation_that_was_left_out_is_refused() -> None:
    with pytest.raises(ArchgradError, match='"skip_connect" cannot be built on the edge 0 to 3'):
        TINY.without(["skip_connect"]).validate(from_string(EXAMPLE))


# --- random cells ------------------------------------------------------------------------------


def test_random_cells_are_uniform_on_every_edge_and_repeat_with_the_seed() -> None:
    def draw(seed: int) -> list[Architecture]:
        generator = torch.Generator().manual_seed(seed)
        return [TINY.random_architecture(generator) for _ in range(1000)]

    drawn = draw(5)
    assert drawn == draw(5)
    assert len(set(drawn)) > 900
    for edge in zip(*(architecture.cells[0].operations for architecture in drawn)):
        counts = Counter(edge)
        assert set(counts) == set(NAMES)
        assert all(abs(n - 200) < 5 * (1000 * 0.2 * 0.8) ** 0.5 for n in counts.values())


# --- strings -----------------------------------------------------------------------------------


@given(CELLS)
def test_strings_and_architectures_go_both_ways(names: list[str]) -> None:
    a, b, c, d, e, f = names
    text = f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
    architecture = from_string(text)
    assert to_string(architecture) == text
    assert architecture.cells[0].operations == tuple(names)
    NasBench201().validate(architecture)
    assert Architecture.from_json(architecture.to_json()) == architecture


def test_the_cells_in_order() -> None:
    first, second = islice(NasBench201().all_architectures(), 2)
    assert to_string(first) == uniform("none")
    assert to_string(second) == uniform("none").replace("none~2", "skip_connect~2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r'string "": found 1 nodes, expected 3 joined by \+'),
        (EXAMPLE + "+|none~0|", r"found 4 nodes, expected 3 joined by \+"),
        (EXAMPLE[1:], r'node 1 is "nor_conv_3x3~0\|", expected 1 entries between bars'),
        (EXAMPLE[:-1], r"node 3 is .*, expected 3 entries between bars"),
        (EXAMPLE.replace("|+|", "+"), "node 1 is .*, expected 1 entries between bars"),
        (EXAMPLE.replace("|avg_pool_3x3~1", ""), "node 2 is .*, expected 2 entries"),
        (EXAMPLE.replace("pool_3x3~1", "pool_3x3"), 'found "avg_pool_3x3", expected .* and ~1'),
        (EXAMPLE.replace("pool_3x3~1", "pool_3x3~0"), 'found "avg_pool_3x3~0", expected .* and ~1'),
        (EXAMPLE.replace("pool_3x3~1", "pool_3x3~01"), 'found "avg_pool_3x3~01", expected'),
        (EXAMPLE.replace("pool_3x3~1", "pool_3x3~one"), 'found "avg_pool_3x3~one", expected'),
        (EXAMPLE.replace("avg_", "average_"), '"average_pool_3x3" is not known; did you mean "avg'),
        (EXAMPLE.replace("avg_", " avg_"), '" avg_pool_3x3" is not known'),
        (EXAMPLE + "\n", "node 3 is"),
    ],
)
def test_wrong_strings_are_named(text: str, message: str) -> None:
    with pytest.raises(ArchgradError, match=message) as caught:
        from_string(text)
    assert str(caught.value).startswith(f'architecture string "{printable(text)}": ')


@given(st.text(alphabet="|+~0123_abcnoe", max_size=60))
def test_any_text_that_is_no_cell_is_a_clear_error(text: str) -> None:
    with pytest.raises(ArchgradError, match="architecture string"):
        from_string(text)
