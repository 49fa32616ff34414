"""Searches of own models with shared blocks, buffers of all kinds, metrics and batches of any."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import archgrad
from archgrad.errors import ArchgradError
from archgrad.networks.mixing import Mixing
from archgrad.networks.supernet import Supernet
from archgrad.parts.derivatives import detached
from archgrad.searching.callbacks import Callback
from archgrad.spaces.own import OwnModel


class Statistics(nn.Module):
    """A running mean that is put in place of the one before, and a mask of infinities."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("mask", torch.full((4, 4), -float("inf")).triu(1), persistent=False)
        self.seen: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * x.mean(0).detach()
        self.seen.append(float(self.mean.abs().sum()))
        return x - self.mean + self.mask.diagonal()


def blocks() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh())


def test_shared_blocks_stay_parameters_and_count_every_batch_once() -> None:
    """Blocks that several depths share are swapped once, and put back."""
    torch.manual_seed(0)
    model = nn.Sequential(archgrad.Repeat(blocks, [1, 2], name="depth"), nn.Linear(4, 2))
    x, y = torch.randn(32, 4), torch.arange(32) % 2
    found = archgrad.search(model, train=(x, y), epochs=2, batch_size=8, method="darts")
    derived = found.derive()
    assert all(type(p) is nn.Parameter and p.requires_grad for p in derived.parameters())
    norms = [m for m in derived.modules() if isinstance(m, nn.BatchNorm1d)]
    assert norms and all(int(norm.num_batches_tracked) == 4 for norm in norms)  # 2 a epoch
    net = Supernet(OwnModel(model).supernet(), OwnModel(model).groups)
    before = {id(p) for p in net.model.parameters()}
    statistics = {n: b.clone() for n, b in net.model.named_buffers()}
    mixing = Mixing({name: alpha.softmax(dim=-1) for name, alpha in net.alpha.items()})
    net.loss(mixing, (x, y), detached(net.weights))
    assert {id(p) for p in net.model.parameters()} == before
    assert all(torch.equal(b, statistics[n]) for n, b in net.model.named_buffers())


def test_buffers_are_the_present_ones_and_a_mask_may_be_infinite() -> None:
    torch.manual_seed(0)
    statistics = Statistics()
    choice = archgrad.Choice({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)}, "head")
    x, y = 1 + torch.rand(32, 4), torch.arange(32) % 2
    model = nn.Sequential(statistics, choice)
    found = archgrad.search(model, train=(x, y), epochs=2, batch_size=8, guard="off")
    assert found.model is not None
    seen = found.model[0].seen  # type: ignore[index, union-attr]
    assert min(seen[-6:]) > 1  # evaluation passes too: 1.5 a channel, from 0
    assert float(found.model[0].mean.abs().sum()) > 3  # type: ignore[index, union-attr, operator]


def test_a_choice_that_is_never_called_is_named() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = archgrad.Choice({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)}, "used")
            self.left = archgrad.Choice({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)}, "left")

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.used(x) if self.training else self.left(x)
            return out

    data = torch.randn(16, 4), torch.arange(16) % 2
    with pytest.raises(ArchgradError, match="choice left is not called .* in training mode"):
        archgrad.search(Unused(), train=data, epochs=1, batch_size=4, guard="off")


def test_metrics_without_a_value_and_batches_of_other_sizes_are_weighed() -> None:
    model = nn.Sequential(archgrad.Choice({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)}, "head"))
    x, y = torch.randn(18, 4), torch.zeros(18, dtype=torch.long)

    def large(output: Tensor, target: Tensor) -> float:
        return float(len(target) > 2)

    def sometimes(output: Tensor, target: Tensor) -> float:
        return float("nan") if len(target) > 2 else 0.25

    for metric, expected in ((large, 16 / 18), (sometimes, 0.25)):
        loader = [(x[:16], y[:16]), (x[16:], y[16:])]
        found = archgrad.search(
            model, train=loader, valid=loader, loss=nn.functional.cross_entropy, metric=metric,
            epochs=1, guard="off",
        )  # fmt: skip
        line = found.metrics[-1]
        assert line[f"train_{metric.__name__}"] == pytest.approx(expected)
        assert line[f"valid_{metric.__name__}"] == pytest.approx(expected)


def test_a_long_half_meets_the_short_one_again_and_again() -> None:
    """Also where a pass of the short half has a batch of one, which is left out."""
    steps: list[int] = []

    class Steps(Callback):
        def step(self, done: int, steps_: int) -> None:
            steps.append(done)

    model = nn.Sequential(archgrad.Choice({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)}, "head"))
    x, y = torch.randn(96, 4), torch.arange(96) % 2
    train = [(x[i : i + 4], y[i : i + 4]) for i in range(0, 96, 4)]
    valid = [(x[:4], y[:4]), (x[:1], y[:1])]
    archgrad.search(model, train=train, valid=valid, epochs=1, guard="off", callbacks=[Steps()])
    assert steps[-1] == 24
