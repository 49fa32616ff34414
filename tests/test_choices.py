"""Choices of inputs, depth and width, and candidates of any structure."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice, Row
from archgrad.networks.choices import InputChoice, Repeat, Width
from archgrad.networks.operations import Branching
from archgrad.spaces.own import OwnModel


def values(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def mixing(weights: list[float], active: list[int] | None = None) -> Row:
    return Row(torch.tensor(weights, dtype=torch.float64).requires_grad_(), active=active)


def linears() -> list[nn.Module]:
    return [nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)]


def convolutions() -> list[nn.Module]:
    first, depthwise = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=1, groups=6)
    return [first, nn.BatchNorm2d(6), nn.Tanh(), depthwise, nn.Conv2d(6, 3, 1, bias=False)]


def around(module: nn.Module, kernel: int = 0) -> list[nn.Module]:
    """The module between two linear layers, or two convolutions."""
    if kernel:
        return [nn.Conv2d(3, 6, kernel), module, nn.Conv2d(6, 3, kernel)]
    return [nn.Linear(3, 6), module, nn.Linear(6, 3)]


def block() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Tanh())


MAKE: dict[str, tuple[Callable[[], Choice], tuple[int, ...]]] = {
    "repeat": (lambda: Repeat(block, [0, 1, 3]), (5, 3)),
    "linear width": (lambda: Width(linears(), [2, 4, 6]), (5, 3)),
    "convolutional width": (lambda: Width(convolutions(), [1, 5, 6]), (5, 3, 4, 4)),
    "choice": (
        lambda: Choice({"a": block(), "b": nn.Linear(3, 3), "c": nn.Identity()}), (5, 3)
    ),
}  # fmt: skip
WEIGHTS = [0.5, 0.3, 0.2]


def made(kind: str, training: bool) -> tuple[Choice, list[nn.Module], Tensor]:
    """A choice, what each of its candidates is derived to, and an input."""
    torch.manual_seed(0)
    make, shape = MAKE[kind]
    choice = make().double().train(training)
    for module in choice.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert isinstance(module.running_mean, Tensor)
            module.running_mean.copy_(torch.arange(len(module.running_mean)))
    derived = [copy.deepcopy(choice.chosen([name])) for name in choice.names]
    return choice, derived, values(*shape)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", MAKE)
def test_a_mixture_is_the_weighted_sum_of_the_derived_modules(kind: str, training: bool) -> None:
    choice, derived, x = made(kind, training)
    choice.mixing = mixing(WEIGHTS)
    x.requires_grad_()
    found = choice(x)
    expected = sum(w * module(x) for w, module in zip(WEIGHTS, derived, strict=True))
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    (ours,) = torch.autograd.grad(found.square().sum(), x, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected.square().sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    (slopes,) = torch.autograd.grad(found.sum(), choice.mixing.weights)
    sums = torch.stack([copy.deepcopy(module)(x).sum() for module in derived])
    torch.testing.assert_close(slopes, sums, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("kind", MAKE)
def test_a_single_path_is_the_derived_module(kind: str, index: int, training: bool) -> None:
    """Outputs, gradients of its weights, and the running statistics of batch normalization."""
    choice, derived, x = made(kind, training)
    choice.mixing = mixing([float(i == index) for i in range(3)], active=[index])
    found, expected = choice(x), derived[index](x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    if list(derived[index].parameters()):
        found.square().sum().backward()
        expected.square().sum().backward()
    after = choice.chosen([choice.names[index]])  # owns copies: of values, not of gradients
    for ours, theirs in zip(after.buffers(), derived[index].buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    norms = sum(float(p.grad.square().sum()) for p in choice.parameters() if p.grad is not None)
    expected_norms = (float(p.grad.square().sum()) for p in derived[index].parameters() if
                      p.grad is not None)  # fmt: skip
    assert norms == pytest.approx(sum(expected_norms), rel=1e-9)


def count_calls(module: nn.Module) -> list[str]:
    calls: list[str] = []
    module.register_forward_hook(lambda *_: calls.append("called"))
    return calls


def test_blocks_are_computed_once_and_no_deeper_than_needed() -> None:
    choice = Repeat(block, [1, 2, 3]).double()
    assert isinstance(choice.blocks, nn.ModuleList)
    calls = [count_calls(one) for one in choice.blocks]
    choice.mixing = mixing(WEIGHTS)
    choice(values(5, 3))
    assert [len(c) for c in calls] == [1, 1, 1]
    choice.mixing = mixing([0.0, 1.0, 0.0], active=[1])
    choice(values(5, 3))
    assert [len(c) for c in calls] == [2, 2, 1]


def test_a_width_computes_no_more_channels_than_its_largest_active_one() -> None:
    torch.manual_seed(0)
    choice = Width([nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)], [2, 4, 8]).double()
    assert isinstance(choice.layers, nn.ModuleList)
    seen: list[int] = []
    choice.layers[1].register_forward_hook(lambda _, inputs, out: seen.append(out.shape[-1]))
    for weights, active in ((WEIGHTS, None), ([1.0, 0, 0], [0]), ([0.5, 0.5, 0], [0, 1])):
        choice.mixing = mixing(weights, active)
        choice(values(5, 3))
    assert seen == [8, 2, 4]


def test_a_derived_width_owns_tensors_of_its_own_size() -> None:
    choice = Width(convolutions(), [2, 6])
    before = copy.deepcopy(choice.state_dict())
    derived = choice.chosen(["2"])
    assert isinstance(derived, nn.Sequential)
    shapes = [tuple(p.shape) for p in derived.parameters()]
    assert shapes == [(2, 3, 1, 1), (2,), (2,), (2,), (2, 1, 3, 3), (2,), (3, 2, 1, 1)]
    assert [type(layer) for layer in derived] == [type(layer) for layer in convolutions()]
    assert (derived[0].out_channels, derived[3].groups, derived[4].in_channels) == (2, 2, 2)
    derived(torch.randn(2, 3, 4, 4)).sum().backward()
    with torch.no_grad():
        for parameter in derived.parameters():
            parameter.fill_(7.0)
    assert all(torch.equal(value, before[name]) for name, value in choice.state_dict().items())
    assert sum(p.numel() for p in derived.parameters()) == sum(
        t.untyped_storage().nbytes() // 4 for t in derived.parameters()
    )


@pytest.mark.parametrize("gradients", [True, False])
def test_a_derived_width_is_frozen_where_its_layers_are(gradients: bool) -> None:
    choice = Width(convolutions(), [2, 6])
    assert isinstance(choice.layers, nn.ModuleList)
    choice.layers[1].requires_grad_(False)
    choice.layers[3].bias.requires_grad_(False)
    with torch.set_grad_enabled(gradients):
        derived = choice.chosen(["2"])
    frozen = [name for name, p in derived.named_parameters() if not p.requires_grad]
    assert frozen == ["1.weight", "1.bias", "3.bias"]


@pytest.mark.parametrize(
    ("layers", "widths", "message"),
    [
        ([nn.Linear(3, 6)], [6], "found 1 layers"),
        ([nn.Linear(3, 6), nn.Linear(6, 3)], [0, 6], "from 1 on"),
        ([nn.Linear(3, 6), nn.Linear(6, 3)], [2, 8], "layer 0, a Linear, has out_features 6; exp"),
        ([nn.Linear(3, 6), nn.Linear(4, 3)], [2, 6], "layer 1, a Linear, has in_features 4; expec"),
        ([nn.Linear(3, 6), nn.LayerNorm(6), nn.Linear(6, 3)], [2, 6], "layer 1 is a LayerNorm"),
        (around(nn.LayerNorm(6, elementwise_affine=False)), [2, 6], "layer 1 is a LayerNorm, w"),
        (around(nn.RMSNorm(6, elementwise_affine=False)), [2, 6], "layer 1 is a RMSNorm, which"),
        (around(nn.Sequential(nn.GLU())), [2, 6], "layer 1 is a GLU, which mixes"),
        (around(nn.Softmax(dim=-1)), [2, 6], "layer 1 is a Softmax, which mixes"),
        (around(nn.GroupNorm(2, 6, affine=False), 1), [2, 6], "layer 1 is a GroupNorm, which"),
        (around(nn.LogSoftmax(dim=-3), 1), [2, 6], "layer 1 is a LogSoftmax, which mixes"),
        ([*around(nn.Flatten(), 1)[:2], nn.Linear(6, 3)], [6], "layer 1 is a Flatten, which mixes"),
        ([nn.Linear(3, 6), nn.BatchNorm1d(5), nn.Linear(6, 3)], [6], "num_features 5; expected"),
        ([nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1)], [2, 4], "layer 0 is a Conv2d"),
    ],
)
def test_what_cannot_be_narrowed_is_refused(
    layers: list[nn.Module], widths: list[int], message: str
) -> None:
    with pytest.raises(ArchgradError, match=message):
        Width(layers, widths)


def test_what_treats_every_channel_alike_is_taken() -> None:
    for layers in (around(nn.Softmax(dim=-1), 1), around(nn.InstanceNorm2d(6), 1)):
        assert Width(layers, [2, 6]).names == ("2", "6")


def test_depths_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ArchgradError, match="from 0 on"):
        Repeat(block, [-1, 2])
    with pytest.raises(ArchgradError, match="2 blocks for a depth of 3"):
        Repeat([block(), block()], [1, 3])


# --- inputs --------------------------------------------------------------------------------------


def test_an_input_choice_weighs_its_inputs_and_derives_the_sum_of_those_picked() -> None:
    choice = InputChoice(3, picks=2, name="skips")
    inputs = [values(2, 3, seed=i) for i in range(3)]
    choice.mixing = mixing(WEIGHTS)
    a, b, c = inputs
    torch.testing.assert_close(choice(inputs), 0.5 * a + 0.3 * b + 0.2 * c)
    assert torch.equal(choice.chosen(["2", "0"])(inputs), a + c)
    for wrong, said in ((inputs[:2], "a list of 2"), (a, r"a tensor of shape \(2, 3\)")):
        with pytest.raises(ArchgradError, match=f"skips was called with {said}.* list of 3"):
            choice(wrong)
    with pytest.raises(ArchgradError, match="picks 4 of 3"):
        InputChoice(3, picks=4)


def test_an_input_choice_among_fewer_keeps_the_places_of_its_inputs() -> None:
    choice = InputChoice(3)
    choice.restrict(["0", "2"])
    inputs = [values(2, 3, seed=i) for i in range(3)]
    choice.mixing = mixing([0.5, 0.25])
    torch.testing.assert_close(choice(inputs), 0.5 * inputs[0] + 0.25 * inputs[2])
    assert torch.equal(choice.chosen(["2"])(inputs), inputs[2])


def test_perturbation_keeps_as_many_inputs_as_the_choice_picks() -> None:
    """Of three inputs with known worth the two that cost most stay, each with weight 1."""
    from archgrad.parts.relaxation import ALONE
    from archgrad.parts.selection import Perturbation

    class Search:
        groups = OwnModel(nn.Sequential(InputChoice(3, 2, "inputs"))).groups
        masks: list[Tensor] = []  # noqa: RUF012

        def score(self, mask: Any) -> tuple[float, float]:
            self.masks.append(mask["inputs"])
            worth = (mask["inputs"][0] != 0).double() @ torch.tensor([3.0, 1, 2]).double()
            return 0.0, float(worth)

        def tune(self, *_: object) -> None: ...

        def random(self, below: int) -> int:
            return 0

    search = Search()
    (cell,) = Perturbation(0)(search)
    assert cell.operations == ("0", "2")
    assert len(search.masks) == 3 and ALONE not in search.masks[0]


# --- any structure -------------------------------------------------------------------------------


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


class Two(nn.Module):
    """Called with two arguments and an option; returns a structure."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, x: Tensor, y: Tensor, *, shift: float = 0.0) -> dict[str, Any]:
        both = Pair(self.factor * x, self.factor * y + shift)
        return {"pair": both, "list": [self.factor * x], "tuple": (x, None)}


