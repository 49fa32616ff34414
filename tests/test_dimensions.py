"""One and three dimensions: operations, kernels, edge parts, the order in memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archgrad.costing.cost import count_parameters
from archgrad.kernels import native
from archgrad.networks.choice import Choice, Edge, Group, build
from archgrad.networks.mixing import Mixing
from archgrad.networks.network import AuxiliaryHead, DropPath
from archgrad.networks.operations import OPERATIONS, FactorizedReduce, candidates
from archgrad.parts import derivatives
from archgrad.parts.edge import AuxiliarySkip, PartialChannels, shuffle
from archgrad.searching.leg import widened
from archgrad.system.loops import placed
from archgrad.tensors.dimensions import FUNCTIONS, LAYERS
from archgrad.tensors.precision import autocast
from helpers import Plain

NAMES = tuple(OPERATIONS)
SINGLE = [name for name in NAMES if "pool" not in name and name != "none"]  # no BatchNorm is added
SIZES = {1: (9,), 2: (5, 6), 3: (5, 3, 4)}
OTHERS = (1, 3)


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def choice(
    dims: int, names: tuple[str, ...] = NAMES, stride: int = 1, channels: int = 4, *edges: Edge
) -> Choice:
    group = Group("g", 1, ((0, 1),), (names,), 1)
    torch.manual_seed(0)
    return build(
        lambda name, width, step: candidates(dims)[name](width, step, True),
        *(group, 0, channels, stride),
        edges=edges,
        dims=dims,
    ).double()


# --- operations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", LAYERS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("search", [True, False])
def test_every_operation_gives_the_same_shape(dims: int, stride: int, search: bool) -> None:
    size = SIZES[dims]
    for name, factory in candidates(dims).items():
        shape = factory(4, stride, search).eval()(torch.zeros(2, 4, *size)).shape
        assert shape == (2, 4, *(-(-side // stride) for side in size)), name


@pytest.mark.parametrize("dims", LAYERS)
def test_parameters_of_the_operations_follow_their_formulas(dims: int) -> None:
    """Depthwise C k^d and pointwise C^2, twice in a separable convolution; no bias; norms 2 C."""
    c = 6
    once = {k: c * k**dims + c * c for k in (3, 5)}
    expected = {
        **dict.fromkeys(("none", "max_pool_3x3", "avg_pool_3x3"), 0),
        "skip_connect": c * c + 2 * c,
        **{f"sep_conv_{k}x{k}": 2 * (once[k] + 2 * c) for k in (3, 5)},
        **{f"dil_conv_{k}x{k}": once[k] + 2 * c for k in (3, 5)},
        "noise": 0,
    }
    found = {name: make(c, 2, False) for name, make in candidates(dims).items()}
    assert {name: count_parameters(module) for name, module in found.items()} == expected


@pytest.mark.parametrize("dims", LAYERS)
def test_parameters_of_the_auxiliary_head_follow_their_formula(dims: int) -> None:
    with torch.device("meta"):
        head = AuxiliaryHead(5, 4, imagenet=False, dims=dims)
    expected = 5 * 128 + 2 * 128 + 128 * 768 * 2**dims + 2 * 768 + 769 * 4
    assert sum(p.numel() for p in head.parameters()) == expected


@pytest.mark.parametrize("dims", OTHERS)
def test_pools_see_no_border(dims: int) -> None:
    x = random(2, 3, *SIZES[dims])
    window = [1] * dims
    padded = F.pad(x, [1, 1] * dims, value=-torch.inf)
    known = F.pad(torch.ones_like(x), [1, 1] * dims)
    for axis in range(2, dims + 2):
        padded, known = padded.unfold(axis, 3, 1), known.unfold(axis, 3, 1)
    windows = padded.flatten(-len(window))
    average = windows.nan_to_num(neginf=0.0).sum(-1) / known.flatten(-len(window)).sum(-1)
    made = candidates(dims)
    torch.testing.assert_close(made["max_pool_3x3"](3, 1, False)(x), windows.amax(-1))
    torch.testing.assert_close(made["avg_pool_3x3"](3, 1, False)(x), average)


@pytest.mark.parametrize("dims", OTHERS)
def test_a_factorized_reduction_shifts_by_one_in_every_dimension(dims: int) -> None:
    module = FactorizedReduce(1, 2, affine=True, dims=dims).double().eval()
    for conv in (module.conv1, module.conv2):
        nn.init.ones_(conv.weight)
    x = random(1, 1, *(5,) * dims).abs()
    out = module(x)[0] * (1 + module.norm.eps) ** 0.5
    assert out.shape == (2, *(3,) * dims)
    even, odd = (slice(0, None, 2),) * dims, (slice(1, None, 2),) * dims
    torch.testing.assert_close(out[0], x[0, 0][even])
    torch.testing.assert_close(out[1], F.pad(x[0, 0], [0, 1] * dims)[odd])


@pytest.mark.parametrize("dims", OTHERS)
def test_paths_are_dropped_whole(dims: int) -> None:
    torch.manual_seed(0)
    path = DropPath().train()
    path.rate = 0.5
    out = path(torch.ones(64, 2, *SIZES[dims])).flatten(1)
    assert set(out.sum(1).tolist()) == {0.0, 2.0 * out.shape[1]}


# --- kernels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", OTHERS)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_choice_equals_its_candidates_one_by_one(dims: int, stride: int) -> None:
    """Output, gradients and second derivatives; of signals that are one position long too."""

    def found(plain: bool, size: tuple[int, ...]) -> list[Tensor]:
        made = choice(dims, stride=stride)
        if plain:
            made.__class__ = Plain
        x, weights = random(3, 4, *size).requires_grad_(), random(1, 8).requires_grad_()
        (made.mixing,) = Mixing({"g": weights}).rows([made])
        output = made(x)
        inputs = [x, weights, *made.parameters()]
        loss = (output.sin() * random(*output.shape, seed=1)).sum()
        first = torch.autograd.grad(loss, inputs, create_graph=True)
        bent = sum((g * random(*g.shape, seed=2)).sum() for g in first)
        assert isinstance(bent, Tensor)
        second = torch.autograd.grad(bent, inputs, materialize_grads=True)
        return [output, *first, *second]

    for size in (SIZES[dims], (1,) * dims):
        assert native.library(random(3, 4, *size)) is None
        for ours, expected in zip(found(False, size), found(True, size), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dims", LAYERS)
@pytest.mark.parametrize("stride", [1, 2])
def test_every_operation_has_a_forward_mode_and_it_equals_double_backward(
    dims: int, stride: int
) -> None:
    for name in NAMES:
        for search in (True, False):
            torch.manual_seed(0)
            module = candidates(dims)[name](4, stride, search).double()
            at = {"x": random(3, 4, *SIZES[dims])}
            at |= {n: p.detach() for n, p in module.named_parameters()}
            vector = {n: random(*v.shape, seed=i) for i, (n, v) in enumerate(at.items(), 1)}

            def loss(values: dict[str, Tensor], module: nn.Module = module) -> Tensor:
                weights = {n: v for n, v in values.items() if n != "x"}
                output = torch.func.functional_call(module, weights, (values["x"],))
                return (output.sin() * random(*output.shape)).sum()

            forward = derivatives._forward_over_reverse(loss, at, vector, None)
            backward = derivatives._double_backward(loss, at, vector, None)
            torch.testing.assert_close(forward, backward, rtol=1e-8, atol=1e-8)


# --- around them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", OTHERS)
def test_partial_channels_pool_and_shuffle(dims: int) -> None:
    x = random(2, 8, *SIZES[dims])
    for stride in (1, 2):
        made = choice(dims, ("none", "skip_connect"), stride, 8, PartialChannels(4))
        (made.mixing,) = Mixing({"g": torch.tensor([[1.0, 0.0]]).double()}).rows([made])
        rest = FUNCTIONS[dims].max_pool(x[:, 2:], stride, stride, ceil_mode=True)
        zeros = torch.zeros_like(rest[:, :2])
        torch.testing.assert_close(made(x), shuffle(torch.cat([zeros, rest], 1), 4))


@pytest.mark.parametrize("dims", OTHERS)
def test_an_auxiliary_skip_stands_beside(dims: int) -> None:
    x = random(2, 4, *SIZES[dims])
    for stride in (1, 2):
        made = choice(dims, ("none", "skip_connect"), stride, 4, AuxiliarySkip(0.5))
        (made.mixing,) = Mixing({"g": torch.tensor([[1.0, 0.0]]).double()}).rows([made])
        skip = next(module for module in made.around).skip
        assert isinstance(skip, FactorizedReduce) is (stride == 2)
        torch.testing.assert_close(made(x), 0.5 * skip(x))


def test_kernels_of_images_are_placed_as_ever() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3), nn.Conv1d(3, 4, 3))
    before = [p.detach().clone() for p in model.parameters()]
    assert placed(model, torch.device("cpu")) is model
    assert model[0].weight.stride() == (27, 1, 9, 3)
    assert model[1].weight.stride() == (81, 1, 27, 9, 3)
    assert model[2].weight.stride() == (9, 3, 1)
    assert all(map(torch.equal, before, model.parameters()))


@pytest.mark.parametrize("dims", OTHERS)
def test_a_wider_operation_computes_the_same(dims: int) -> None:
    for name in NAMES[1:]:
        torch.manual_seed(0)
        narrow, wide = (candidates(dims)[name](c, 2, True).double() for c in (4, 8))
        theirs = narrow.state_dict()
        wide.load_state_dict({k: widened(theirs[k], v.shape) for k, v in wide.state_dict().items()})
        x = random(3, 4, *SIZES[dims])
        expected = narrow(x).repeat_interleave(2, dim=1)
        torch.testing.assert_close(wide(x.repeat_interleave(2, dim=1)), expected)


@pytest.mark.parametrize("dims", OTHERS)
def test_bfloat16_is_near(dims: int) -> None:
    x = random(4, 4, *SIZES[dims]).float()
    outputs = []
    for precision in ("float32", "bf16"):
        made = choice(dims).float()
        (made.mixing,) = Mixing({"g": random(1, 8).softmax(-1).float()}).rows([made])
        with autocast(precision, torch.device("cpu")):  # type: ignore[arg-type]
            outputs.append(made(x).detach())
    assert outputs[1].dtype == torch.bfloat16
    assert 0 < float((outputs[0] - outputs[1]).norm() / outputs[0].norm()) < 0.02
