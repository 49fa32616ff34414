"""Random search, evolution and REINFORCE: known answers on objectives that are computed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from archgrad.architecture import Architecture
from archgrad.baselines import BASELINES, Scored, Strategy, best
from archgrad.baselines.decisions import Decisions
from archgrad.baselines.evolution import evolution
from archgrad.baselines.random_search import random
from archgrad.baselines.reinforce import reinforce, score_function
from archgrad.benchmarks import Row, nas_bench_201
from archgrad.errors import ArchgradError
from archgrad.spaces import SearchSpace, space

Score = Callable[[Architecture], float]
NB201, S2 = space("nas-bench-201"), space("s2")
SPACES: Mapping[str, SearchSpace] = {"nas-bench-201": NB201, "s2": S2}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def searched(
    strategy: Strategy, space: SearchSpace, score: Score, number: int, seed: int = 0
) -> list[Scored]:
    """So many evaluations."""
    search = strategy(space, seeded(seed))
    proposal, found = next(search), []
    for _ in range(number):
        found.append(Scored(*proposal, score(proposal.architecture)))
        proposal = search.send(found[-1].score)
    return found


def additive(seed: int) -> tuple[Score, float]:
    """A sum of values of the operations on the edges of NAS-Bench-201, from 0 to 1, and its best.

    The optimum is one of 15,625 cells, and no edge hides another.
    """
    values = torch.rand(6, 5, generator=seeded(seed), dtype=torch.float64)
    names = NB201.groups[0].candidates[0]

    def score(architecture: Architecture) -> float:
        chosen = [names.index(name) for name in architecture.cells[0].operations]
        return float(values[range(6), chosen].mean())

    return score, float(values.max(1).values.mean())


def noise(architecture: Architecture) -> float:
    return zlib.crc32(str(architecture).encode()) % 1000 / 1000


# --- the result -----------------------------------------------------------------------------------


def test_the_result_is_the_first_best_of_the_longest_trainings() -> None:
    a, b, c, d = (one.architecture for one in searched(random(), NB201, noise, 4))
    scored = [Scored(a, 1 / 3, 0.9), Scored(b, 1.0, 0.5), Scored(c, 1.0, 0.7), Scored(d, 1.0, 0.7)]
    assert best(scored).architecture == c
    assert best(scored[:2]).architecture == b
    assert best(scored[:1]).architecture == a


# --- random search --------------------------------------------------------------------------------


def test_random_search_proposes_every_architecture_once() -> None:
    tiny = NB201.without({"none", "avg_pool_3x3", "nor_conv_1x1"})
    search = random()(tiny, seeded())
    found = [next(search).architecture]
    with pytest.raises(StopIteration):
        while True:
            found.append(search.send(0.0).architecture)
    assert len(found) == len(set(found)) == 2**6


# --- evolution ------------------------------------------------------------------------------------


def differences(one: Architecture, other: Architecture) -> int:
    pairs = zip(one.cells[0].operations, other.cells[0].operations, strict=True)
    return sum(a != b for a, b in pairs)


def test_a_child_has_the_best_of_the_sample_as_its_parent() -> None:
    score, _ = additive(0)
    found = searched(evolution(population=4, sample=4), NB201, score, 60)
    near = 0
    for at in range(4, 60):
        alive = sorted(found[at - 4 : at], key=lambda one: -one.score)
        steps = [differences(one.architecture, found[at].architecture) for one in alive]
        assert 1 in steps
        near += steps[0] == 1
    assert near >= 56 * 0.6  # with replacement the best is drawn 68 % of the time


def test_the_oldest_dies_however_good_it_is() -> None:
    """The first architecture scores best by far, and its line dies out with it."""
    first: list[Architecture] = []

    def score(architecture: Architecture) -> float:
        first.append(architecture)
        return 1.0 if len(first) == 1 else 0.5 + noise(architecture) / 1000

    found = searched(evolution(population=3, sample=3), NB201, score, 80)
    for at in range(3, 80):
        alive = found[at - 3 : at]
        assert 1 in [differences(one.architecture, found[at].architecture) for one in alive]
    assert max(differences(first[0], one.architecture) for one in found[3:]) >= 5


def test_a_population_of_one_walks() -> None:
    found = searched(evolution(population=1, sample=1), NB201, noise, 30)
    steps = [differences(a.architecture, b.architecture) for a, b in pairwise(found)]
    assert set(steps) == {1}


def test_evolution_finds_the_optimum_of_a_sum() -> None:
    for seed in range(5):
        score, optimum = additive(seed)
        assert best(searched(evolution(), NB201, score, 500, seed)).score == pytest.approx(optimum)
        assert best(searched(random(), NB201, score, 500, seed)).score < optimum - 0.01


# --- REINFORCE ------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**40))
@settings(max_examples=15)
def test_the_gradient_of_the_log_probability_in_closed_form(name: str, seed: int) -> None:
    """For each place drawn: one there, less the softmax over what was left."""
    generator, decisions = seeded(seed), Decisions.of(SPACES[name])
    logits = torch.randn(decisions.size, generator=generator, dtype=torch.float64)
    draw = decisions.draw(logits, generator)
    with torch.no_grad():
        found = score_function(decisions, logits, draw)
    torch.testing.assert_close(found, closed_form(logits, draw.drawn))
    assert found.abs().max() > 0.1


def closed_form(logits: Tensor, drawn: Any) -> Tensor:
    expected = torch.zeros_like(logits)
    for decision, order in drawn:
        left = list(range(decision.first, decision.first + len(decision.options)))
        if len(order) == len(left):
            continue
        for place in order:
            expected[left] -= logits[left].softmax(0)
            expected[decision.first + place] += 1
            left.remove(decision.first + place)
    return expected


def test_reinforce_against_its_equations() -> None:
    """Adam and the baseline written out; the same draws follow for 60 steps."""
    (score, _), rate, momentum = additive(3), 0.3, 0.8
    found = searched(reinforce(learning_rate=rate, momentum=momentum), NB201, score, 60, seed=9)
    decisions, generator = Decisions.of(NB201), seeded(9)
    logits = torch.zeros(decisions.size, dtype=torch.float64)
    first, second, rewards = torch.zeros_like(logits), torch.zeros_like(logits), []
    for step, one in enumerate(found, start=1):
        draw = decisions.draw(logits, generator)
        assert draw.architecture == one.architecture
        rewards.append(score(draw.architecture))
        weights = [momentum**age for age in reversed(range(step))]
        baseline = sum(w * r for w, r in zip(weights, rewards, strict=True)) / sum(weights)
        gradient = -(rewards[-1] - baseline) * closed_form(logits, draw.drawn)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        denominator = (second / (1 - 0.999**step)).sqrt() + 1e-8
        logits = logits - rate * first / (1 - 0.9**step) / denominator
    assert logits.abs().max() > 1


def test_reinforce_learns_a_sum() -> None:
    """The policy's mean score rises towards the optimum; a uniform policy stays where it is."""
    for seed in range(2):
        score, optimum = additive(seed)
        found = searched(reinforce(learning_rate=0.1), NB201, score, 400, seed)
        start, end = (mean(one.score for one in part) for part in (found[:40], found[-40:]))
        assert end > start + 0.75 * (optimum - start)
        still = searched(reinforce(learning_rate=1e-9), NB201, score, 200, seed)
        assert abs(mean(one.score for one in still[-100:]) - start) < 0.06


