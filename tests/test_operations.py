"""The candidate operations against hand-written ones, and their exact sizes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archgrad.costing.cost import count_parameters
from archgrad.networks.operations import (
    CANDIDATES,
    NAS_BENCH_201,
    OPERATIONS,
    FactorizedReduce,
    Zero,
    relu_conv_norm,
)

NAMES = [
    *("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"),
    *("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
]
CONVOLUTIONS = NAMES[4:]


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def multiply_adds(module: nn.Module, channels: int, size: int = 32) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(1, channels, size, size, device="meta"))
    return counter.get_total_flops() // 2


def test_the_operations_stand_in_the_order_of_the_original() -> None:
    assert list(OPERATIONS) == NAMES
    assert list(CANDIDATES) == [*NAMES, "noise"]
    assert list(NAS_BENCH_201) == [
        *("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    ]


@pytest.mark.parametrize(
    ("channels", "parameters", "madds"),
    [
        (16, (864, 1376, 432, 688), (819_200, 1_343_488, 409_600, 671_744)),
        (36, (3384, 4536, 1692, 2268), (3_317_760, 4_497_408, 1_658_880, 2_248_704)),
        (
            144,
            (44_640, 49_248, 22_320, 24_624),
            (45_121_536, 49_840_128, 22_560_768, 24_920_064),
        ),
    ],
)
def test_sizes_of_the_convolutions(
    channels: int, parameters: tuple[int, ...], madds: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        modules = [OPERATIONS[name](channels, 1, False) for name in CONVOLUTIONS]
    assert tuple(count_parameters(module) for module in modules) == parameters
    assert tuple(multiply_adds(module, channels) for module in modules) == madds


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_in_search_the_norms_of_convolutions_have_no_parameters(name: str) -> None:
    norms = 2 if name.startswith("sep") else 1
    derived, search = OPERATIONS[name](16, 1, False), OPERATIONS[name](16, 1, True)
    assert count_parameters(derived) - count_parameters(search) == norms * 2 * 16
    found = [module for module in search.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(found) == norms
    assert not any(norm.affine for norm in found)


@pytest.mark.parametrize(
    ("channels", "parameters", "madds"),
    [(16, 288, 65_536), (36, 1368, 331_776), (144, 21_024, 5_308_416)],
)
def test_size_of_the_factorized_reduction(channels: int, parameters: int, madds: int) -> None:
    with torch.device("meta"):
        module = FactorizedReduce(channels, channels, affine=True)
        search = FactorizedReduce(channels, channels, affine=False)
    assert count_parameters(module) == parameters
    assert count_parameters(search) == channels**2
    assert multiply_adds(module, channels) == madds


@pytest.mark.parametrize("name", CANDIDATES)
@pytest.mark.parametrize("search", [True, False])
@given(
    stride=st.integers(1, 2),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    channels=st.integers(2, 5),
)
def test_every_operation_gives_the_same_shape(
    name: str, search: bool, stride: int, height: int, width: int, channels: int
) -> None:
    module = CANDIDATES[name](channels, stride, search).eval()
    shape = module(torch.zeros(2, channels, height, width)).shape
    assert shape == (2, channels, -(-height // stride), -(-width // stride))


def test_none_is_zero_and_passes_no_gradient() -> None:
    x = images(2, 3, 5, 4).requires_grad_()
    assert torch.equal(Zero(2)(x), torch.zeros(2, 3, 3, 2))
    out = Zero(1)(x)
    assert torch.equal(out, torch.zeros(2, 3, 5, 4))
    out.sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("search", [True, False])
def test_noise_replaces_the_input_and_passes_no_gradient(search: bool) -> None:
    """Mean 0 and variance 1, whatever the input, within five standard deviations."""
    torch.manual_seed(0)
    x = 1000 + images(4, 8, 32, 32)
    noise = CANDIDATES["noise"](8, 2, search)
    first, second = noise(x), noise(x)
    assert first.shape == (4, 8, 16, 16)
    assert abs(float(first.mean())) < 5 / 8192**0.5
    assert abs(float(first.var()) - 1) < 5 * (2 / 8192) ** 0.5
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(noise(x), first)
    assert not noise(x.requires_grad_()).requires_grad
    assert count_parameters(noise) == len(noise.state_dict()) == 0
    assert noise(x.half()).dtype == torch.half


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("search", [True, False])
def test_the_convolutions_of_nas_bench_201(kernel: int, search: bool) -> None:
    torch.manual_seed(0)
    module = NAS_BENCH_201[f"nor_conv_{kernel}x{kernel}"](4, 1, search)
    x = images(3, 4, 6, 5)
    weight = next(module.parameters())
    assert weight.shape == (4, 4, kernel, kernel)
    convolved = F.conv2d(x.relu(), weight, padding=kernel // 2)
    torch.testing.assert_close(module(x), F.batch_norm(convolved, None, None, training=True))
    assert count_parameters(module) == 16 * kernel**2 + (0 if search else 8)


@pytest.mark.parametrize("search", [True, False])
def test_pooling_in_nas_bench_201_has_no_norm(search: bool) -> None:
    x = images(2, 3, 5, 4)
    pooled = F.avg_pool2d(x, 3, 1, padding=1, count_include_pad=False)
    assert torch.equal(NAS_BENCH_201["avg_pool_3x3"](3, 1, search)(x), pooled)
    assert NAS_BENCH_201["skip_connect"](3, 1, search)(x) is x
    assert not NAS_BENCH_201["none"](3, 1, search)(x).any()


@given(st.integers(1, 4), st.integers(1, 4), st.integers(2, 6), st.integers(0, 99))
def test_factorized_reduction_on_even_sizes_is_two_shifted_convolutions(
    half_height: int, half_width: int, outputs: int, seed: int
) -> None:
    torch.manual_seed(seed)
    module = FactorizedReduce(3, outputs, affine=False)
    x = images(2, 3, 2 * half_height, 2 * half_width, seed=seed)
    even = torch.einsum("oi,bihw->bohw", module.conv1.weight[..., 0, 0], x.relu()[..., ::2, ::2])
    odd = torch.einsum("oi,bihw->bohw", module.conv2.weight[..., 0, 0], x.relu()[..., 1::2, 1::2])
    expected = F.batch_norm(torch.cat([even, odd], dim=1), None, None, training=True)
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (7, 9), (15, 15)])
def test_factorized_reduction_pads_odd_sizes_by_zeros_at_the_end(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    module = FactorizedReduce(3, 4, affine=True).eval()
    x = images(2, 3, *size)
    height, width = size
    padded = torch.zeros(2, 3, height + height % 2, width + width % 2)
    padded[..., :height, :width] = x
    assert torch.equal(module(x), module(padded))
    assert module(x).shape == (2, 4, (height + 1) // 2, (width + 1) // 2)


def test_pooling_has_a_norm_in_search_alone() -> None:
    x = images(4, 3, 6, 6)
    for name, pooled in (
        ("max_pool_3x3", F.max_pool2d(x, 3, 2, padding=1)),
        ("avg_pool_3x3", F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False)),
    ):
        derived, search = OPERATIONS[name](3, 2, False), OPERATIONS[name](3, 2, True)
        assert torch.equal(derived(x), pooled)
        expected = F.batch_norm(pooled, None, None, training=True)
        torch.testing.assert_close(search(x), expected)
        assert not torch.allclose(search(x), pooled, atol=0.1)
        assert count_parameters(search) == count_parameters(derived) == 0
        assert not any(isinstance(m, nn.BatchNorm2d) for m in derived.modules())


def test_average_pooling_leaves_the_border_out() -> None:
    ones = torch.ones(1, 2, 4, 4)
    assert torch.equal(OPERATIONS["avg_pool_3x3"](2, 1, False)(ones), ones)


def test_a_skip_is_the_input_itself_or_a_factorized_reduction() -> None:
    x = images(2, 4, 4, 4)
    for search in (True, False):
        assert OPERATIONS["skip_connect"](4, 1, search)(x) is x
        reduce = OPERATIONS["skip_connect"](4, 2, search)
        assert isinstance(reduce, FactorizedReduce)
        assert reduce.norm.affine is not search


def depthwise_separable(
    x: torch.Tensor, depth: nn.Conv2d, point: nn.Conv2d, kernel: int, stride: int, dilation: int
) -> torch.Tensor:
    x = F.conv2d(
        x.relu(),
        depth.weight,
        None,
        stride,
        padding=dilation * (kernel - 1) // 2,
        dilation=dilation,
        groups=x.shape[1],
    )
    return F.batch_norm(F.conv2d(x, point.weight), None, None, training=True)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("kind", ["sep", "dil"])
def test_separable_and_dilated_convolutions_equal_their_definition(
    kind: str, kernel: int, stride: int
) -> None:
    torch.manual_seed(0)
    module = OPERATIONS[f"{kind}_conv_{kernel}x{kernel}"](4, stride, True)
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == (4 if kind == "sep" else 2)
    assert all(convolution.bias is None for convolution in convolutions)
    x = images(3, 4, 8, 7)
    dilation = 1 if kind == "sep" else 2
    expected = depthwise_separable(x, *convolutions[:2], kernel, stride, dilation)
    if kind == "sep":
        expected = depthwise_separable(expected, *convolutions[2:], kernel, 1, 1)
    torch.testing.assert_close(module(x), expected)


def test_preprocessing_is_relu_convolution_norm() -> None:
    torch.manual_seed(0)
    module = relu_conv_norm(3, 5, affine=False)
    x = images(4, 3, 3, 3)
    weight = next(module.parameters())
    expected = F.batch_norm(F.conv2d(x.relu(), weight), None, None, training=True)
    torch.testing.assert_close(module(x), expected)
    assert count_parameters(module) == 15
    assert count_parameters(relu_conv_norm(3, 5, affine=True)) == 15 + 10


def test_reduction_of_large_images_with_few_channels_does_not_corrupt_memory() -> None:
    """A strided 1x1 convolution would: torch 2.13 writes its weight gradient out of bounds."""
    code = (
        "import torch; from archgrad.networks.operations import FactorizedReduce\n"
        "torch.set_num_threads(1)\n"
        "layer = FactorizedReduce(8, 8, True).to(memory_format=torch.channels_last)\n"
        "for _ in range(3): layer(torch.randn(16, 8, 64, 64)).square().sum().backward()\n"
        "print('sound')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "sound", (done.returncode, done.stderr[-500:])
