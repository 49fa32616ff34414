"""Exact parameters and multiply-adds of the published networks (facts of the field's tables)."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Conv2d

from archgrad.architecture import published
from archgrad.costing.cost import Cost, cost, count_parameters
from archgrad.networks.counting import counting
from archgrad.networks.network import AuxiliaryHead
from archgrad.networks.supernet import Supernet
from archgrad.parts.edge import PartialChannels
from archgrad.parts.relaxation import Softmax
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.robust import s1, s2, s3, s4

CIFAR = DartsCNN(channels=36, cells=20)
IMAGENET = DartsCNN(channels=48, cells=14, classes=1000, image_size=(224, 224), imagenet=True)

LARGE = {
    "DARTS_V1": Cost(3_169_414, 500_987_520),
    "DARTS_V2": Cost(3_349_342, 528_359_040),
    "PC_DARTS": Cost(3_634_678, 556_670_592),
    "PC_DARTS_IMAGENET": Cost(3_721_510, 570_466_944),
    "PDARTS": Cost(3_433_798, 532_174_464),
}
CIFAR_100 = {
    "DARTS_V1": 3_221_344,
    "DARTS_V2": 3_401_272,
    "PC_DARTS": 3_686_608,
    "PC_DARTS_IMAGENET": 3_773_440,
    "PDARTS": 3_485_728,
}
ON_IMAGENET = {
    "DARTS_V1": Cost(4_510_432, 505_864_704),
    "DARTS_V2": Cost(4_718_752, 529_911_552),
    "PC_DARTS": Cost(5_270_560, 571_137_408),
    "PC_DARTS_IMAGENET": Cost(5_342_464, 581_627_328),
    "PDARTS": Cost(4_944_352, 542_819_328),
}
SMALL = {
    "DARTS_V1": Cost(232_890, 41_355_776),
    "DARTS_V2": Cost(246_106, 43_444_736),
    "PC_DARTS": Cost(335_738, 53_258_752),
    "PC_DARTS_IMAGENET": Cost(327_546, 52_460_032),
    "PDARTS": Cost(292_026, 48_138_752),
}
DEEP_AND_NARROW = {
    "DARTS_V1": 671_034,
    "DARTS_V2": 710_682,
    "PC_DARTS": 788_218,
    "PC_DARTS_IMAGENET": 799_290,
    "PDARTS": 737_338,
}


def parameters(space: DartsCNN, name: str, auxiliary: bool = False) -> int:
    with torch.device("meta"):
        return count_parameters(space.derive(published(name), auxiliary))


@pytest.mark.no_cover
@pytest.mark.parametrize("name", LARGE)
def test_networks_for_cifar_10(name: str) -> None:
    assert cost(CIFAR, published(name)) == LARGE[name]


@pytest.mark.parametrize("name", CIFAR_100)
def test_networks_for_cifar_100(name: str) -> None:
    space = DartsCNN(channels=36, cells=20, classes=100)
    assert parameters(space, name) == CIFAR_100[name] == LARGE[name].parameters + 90 * 577


@pytest.mark.parametrize("name", ON_IMAGENET)
def test_networks_for_imagenet(name: str) -> None:
    assert cost(IMAGENET, published(name)) == ON_IMAGENET[name]


@pytest.mark.parametrize("name", SMALL)
def test_networks_of_the_size_of_the_supernet(name: str) -> None:
    assert cost(DartsCNN(), published(name)) == SMALL[name]


@pytest.mark.parametrize("name", DEEP_AND_NARROW)
def test_deep_and_narrow_networks(name: str) -> None:
    assert parameters(DartsCNN(cells=20), name) == DEEP_AND_NARROW[name]


@pytest.mark.parametrize(
    ("name", "expected", "concatenated"),
    [
        ("FAIR_DARTS_A", Cost(2_360_782, 371_455_200), (3, 4)),
        ("FAIR_DARTS_B", Cost(3_407_878, 536_487_552), (4, 4)),
    ],
)
def test_fair_darts_whose_nodes_have_two_edges_or_fewer(
    name: str, expected: Cost, concatenated: tuple[int, int]
) -> None:
    """arXiv:1911.12126; a node of A's normal cell is isolated and left out of its output."""
    found = published(name)
    assert tuple(len(cell.output) for cell in found.cells) == concatenated
    assert cost(CIFAR, found) == expected


