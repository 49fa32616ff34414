"""The mixed operation against the textbook sum, in which none is a zero tensor."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from archgrad.choice import Choice, Group, Row, build
from archgrad.errors import ArchgradError
from archgrad.operations import OPERATIONS, Zero

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
    torch.testing.assert_close(found(x), found.candidates[index](x), rtol=0, atol=0)


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
