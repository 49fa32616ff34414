"""The mixed operation against the textbook sum, in which none is a zero tensor."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Around, Choice, Group, Row, State, Summand, build, term, total
from archgrad.networks.operations import OPERATIONS, Zero

SEED = st.integers(0, 2**20)


def choice(names: tuple[str, ...], stride: int = 1) -> Choice:
    candidates = {name: OPERATIONS[name](3, stride, True).double() for name in names}
    return Choice(candidates, "normal", 2)


def images(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)


def mixing(seed: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator, dtype=torch.float64).requires_grad_()


ORDERS = st.permutations(list(OPERATIONS)).flatmap(
    lambda names: st.integers(1, 8).map(lambda size: tuple(names[:size]))
)


@settings(deadline=None, max_examples=40)
@given(names=ORDERS, stride=st.integers(1, 2), seed=SEED)
def test_output_and_gradients_equal_the_sum_over_all_candidates(
    names: tuple[str, ...], stride: int, seed: int
) -> None:
    torch.manual_seed(seed)
    found = choice(names, stride)
    x, weights = images(seed).requires_grad_(), mixing(seed + 1, len(names))
    found.mixing = Row(weights)
    out = found(x)
    textbook = sum(w * operation(x) for w, operation in zip(weights, found.candidates))
    torch.testing.assert_close(out, textbook)
    if names == ("none",):
        assert not out.any()
        return
    ours = torch.autograd.grad(out.square().sum(), (weights, x), materialize_grads=True)
    theirs = torch.autograd.grad(textbook.square().sum(), (weights, x), materialize_grads=True)
    torch.testing.assert_close(ours, theirs)
    if "none" in names:
        assert ours[0][names.index("none")] == 0.0


def test_none_is_never_computed() -> None:
    found = choice(("none", "skip_connect"))
    weights = mixing(0, 2)
    found.mixing = Row(weights)

    def fail(*args: object) -> None:
        raise AssertionError("none was computed")

    for operation in found.candidates:
        if isinstance(operation, Zero):
            operation.register_forward_pre_hook(fail)
    x = images(0)
    torch.testing.assert_close(found(x), weights[1] * x)


@pytest.mark.parametrize("index", range(8))
def test_one_hot_weights_give_the_single_operation(index: int) -> None:
    torch.manual_seed(0)
    names = tuple(OPERATIONS)
    found, x = choice(names), images(0)
    found.mixing = Row(torch.eye(8, dtype=torch.float64)[index])
    torch.testing.assert_close(found(x), found.candidates[index](x), rtol=1e-12, atol=1e-12)


def test_without_mixing_weights_the_error_says_what_to_do() -> None:
    with pytest.raises(
        ArchgradError, match=r"choice normal\[2\] has no mixing weights; run .* archgrad.Supernet"
    ):
        nn.Sequential(choice(("skip_connect",)))(images(0))


def test_a_choice_knows_its_candidates_and_place() -> None:
    found = choice(("none", "skip_connect"))
    assert (found.names, found.group, found.row) == (("none", "skip_connect"), "normal", 2)
    assert found.mixing is None
    assert list(found.state_dict()) == []


def test_the_shape_of_a_group_is_edges_by_operations() -> None:
    group = Group("g", 1, ((0, 1), (0, 2), (1, 2)), (("a", "b"),) * 3, 1)
    assert group.shape == (3, 2)
    assert hash(group) == hash(Group("g", 1, group.edges, group.candidates, 1))
    assert (group.keep_none, group.output) == (False, None)


# --- edges, paths, modules around ----------------------------------------------------------------


class Scaled(nn.Module):
    """Factor times x; knows how often it was asked and whether its output had a graph."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))
        self.graphs: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        output = self.factor * x
        self.graphs.append(output.requires_grad)
        return output


def scaled(*around: Around) -> tuple[Choice, list[Scaled]]:
    candidates = [Scaled(2.0), Scaled(3.0), Scaled(5.0)]
    return Choice(dict(zip("abc", candidates)), "g", 0, around), candidates


def test_the_weight_of_an_edge_multiplies_its_output() -> None:
    found, _ = scaled()
    weights = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    edge = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    found.mixing = Row(weights, edge)
    x = images(0)
    output = found(x)
    torch.testing.assert_close(output, 0.4 * 3.0 * x)
    (slope,) = torch.autograd.grad(output.sum(), edge)
    torch.testing.assert_close(slope, (3.0 * x).sum())


def test_only_active_candidates_are_computed() -> None:
    found, candidates = scaled()
    weights = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    found.mixing = Row(weights, active=[1])
    x = images(0)
    output = found(x)
    torch.testing.assert_close(output, 3.0 * x)
    assert [len(c.graphs) for c in candidates] == [0, 1, 0]
    (slopes,) = torch.autograd.grad(output.sum(), weights)
    torch.testing.assert_close(slopes, torch.stack([0 * x.sum(), 3 * x.sum(), 0 * x.sum()]))


