"""The chain of ProxylessNAS: structure, published sizes, scaling to small images, every error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archgrad import method
from archgrad.architecture import Architecture, Cell
from archgrad.costing.cost import Cost, cost, count_parameters
from archgrad.data import as_data
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice
from archgrad.networks.mixing import Mixing
from archgrad.networks.network import DropPath
from archgrad.networks.supernet import Supernet
from archgrad.parts.discretization import StrongestEdges, Threshold
from archgrad.parts.edge import AuxiliarySkip, EdgeDropPath, PartialChannels, SkipDropout
from archgrad.parts.relaxation import Softmax
from archgrad.parts.state import State
from archgrad.reporting.cells import save_drawing
from archgrad.searching.bilevel import bilevel_search
from archgrad.searching.leg import check
from archgrad.settings.config import SearchConfig
from archgrad.spaces.mbconv import Layer, MBConv, inverted_residual

PAPER = MBConv()
TINY = MBConv(channels=4, cells=2, in_channels=1, image_size=(8, 8), classes=3)
BLOCKS = tuple(f"mbconv{e}_{k}x{k}" for k in (3, 5, 7) for e in (3, 6))
EVERY = (*BLOCKS, "none")
RESIDUAL = (1, 3, 5, 7, 9)  # indices of the layers of TINY that may be skipped


def chain(names: Iterable[str]) -> Architecture:
    cells = (
        Cell(name=f"layer {number}", inputs=1, nodes=(((name, 0),),), output=(1,))
        for number, name in enumerate(names, start=1)
    )
    return Architecture(space="mbconv", cells=tuple(cells))


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x.to(dtype)


MIXED = ("mbconv3_3x3", "none", "mbconv6_5x5", "mbconv3_7x7", "mbconv6_3x3", "none",
         "mbconv3_5x5", "mbconv6_7x7", "mbconv6_7x7", "mbconv3_3x3", "mbconv3_5x5")  # fmt: skip


# --- the numbers of the paper's space ----------------------------------------------------------


def test_the_published_sizes_of_the_search() -> None:
    assert len(PAPER.groups) == 21
    assert sum(group.keep_none for group in PAPER.groups) == 15
    assert sum(prod(group.shape) for group in PAPER.groups) == 141
    assert prod(group.shape[1] for group in PAPER.groups) == 221_502_229_807_900_608
    with torch.device("meta"):
        assert count_parameters(PAPER.supernet()) == 16_034_168


def test_the_places_of_the_layers() -> None:
    assert [p for p in PAPER.places if not p.residual] == [
        (16, 24, 2), (24, 40, 2), (40, 80, 2), (80, 96, 1), (96, 192, 2), (192, 320, 1),
    ]  # fmt: skip
    assert [i for i, p in enumerate(PAPER.places) if not p.residual] == [0, 4, 8, 12, 16, 20]
    assert all(p == (p.outputs, p.outputs, 1) for p in PAPER.places if p.residual)


def multiply_adds(expansion: int, kernel: int) -> int:
    """Of the chain with one block everywhere, added up as the paper's table has it."""
    side, width = 112, 16
    total = side**2 * (9 * 3 * 32 + 9 * 32 + 32 * 16)
    for outputs, depth, stride in zip(
        (24, 40, 80, 96, 192, 320), (4, 4, 4, 4, 4, 1), (2, 2, 2, 1, 2, 1)
    ):
        for index in range(depth):
            wide, expanding = expansion * width, side**2
            side //= stride if index == 0 else 1
            total += expanding * width * wide + side**2 * wide * (kernel**2 + outputs)
            width = outputs
    return total + side**2 * width * 1280 + 1280 * 1000


@pytest.mark.parametrize(
    ("expansion", "kernel", "parameters"),
    [(6, 3, 4_684_776), (3, 3, 3_191_928), (6, 7, 5_103_336)],
)
def test_the_cost_of_chains_of_one_block(expansion: int, kernel: int, parameters: int) -> None:
    found = cost(PAPER, chain([f"mbconv{expansion}_{kernel}x{kernel}"] * 21))
    assert found == Cost(parameters, multiply_adds(expansion, kernel))


