"""What parts look at: one noise for all passes of a step, and the random state left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice, Group
from archgrad.networks.supernet import Supernet
from archgrad.parts.relaxation import GumbelSoftmax, Sigmoid, Softmax
from archgrad.parts.state import SGD, State

GROUP = Group("g", 1, ((0, 1),), (("a", "b"),), 1)


def noisy() -> State:
    """A supernet with dropout, on one batch for both halves."""
    torch.manual_seed(0)
    choice = Choice({"a": nn.Linear(4, 4), "b": nn.Identity()}, "g", 0)
    net = Supernet(nn.Sequential(choice, nn.Dropout(0.5)), [GROUP])
    batch = torch.randn(8, 4), torch.randint(4, (8,))
    return State(net, Softmax(), batch, batch, groups=(GROUP,), seed=3)


def alpha() -> dict[str, Tensor]:
    return {"g": torch.tensor([[0.3, -0.2]])}


def test_dropout_is_the_same_in_every_pass_of_a_step() -> None:
    state = noisy()
    first = state.train_loss(alpha())
    assert torch.equal(first, state.train_loss(alpha()))
    assert torch.equal(first, state.valid_loss(alpha()))
    assert not torch.equal(first, replace(state, seed=4).train_loss(alpha()))


def test_the_random_state_of_the_search_stays() -> None:
    state = noisy()
    before = torch.get_rng_state()
    state.train_loss(alpha())
    mixing = state.relaxation(alpha(), state)
    state.metric(mixing, state.valid)
    state.generator()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_accuracy_sees_the_noise_of_the_loss() -> None:
    state = noisy()
    mixing = state.relaxation(alpha(), state)
    values = {state.metric(mixing, state.valid) for _ in range(3)}
    assert len(values) == 1 and 0 <= values.pop() <= 1


def test_a_random_relaxation_draws_once_a_step() -> None:
    state = replace(noisy(), relaxation=GumbelSoftmax())
    first = state.train_loss(alpha())
    assert torch.equal(first, state.train_loss(alpha()))
    assert not torch.equal(first, replace(state, sample=False).train_loss(alpha()))


def test_the_generator_begins_anew() -> None:
    state = noisy()
    draws = [torch.rand(2, generator=state.generator()) for _ in range(2)]
    assert torch.equal(*draws)


def test_strength_is_that_of_the_relaxation() -> None:
    state = replace(noisy(), relaxation=Sigmoid())
    assert torch.equal(state.strength(alpha())["g"], alpha()["g"].sigmoid())


def test_rows_may_stand_for_the_mixing_weights() -> None:
    state = noisy()
    net: Any = state.problem
    mixing = state.relaxation(alpha(), state)
    rows = mixing.rows(net.choices)
    assert torch.equal(state.loss(rows, state.train), state.loss(mixing, state.train))


def test_the_view_of_an_optimizer_before_and_after_its_first_step() -> None:
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], 0.1, momentum=0.9, weight_decay=0.01)
    assert SGD.of(optimizer, {"w": weight}) == SGD(0.1, 0.9, 0.01, {})
    weight.grad = torch.full((2,), 2.0)
    optimizer.step()
    velocity = SGD.of(optimizer, {"w": weight}).velocity
    assert velocity is not None
    torch.testing.assert_close(velocity["w"], torch.full((2,), 2.01))
    optimizer.add_param_group({"params": [torch.ones(1, requires_grad=True)]})
    with pytest.raises(ArchgradError, match="with one parameter group"):
        SGD.of(optimizer, {"w": weight})