def test_watched_candidates_give_their_weight_a_gradient_and_nothing_else() -> None:
    found, candidates = scaled()
    weights = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    found.mixing = Row(weights, active=[1], watched=[2])
    x = images(0).requires_grad_()
    output = found(x)
    torch.testing.assert_close(output, 3.0 * x)
    assert [c.graphs for c in candidates] == [[], [True], [False]]
    output.square().sum().backward()
    assert weights.grad is not None and x.grad is not None
    inner = 2 * 3 * x.detach().square().sum()
    expected = torch.tensor([0.0, 3.0, 5.0], dtype=torch.float64) * inner
    torch.testing.assert_close(weights.grad, expected)
    torch.testing.assert_close(x.grad, 2 * 9 * x.detach())
    assert [c.factor.grad is None for c in candidates] == [True, False, True]


def test_without_an_active_candidate_the_output_is_zero_in_its_shape() -> None:
    for found in (choice(("sep_conv_3x3", "none"), 2), choice(("sep_conv_3x3", "dil_conv_3x3"), 2)):
        found.mixing = Row(torch.zeros(2, dtype=torch.float64), active=[])
        output = found(images(0))
        assert output.shape == (2, 3, 2, 2) and not output.any()


class Affine(Around):
    """factor mix(x + before)."""

    def __init__(self, before: float, factor: float) -> None:
        super().__init__()
        self.before, self.factor = before, factor

    def inside(self, state: State) -> State:
        return state.derived(self, lambda: state.x + self.before)

    def outside(self, state: State, terms: list[Summand]) -> list[Summand]:
        return [term(total(terms), self.factor)]


def test_where_none_alone_is_active_the_output_still_depends_on_the_weights() -> None:
    """Else a supernet whose every sampled path is ``none`` would have no gradient to take."""
    weights = torch.tensor([1.0, 0.0], requires_grad=True)
    choice = Choice({"none": Zero(1), "skip_connect": nn.Identity()}, "cell", 0)
    choice.mixing = Row(weights, active=[0])
    output = choice(torch.ones(1, 2, 3, 3))
    assert not output.any()
    assert torch.autograd.grad(output.sum(), weights)[0].tolist() == [0, 0]


def test_modules_around_are_called_from_the_outside_in() -> None:
    """Inner: 10 mix(x + 1); outer: 7 inner(x + 2); then the weight of the edge."""
    found, _ = scaled(Affine(1.0, 10.0), Affine(2.0, 7.0))
    weights = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    found.mixing = Row(weights, torch.tensor(0.5, dtype=torch.float64))
    x = images(0)
    torch.testing.assert_close(found(x), 0.5 * 7 * 10 * 2 * (x + 2 + 1))


def test_parts_around_a_choice_see_one_tensor() -> None:
    found, _ = scaled(Affine(1.0, 10.0))
    found.mixing = Row(torch.ones(3, dtype=torch.float64))
    x = images(0)
    for inputs, options, told in (
        ((x, x), {}, r"\[\(2, 3, 4, 4\), \(2, 3, 4, 4\), {}\]"),
        (([x],), {}, r"\[\[\(2, 3, 4, 4\)\], {}\]"),
        ((), {"x": x}, r"\[{x: \(2, 3, 4, 4\)}\]"),
        ((x,), {"mask": None}, r"\[\(2, 3, 4, 4\), {mask: NoneType}\]"),
    ):
        with pytest.raises(ArchgradError, match=f"g has parts .* got {told}; expected one tensor"):
            found(*inputs, **options)


class Part:
    """An edge part that tells what it was asked."""

    bypasses = False

    def __init__(self, name: str, k: int, log: list[str], silent: bool = False) -> None:
        self.name, self.k, self.log, self.silent = name, k, log, silent

    def width(self, channels: int) -> int:
        return channels // self.k

    def candidate(self, name: str, module: nn.Module) -> nn.Module:
        self.log.append(f"{self.name} {name}")
        return nn.Sequential(module)

    def around(self, channels: int, stride: int, dims: int) -> Around | None:
        self.log.append(f"{self.name} {channels}/{stride}")
        return None if self.silent else Affine(0.0, float(self.k))


def test_the_first_edge_part_is_the_innermost() -> None:
    log: list[str] = []
    made: list[tuple[str, int, int]] = []

    def candidate(name: str, channels: int, stride: int) -> nn.Module:
        made.append((name, channels, stride))
        return nn.Identity()

    group = Group("g", 1, ((0, 1), (0, 2)), (("a", "b"), ("c", "d")), 1)
    parts = (Part("inner", 2, log), Part("none", 1, log, silent=True), Part("outer", 3, log))
    found = build(candidate, group, 1, 24, 2, edges=parts)
    assert (found.names, found.group, found.row) == (("c", "d"), "g", 1)
    assert made == [("c", 4, 2), ("d", 4, 2)]
    assert log[:3] == ["outer 24/2", "none 8/2", "inner 8/2"]
    assert log[3:] == [f"{part} {name}" for part in ("inner", "none", "outer") for name in "cd"]
    assert [module.factor for module in found.around] == [2.0, 3.0]
    plain = build(candidate, group, 0, 24, 1)
    assert (plain.names, len(plain.around), made[-1]) == (("a", "b"), 0, ("b", 24, 1))