def test_reinforce_learns_which_edges_to_keep() -> None:
    """In a space whose nodes leave edges out; one input of the cells is worth 1, the other 0."""

    def score(architecture: Architecture) -> float:
        edges = [edge for cell in architecture.cells for node in cell.nodes[1:] for edge in node]
        return sum(source == 1 for _, source in edges) / 6

    found = searched(reinforce(learning_rate=0.2), S2, score, 150)
    assert mean(one.score for one in found[:20]) < 0.7
    assert mean(one.score for one in found[-20:]) > 0.95


# --- all ------------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(BASELINES)), st.sampled_from(sorted(SPACES)), st.integers(0, 2**40))
@settings(max_examples=12)
def test_kept_scores_give_the_same_search_again(name: str, where: str, seed: int) -> None:
    found = searched(BASELINES[name](), SPACES[where], noise, 25, seed)
    kept = iter([one.score for one in found])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 7)  # no other randomness than the generator's
        assert searched(BASELINES[name](), SPACES[where], lambda _: next(kept), 25, seed) == found
    assert searched(BASELINES[name](), SPACES[where], noise, 25, seed + 1) != found
    for one in found:
        SPACES[where].validate(one.architecture)
        assert 0 < one.share <= 1


@pytest.mark.parametrize("name", ["evolution", "reinforce"])
def test_scores_matter(name: str) -> None:
    strategy = BASELINES[name]()
    up = searched(strategy, NB201, noise, 60)
    down = searched(strategy, NB201, lambda one: 1 - noise(one), 60)
    assert up[0].architecture == down[0].architecture
    assert [one.architecture for one in up] != [one.architecture for one in down]


@pytest.mark.parametrize(
    ("name", "usual", "options"),
    [
        ("evolution", {}, {"population": 7}),
        ("evolution", {}, {"sample": 5}),
        ("reinforce", {}, {"learning_rate": 0.1}),
        ("reinforce", {"learning_rate": 0.1}, {"momentum": 0.5}),
        ("halving", {}, {"eta": 2}),
        ("halving", {}, {"rungs": 2}),
    ],
)
def test_every_option_changes_the_search(
    name: str, usual: dict[str, Any], options: dict[str, Any]
) -> None:
    def proposals(**given: Any) -> list[Architecture]:
        return [one.architecture for one in searched(BASELINES[name](**given), NB201, noise, 80)]

    assert proposals(**usual) != proposals(**usual | options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("evolution", {"population": 0}, "population of evolution: found 0, expected at least 1"),
        ("evolution", {"sample": 0}, "sample of evolution: found 0, expected 1 to the population"),
        ("evolution", {"sample": 11}, "found 11, expected 1 to the population, which is 10"),
        ("reinforce", {"learning_rate": 0.0}, "learning_rate of reinforce: found 0.0, expected"),
        ("reinforce", {"momentum": 0.0}, "momentum of reinforce: found 0.0, expected above 0"),
        ("reinforce", {"momentum": 1.0}, "momentum of reinforce: found 1.0, .* below 1"),
        ("halving", {"eta": 1}, "eta of halving: found 1, expected at least 2"),
        ("halving", {"rungs": 0}, "rungs of halving: found 0, expected at least 1"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        BASELINES[name](**options)


def test_on_the_table_of_nas_bench_201(real_data: Path) -> None:
    """100 evaluations chosen by validation: evolution is ahead of random search, both are good."""
    path = real_data / "nas-bench-201" / "nb201_cifar10.csv.gz"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    table = nas_bench_201(path)
    score = partial(table.value, column="c10_val_12ep")
    found: dict[str, list[Row]] = {}
    for name in ("random", "evolution", "reinforce"):
        for seed in range(15):
            runs = searched(BASELINES[name](), NB201, score, 100, seed)
            found.setdefault(name, []).append(table[best(runs).architecture])
    valid = {name: mean(row["c10_val_12ep"] for row in rows) for name, rows in found.items()}
    assert valid["evolution"] > valid["random"] + 0.1
    for rows in found.values():
        assert 93 < mean(row["c10_test"] for row in rows) < 94.373