# --- structure ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("inputs", "outputs", "expansion", "stride"), [(4, 6, 3, 2), (4, 4, 1, 1)])
def test_an_inverted_residual_equals_its_definition(
    inputs: int, outputs: int, expansion: int, stride: int
) -> None:
    """BatchNorm of eps 1e-3 after each convolution, no ReLU6 after the last."""
    torch.manual_seed(0)
    block, x = inverted_residual(inputs, outputs, expansion, 5, stride), 9 * images(3, inputs, 7, 6)

    def norm(y: Tensor) -> Tensor:
        mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), False, keepdim=True)
        return (y - mean) / (var + 1e-3).sqrt()

    weights = [m.weight for m in block if isinstance(m, nn.Conv2d)]
    out = norm(F.conv2d(x, weights.pop(0))).clamp(0, 6) if expansion > 1 else x
    wide = expansion * inputs
    out = norm(F.conv2d(out, weights[0], stride=stride, padding=2, groups=wide)).clamp(0, 6)
    expected = norm(F.conv2d(out, weights[1]))
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-4)
    assert bool((expected < 0).any())


def test_norms_are_affine_and_have_the_papers_numbers() -> None:
    for network in (TINY.supernet(), TINY.derive(chain(MIXED))):
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        assert {(m.affine, m.eps, m.momentum) for m in norms} == {(True, 1e-3, 0.1)}


def test_a_layer_that_keeps_its_shape_adds_its_input() -> None:
    x = images(2, 4, 5, 5)
    torch.testing.assert_close(Layer(nn.Flatten(3), True)(x), 2 * x)
    assert torch.equal(Layer(nn.Flatten(3), False)(x), x)
    layers = TINY.supernet().layers
    assert [i for i, layer in enumerate(layers) if layer.residual] == list(RESIDUAL)


def test_a_skipped_layer_is_the_identity() -> None:
    shortest = chain("none" if i in RESIDUAL else "mbconv3_3x3" for i in range(11))
    network = TINY.derive(shortest)
    assert [type(layer) is nn.Identity for layer in network.layers] == [
        i in RESIDUAL for i in range(11)
    ]
    longer = cost(TINY, chain(["mbconv3_3x3"] * 11))
    assert cost(TINY, shortest).parameters < longer.parameters
    flat = replace(TINY, cells=1, depths=(1,) * 6)
    assert cost(flat, chain(["mbconv3_3x3"] * 6)) == cost(TINY, shortest)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_the_supernet_with_one_hot_weights_is_the_derived_network(
    dtype: torch.dtype, close: float, training: bool
) -> None:
    torch.manual_seed(0)
    model = TINY.supernet().to(dtype=dtype, memory_format=torch.channels_last)
    x = images(6, 1, 8, 8, dtype=dtype).to(memory_format=torch.channels_last)
    net = Supernet(model, TINY.groups)
    uniform = Mixing({n: torch.full_like(a, 0.2).to(dtype) for n, a in net.alpha.items()})
    net.forward(uniform, 3 * x, update_statistics=True)  # running statistics of their own
    derived = TINY.derive(chain(MIXED)).to(dtype=dtype, memory_format=torch.channels_last)
    for part in ("stem", "head", "classifier"):
        getattr(derived, part).load_state_dict(getattr(model, part).state_dict())
    hot = {}
    for group, name, mixed, single in zip(net.groups, MIXED, model.layers, derived.layers):
        index = group.candidates[0].index(name)
        hot[group.name] = torch.eye(group.shape[1], dtype=dtype)[index : index + 1]
        if name != "none":
            block = single.operation[0] if single.residual else single.operation
            block.load_state_dict(mixed.operation.candidates[index].state_dict())
    model.train(training)
    found = net.forward(Mixing(hot), x)
    assert found.dtype == dtype
    torch.testing.assert_close(found, derived.train(training)(x), rtol=close, atol=close)


