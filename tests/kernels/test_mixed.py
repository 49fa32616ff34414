"""The kernels against the textbook form: each candidate a module, called, weighted and summed."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from statistics import mean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from archgrad.kernels import native
from archgrad.kernels.branches import Pending
from archgrad.kernels.weighted_sum import Term, weighted_sum
from archgrad.networks.choice import Choice, Row, State, total
from archgrad.networks.operations import OPERATIONS

NAMES = [name for name in OPERATIONS if name != "none"]
KERNELS = ["torch", pytest.param("native", marks=pytest.mark.skipif(
    native.build().library is None, reason=native.build().note))]  # fmt: skip


def edges(channels: int, stride: int, names: list[list[str]], dtype: torch.dtype) -> list[Choice]:
    """Choices that leave one state and enter one node, with mixing weights."""
    found = []
    for row, offered in enumerate(names):
        modules = {name: OPERATIONS[name](channels, stride, True) for name in offered}
        choice = Choice(modules, "normal", row).to(dtype)
        for parameter in choice.parameters():
            nn.init.normal_(parameter, std=0.5)
        found.append(choice)
    return found


def mix(choices: list[Choice], weights: Tensor, x: Tensor) -> Tensor:
    for choice, row in zip(choices, weights, strict=True):
        choice.mixing = Row(row[: len(choice.names)])
    state = State(x, choices)
    return total([term for choice in choices for term in choice.terms(state)])


def textbook(choices: list[Choice], weights: Tensor, x: Tensor) -> Tensor:
    terms = [
        weight * candidate(x)
        for choice, row in zip(choices, weights, strict=True)
        for weight, candidate in zip(row, choice.candidates, strict=False)
    ]
    return torch.stack(terms).sum(0)


def all_of(choices: list[Choice], weights: Tensor, x: Tensor, run: object) -> list[Tensor]:
    """Output, gradients of everything, and running statistics of a copy that was run once."""
    choices = deepcopy(choices)
    weights, x = weights.clone().requires_grad_(), x.clone().requires_grad_()
    output = run(choices, weights, x)  # type: ignore[operator]
    slope = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    parameters = [p for choice in choices for p in choice.parameters()]
    found = torch.autograd.grad(
        output, [x, weights, *parameters], slope.cos(), materialize_grads=True
    )
    buffers = [b.to(x.dtype) for choice in choices for b in choice.buffers()]
    return [output.detach(), *found, *buffers]


def distance(one: list[Tensor], two: list[Tensor]) -> float:
    """The largest difference of two lists of tensors, relative to each tensor's largest entry.

    Where that is below 0.01 it is rounding: of a channel without variance, say.
    """
    pairs = zip(one, two, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-2)) for a, b in pairs)


subsets = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=30, deadline=None)
@given(
    images=st.integers(1, 3),
    channels=st.sampled_from([1, 2, 3, 4, 8, 12, 16, 32]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    stride=st.integers(1, 2),
    names=st.lists(subsets, min_size=1, max_size=3),
    seed=st.integers(0, 2**16),
    plain=st.booleans(),
)
def test_outputs_gradients_and_statistics_are_the_textbooks(
    kernel: native.Kernel,
    images: int,
    channels: int,
    size: tuple[int, int],
    stride: int,
    names: list[list[str]],
    seed: int,
    plain: bool,
) -> None:
    if stride == 2 and channels == 1:
        channels = 2  # a factorized reduction needs two
    torch.manual_seed(seed)
    choices = edges(channels, stride, names, torch.float64)
    x = torch.randn(images, channels, *size, dtype=torch.float64)
    x = x if plain else x.contiguous(memory_format=torch.channels_last)
    weights = torch.rand(len(names), 4, dtype=torch.float64)
    with native.use(kernel):
        try:
            wanted = all_of(choices, weights, x, textbook)
        except ValueError as error:  # one value a channel
            with pytest.raises(ValueError, match="more than 1 value per channel") as found:
                all_of(choices, weights, x, mix)
            assert str(found.value) == str(error)
            return
        assert distance(all_of(choices, weights, x, mix), wanted) < 1e-10


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shift", [0.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_errors_are_at_most_twice_the_textbooks(
    kernel: native.Kernel, stride: int, shift: float, dtype: torch.dtype
) -> None:
    """Also where the means of the channels are a hundred times their spread.

    Relative errors of output, gradients (input, mixing weights, weights) and running statistics
    against float64; of the tensors of a kind and of several networks the root mean square.
    """
    ours, textbooks = [], []
    for seed in range(4):
        torch.manual_seed(seed)
        choices = edges(8, stride, [NAMES, NAMES], torch.float64)
        x = torch.randn(8, 8, 10, 10, dtype=torch.float64) + shift
        weights = torch.rand(2, len(NAMES), dtype=torch.float64)
        exact = all_of(choices, weights, x, textbook)
        low = [deepcopy(choice).to(dtype) for choice in choices]
        parameters = sum(1 for choice in choices for _ in choice.parameters())
        for run, errors in ((mix, ours), (textbook, textbooks)):
            with native.use(kernel):
                found = all_of(low, weights.to(dtype), x.to(dtype), run)
            pairs = zip(found, exact, strict=True)
            squares = [float((a.double() - b).norm() / b.norm()) ** 2 for a, b in pairs if b.any()]
            squares = [
                *squares[:3],
                mean(squares[3:][:parameters]),
                mean(squares[3 + parameters :]),
            ]
            errors.append(torch.tensor(squares))
    ratios = (sum(ours) / sum(textbooks)).sqrt()
    assert (ratios <= 2).all(), ratios


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", [1, 2])
def test_every_derivative(kernel: native.Kernel, stride: int) -> None:
    """Gradients, their gradients, and both in forward mode, against differences."""
    torch.manual_seed(3)
    choices = edges(2, stride, [NAMES], torch.float64)
    (choice,) = choices
    names, parameters = zip(*choice.named_parameters(), strict=True)
    x = torch.randn(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(1, len(NAMES), dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, weights: Tensor, *parameters: Tensor) -> Tensor:
        def body(x: Tensor) -> Tensor:
            return mix(choices, weights, x)

        given = {f"choice.{n}": p for n, p in zip(names, parameters, strict=True)}
        return torch.func.functional_call(Wrapped(choice, body), given, (x,))

    given = (x, weights, *(p.detach().requires_grad_() for p in parameters))
    with native.use(kernel):
        assert torch.autograd.gradcheck(run, given, check_forward_ad=True, fast_mode=True)
        assert torch.autograd.gradgradcheck(
            run, given, check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=True
        )


class Wrapped(nn.Module):
    def __init__(self, choice: Choice, body: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.choice, self.body = choice, body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def test_the_number_of_threads_changes_nothing() -> None:
    torch.manual_seed(0)
    choices = edges(4, 1, [NAMES, NAMES], torch.float32)
    x, weights = torch.randn(5, 4, 6, 6), torch.rand(2, len(NAMES))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            found.append(all_of(choices, weights, x, mix))
    finally:
        torch.set_num_threads(before)
    if native.build().library is not None:
        assert all(torch.equal(a, b) for more in found[1:] for a, b in zip(found[0], more))
    assert all(distance(more, found[0]) < 1e-4 for more in found[1:])


def test_candidates_that_share_a_step_share_it() -> None:
    """Pools are computed once a state; running statistics of all edges move alike."""
    choices = edges(4, 1, [["max_pool_3x3"], ["max_pool_3x3", "skip_connect"]], torch.float64)
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    for choice in choices:
        choice.mixing = Row(torch.ones(len(choice.names), dtype=torch.float64))
    state = State(x, choices)
    one, two = (choice.terms(state)[0].value for choice in choices)
    assert isinstance(one, Pending) and isinstance(two, Pending) and one.value is two.value
    means = [buffer for choice in choices for n, buffer in choice.named_buffers() if "mean" in n]
    assert len(means) == 2 and torch.equal(*means) and means[0].any()


def test_what_is_not_active_is_not_computed() -> None:
    choices = edges(4, 1, [["sep_conv_3x3", "dil_conv_5x5"]], torch.float64)
    choices[0].mixing = Row(torch.tensor([0.25, 0.75], dtype=torch.float64), active=[1])
    state = State(torch.randn(2, 4, 5, 5, dtype=torch.float64), choices)
    (term,) = choices[0].terms(state)
    assert float(term.weight) == 0.75 and list(state.found) == [choices[0].candidates[1]]


def test_evaluation_uses_running_statistics() -> None:
    choices = edges(4, 1, [NAMES], torch.float64)
    x, weights = torch.randn(2, 4, 5, 5, dtype=torch.float64), torch.rand(1, 7).double()
    mix(choices, weights, x)
    choices[0].eval()
    found, wanted = mix(choices, weights, x).detach(), textbook(choices, weights, x).detach()
    assert distance([found], [wanted]) < 1e-12


def test_plain_terms_of_any_shape_are_summed() -> None:
    weight = torch.tensor([2.0, 3.0])
    terms = [Term(weight[0], torch.ones(3)), Term(weight[1], torch.ones(3))]
    assert weighted_sum(terms).tolist() == [5.0, 5.0, 5.0]
    assert weighted_sum(terms[:1]).tolist() == [2.0, 2.0, 2.0]
