"""What passes cost: known numbers, closed forms of steps, and what must not change the count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archgrad
import texts
from archgrad import spaces
from archgrad.data import Data
from archgrad.kernels import native
from archgrad.language import LANGUAGE
from archgrad.methods import Method, Recovery, method
from archgrad.networks.choice import Choice, Row
from archgrad.networks.choices import InputChoice, Repeat, Width
from archgrad.networks.counting import Count, counted, second_derivative
from archgrad.networks.mixing import Mixing
from archgrad.networks.operations import Zero
from archgrad.networks.supernet import Supernet
from archgrad.parts.hypergradient import Exact, FiniteDifference, Neumann
from archgrad.parts.stopping import History, Verdict
from archgrad.searching.bilevel import BilevelSearch, bilevel_search
from archgrad.searching.passes import Counting
from archgrad.settings.config import RunConfig, SearchConfig
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.own import OwnModel
from archgrad.storage.folder import Run

SPACE = DartsCNN(
    channels=8, cells=3, nodes=1, in_channels=1, image_size=(8, 8), classes=2,
    operations=("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3"),
)  # fmt: skip
CONFIG = SearchConfig(
    epochs=2, batch_size=8, learning_rate=0.1, watch_fraction=0, guard="off", device="cpu"
)
TRAIN = VALID = 24  # examples of either half
STEPS = 3


def counted_space(name: str, edges: Any = ()) -> Count:
    space = spaces.space(name, in_channels=3, image_size=(32, 32), classes=10, channels=16, cells=8)
    net = Supernet(space.supernet(edges), space.groups, counting=True)
    return counted(net, lambda model, x: model(x), torch.zeros(4, 3, 32, 32))


@pytest.mark.parametrize(
    ("name", "edges", "multiply_adds"),
    [
        ("darts-cnn", (), 300_255_744),
        ("darts-cnn", method("pc_darts").edges, 56_596_992),
        ("s1", (), 68_434_432),
    ],
    ids=["darts", "pc_darts", "s1"],
)
def test_supernets_cost_what_is_known(name: str, edges: Any, multiply_adds: int) -> None:
    count = counted_space(name, edges)
    assert count.whole == multiply_adds * count.examples


# --- own models ---------------------------------------------------------------------------------

Build = Callable[[], nn.Module]


def of_own(model: nn.Module, x: Tensor, **mixing: Any) -> list[int]:
    """What forward passes of an own model cost an example, with each of these active candidates."""
    space = OwnModel(model)
    net, found = Supernet(space.supernet(), space.groups, counting=True), []
    for active in mixing.pop("active", [{}]):
        before = net.spent
        with torch.no_grad():
            net.forward(Mixing(net.alpha, active={n: [rows] for n, rows in active.items()}), x)
        found.append((net.spent - before) // len(x))
    return found


def test_candidates_add_up_with_what_is_around_them() -> None:
    choice = Choice({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4, bias=False), "no": Zero()}, "c")
    model = nn.Sequential(nn.Linear(3, 4), choice, choice, nn.Linear(4, 2))
    active = [{}, {"c": [0]}, {"c": [2]}]
    assert of_own(model, torch.ones(5, 3), active=active) == [
        12 + 2 * (16 + 16) + 8, 12 + 2 * 16 + 8, 12 + 8
    ]  # fmt: skip


def test_shared_layers_are_computed_once() -> None:
    repeat = Repeat([nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)], [0, 1, 3], "r")
    active = [{}, {"r": [0]}, {"r": [1]}, {"r": [0, 1]}, {"r": [2]}]
    assert of_own(repeat, torch.ones(2, 4), active=active) == [48, 0, 16, 16, 48]
    width = Width([nn.Linear(4, 6), nn.Linear(6, 4)], [2, 4, 6], "w")
    active = [{}, {"w": [0]}, {"w": [0, 1]}]
    assert of_own(width, torch.ones(2, 4), active=active) == [24 + 8 + 16 + 24, 16, 16 + 8 + 16]
    joined = nn.ModuleDict({"pick": InputChoice(2, name="p")})

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.linear = joined, nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.inner["pick"]([x, self.linear(x)])
            return found

    assert of_own(Joined(), torch.ones(2, 4)) == [16]


def test_a_choice_inside_a_candidate_counts_where_that_is_computed() -> None:
    inner = Choice({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)}, "inner")
    outer = Choice({"deep": nn.Sequential(inner, nn.Linear(4, 4)), "flat": nn.Identity()}, "outer")
    active = [
        {}, {"outer": [0]}, {"outer": [1]}, {"outer": [0], "inner": [1]},
        {"outer": [1], "inner": [1]},
    ]  # fmt: skip
    assert of_own(outer, torch.ones(2, 4), active=active) == [48, 48, 0, 32, 0]


def test_counting_leaves_an_own_model_as_it_was() -> None:
    torch.manual_seed(0)
    choice = Choice({"a": nn.Linear(4, 4), "b": nn.Dropout(0.5)}, "c")
    model = nn.Sequential(choice, nn.BatchNorm1d(4))
    space = OwnModel(model)
    net = Supernet(space.supernet(), space.groups, counting=True)
    kept = {n: v.clone() for n, v in net.model.state_dict().items()}
    random = torch.get_rng_state()
    count = counted(net, lambda m, x: m(x), torch.randn(6, 4, generator=torch.Generator()))
    assert count.whole == 6 * 16
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(v, kept[n]) for n, v in net.model.state_dict().items())
    assert vars(net.choices[0]).keys().isdisjoint({"mixture", "_terms"})


def test_passes_are_weighed_by_what_they_derive() -> None:
    space = OwnModel(Choice({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)}, "c"))
    net = Supernet(space.supernet(), space.groups, counting=True)
    x, prices = torch.ones(2, 4), []
    for watched, second in (((), False), ((), True), ((1,), False)):
        row = Row(torch.ones(2), active=[0] if watched else None, watched=watched)
        before = net.spent
        if second:
            with second_derivative():
                net.forward([row], x)
        else:
            net.forward([row], x)
        prices.append((net.spent - before) // (2 * 16))
    assert prices == [3 * 2, 6 * 2, 3 + 1]


# --- searches -----------------------------------------------------------------------------------


def search(data: Data, chosen: Method, **changes: Any) -> BilevelSearch:
    config = CONFIG.model_copy(update=changes)
    with native.use(config.kernel):
        torch.manual_seed(0)
        found = BilevelSearch(SPACE, data, chosen, config, None, torch.device("cpu"), None)
        found.steps(0, 0.1)
    return found


@pytest.mark.parametrize(
    ("hypergradient", "train_passes", "valid_passes"),
    [
        (method("darts").hypergradient, 3, 3),
        (FiniteDifference(), 3 + 3 + 3 + 3, 3),  # weights; virtual step and both ends
        (Exact(), 3 + 3 + 6, 3),
        (Neumann(2), 3 + 2 * 6 + 6, 3),
    ],
)
def test_steps_cost_their_passes(
    hypergradient: Any, train_passes: int, valid_passes: int, two_digits: Data
) -> None:
    found = search(two_digits, Method(hypergradient=hypergradient))
    net = found.leg.net
    assert net.count is not None
    passes = train_passes * TRAIN + valid_passes * VALID
    assert net.spent == passes * net.count.whole // net.count.examples > 0


def test_an_evaluation_counts_once_an_example(two_digits: Data) -> None:
    found = search(two_digits, method("darts"))
    net, before = found.leg.net, found.leg.net.spent
    found.monitor.evaluate(found)
    assert net.count is not None
    assert net.spent - before == VALID * net.count.whole // net.count.examples


def test_text_counts_its_logits_though_only_the_loss_computes_them() -> None:
    """Of a token 8 * 8 into the cell, 4 * 8 on each of 3 edges, and 4 * 5 for five words."""
    net = Supernet(texts.SPACE.supernet(), texts.SPACE.groups, task=LANGUAGE, counting=True)
    batch = next(iter(texts.text().train.batches(5, normalization=None).epoch(0)))
    mixing = {name: alpha.softmax(-1) for name, alpha in net.alpha.items()}
    tokens, each = batch.target.numel(), 64 + 3 * 32 + 20
    with torch.no_grad():
        net.outputs(mixing, batch)
    assert net.spent == tokens * each, "an evaluation has no backward pass"
    net.outputs(mixing, batch)
    assert net.spent == (1 + 3) * tokens * each


@pytest.mark.parametrize("name", ["gdas", "proxyless"])
def test_a_single_path_costs_the_rest_and_its_candidates(name: str, two_digits: Data) -> None:
    found = search(two_digits, method(name))
    net = found.leg.net
    assert net.count is not None
    for _ in range(3):
        mixing = found.relaxation(net.alpha, replace(found.state(), seed=_))
        expected = net.count.fixed + sum(
            net.count.choices[i].alone[mixing.active[c.group][c.row][0]]
            for i, c in enumerate(net.choices)
        )
        before = net.spent
        with torch.no_grad():
            net.forward(mixing, torch.zeros(6, 1, 8, 8))
        assert net.spent - before == 6 * expected // net.count.examples
        assert expected < net.count.whole


@pytest.mark.parametrize("changes", [{"kernel": "torch"}, {"precision": "bf16"},
                                     {"recompute": "cells"}, {"graphs": "on"}])  # fmt: skip
def test_the_count_does_not_depend_on_how_it_is_computed(
    changes: dict[str, Any], two_digits: Data
) -> None:
    chosen = Method(hypergradient=Exact())
    assert search(two_digits, chosen, **changes).leg.net.spent == (
        search(two_digits, chosen).leg.net.spent
    )


class Once:
    """Runs what it records, once, as a capture does."""

    def aside(self, run: Callable[[], Any]) -> Any:
        return run()

    def record(self, run: Callable[[], Any]) -> Callable[[], Any]:
        result = run()
        return lambda: result


def test_each_replay_spends_what_the_recording_counted() -> None:
    space = OwnModel(nn.Sequential(Choice({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)}, "c")))
    net = Supernet(space.supernet(), space.groups, counting=True)
    net.spent, row = 7, Row(torch.ones(2))
    replay = Counting(Once(), net).record(lambda: net.forward([row], torch.ones(2, 4)))
    assert net.spent == 7
    replay(), replay()
    assert net.spent == 7 + 2 * 3 * 2 * 32


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("name", ["darts", "p_darts"])
def test_a_resumed_search_goes_on_counting(name: str, two_digits: Data, tmp_path: Path) -> None:
    chosen = method(name, **({"more_cells": 1} if name == "p_darts" else {}))
    config = CONFIG.model_copy(update={"epochs": 3})
    whole = bilevel_search(SPACE, two_digits, chosen, config)

    class Interrupting(archgrad.Callback):
        def epoch_end(self, event: archgrad.EpochEnd) -> None:
            raise Interrupted

    tmp_path.joinpath("run").mkdir()
    run = Run(tmp_path / "run", RunConfig(search=config))
    for _ in range(3):
        with pytest.raises(Interrupted):
            bilevel_search(SPACE, two_digits, chosen, config, run=run, callback=Interrupting())
    again = bilevel_search(SPACE, two_digits, chosen, config, run=run)
    counts = [line["spent"] for line in again.metrics]
    assert counts == [line["spent"] for line in whole.metrics]
    assert counts == sorted(set(counts))
    assert again.spent == whole.spent == counts[-1]


def test_an_abandoned_part_of_a_search_was_paid_for(two_digits: Data) -> None:
    verdicts = [Verdict("enough", 1)]

    def rule(history: History) -> Verdict | None:
        return verdicts.pop() if verdicts and len(history) == 3 else None

    chosen = replace(method("darts"), stopping=rule, recovery=Recovery(10.0, 1.0))
    config = CONFIG.model_copy(update={"epochs": 3, "batch_size": 24})
    told: list[str] = []

    class Told(archgrad.Callback):
        def warning(self, text: str) -> None:
            told.append(text)

    found = bilevel_search(SPACE, two_digits, chosen, config, callback=Told())
    assert any("back to epoch 1" in text for text in told)
    each = found.metrics[0]["spent"]
    assert 4.95 * each < found.spent < 5.05 * each  # three epochs, and two of them again