def test_drop_path_stands_where_the_input_is_added_and_nowhere_else() -> None:
    network = TINY.derive(chain(MIXED))
    for layer, name, place in zip(network.layers, MIXED, TINY.places, strict=True):
        drops = sum(isinstance(module, DropPath) for module in layer.modules())
        assert drops == (place.residual and name != "none")


# --- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "strides"),
    [
        (224, (2, 2, 2, 2, 1, 2, 1)),
        (112, (2, 2, 2, 2, 1, 2, 1)),  # 112 / 32 = 3.5, which is 4 pixels
        (96, (1, 2, 2, 2, 1, 2, 1)),
        (32, (1, 1, 2, 2, 1, 2, 1)),
        (8, (1, 1, 1, 1, 1, 2, 1)),
        (1, (1,) * 7),
    ],
)
def test_the_first_strides_are_left_out_for_small_images(
    side: int, strides: tuple[int, ...]
) -> None:
    found = replace(TINY, image_size=(side, side + 1))
    assert found.places == replace(found, strides=strides).places
    assert found.halvings == strides.count(2)
    assert found.supernet().stem[0].stride == (strides[0],) * 2


def test_the_maps_of_a_small_image_by_layer() -> None:
    sides = []
    network = replace(TINY, image_size=(32, 32)).derive(chain(["mbconv3_7x7"] * 11)).eval()
    for layer in network.layers:
        layer.register_forward_hook(lambda module, given, out: sides.append(out.shape[-1]))
    network(images(1, 1, 32, 32))
    assert sides == [32, 32, 16, 16, 8, 8, 8, 8, 4, 4, 4]


@pytest.mark.parametrize("channels", range(2, 40))
def test_no_two_stages_are_of_equal_width(channels: int) -> None:
    """So that the candidates of a layer depend neither on the width nor on the image."""
    found = replace(TINY, channels=channels)
    assert found.groups == TINY.groups == replace(found, image_size=(224, 224)).groups
    assert [p.outputs for p in found.places][-1] == -(-320 * channels // 32)


def test_widths_depths_strides_and_blocks_can_be_given() -> None:
    found = MBConv(
        channels=4, widths=(6, 6), depths=(1, 2), strides=(1, 2, 1), head_width=9,
        kernels=(3,), expansions=(1, 2), in_channels=2, image_size=(5, 7), classes=4,
    )  # fmt: skip
    assert found.places == ((2, 6, 2), (6, 6, 1), (6, 6, 1))
    assert [g.candidates[0] for g in found.groups] == [
        ("mbconv1_3x3", "mbconv2_3x3"), *[("mbconv1_3x3", "mbconv2_3x3", "none")] * 2,
    ]  # fmt: skip
    network = found.derive(chain(["mbconv1_3x3", "none", "mbconv2_3x3"])).eval()
    assert network(images(2, 2, 5, 7)).shape == (2, 4)
    assert network.classifier.in_features == 9
    wider = found.sized(channels=6)
    assert wider.places == ((3, 9, 2), (9, 9, 1), (9, 9, 1))
    assert wider.head_width == 14


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 1}, "channels is 1, expected at least 2"),
        ({"widths": (8, 8)}, r"strides \[1, 1, .*\]; expected 3 numbers, 1 or 2"),
        ({"widths": (0,) * 6}, r"widths \[0, 0, .*\]; expected 6 numbers, above 0"),
        ({"depths": (1, 1)}, r"depths \[1, 1\]; expected 6 numbers, above 0, one a stage"),
        ({"strides": (1,) * 6}, "expected 7 numbers, 1 or 2, stem and stages"),
        ({"strides": (3,) * 7}, r"strides \[3, 3, .*; expected 7 numbers, 1 or 2"),
        ({"kernels": (3, 4)}, r"kernels \[3, 4\]; expected 2 numbers, odd and above 0"),
        ({"expansions": (0,)}, r"expansions \[0\]; expected 1 numbers, above 0"),
        ({"kernels": ()}, r"layer 1: edge 0 to 1 offers \[\]; expected different operations"),
        (
            {"strides": (2, 2, 2, 2, 1, 2, 1)},
            "8x8 pixels would shrink below one pixel in 5 halvings; expected at least 17 pixels a "
            "side: use larger images or fewer strides of 2",
        ),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        replace(TINY, **options)