SUPERNETS = {
    "DARTS": (DartsCNN(), Cost(1_930_618, 300_255_744)),
    "RobustDARTS S1": (s1(), Cost(405_146, 68_434_432)),
    "RobustDARTS S2": (s2(), Cost(665_466, 100_928_000)),
    "RobustDARTS S3": (s3(), Cost(665_466, 100_928_000)),
    "RobustDARTS S4": (s4(), Cost(624_506, 96_733_696)),
    "P-DARTS stage 1": (DartsCNN(cells=5), Cost(1_275_834, 186_698_240)),
}


@pytest.mark.no_cover
@pytest.mark.parametrize("name", SUPERNETS)
def test_supernets(name: str) -> None:
    space, expected = SUPERNETS[name]
    with torch.device("meta"):
        supernet = Supernet(space.supernet().eval(), space.groups)
        image = torch.empty(1, *space.input_shape)
    with counting() as counter:
        supernet.forward(Softmax()(supernet.alpha, None), image)
    found = Cost(count_parameters(supernet.model), counter.get_total_flops() // 2)
    assert found == expected


def test_the_supernet_of_pc_darts_for_imagenet_has_a_wide_stem() -> None:
    """K = 2, stem widths 24, 48, 48."""
    large = DartsCNN(classes=1000, image_size=(224, 224), imagenet=True)
    with torch.device("meta"):
        supernet = large.supernet((PartialChannels(2),))
    widths = [m.out_channels for m in [*supernet.stem0, *supernet.stem1] if isinstance(m, Conv2d)]
    assert widths == [24, 48, 48]
    assert count_parameters(supernet) == 956_512


@pytest.mark.parametrize(("cells", "parameters"), [(11, 2_585_146), (17, 3_894_202)])
def test_deeper_supernets(cells: int, parameters: int) -> None:
    with torch.device("meta"):
        assert count_parameters(DartsCNN(cells=cells).supernet()) == parameters


def test_auxiliary_heads() -> None:
    assert count_parameters(AuxiliaryHead(576, 10, imagenet=False)) == 476_426
    with torch.device("meta"):
        assert count_parameters(AuxiliaryHead(768, 1000, imagenet=True)) == 1_260_776


@pytest.mark.parametrize(("space", "head"), [(CIFAR, 476_426), (IMAGENET, 1_260_776)])
def test_the_auxiliary_head_is_not_counted(space: DartsCNN, head: int) -> None:
    v2 = published("DARTS_V2")
    with torch.device("meta"):
        network = space.derive(v2, auxiliary=True)
    assert count_parameters(network) == parameters(space, "DARTS_V2")
    total = sum(parameter.numel() for parameter in network.parameters())
    assert total - count_parameters(network) == head


def test_frozen_parameters_are_not_counted() -> None:
    model = torch.nn.Linear(3, 2)
    assert count_parameters(model) == 8
    model.bias.requires_grad_(False)
    assert count_parameters(model) == 6


def test_multiply_adds_grow_with_the_image_and_parameters_do_not() -> None:
    v2 = published("DARTS_V2")
    small = cost(DartsCNN(channels=4, cells=3, image_size=(8, 8)), v2)
    wide = cost(DartsCNN(channels=4, cells=3, image_size=(8, 16)), v2)
    linear = 4 * 4 * 4 * 10  # channels, doubled twice, of four nodes, to ten classes
    assert small.parameters == wide.parameters
    assert wide.multiply_adds - linear == 2 * (small.multiply_adds - linear)
