"""The loop of the baselines: budgets, what is kept, resuming, failures."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from archgrad.baselines import BASELINES, Proposal, Search, Strategy
from archgrad.baselines.searching import BEGUN, baseline_search
from archgrad.errors import ArchgradError
from archgrad.searching.callbacks import Callback
from archgrad.searching.result import SearchResult
from archgrad.settings import config as configuration
from archgrad.settings.config import SearchConfig
from archgrad.spaces import SearchSpace, space
from archgrad.storage.files import EVALUATIONS
from archgrad.storage.folder import Run

NB201, CONFIG = space("nas-bench-201"), SearchConfig(space="nas-bench-201", seed=1)


def number(proposal: Proposal) -> int:
    return zlib.crc32(proposal.architecture.to_json().encode())


class Made:
    """Scores and prices that follow from the cell; ``fails`` says of which evaluations."""

    unit = "apples"

    def __init__(self, fails: Callable[[int], bool] = lambda n: False, dies: int = -1) -> None:
        self.fails, self.dies, self.asked = fails, dies, list[int]()

    def price(self, proposal: Proposal) -> int:
        return max(1, round((5 + number(proposal) % 20) * proposal.share))

    def score(self, proposal: Proposal, evaluation: int) -> float:
        if evaluation == self.dies:
            raise KeyboardInterrupt
        self.asked.append(evaluation)
        # a third of it from the number, as a child's seed makes it
        luck = zlib.crc32(str(evaluation).encode()) / 2**33
        return math.nan if self.fails(evaluation) else -1 + number(proposal) / 2**32 + luck


def searched(
    strategy: Strategy, budget: float = 300, objective: Made | None = None, **more: Any
) -> SearchResult:
    objective = objective or Made()
    return baseline_search(NB201, strategy, objective, budget, CONFIG, **more)


def folder(path: Path) -> Run:
    if (path / "config.yaml").is_file():
        return Run.open(path)
    return Run.create(path, configuration.RunConfig(search=CONFIG))


def stable(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def kept(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / EVALUATIONS).read_text().splitlines()]


@pytest.fixture(params=BASELINES)
def strategy(request: pytest.FixtureRequest) -> Strategy:
    options = {"evolution": {"population": 4}, "halving": {"rungs": 2}}.get(request.param, {})
    return BASELINES[request.param](**options)


@settings(max_examples=30)
@given(some.integers(25, 300), some.sampled_from(["random", "evolution", "reinforce"]))
def test_the_budget_is_never_exceeded_and_the_first_that_does_not_fit_ends(
    budget: int, name: str
) -> None:
    found = searched(BASELINES[name](), budget)
    proposals, spent = BASELINES[name]()(NB201, torch.Generator().manual_seed(CONFIG.seed)), 0
    proposal = next(proposals)
    for line in found.metrics:
        spent += Made().price(proposal)
        assert line["spent"] == spent
        proposal = proposals.send(line["score"])
    assert found.spent == spent <= budget < spent + Made().price(proposal)


def test_the_result_is_the_best_and_is_kept(tmp_path: Path, strategy: Strategy) -> None:
    run = folder(tmp_path / "run")
    found = searched(strategy, run=run)
    most = max(line["share"] for line in found.metrics)
    best = max((line for line in found.metrics if line["share"] == most), key=lambda x: x["score"])
    assert found.architecture.model_dump(mode="json") == best["architecture"]
    assert kept(run.path) == found.metrics
    assert json.loads((run.path / "architecture.json").read_text())["cells"]
    assert [line["evaluation"] for line in found.metrics] == [
        n + 1 for n in range(len(found.metrics))
    ]
    assert (found.path, found.alpha, found.method) == (run.path, {}, strategy)


@pytest.mark.parametrize("cut", ["whole", "without its end", "half"])
def test_killed_and_resumed_it_repeats_bit_for_bit(
    tmp_path: Path, strategy: Strategy, cut: str
) -> None:
    fails = {1, 7}.__contains__
    whole = searched(strategy, objective=Made(fails))
    path = tmp_path / "run"
    for dies in (0, 2, 9):
        with pytest.raises(KeyboardInterrupt):
            searched(strategy, objective=Made(fails, dies), run=folder(path))
        if dies and cut != "whole":
            lines = path / EVALUATIONS
            text = lines.read_bytes()
            lines.write_bytes(text[: -1 if cut == "without its end" else -40])
    last = Made(fails)
    again = searched(strategy, objective=last, run=folder(path))
    assert last.asked[0] == (9 if cut == "whole" else 8), "what is kept is not asked again"
    assert stable(again.metrics) == stable(whole.metrics) == stable(kept(path))
    assert again.architecture == whole.architecture
    assert again.spent == whole.spent
    done = Made(dies=0)
    once_more = searched(strategy, objective=done, run=folder(path))
    assert not done.asked and once_more.metrics == again.metrics


def test_a_larger_budget_goes_on(strategy: Strategy) -> None:
    """What fits is a matter of the budget alone: a short search is the beginning of a long one."""
    short, long = searched(strategy, 100), searched(strategy, 300)
    assert 0 < len(short.metrics) < len(long.metrics)
    assert stable(long.metrics[: len(short.metrics)]) == stable(short.metrics)


def test_too_small_a_budget_is_told_the_price() -> None:
    price = Made().price(next(BASELINES["random"]()(NB201, torch.Generator().manual_seed(1))))
    with pytest.raises(ArchgradError, match=rf"budget of {price - 1} apples .* costs {price}; exp"):
        searched(BASELINES["random"](), price - 1)
    assert len(searched(BASELINES["random"](), price).metrics) == 1


def test_seconds_end_it_before_the_next_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 2))  # read before and after: 2 s an evaluation
    monkeypatch.setattr("archgrad.baselines.searching.time.perf_counter", lambda: next(clock))
    heard: list[float] = []

    class Hears(Callback):
        def evaluated(self, line: Any, share: float) -> None:
            heard.append(share)

    found = searched(BASELINES["random"](), math.inf, seconds=5.0, callback=Hears())
    assert [line["seconds"] for line in found.metrics] == [2, 2, 2]
    assert heard == pytest.approx([0.4, 0.8, 1.2])


def test_a_callback_hears_the_share_of_the_budget() -> None:
    heard: list[float] = []

    class Hears(Callback):
        def evaluated(self, line: Any, share: float) -> None:
            heard.append(share)

    found = searched(BASELINES["random"](), 200, callback=Hears())
    assert heard == [line["spent"] / 200 for line in found.metrics]


def test_failures_are_marked_and_never_the_result(strategy: Strategy) -> None:
    def fails(evaluation: int) -> bool:
        return evaluation < 3 or evaluation % 2 == 0

    found = searched(strategy, objective=Made(fails))
    assert [line["failed"] for line in found.metrics] == [
        fails(n) for n in range(len(found.metrics))
    ]
    assert all((line["score"] is None) == line["failed"] for line in found.metrics)
    good = [line for line in found.metrics if not line["failed"]]
    most = max(line["share"] for line in good)
    top = max((line for line in good if line["share"] == most), key=lambda line: line["score"])
    assert found.architecture.model_dump(mode="json") == top["architecture"]


def test_a_strategy_is_sent_less_than_any_score_for_a_failure() -> None:
    sent: list[float] = []

    def strategy(made: SearchSpace, generator: torch.Generator) -> Search:
        for _ in range(3):
            sent.append((yield Proposal(made.random_architecture(generator))))

    found = searched(strategy, objective=Made({1}.__contains__))
    assert sent == [found.metrics[0]["score"], -math.inf, found.metrics[2]["score"]]
    assert len(found.metrics) == 3, "it ends with the strategy"


def test_reinforce_learns_nothing_from_failures_before_a_score() -> None:
    """Its draws go on as if they had been others; a later failure counts as the worst so far."""

    def draws(scores: list[float]) -> list[Proposal]:
        search = BASELINES["reinforce"](learning_rate=1.0)(NB201, torch.Generator().manual_seed(0))
        return [next(search), *(search.send(score) for score in scores)]

    uniform = draws([0.0] * 20)  # equal rewards move nothing
    assert draws([-math.inf] * 20) == uniform
    assert draws([0.7, 0.2, -math.inf, *[0.7] * 9]) == draws([0.7, 0.2, 0.2, *[0.7] * 9])


def test_all_failing_is_an_error_that_says_what_to_try(tmp_path: Path, strategy: Strategy) -> None:
    run = folder(tmp_path / "run")
    with pytest.raises(ArchgradError, match=r"^all \d+ architectures failed: .*lower learning rat"):
        searched(strategy, objective=Made(lambda n: True), run=run)
    assert not (run.path / "architecture.json").exists()


def test_an_error_of_a_training_says_in_which() -> None:
    class Broken(Made):
        def score(self, proposal: Proposal, evaluation: int) -> float:
            raise RuntimeError("shapes")

    with pytest.raises(RuntimeError) as error:
        searched(BASELINES["random"](), objective=Broken())
    assert error.value.__notes__[0].startswith("in evaluation 1, of ")


def test_other_beginnings_are_refused(tmp_path: Path) -> None:
    run = folder(tmp_path / "run")
    searched(BASELINES["random"](), run=run, begun_with={"options": {"a": 1}, "data": "x"})
    assert json.loads((run.path / BEGUN).read_text()) == {"options": {"a": 1}, "data": "x"}
    for begun_with, what in (
        ({"options": {"a": 2}, "data": "x"}, "options"),
        ({"options": {"a": 1}, "data": "y"}, "data"),
    ):
        with pytest.raises(ArchgradError, match=f"was begun with other {what} than now given"):
            searched(BASELINES["random"](), run=run, begun_with=begun_with)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: {**line, "share": 0.5}, "are not those that this search would make"),
        (lambda line: {"evaluation": 1}, "does not fit this run .*was a file changed"),
        (lambda line: "text", "is damaged .*a line holds no object"),
    ],
)
def test_lines_that_were_changed_are_refused(
    tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    run = folder(tmp_path / "run")
    searched(BASELINES["random"](), run=run)
    lines = kept(run.path)
    lines[1] = change(lines[1])
    (run.path / EVALUATIONS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ArchgradError, match=message):
        searched(BASELINES["random"](), run=run)


def test_more_lines_than_the_strategy_has_proposals_are_refused(tmp_path: Path) -> None:
    def one(made: SearchSpace, generator: torch.Generator) -> Search:
        yield Proposal(made.random_architecture(generator))

    run = folder(tmp_path / "run")
    searched(one, run=run)
    (line,) = kept(run.path)
    (run.path / EVALUATIONS).write_text(2 * (json.dumps(line) + "\n"))
    with pytest.raises(ArchgradError, match="are not those that this search would make"):
        searched(one, run=run)


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    run = folder(tmp_path / "run")
    with run.working(), pytest.raises(ArchgradError, match="another process is working"):
        searched(BASELINES["random"](), run=Run.open(run.path))