def test_candidates_of_several_arguments_return_any_structure() -> None:
    choice = Choice({"two": Two(2.0), "five": lambda: Two(5.0)}, name="c")
    choice.mixing = mixing([0.25, 0.75])
    x, y = values(2, 3), values(4, seed=1)
    found = choice(x, y, shift=1.0)
    factor = 0.25 * 2 + 0.75 * 5
    assert isinstance(found["pair"], Pair)
    torch.testing.assert_close(found["pair"].first, factor * x)
    torch.testing.assert_close(found["pair"].second, factor * y + 1)
    torch.testing.assert_close(found["list"], [factor * x])
    torch.testing.assert_close(found["tuple"][0], x)
    assert found["tuple"][1] is None


class Gives(nn.Module):
    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> Any:
        return self.output


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), r"one: \(2, 3\); two: \(2, 4\)"),
        (torch.zeros(2), torch.zeros(2).long(), r"two: \(2,\) of torch.int64"),
        ({"a": torch.zeros(2)}, {"b": torch.zeros(2)}, r"one: \{a: \(2,\)\}; two: \{b: "),
        ((torch.zeros(2),), (torch.zeros(2),) * 2, r"one: \[\(2,\)\]; two: \[\(2,\), \(2,\)\]"),
        (torch.zeros(2), None, "two: NoneType"),
    ],
)
def test_outputs_that_cannot_be_added_are_named(one: Any, two: Any, said: str) -> None:
    choice = Choice({"one": Gives(one), "two": Gives(two)}, name="here")
    choice.mixing = mixing([0.5, 0.5])
    with pytest.raises(ArchgradError, match=f"choice here has .*{said}"):
        choice(values(1))


def test_one_that_is_computed_step_by_step_leaves_no_argument_out() -> None:
    class Shifted(nn.Module):
        def forward(self, x: Tensor, *, shift: float = 0.0) -> Tensor:
            return x + shift

    class Doubled(Branching):
        def forward(self, x: Tensor, *, shift: float = 0.0) -> Tensor:
            return 2 * x + shift

    choice = Choice({"doubled": Doubled(), "shifted": Shifted()}, name="c")
    choice.mixing = mixing([0.25, 0.75])
    x = values(2, 3)
    torch.testing.assert_close(choice(x, shift=2.0), 1.25 * x + 2)
    torch.testing.assert_close(choice(x=x), 1.25 * x)


def test_what_is_no_candidate_is_refused() -> None:
    for wrong, said in (
        ({}, "a choice got a dict"),
        ([nn.Identity()], "a choice got a list of 1"),
        ({"a": 3}, "candidate a is a int"),
        ({"a": lambda: 3}, "candidate a is a int"),
        ({1: nn.Identity()}, "a candidate is called 1"),
    ):
        with pytest.raises(ArchgradError, match=said):
            Choice(wrong)  # type: ignore[arg-type]
