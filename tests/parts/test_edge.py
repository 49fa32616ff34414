"""Edge parts: what goes through the candidates, what around them, and how it changes in time."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice, Edge, Group, Parts, Row, State, build, total
from archgrad.networks.operations import OPERATIONS, FactorizedReduce
from archgrad.networks.supernet import Supernet
from archgrad.parts.edge import (
    AuxiliarySkip,
    EdgeDropPath,
    PartialChannels,
    Plain,
    SkipDropout,
    shuffle,
)
from archgrad.parts.schedule import Fading, Linear
from archgrad.spaces.darts_cnn import DartsCNN

NAMES = ("none", "skip_connect", "max_pool_3x3")
GROUP = Group("g", 1, ((0, 1),), (NAMES,), 1)


def images(channels: int = 8, side: int = 4, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, channels, side, side)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def choice(*edges: Edge, channels: int = 8, stride: int = 1, pick: int = 1) -> Choice:
    """With all weight on one candidate; by default the skip connection."""

    def candidate(name: str, channels: int, stride: int) -> nn.Module:
        return OPERATIONS[name](channels, stride, True)

    torch.manual_seed(0)
    found = build(candidate, GROUP, 0, channels, stride, edges=edges).double()
    found.mixing = Row(torch.eye(3, dtype=torch.float64)[pick])
    return found


def advance(found: nn.Module, progress: float) -> None:
    """As `Supernet.advance` does."""
    moving = [module for module in found.modules() if hasattr(module, "progress")]
    assert moving
    for module in moving:
        module.progress = progress  # type: ignore[assignment]


# --- partial channels ----------------------------------------------------------------------------


def test_eight_channels_shuffled_in_four_groups() -> None:
    x = torch.arange(8.0).view(1, 8, 1, 1)
    assert shuffle(x, 4).flatten().tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert torch.equal(shuffle(x, 1), x)


@given(st.integers(1, 6), st.integers(1, 6))
def test_shuffling_back_takes_the_other_number_of_groups(groups: int, width: int) -> None:
    x = torch.arange(2.0 * groups * width).view(2, groups * width, 1, 1)
    assert torch.equal(shuffle(shuffle(x, groups), width), x)


@pytest.mark.parametrize("k", [2, 4])
def test_a_part_of_the_channels_is_mixed_and_the_rest_passes(k: int) -> None:
    x, part = images(), 8 // k
    order = shuffle(torch.arange(8.0).view(1, 8, 1, 1), k).flatten().long()
    torch.testing.assert_close(choice(PartialChannels(k))(x), x[:, order])
    without = x.clone()
    without[:, :part] = 0.0  # what none makes of the mixed part
    torch.testing.assert_close(choice(PartialChannels(k), pick=0)(x), without[:, order])
    widths = {m.num_features for m in choice(PartialChannels(k)).modules() if hasattr(m, "eps")}
    assert widths == {part}


@pytest.mark.parametrize("side", [4, 5, 7])
def test_at_stride_two_the_rest_is_pooled_and_odd_sizes_fit(side: int) -> None:
    x = images(side=side)
    output = choice(PartialChannels(4), stride=2, pick=0)(x)
    half = (side + 1) // 2
    assert output.shape == (2, 8, half, half)
    pooled = nn.functional.max_pool2d(x[:, 2:], 2, ceil_mode=True)
    kept = shuffle(torch.cat([torch.zeros(2, 2, half, half).double(), pooled], 1), 4)
    torch.testing.assert_close(output, kept)
    for pick in (1, 2):
        assert choice(PartialChannels(4), stride=2, pick=pick)(x).shape == output.shape


@given(st.sampled_from([1, 2]), st.integers(1, 5), st.integers(1, 3))
def test_edges_of_a_node_share_the_parts_and_are_joined_once(
    stride: int, side: int, number: int
) -> None:
    """The same as edge by edge: the rest passes, and the sum of all is shuffled."""
    names = ("skip_connect", "max_pool_3x3", "sep_conv_3x3")
    group = Group("g", 1, ((0, 1),) * number, (names,) * number, 1)

    def candidate(name: str, channels: int, stride: int) -> nn.Module:
        return OPERATIONS[name](channels, stride, True)

    torch.manual_seed(0)
    built = [
        build(candidate, group, row, 8, stride, edges=[PartialChannels(4)]).double()
        for row in range(number)
    ]
    weights = torch.rand(number, 3, dtype=torch.float64, requires_grad=True)
    edges = torch.rand(number, dtype=torch.float64, requires_grad=True)
    for found, row, edge in zip(built, weights, edges, strict=True):
        found.mixing = Row(row, edge)
    x = images(side=side).requires_grad_()
    wanted = [x, weights, edges, *nn.ModuleList(built).parameters()]

    state = State(x, built)
    summands = [summand for found in built for summand in found.terms(state)]
    assert len(set(summand.join for summand in summands if isinstance(summand, Parts))) == 1
    assert len({id(found.seen(state)) for found in built}) == 1  # and its branches with it
    together = total(summands)

    one_by_one = []
    for found, row, edge in zip(built, weights, edges, strict=True):
        mixed = sum(w * module(x[:, :2]) for w, module in zip(row, found.candidates, strict=True))
        rest = x[:, 2:] if stride == 1 else nn.functional.max_pool2d(x[:, 2:], 2, ceil_mode=True)
        one_by_one.append(edge * shuffle(torch.cat([mixed, rest], 1), 4))
    expected = torch.stack(one_by_one).sum(0)
    torch.testing.assert_close(together, expected)
    slopes = [torch.autograd.grad(y.square().sum(), wanted) for y in (together, expected)]
    torch.testing.assert_close(*slopes)


def test_one_part_is_the_whole_edge() -> None:
    found = choice(PartialChannels(1))
    assert len(found.around) == 0 and PartialChannels(1).width(8) == 8
    torch.testing.assert_close(found(images()), images())


@pytest.mark.parametrize(("channels", "k"), [(9, 4), (4, 4), (2, 2), (6, 4)])
def test_channels_that_cannot_be_parted_are_refused(channels: int, k: int) -> None:
    message = f"{channels} channels in {k} parts; expected a multiple of {k}, at least {2 * k}"
    with pytest.raises(ArchgradError, match=message):
        choice(PartialChannels(k), channels=channels)


def test_the_supernet_of_pc_darts_has_the_known_number_of_parameters() -> None:
    """C = 16, 8 cells, k = 4: 299,578 weights."""
    model = DartsCNN().supernet([PartialChannels(4)])
    assert sum(weight.numel() for weight in model.parameters()) == 299_578


# --- auxiliary skip connection -------------------------------------------------------------------


@pytest.mark.parametrize(("progress", "beta"), [(0.0, 1.0), (0.25, 0.75), (1.0, 0.0)])
def test_beta_x_is_added_and_falls_to_nothing(progress: float, beta: float) -> None:
    plain, found, x = choice(pick=2), choice(AuxiliarySkip(), pick=2), images()
    advance(found, progress)
    torch.testing.assert_close(found(x), plain(x) + beta * x)


def test_at_stride_two_the_skip_is_a_factorized_reduction() -> None:
    found, x = choice(AuxiliarySkip(0.5), stride=2, pick=0), images(side=5)
    (around,) = found.around
    assert isinstance(around.skip, FactorizedReduce) and not around.skip.norm.affine
    torch.testing.assert_close(found(x), 0.5 * around.skip(x))


def test_its_weight_has_no_alpha() -> None:
    found, x = choice(AuxiliarySkip(1.0)), images().requires_grad_()
    weights = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    found.mixing = Row(weights)
    output = found(x)
    torch.testing.assert_close(output, x)
    (slopes,) = torch.autograd.grad(output.square().sum(), weights)
    torch.testing.assert_close(slopes[1], 2 * x.square().sum())


# --- drop path and dropout -----------------------------------------------------------------------


def test_whole_images_are_dropped_and_the_others_scaled() -> None:
    found, x = choice(EdgeDropPath(Linear(0.0, 0.4))), images(side=2, count=2000)
    advance(found, 0.5)
    torch.manual_seed(0)
    ratio = (found(x) / x).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    dropped = ratio[:, 0] == 0
    torch.testing.assert_close(ratio[~dropped], torch.full_like(ratio[~dropped], 1 / 0.8))
    assert float(dropped.double().mean()) == pytest.approx(0.2, abs=4 * (0.16 / 2000) ** 0.5)


def test_nothing_is_dropped_at_the_start_or_in_evaluation() -> None:
    found, x = choice(EdgeDropPath(Linear(0.0, 0.9))), images()
    assert torch.equal(found(x), x)
    advance(found, 1.0)
    assert not torch.equal(found(x), x)
    found.eval()
    assert torch.equal(found(x), x)


def test_dropout_stands_behind_skip_connections_of_stride_one_alone() -> None:
    def replaced(found: Choice) -> list[bool]:
        return [hasattr(candidate, "progress") for candidate in found.candidates]

    assert replaced(choice(SkipDropout(0.5))) == [False, True, False]
    assert replaced(choice(SkipDropout(0.5), stride=2)) == [False, False, False]


def test_the_rate_of_dropout_fades() -> None:
    found, x = choice(SkipDropout(Fading(0.8)), channels=64), images(64, 16).abs() + 1
    for progress, rate in ((0.0, 0.8), (0.2, 0.64), (0.6, 0.8 * 2.718281828**-1.0)):
        advance(found, progress)
        torch.manual_seed(0)
        output = found(x)
        share = float((output == 0).double().mean())
        assert share == pytest.approx(rate, abs=0.01)
        torch.testing.assert_close(output[output != 0], (x / (1 - rate))[output != 0])
    found.eval()
    assert torch.equal(found(x), x)


def test_a_supernet_tells_its_edges_how_far_the_search_is() -> None:
    found = choice(AuxiliarySkip(), SkipDropout(0.1), EdgeDropPath())
    net = Supernet(nn.Sequential(found), [GROUP])
    assert len(net.moving) == 3
    net.advance(0.7)
    assert all(module.progress == 0.7 for module in net.moving)


def test_states_and_their_tensors_are_freed_at_once() -> None:
    """Without waiting for the garbage collector, which comes when it likes."""
    found = choice(PartialChannels(4), EdgeDropPath())
    x = images()
    gc.disable()
    try:
        state = State(x, [found])
        gone = [
            weakref.ref(state),
            weakref.ref(found.seen(state)),
            weakref.ref(found.seen(state).x),
        ]
        total(found.terms(state)).sum()
        assert all(ref() is not None for ref in gone)
        del state
        assert [ref() for ref in gone] == [None, None, None]
    finally:
        gc.enable()


# --- together and refused ------------------------------------------------------------------------


def test_parts_stack_from_the_inside_out() -> None:
    """The auxiliary skip inside partial channels sees the mixed part alone."""
    inside = choice(AuxiliarySkip(1.0), PartialChannels(4), pick=0)
    outside = choice(PartialChannels(4), AuxiliarySkip(1.0), pick=0)
    x = images()
    zeroed = torch.cat([torch.zeros_like(x[:, :2]), x[:, 2:]], dim=1)
    torch.testing.assert_close(inside(x), shuffle(x, 4))
    twice = choice(PartialChannels(2), PartialChannels(2))
    torch.testing.assert_close(
        twice(x), shuffle(torch.cat([shuffle(x[:, :4], 2), x[:, 4:]], dim=1), 2)
    )
    torch.testing.assert_close(outside(x), shuffle(zeroed, 4) + x)


def test_a_plain_part_changes_nothing() -> None:
    found, x = choice(Plain()), images()
    assert len(found.around) == 0
    assert torch.equal(found(x), x)


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (PartialChannels, {"k": 0}, "k is 0, expected at least 1"),
    (EdgeDropPath, {"rate": 1.0}, "rate is 1.0, expected from 0 to below 1"),
    (EdgeDropPath, {"rate": Linear(0.0, 1.5)}, "expected from 0 to below 1"),
    (EdgeDropPath, {"rate": Linear(-0.1, 0.5)}, "expected from 0 to below 1"),
    (SkipDropout, {"rate": -0.5}, "rate is -0.5, expected from 0 to below 1"),
    (SkipDropout, {"rate": Fading(1.0)}, "expected from 0 to below 1"),
]


@pytest.mark.parametrize(("part", "knob", "message"), REFUSED)
def test_values_out_of_range_are_refused(part: Any, knob: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        part(**knob)
