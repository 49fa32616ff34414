"""What own models cost: choices of all kinds, exactly; and limits in their searches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archgrad
from archgrad import InputChoice, Repeat, Width, Zero
from archgrad.costing import latency
from archgrad.costing.cost import cost
from archgrad.costing.costs import cost_table
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice
from archgrad.spaces.own import OwnModel

X, Y = torch.randn(12, 6), torch.randn(12)
KINDS = ("parameters", "multiply_adds")


class Net(nn.Module):
    """Every kind of choice; ``twice`` is one choice that is used at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Choice({"thin": nn.Linear(6, 6), "deep": deep(), "none": Zero()}, "first")
        self.twice = Choice({"linear": nn.Linear(6, 6), "skip": nn.Identity()}, "twice")
        self.width = Width([nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 6)], [4, 16], "width")
        self.depth = Repeat(lambda: nn.Linear(6, 6), [0, 1, 3], "depth")
        self.which = InputChoice(3, picks=2, name="which")
        self.last = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.twice(x)
        b = self.width(self.twice(a))
        c = self.which([a, b, self.depth(b)])
        out: Tensor = self.last(c + self.first(c)).squeeze(1)
        return out


def deep() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 6))


def net() -> nn.Module:
    torch.manual_seed(0)
    return Net()


def test_the_table_says_what_each_candidate_costs() -> None:
    parameters, multiply_adds = (cost_table(net(), kind, example=X) for kind in KINDS)  # type: ignore[arg-type]
    assert parameters.groups["first"] == [{"thin": 42.0, "deep": 63 + 60, "none": 0.0}]
    assert parameters.groups["width"] == [{"4": 28 + 30, "16": 112 + 102}]
    assert parameters.groups["depth"] == [{"0": 0.0, "1": 42.0, "3": 126.0}]
    assert parameters.groups["twice"] == [{"linear": 42.0, "skip": 0.0}]  # once, though used twice
    assert multiply_adds.groups["twice"] == [{"linear": 72.0, "skip": 0.0}]
    assert multiply_adds.groups["width"] == [{"4": 48.0, "16": 192.0}]
    assert (parameters.fixed, multiply_adds.fixed) == (7.0, 6.0)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_exact(kind: Any) -> None:
    space = OwnModel.with_example(net(), X)
    table, generator = cost_table(space, kind), torch.Generator().manual_seed(1)
    for _ in range(10):
        drawn = space.random_architecture(generator)
        assert table.predict(drawn) == getattr(cost(space, drawn), kind)
    assert table.error == 0


class Steps(nn.Module):
    """A choice that sees every step of a sequence by itself."""

    def __init__(self) -> None:
        super().__init__()
        wide = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))
        self.each = Choice({"thin": nn.Linear(4, 4), "wide": wide}, "each")

    def forward(self, x: Tensor) -> Tensor:
        steps: Tensor = self.each(x.flatten(0, 1))
        return steps.view(x.shape).mean((1, 2))


def test_multiply_adds_are_those_of_an_example_however_long_the_input_of_the_choice() -> None:
    table = cost_table(Steps(), "multiply_adds", example=torch.randn(3, 10, 4))
    assert table.groups == {"each": [{"thin": 10 * 16, "wide": 10 * 64}]}
    assert (table.fixed, table.error) == (0, 0)


