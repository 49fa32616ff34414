"""What nested choices cost: tables, expected costs and limits, against brute force."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import archgrad
from archgrad import Choice, InputChoice, Repeat, Zero
from archgrad.architecture import Architecture, Cell
from archgrad.costing import latency
from archgrad.costing.cost import cost
from archgrad.costing.costs import CostTable, cost_table
from archgrad.errors import ArchgradError
from archgrad.parts import feasible
from archgrad.parts.cost import ExpectedCost
from archgrad.parts.discretization import StrongestEdges
from archgrad.parts.feasible import Feasible, cheapest, strongest_within, within
from archgrad.parts.relaxation import Sigmoid, Softmax
from archgrad.parts.state import State
from archgrad.spaces.own import OwnModel

X, Y = torch.randn(12, 6), torch.randn(12)
KINDS = ("parameters", "multiply_adds")


def linear(*sizes: int) -> nn.Module:
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(sizes)))


def inner(name: str, wide: int = 9) -> Choice:
    return Choice({"thin": nn.Linear(6, 6), "deep": linear(6, wide, 6), "none": Zero()}, name)


class Net(nn.Module):
    """Choices in candidates, three deep; one name in two candidates; blocks of a depth."""

    def __init__(self) -> None:
        super().__init__()
        third = Choice({"a": nn.Sequential(inner("third"), nn.Linear(6, 6)), "b": nn.Identity()})
        third.group = "second"
        self.first = Choice(
            {
                "holding": nn.Sequential(nn.Linear(6, 6), third, inner("shared")),
                "other": inner("shared", 12),
                "plain": linear(6, 7, 6),
            },
            "first",
        )
        self.depth = Repeat(
            [nn.Sequential(nn.Linear(6, 6), step(i)) for i in range(2)], [0, 1, 2], "d"
        )
        self.which = InputChoice(3, picks=2, name="which")
        self.last = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        out: Tensor = self.last(self.which([x, a, self.depth(a)])).squeeze(1)
        return out


def step(number: int) -> Choice:
    return Choice({"linear": nn.Linear(6, 6), "skip": nn.Identity()}, f"step {number}")


@pytest.fixture(scope="module")
def space() -> OwnModel:
    torch.manual_seed(0)
    return OwnModel.with_example(Net(), X)


def all_of(space: OwnModel) -> Iterator[Architecture]:
    ways = [
        [
            Cell(name=group.name, inputs=1, nodes=(tuple((n, 0) for n in names),), output=(1,))
            for names in combinations(group.candidates[0], group.picks)
        ]
        for group in space.groups
    ]
    for cells in product(*ways):
        yield Architecture(space=space.name, cells=cells)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_exact(kind: Any, space: OwnModel) -> None:
    table, generator = cost_table(space, kind), torch.Generator().manual_seed(1)
    for _ in range(60):
        drawn = space.random_architecture(generator)
        assert table.predict(drawn) == getattr(cost(space, drawn), kind)
    assert table.error == 0


def test_a_place_says_what_holds_it_and_costs_without_what_is_inside(space: OwnModel) -> None:
    table = cost_table(space, "parameters")
    paths = {(place.group, place.inside) for place in table.places}
    holding = ("first", "holding")
    assert paths == {
        ("first", ()), ("d", ()), ("which", ()), ("second", (holding,)),
        ("third", (holding, ("second", "a"))), ("shared", (holding,)),
        ("shared", (("first", "other"),)), ("step 0", (("d", "1"),)), ("step 0", (("d", "2"),)),
        ("step 1", (("d", "2"),)),
    }  # fmt: skip
    costs = {(place.group, place.inside): place.costs for place in table.places}
    assert costs["first", ()] == {"holding": 42, "other": 0, "plain": 49 + 48}
    assert costs["second", (holding,)] == {"a": 42, "b": 0}
    assert costs["d", ()] == {"0": 0, "1": 42, "2": 84}
    assert costs["shared", (("first", "other"),)]["deep"] == 7 * 12 + 13 * 6


def test_a_choice_that_is_used_inside_and_outside_has_its_parameters_once() -> None:
    used = Choice({"a": nn.Linear(6, 6), "b": linear(6, 2, 6)}, "used")
    outer = Choice({"with": nn.Sequential(used, nn.Linear(6, 6)), "without": nn.Identity()}, "o")
    model = nn.Sequential(outer, used, nn.Linear(6, 1), nn.Flatten(0))
    for kind, twice in (("parameters", 1), ("multiply_adds", 2)):
        own = OwnModel.with_example(model, X)
        table = cost_table(own, kind)  # type: ignore[arg-type]
        assert table.error == 0 and len([p for p in table.places if p.group == "used"]) == 2
        assert len([p for p in table.places if p.costs.get("a")]) == twice
        for drawn in all_of(own):
            assert table.predict(drawn) == getattr(cost(own, drawn), kind)


def test_a_table_is_read_back_and_older_ones_too(space: OwnModel, tmp_path: Path) -> None:
    table = cost_table(space, "parameters")
    (tmp_path / "t.json").write_text(table.to_json())
    assert CostTable.load(tmp_path / "t.json").places == table.places
    CostTable.load(tmp_path / "t.json").check_fits(space, "here")
    plain = nn.Sequential(inner("one"), nn.Linear(6, 1))
    values = json.loads(cost_table(plain, "parameters", example=X).to_json())
    for place in values["places"]:
        del place["inside"]
    (tmp_path / "old.json").write_text(json.dumps(values))
    assert CostTable.load(tmp_path / "old.json").places[0].inside == ()
    moved = nn.Sequential(nn.Sequential(Choice({"o": plain[0]}, "o")), plain[1])
    with pytest.raises(ArchgradError, match="was made for another model"):
        CostTable.load(tmp_path / "old.json").check_fits(OwnModel.with_example(moved, X), "here")


def alpha_of(space: OwnModel, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {group.name: group.shape for group in space.groups}
    return {n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()}


def state(space: OwnModel, relaxation: Any) -> State:
    return State(None, relaxation, groups=space.groups)  # type: ignore[arg-type]


def nested(*extra: nn.Module) -> OwnModel:
    """Without a choice of several inputs, whose picks are no independent draws."""
    net = Net()
    return OwnModel.with_example(nn.Sequential(net.first, net.depth, *extra), X)


@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid()])
def test_the_expected_cost_is_the_mean_over_all_architectures(relaxation: Any) -> None:
    space = nested()
    table, alpha = cost_table(space, "parameters"), alpha_of(space, 3)
    at = state(space, relaxation)
    leaves = {name: value.clone().requires_grad_() for name, value in alpha.items()}
    found = ExpectedCost(table)(leaves, at)
    strength = relaxation.strength(leaves, at)
    plain = {name: value.tolist()[0] for name, value in strength.items()}
    mean: Any = 0.0
    for architecture in all_of(space):
        chance: Any = 1.0
        for group, cell in zip(space.groups, architecture.cells, strict=True):
            row = strength[group.name][0]
            total = row.sum() if relaxation.simplex else 1.0
            chance = chance * row[group.candidates[0].index(cell.operations[0])] / total
        mean = mean + chance * table.predict(architecture)
    if relaxation.simplex:
        slopes = [torch.autograd.grad(value, list(leaves.values()), retain_graph=True)
                  for value in (found, mean)]  # fmt: skip
        assert found.item() == pytest.approx(mean.item())
        torch.testing.assert_close(slopes[0], slopes[1])
        assert float(slopes[0][list(leaves).index("third")].abs().sum()) > 0
    else:  # each weight by itself: the cost of a candidate times the weights that hold it
        expected = table.fixed + sum(
            math.prod(
                (plain[g][names[g].index(c)] for g, c in place.inside),
                start=value * plain[place.group][names[place.group].index(name)],
            )
            for names in [{group.name: group.candidates[0] for group in space.groups}]
            for place in table.places
            for name, value in place.costs.items()
        )
        assert found.item() == pytest.approx(expected)


def value_of(space: OwnModel, cells: Any, strength: Any) -> float:
    return sum(
        math.log(strength[group.name][0][group.candidates[0].index(name)])
        for group, cell in zip(space.groups, cells, strict=True)
        for name in cell.operations
    )


@cache  # not when the file is read, which every run of other tests would wait for
def priced() -> tuple[OwnModel, dict[str, CostTable], list[tuple[Architecture, dict[str, float]]]]:
    """The space, its tables, and every architecture with its costs."""
    space = OwnModel.with_example(Net(), X)
    tables = {kind: cost_table(space, kind) for kind in KINDS}  # type: ignore[arg-type]
    costs = [(one, {k: t.predict(one) for k, t in tables.items()}) for one in all_of(space)]
    return space, tables, costs


@settings(max_examples=10)
@given(seed=st.integers(0, 2**20), tight=st.floats(0, 1), kind=st.sampled_from(KINDS))
def test_a_limit_gives_what_brute_force_finds(seed: int, tight: float, kind: str) -> None:
    space, tables, every = priced()
    table = tables[kind]
    alpha = alpha_of(space, seed)
    strength = {name: value.softmax(-1).tolist() for name, value in alpha.items()}
    free = StrongestEdges()(alpha, state(space, Softmax()))
    assert strongest_within(table, space.groups, strength, math.inf) == free
    least = min(costs[kind] for _, costs in every)
    assert cheapest(table, space.groups) == least
    limit = least + tight * (table.predict(free) - least)
    best = max(
        value_of(space, one.cells, strength) for one, costs in every if within(costs[kind], limit)
    )
    cells = Feasible(StrongestEdges(), table, limit)(alpha, state(space, Softmax()))
    assert within(table.predict(cells), limit)
    assert value_of(space, cells, strength) == pytest.approx(best)


def test_layers_with_names_of_their_own_are_decided_apart_and_others_have_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def layers(own: bool) -> tuple[OwnModel, CostTable]:
        made = [
            Choice({"a": inner(f"inner {i}" if own else "inner"), "b": nn.Identity()}, f"outer {i}")
            for i in range(12)
        ]
        space = OwnModel.with_example(nn.Sequential(*made), X)
        return space, cost_table(space, "parameters")

    monkeypatch.setattr(feasible, "NESTED", 2**12 - 1)
    space, table = layers(own=True)
    assert cheapest(table, space.groups) == 0
    space, table = layers(own=False)
    with pytest.raises(ArchgradError, match="outer 0, outer 1.*4,096 ways.*names of their own"):
        cheapest(table, space.groups)


def test_a_search_meets_a_limit_that_the_inner_choice_decides() -> None:
    found = archgrad.search(
        Net(), train=(X, Y), loss=nn.functional.mse_loss, epochs=1, batch_size=3, guard="off",
        max_params="60", method="darts",
    )  # fmt: skip
    assert found.cost is not None and found.cost.met
    assert sum(p.numel() for p in found.derive().parameters()) == found.cost.value <= 60


def test_latencies_are_without_what_is_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a clock on which a linear layer takes a millisecond."""

    def sample(call: latency.Call, times: int) -> float:
        run: list[nn.Module] = []
        hooks = [
            m.register_forward_hook(lambda module, *_: run.append(module))
            for m in call.module.modules()
            if isinstance(m, nn.Linear)
        ]
        call.run()
        for hook in hooks:
            hook.remove()
        return float(len(run))

    monkeypatch.setattr(latency, "_sample", sample)
    monkeypatch.setattr(latency, "SAMPLES", 2)
    monkeypatch.setattr(latency, "WARM_MS", 0.0)
    table = archgrad.measure_latency(Net(), example=X, batch=4, device="cpu")
    costs = {(place.group, place.inside): place.costs for place in table.places}
    assert costs["first", ()] == {"holding": 1, "other": 0, "plain": 2}
    assert costs["second", (("first", "holding"),)] == {"a": 1, "b": 0}
    assert costs["d", ()] == {"0": 0, "1": 1, "2": 2}
    assert (table.fixed, table.error) == (1, 0)
