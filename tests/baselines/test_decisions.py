"""Decisions: draws, their probabilities, and mutations, against counts and formulas by hand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor, nn

from archgrad.architecture import Architecture, published
from archgrad.baselines.decisions import Branches, Change, Decision, Decisions, Draw
from archgrad.errors import ArchgradError
from archgrad.networks.choice import Choice, Group
from archgrad.networks.choices import InputChoice, Repeat, Width
from archgrad.spaces import SPACES, SearchSpace, space
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.own import OwnModel


class Own(nn.Module):
    """Choices of every kind: 3 operations, 2 of 4 inputs, 3 depths, 2 widths."""

    def __init__(self) -> None:
        super().__init__()
        kinds = {"linear": nn.Linear(4, 4), "skip": nn.Identity(), "tanh": nn.Tanh()}
        self.block = Choice(kinds)
        self.inputs = InputChoice(4, picks=2)
        self.depth = Repeat(lambda: nn.Linear(4, 4), depths=[0, 1, 3])
        self.width = Width([nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)], widths=[2, 8])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.width(self.depth(self.inputs([x, self.block(x), 2 * x, 3 * x])))
        return out


MADE: Mapping[str, Any] = {
    **SPACES,
    "own": lambda: OwnModel(Own()),
    "one edge": lambda: DartsCNN(edges_per_node=1, nodes=3, dims=1, image_size=(32,)),
    "fixed": lambda: space("s1").restricted(  # one operation left on each edge of normal cells
        {"normal": [row[:1] for row in space("s1").groups[0].candidates]}
    ),
}


@cache
def made(name: str) -> SearchSpace:
    found: SearchSpace = MADE[name]()
    return found


@dataclass(frozen=True)
class Groups:
    """As much of a space as decisions are read from."""

    groups: tuple[Group, ...]
    name: str = "small"


def small(*groups: Group) -> Decisions:
    return Decisions.of(Groups(groups))  # type: ignore[arg-type]


OPS = ("none", "a", "b")  # none is never derived
EDGES = ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CELL = Group("cell", 2, EDGES, (OPS,) * 5, 2)  # 4 * 3 * 4 = 48 architectures
NODE = Group("node", 3, ((0, 3), (1, 3), (2, 3)), (OPS,) * 3, 2)  # 12 architectures
PICK = Group("pick", 1, ((0, 1),), (("x", "y", "z"),), None, keep_none=True, picks=2)  # 3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def all_draws(decisions: Decisions) -> Iterator[Draw]:
    """Every draw of a space, in every order."""
    architecture = decisions.uniform(seeded())  # of which nothing is asked

    def orders(decision: Decision[Any]) -> list[tuple[Decision[Any], tuple[int, ...]]]:
        places = range(len(decision.options))
        return [(decision, order) for order in permutations(places, decision.picks)]

    ways = []
    for node in (node for nodes in decisions.nodes for node in nodes):
        ways.append([
            (kept, *edges)
            for kept in orders(node.sources)
            for edges in product(
                *(orders(node.operations[node.sources.options[i]]) for i in sorted(kept[1]))
            )
        ])  # fmt: skip
    for one in product(*ways):
        yield Draw(architecture, tuple(entry for node in one for entry in node))


def chance(logits: list[float], draw: Draw) -> float:
    """The probability of a draw, in plain numbers."""
    found = 1.0
    for decision, order in draw.drawn:
        if len(decision.options) == decision.picks:
            continue
        left = {i: math.exp(logits[decision.first + i]) for i in range(len(decision.options))}
        for place in order:
            found *= left[place] / sum(left.values())
            del left[place]
    return found


def fits(counts: Counter[Any], expected: Mapping[Any, float], draws: int) -> bool:
    """Whether counts agree with probabilities, by a chi-square test at 0.001."""
    assert set(counts) <= set(expected)
    found = [counts[key] for key in expected]
    return bool(chisquare(found, [draws * p for p in expected.values()]).pvalue > 1e-3)


# --- which architectures there are ----------------------------------------------------------------


def test_the_number_of_architectures() -> None:
    cell = 1 * 3 * 6 * 10 * 7**8  # pairs of sources a node, 7 operations on each of 8 edges
    assert Decisions.of(made("darts-cnn")).count == cell**2
    assert Decisions.of(made("nas-bench-201")).count == 15_625
    assert Decisions.of(made("s2")).count == Decisions.of(made("s4")).count == (180 * 2**8) ** 2
    assert Decisions.of(made("s3")).count == (180 * 2**8) ** 2  # none is not derived
    assert Decisions.of(made("own")).count == 3 * 6 * 3 * 2
    assert Decisions.of(made("one edge")).count == (2 * 3 * 4 * 7**3) ** 2
    assert small(CELL).count == 48


@given(st.sampled_from(sorted(MADE)), st.integers(0, 2**40))
@settings(max_examples=60)
def test_draws_and_mutations_are_of_the_space(name: str, seed: int) -> None:
    found, generator = made(name), seeded(seed)
    decisions = Decisions.of(found)
    one = decisions.uniform(generator)
    found.validate(one)
    assert Architecture.from_json(one.to_json()) == one
    for _ in range(5):
        other = decisions.mutated(one, generator)
        found.validate(other)
        assert differences(one, other) == 1
        one = other


def differences(one: Architecture, other: Architecture) -> int:
    """The edges of `one` that are not in `other`; as many are new."""
    lost = [
        set(a) - set(b)
        for old, new in zip(one.cells, other.cells, strict=True)
        for a, b in zip(old.nodes, new.nodes, strict=True)
    ]
    return sum(map(len, lost))


def test_draws_of_zero_logits_are_uniform() -> None:
    decisions, generator = small(CELL), seeded()
    counts = Counter(decisions.uniform(generator) for _ in range(4800))
    assert len(counts) == 48
    assert fits(counts, dict.fromkeys(counts, 1 / 48), 4800)


def test_different_draws_end_when_the_space_does() -> None:
    decisions = small(NODE, PICK)
    assert len(set(decisions.different(seeded()))) == 36
    assert len(list(decisions.different(seeded()))) == 36


# --- the policy -----------------------------------------------------------------------------------


def test_log_probabilities_against_brute_force() -> None:
    """The product of softmaxes over what is left; those of all draws in all orders add up to 1."""
    decisions = small(NODE, PICK)
    logits = torch.randn(decisions.size, generator=seeded(1), dtype=torch.float64)
    total = 0.0
    draws = list(all_draws(decisions))
    assert len(draws) == 6 * 4 * 6
    for draw in draws:
        found = decisions.log_probability(logits, draw).exp().item()
        assert found == pytest.approx(chance(logits.tolist(), draw))
        total += found
    assert total == pytest.approx(1)


def test_draws_have_the_probability_of_the_policy() -> None:
    decisions, generator = small(NODE), seeded(2)
    logits = 0.7 * torch.randn(decisions.size, generator=generator, dtype=torch.float64)
    expected = {draw.drawn: chance(logits.tolist(), draw) for draw in all_draws(decisions)}
    counts = Counter(decisions.draw(logits, generator).drawn for _ in range(6000))
    assert fits(counts, expected, 6000)


def test_a_draw_is_the_architecture_of_its_places() -> None:
    decisions = small(NODE, PICK)
    for seed in range(20):
        architecture, drawn = decisions.draw(torch.zeros(decisions.size), seeded(seed))
        (sources, kept), *edges, (pick, picked) = drawn
        node, other = architecture.cells
        wanted = [
            (decision.options[place], sources.options[i])
            for i, (decision, (place,)) in zip(sorted(kept), edges[:2], strict=True)
        ]
        assert list(node.nodes[0]) == wanted
        assert list(other.operations) == sorted(pick.options[i] for i in picked)


def test_the_gradient_has_the_mean_of_the_policy_gradient_theorem() -> None:
    """sum_a p(a) R(a) grad log p(a) = grad sum_a p(a) R(a), where R sees the set alone."""
    decisions = small(NODE)
    logits = torch.randn(decisions.size, generator=seeded(3), dtype=torch.float64)
    logits.requires_grad_()
    draws = list(all_draws(decisions))
    rewards = [reward(draw) for draw in draws]
    assert len(set(rewards)) > 5
    logs = torch.stack([decisions.log_probability(logits, draw) for draw in draws])
    r = torch.tensor(rewards, dtype=torch.float64)
    (mean,) = torch.autograd.grad((logs.detach().exp() * r * logs).sum(), logits, retain_graph=True)
    (exact,) = torch.autograd.grad((logs.exp() * r).sum(), logits)
    torch.testing.assert_close(mean, exact)


def reward(draw: Draw) -> float:
    return sum((d.first + 1) * sum(2**i for i in order) for d, order in draw.drawn)


def test_extreme_logits_are_drawn() -> None:
    decisions = small(NODE, PICK)
    logits = torch.arange(decisions.size, dtype=torch.float64) * 1e4
    (node, pick) = decisions.draw(logits, seeded()).architecture.cells
    assert node.nodes == ((("b", 1), ("b", 2)),) and pick.operations == ("y", "z")


# --- mutations ------------------------------------------------------------------------------------


def outcomes(decisions: Decisions, architecture: Architecture) -> dict[Architecture, float]:
    """Every mutation and its probability, by walking the tree."""
    found: dict[Architecture, float] = {}

    def walk(branch: Change | Branches[Change], chance: float) -> None:
        if isinstance(branch, list):
            for one in branch:
                walk(one, chance / len(branch))
        else:
            new = decisions.changed(architecture, branch)
            found[new] = found.get(new, 0) + chance

    walk(decisions.changes(architecture), 1.0)
    assert sum(found.values()) == pytest.approx(1)
    return found


def test_mutations_where_every_edge_stays() -> None:
    """A node of 3, one of its edges, one of the 4 other operations."""
    decisions = Decisions.of(made("nas-bench-201"))
    one = decisions.uniform(seeded(4))
    found = outcomes(decisions, one)
    assert len(found) == 6 * 4
    for other, chance in found.items():
        assert differences(one, other) == 1
        pairs = zip(one.cells[0].nodes, other.cells[0].nodes, strict=True)
        (edges,) = [len(a) for a, b in pairs if a != b]
        assert chance == pytest.approx(1 / 3 / edges / 4)


def test_mutations_of_the_darts_space() -> None:
    """Half operations, half sources where a node leaves some out; the first node has no others."""
    decisions, one = Decisions.of(made("darts-cnn")), published("DARTS_V2")
    found = outcomes(decisions, one)
    operations, sources = 2 * 4 * 2 * 6, 2 * (0 + 2 * 1 + 2 * 2 + 2 * 3)
    assert len(found) == operations + sources
    for other, chance in found.items():
        changed = [
            (number, a, b)
            for old, new in zip(one.cells, other.cells, strict=True)
            for number, (a, b) in enumerate(zip(old.nodes, new.nodes, strict=True), start=2)
            if a != b
        ]
        ((number, before, after),) = changed
        assert len(set(before) - set(after)) == 1
        same_sources = {s for _, s in before} == {s for _, s in after}
        kind = 1.0 if number == 2 else 0.5
        results = 6 if same_sources else number - 2
        assert chance == pytest.approx(1 / 2 / 4 / 2 * kind / results)
        if not same_sources:
            assert sorted(name for name, _ in before) == sorted(name for name, _ in after)


def test_a_new_source_that_does_not_offer_the_operation_takes_any() -> None:
    rows = (("a", "b"), ("a", "b"), ("c", "d"))
    decisions = small(Group("cell", 3, ((0, 3), (1, 3), (2, 3)), rows, 1))
    one = next(a for a in decisions.different(seeded()) if a.cells[0].nodes == ((("a", 0),),))
    found = {o.cells[0].nodes[0]: p for o, p in outcomes(decisions, one).items()}
    assert found == {
        (("b", 0),): 0.5,
        (("a", 1),): 0.25,
        (("c", 2),): 0.125,
        (("d", 2),): 0.125,
    }


def test_one_of_several_picks_changes() -> None:
    decisions = small(PICK)
    one = next(a for a in decisions.different(seeded()) if a.cells[0].operations == ("x", "y"))
    found = {o.cells[0].operations: p for o, p in outcomes(decisions, one).items()}
    assert found == {("x", "z"): 0.5, ("y", "z"): 0.5}


def test_what_cannot_change_is_left_alone() -> None:
    decisions, generator = Decisions.of(made("fixed")), seeded()
    seen = [decisions.uniform(generator)]
    for _ in range(60):
        seen.append(decisions.mutated(seen[-1], generator))
    normal, reduce = ({one.cells[i].nodes[0] for one in seen} for i in (0, 1))
    assert len(normal) == 1  # its two sources, and one operation on each
    assert len(reduce) == 4
    assert len({one.cells[0] for one in seen}) > 10


def test_mutations_are_drawn_as_the_tree_says() -> None:
    decisions, generator = small(NODE, PICK), seeded(5)
    one = decisions.uniform(generator)
    counts = Counter(decisions.mutated(one, generator) for _ in range(3000))
    assert fits(counts, outcomes(decisions, one), 3000)


def test_a_space_of_one_architecture_cannot_be_mutated() -> None:
    decisions = small(Group("cell", 1, ((0, 1),), (("a",),), None))
    one = decisions.uniform(seeded())
    with pytest.raises(ArchgradError, match="space small has a single architecture.*offer more"):
        decisions.mutated(one, seeded())


def test_choices_inside_a_candidate_that_is_not_chosen_are_decided_too() -> None:
    inner = nn.Sequential(Choice({"a": nn.Linear(4, 4), "b": nn.Tanh()}, name="inner"))
    found = OwnModel(nn.Sequential(Choice({"x": nn.Identity(), "y": inner}, name="outer")))
    architectures = list(Decisions.of(found).different(seeded()))
    assert len(architectures) == 4
    outputs = [found.derive(one)(torch.ones(1, 4)).detach() for one in architectures]
    assert len({tuple(output.flatten().tolist()) for output in outputs}) == 3