def test_another_width_takes_the_same_architecture_and_another_depth_is_refused() -> None:
    architecture = chain(MIXED)
    TINY.sized(channels=7).validate(architecture)
    assert TINY.sized() == TINY.sized(cells=2) == TINY
    with pytest.raises(ArchgradError, match="found cells 3, expected 2: the depth of a chain"):
        TINY.sized(8, 3)
    with pytest.raises(ArchgradError, match="of 11 layers does not fit space mbconv of 21: depth"):
        PAPER.validate(architecture)


# --- architectures -----------------------------------------------------------------------------


def test_random_chains_are_uniform_and_survive_json() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [TINY.random_architecture(generator) for _ in range(700)]
    for one in drawn[:20]:
        TINY.validate(one)
        assert Architecture.from_json(one.to_json()) == one
    counts = [Counter(one.cells[i].operations[0] for one in drawn) for i in (0, 1)]
    assert set(counts[0]) == set(BLOCKS) and set(counts[1]) == set(EVERY)
    assert all(60 < count < 140 for count in counts[1].values())  # 100 on average


def changed(number: int, **values: Any) -> Architecture:
    cells = [cell.model_dump() for cell in chain(MIXED).cells]
    cells[number - 1] |= values
    return Architecture(space="mbconv", cells=tuple(Cell.model_validate(c) for c in cells))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (changed(1, nodes=((("none", 0),),)), 'layer 1: operation "none" cannot be built'),
        (changed(2, nodes=((("skip", 0),),)), '"skip" .* known: mbconv3_3x3, .*, none'),
        (changed(2, inputs=2, output=(2,)), "cell layer 2 has 2 inputs"),
        (changed(2, nodes=((),)), r"nodes have the sources \[\[\]\]; .* one operation"),
        (changed(2, nodes=((("none", 0), ("a", 0)),)), r"nodes have the sources \[\[0, 0\]\]"),
        (changed(11, name="layer 12"), "expected that space and as cells layer 1 and"),
        (chain(MIXED).model_copy(update={"space": "s4"}), "architecture of space s4"),
    ],
)
def test_wrong_architectures_are_refused(wrong: Architecture, message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        TINY.derive(wrong)


def test_an_auxiliary_head_is_refused() -> None:
    with pytest.raises(ArchgradError, match="mbconv has no auxiliary head.*; use an auxiliary w"):
        TINY.derive(chain(MIXED), auxiliary=True)


def test_candidates_can_be_left_out_and_restricted_layer_by_layer() -> None:
    short = TINY.without(["none", "mbconv6_7x7"])
    assert all(g.candidates == (BLOCKS[:-1],) and not g.keep_none for g in short.groups)
    with pytest.raises(ArchgradError, match='operation "none" cannot be built'):
        short.validate(chain(MIXED))
    fixed = TINY.restricted({"layer 2": [["none"]], "layer 1": [["mbconv3_5x5", "mbconv6_3x3"]]})
    assert [g.shape[1] for g in fixed.groups] == [2, 1, 6, 7, 6, 7, 6, 7, 6, 7, 6]
    assert fixed.sized(channels=8).groups == fixed.groups
    choices = [m for m in fixed.supernet().modules() if isinstance(m, Choice)]
    assert [c.names for c in choices] == [g.candidates[0] for g in fixed.groups]
    with pytest.raises(ArchgradError, match="cannot be restricted to none; it offers mbconv3_3x3,"):
        short.restricted({"layer 2": [["none"]]})


def test_candidates_are_checked() -> None:
    rows = [group.candidates for group in TINY.groups]
    with pytest.raises(ArchgradError, match="layer 3: found the candidate none, but from 3 to 5 c"):
        replace(TINY, candidates=(*rows[:2], (("none", "mbconv3_3x3"),), *rows[3:]))
    with pytest.raises(ArchgradError, match="layer 1: found candidates for 2 edges, expected 1"):
        replace(TINY, candidates=(rows[0] * 2, *rows[1:]))
    with pytest.raises(ArchgradError, match='"mbconv3_9x9" is not known; did you mean "mbconv3'):
        replace(TINY, candidates=((("mbconv3_9x9",),), *rows[1:]))


# --- searches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [StrongestEdges(), Threshold(0.5)])
def test_the_strongest_candidate_of_each_layer_is_kept(rule: Callable[..., Any]) -> None:
    alpha = {
        group.name: 5 * torch.eye(group.shape[1])[[group.candidates[0].index(name)]]
        for group, name in zip(TINY.groups, MIXED, strict=True)
    }
    state = State(problem=None, relaxation=Softmax(), groups=TINY.groups)  # type: ignore[arg-type]
    assert rule(alpha, state) == chain(MIXED).cells


@pytest.mark.parametrize("recipe", ["darts", "proxyless"])
def test_a_search_with_all_its_diagnostics(recipe: str, tmp_path: Path) -> None:
    data = as_data((images(24, 1, 8, 8), torch.arange(24) % 3))
    config = SearchConfig(epochs=1, batch_size=4, watch_fraction=0, device="cpu")
    where = replace(
        TINY, widths=(4, 6), depths=(1, 2), strides=(1, 2, 1), kernels=(3, 5), expansions=(2,)
    )
    chosen = replace(method(recipe), interval=1, warm_up=0.0)
    result = bilevel_search(where, data, chosen, config)
    where.validate(result.architecture)
    assert {n: tuple(a.shape) for n, a in result.alpha.items()} == {
        group.name: group.shape for group in where.groups
    }
    assert {"eigenvalue", "discrete_accuracy", "parameters_percentile"} <= set(result.metrics[0])
    assert result.derive(channels=3)(images(2, 1, 8, 8)).shape == (2, 3)
    assert "layer 3" in save_drawing(result.architecture, tmp_path)[0].read_text()


def test_parts_that_pass_by_need_equal_channels() -> None:
    for part in (PartialChannels(2), AuxiliarySkip()):
        with pytest.raises(
            ArchgradError, match=f"layer 1 leads from 2 to 3 channels, and {type(part).__name__} "
        ):
            TINY.supernet([part])
    even = replace(TINY, channels=8, widths=(4, 4), depths=(1, 1), strides=(1, 2, 1))
    for part in (PartialChannels(2), AuxiliarySkip(), EdgeDropPath(), SkipDropout()):
        net = Supernet(even.supernet([part]), even.groups)
        mixing = Mixing({name: value.softmax(-1) for name, value in net.alpha.items()})
        assert net.forward(mixing, images(2, 1, 8, 8)).shape == (2, 3)
    assert TINY.supernet([EdgeDropPath(), SkipDropout(), PartialChannels(1)])


def test_methods_that_do_not_fit_a_chain_are_refused_before_the_search() -> None:
    config = SearchConfig(epochs=3)
    for name, message in {
        "pc_darts": "PartialChannels passes some of its input by",
        "darts_minus": "AuxiliarySkip passes some of its input by",
        "p_darts": "found cells 8, expected 2: the depth of a chain",
    }.items():
        with pytest.raises(ArchgradError, match=message):
            check(TINY, method(name), config)
    check(TINY, method("p_darts", more_cells=0), config)