class Strided(nn.Module):
    """Keeps its stride to itself."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self._stride, self.weight = stride, nn.Parameter(torch.randn(1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        strided = nn.functional.conv2d(x, self.weight, stride=self._stride)
        return nn.functional.interpolate(strided, x.shape[-2:])


def test_candidates_that_differ_in_a_private_setting_are_counted_apart() -> None:
    model = nn.Sequential(Choice({"all": Strided(1), "few": Strided(4)}, "choice"))
    table = cost_table(model, "multiply_adds", example=torch.randn(1, 1, 8, 8))
    assert table.groups == {"choice": [{"all": 64, "few": 4}]} and table.error == 0


def test_every_parameter_of_an_own_model_is_counted_whatever_its_name_and_frozen_or_not() -> None:
    frozen = nn.Linear(6, 6).requires_grad_(False)
    model = nn.Sequential()
    model.add_module("auxiliary", nn.Linear(6, 6))
    model.add_module("choice", Choice({"frozen": frozen, "trained": nn.Linear(6, 6, bias=False)}))
    table = cost_table(model, "parameters", example=X)
    assert table.groups == {"choice": [{"frozen": 42, "trained": 36}]}
    assert (table.fixed, table.error) == (42, 0)


class Told(nn.Module):
    """A candidate whose stride is said in the call, and a model that calls it with two."""

    def __init__(self, choice: Choice | None = None) -> None:
        super().__init__()
        self.weight, self.choice = nn.Parameter(torch.randn(1, 1, 1, 1)), choice

    def forward(self, x: Tensor, stride: int = 0) -> Tensor:
        if self.choice is not None:
            out: Tensor = self.choice(self.choice(x, stride=1), stride=4)
            return out
        strided = nn.functional.conv2d(x, self.weight, stride=stride)
        return nn.functional.interpolate(strided, x.shape[-2:])


def test_calls_that_differ_in_what_is_no_tensor_are_counted_apart() -> None:
    model = Told(Choice({"one": Told(), "other": Told()}, "choice"))
    table = cost_table(model, "multiply_adds", example=torch.randn(1, 1, 8, 8))
    assert [place.costs["one"] for place in table.places] == [64, 4] and table.error == 0


def test_a_limit_of_costs_that_do_not_add_up_is_refused() -> None:
    shared = nn.Linear(6, 6)
    choices = [Choice({"shared": shared, "skip": nn.Identity()}, name) for name in "abc"]
    model = nn.Sequential(*choices, nn.Linear(6, 1), nn.Flatten(0))
    with pytest.raises(ArchgradError, match="parameters of this model do not add up .* differ by"):
        archgrad.search(
            model, train=(X, Y), loss=nn.functional.mse_loss, batch_size=3, max_params="60"
        )


@pytest.mark.parametrize(("limit", "most"), [("130", 130), ("300", 300)])
def test_a_limit_is_met(limit: str, most: int) -> None:
    found = archgrad.search(
        net(),
        train=(X, Y),
        loss=nn.functional.mse_loss,
        epochs=1,
        batch_size=3,
        guard="off",
        max_params=limit,
    )
    assert found.cost is not None and found.cost.met and found.cost.value <= most
    parameters = sum(p.numel() for p in found.derive().parameters())
    assert parameters == found.cost.value


def test_a_latency_of_an_own_model_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archgrad.costing.latency.SAMPLES", 3)
    table = archgrad.measure_latency(net(), example=X, batch=4, device="cpu")
    assert {place.group for place in table.places} == {"first", "twice", "width", "depth", "which"}
    assert all(value > 0 for place in table.places for value in place.costs.values())
    table.check_fits(OwnModel.with_example(net(), X), "here")


class Viewing(nn.Module):
    """Relies on the usual order of images in memory, in a candidate and outside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Choice({"3": nn.Conv2d(3, 8, 3, padding=1), "1": nn.Conv2d(3, 8, 1)}, "conv")
        self.after = Choice({"flat": Flat(), "deep": nn.Sequential(Flat(), nn.ReLU())}, "after")
        self.last = nn.Linear(8 * 16, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        out: Tensor = self.last(self.after(x) + x.view(len(x), -1))
        return out


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(len(x), -1)


def normalized(size: int = 6) -> nn.Module:
    linear = {"biased": nn.Linear(size, 6), "plain": nn.Linear(size, 6, bias=False)}
    return nn.Sequential(Choice(linear, "c"), nn.BatchNorm1d(6), nn.Linear(6, 1), nn.Flatten(0))


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies by a clock on which a call takes a millisecond, after one call."""

    def sample(call: latency.Call, times: int) -> float:
        call.run()
        return 1.0

    monkeypatch.setattr(latency, "_sample", sample)
    monkeypatch.setattr(latency, "SAMPLES", 2)


@pytest.mark.usefixtures("fast")
def test_a_latency_is_measured_in_the_order_in_which_the_model_runs() -> None:
    table = archgrad.measure_latency(Viewing(), example=torch.randn(2, 3, 4, 4), device="cpu")
    assert [place.shape for place in table.places] == [(1, 3, 4, 4), (1, 8, 4, 4)]


@pytest.mark.usefixtures("fast")
def test_an_example_that_is_too_short_is_refused() -> None:
    with pytest.raises(ArchgradError, match="has 12 examples, expected 64 for batch 64; give"):
        archgrad.measure_latency(net(), example=X, batch=64, device="cpu")
    table = archgrad.measure_latency(normalized(), example=X[:1], device="cpu")
    assert table.places[0].shape == (1, 6)  # one is enough, though not for batch statistics


@pytest.mark.usefixtures("fast")
def test_a_table_of_more_examples_than_a_search_keeps_is_taken(tmp_path: Path) -> None:
    x, y = torch.randn(40, 6), torch.randn(40)
    table = archgrad.measure_latency(normalized(), example=x[:16], batch=16, device="cpu")
    (tmp_path / "t.json").write_text(table.to_json())
    options: dict[str, Any] = {"epochs": 1, "batch_size": 20, "guard": "off", "device": "cpu"}
    found = archgrad.search(
        normalized(),
        train=(x, y),
        loss=nn.functional.mse_loss,
        max_latency="1s",
        latency_table=str(tmp_path / "t.json"),
        **options,
    )
    assert found.cost is not None and found.cost.found == 1.0
    assert isinstance(found.space, OwnModel) and found.space.example is not None
    kept = found.space.example[1][0]
    assert kept.shape == (8, 6) and kept.untyped_storage().nbytes() == 8 * 6 * 4
    other = OwnModel.with_example(normalized(3), torch.randn(8, 3))
    with pytest.raises(ArchgradError, match=r"input of shape \(8, 3\), in the table \(16, 6\)"):
        table.check_fits(other, "t.json")
    of_images = replace(table, space="darts-cnn")
    with pytest.raises(ArchgradError, match="one of an own model.*measure_latency.model, "):
        of_images.check_fits(other, "t.json")
    with pytest.raises(ArchgradError, match="--max-params 1 cannot .* or offer cheaper candidates"):
        archgrad.search(
            normalized(), train=(x, y), loss=nn.functional.mse_loss, max_params="1", **options
        )
    call = latency._network(found.space, found.architecture, torch.device("cpu"), batch=16)
    assert call.run()[0].shape == (16,)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ArchgradError, match="give example="):
        cost_table(net(), "parameters")
    with pytest.raises(ArchgradError, match="example and forward go with an own model"):
        cost_table(OwnModel(net()), "parameters", example=X)
    with pytest.raises(ArchgradError, match="no example is known"):
        cost_table(OwnModel(net()), "parameters")
