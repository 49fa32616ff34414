"""What a recording depends on, with a stand-in for CUDA graphs that runs the function again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

import archgrad
from archgrad.networks.choice import Choice, Group
from archgrad.networks.mixing import Mixing
from archgrad.networks.supernet import Alpha, Supernet
from archgrad.parts.hypergradient import Estimate, first_order
from archgrad.parts.relaxation import GumbelSoftmax, Sigmoid, Softmax
from archgrad.parts.stage import Stage
from archgrad.parts.state import SGD, State
from archgrad.searching import bilevel
from archgrad.searching.callbacks import Callback
from archgrad.searching.graphs import WARM_UP, Graphed, Tensors, recorder
from archgrad.searching.passes import Passes
from archgrad.searching.result import SearchResult
from helpers import same

Result = TypeVar("Result")


class Again:
    """Replays by running the function on the tensors it was recorded with."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def aside(self, run: Callable[[], Result]) -> Result:
        self.calls.append("aside")
        return run()

    def record(self, run: Callable[[], Result]) -> Callable[[], Result]:
        self.calls.append("record")

        def replay() -> Result:
            self.calls.append("replay")
            return run()

        return replay


class Broken(Again):
    """As a capture that fails: with an error of its own after the true one."""

    def record(self, run: Callable[[], Result]) -> Callable[[], Result]:
        try:
            raise RuntimeError("operation not permitted\nwhen the stream is capturing")
        finally:
            raise RuntimeError("capture invalidated")


def test_a_cpu_records_nothing() -> None:
    assert recorder(torch.device("cpu")) is None


# --- one function -------------------------------------------------------------------------------


def counting(again: Again, obstacle: str | None = None) -> tuple[Graphed[Tensor], Tensor]:
    """x -> x + how often it was called before, kept in a tensor that is changed in place."""
    count = torch.zeros(())

    def run(inputs: Tensors) -> Tensor:
        found = inputs["x"] + count
        count.add_(1)
        return found

    return Graphed("counting", run, lambda i: (run(i), obstacle), again), count


def test_every_call_computes_once_with_its_own_inputs() -> None:
    again = Again()
    graphed, count = counting(again)
    for number in range(6):
        x = torch.full((2,), 10.0 * number)
        assert graphed({"x": x}).tolist() == [11.0 * number] * 2
        assert float(x[0]) == 10.0 * number  # inputs are left as they are
    assert float(count) == 6
    assert again.calls == ["aside"] * WARM_UP + ["record"] + ["replay"] * 3


def test_another_shape_in_between_is_computed_without_a_new_recording() -> None:
    again = Again()
    graphed, _ = counting(again)
    for _ in range(WARM_UP + 1):
        graphed({"x": torch.zeros(2)})
    for number in range(10):  # as the smaller last batch of each epoch
        assert graphed({"x": torch.zeros(3)}).tolist() == [WARM_UP + 1 + 2 * number] * 3
        assert graphed({"x": torch.zeros(2)}).shape == (2,)
    assert again.calls.count("record") == 1


@pytest.mark.parametrize("change", ["shape", "key", "type", "layout", "forget"])
def test_it_is_recorded_anew_where_something_has_changed_for_good(change: str) -> None:
    again = Again()
    graphed, _ = counting(again)
    x, key = torch.zeros(2, 3), 1
    for _ in range(WARM_UP + 2):
        graphed({"x": x}, key)
    if change == "forget":
        graphed.forget()
    other = {"shape": x[:1], "type": x.double(), "layout": torch.zeros(3, 2).T}.get(change, x)
    key = 2 if change == "key" else 1
    again.calls.clear()
    for _ in range(WARM_UP + 2):
        assert graphed({"x": other}, key).shape == other.shape
    assert again.calls == ["aside"] * WARM_UP + ["record", "replay", "replay"]


@pytest.mark.parametrize("obstacle", [None, "it is so"])
def test_where_it_cannot_be_recorded_it_goes_on_and_says_why_in_one_line(
    obstacle: str | None,
) -> None:
    again = Broken()
    graphed, count = counting(again, obstacle)
    found = [float(graphed({"x": torch.zeros(1)})) for _ in range(8)]
    assert found == list(range(8))
    assert float(count) == 8
    reason = obstacle or "operation not permitted"
    assert graphed.note == f"counting runs without CUDA graphs: {reason}"
    assert again.calls == ["aside"] * (WARM_UP if obstacle is None else 1)


# --- the passes of a step -----------------------------------------------------------------------

GROUP = Group("g", 1, ((0, 1),), (("a", "b"),), 1)


def net(*behind: nn.Module) -> Supernet:
    torch.manual_seed(0)
    choice = Choice({"a": nn.Linear(4, 4), "b": nn.Identity()}, "g", 0)
    return Supernet(nn.Sequential(choice, nn.BatchNorm1d(4), *behind), [GROUP])


def state(problem: Supernet, number: int, **changes: Any) -> State:
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(2, 8, 4, generator=generator)
    y = torch.randint(4, (2, 8), generator=generator)
    made = State(problem, Softmax(), (x[0], y[0]), (x[1], y[1]), SGD(0.1), (GROUP,), seed=number)
    return replace(made, **changes)


def estimates(passes: Passes, steps: int = 6, **changes: Any) -> list[Tensor]:
    found = [passes.estimate(state(passes.net, number, **changes)) for number in range(steps)]
    return [e.gradient["g"] for e in found if e is not None]


def reads_progress(alpha: Alpha, state: State) -> Estimate | None:
    found = first_order(alpha, state)
    return found._replace(gradient={"g": state.progress * found.gradient["g"]})


def reads_the_step_later(alpha: Alpha, state: State) -> Estimate | None:
    """What no trial can see: the recording itself must refuse it."""
    called.append(None)
    return reads_progress(alpha, state) if len(called) > WARM_UP else first_order(alpha, state)


called: list[None] = []


@pytest.mark.parametrize(
    ("part", "changes", "reason"),
    [
        (reads_progress, {}, "it depends on the progress of the search"),
        (reads_the_step_later, {}, "it depends on the progress of the search"),
        (first_order, {"relaxation": GumbelSoftmax()}, "the progress of the search and the seed"),
    ],
)
def test_a_part_that_looks_at_what_changes_is_not_recorded(
    part: Any, changes: dict[str, Any], reason: str
) -> None:
    again, problem = Again(), net()
    called.clear()
    passes = Passes(problem, part, again)
    found = estimates(passes, **changes, progress=0.5)
    called.clear()
    assert same(found, estimates(Passes(problem, part), **changes, progress=0.5))
    (note,) = passes.notes
    assert note.startswith("alpha's step runs without CUDA graphs: it depends on ")
    assert reason in note
    assert "replay" not in again.calls


def test_random_numbers_in_the_forward_pass_are_not_recorded() -> None:
    again, problem = Again(), net(nn.Dropout(0.5))
    passes = Passes(problem, first_order, again)
    assert same(estimates(passes), estimates(Passes(problem, first_order)))
    mixing = Mixing({"g": torch.tensor([[0.3, 0.7]])})
    losses = {float(passes.learn(mixing, state(problem, 0).train).loss) for _ in range(6)}
    assert len(losses) == 6
    assert [note.rpartition(" ")[0] for note in passes.notes] == [
        "alpha's step runs without CUDA graphs: it depends on random",
        "the weights' step runs without CUDA graphs: it depends on random",
    ]
    assert again.calls == ["aside"] * 2


class Moving(nn.Identity):
    progress = 0.0


def test_modules_that_change_with_the_progress_are_not_recorded() -> None:
    again = Again()
    passes = Passes(net(Moving()), first_order, again)
    estimates(passes)
    assert len(passes.notes) == 2
    assert not again.calls


def test_another_relaxation_is_recorded_anew() -> None:
    again, problem = Again(), net()
    passes = Passes(problem, first_order, again)
    one, other = Softmax(), Sigmoid()
    first = estimates(passes, relaxation=one)
    assert again.calls.count("record") == 1
    again.calls.clear()
    second = estimates(passes, relaxation=other)
    assert again.calls == ["aside"] * WARM_UP + ["record"] + ["replay"] * 3
    assert same(second, estimates(Passes(problem, first_order), relaxation=other))
    assert not same(first, second)


def test_the_learning_rate_is_an_input_and_the_momentum_a_key() -> None:
    def virtual(alpha: Alpha, state: State) -> Estimate:
        rate = state.optimizer.learning_rate * torch.ones(1, 2)
        return Estimate({"g": rate}, torch.zeros(()))

    again, problem, one = Again(), net(), Softmax()
    passes = Passes(problem, virtual, again)
    for number in range(6):
        (found,) = estimates(passes, 1, optimizer=SGD(0.1 * number), relaxation=one)
        torch.testing.assert_close(found, torch.full((1, 2), 0.1 * number))
    assert again.calls.count("record") == 1
    again.calls.clear()
    estimates(passes, 1, optimizer=SGD(0.1, momentum=0.5), relaxation=one)
    assert again.calls == ["aside"]


def test_the_weights_gradient_sees_alpha_weights_and_statistics_as_they_are() -> None:
    """They are changed in place between the calls; running statistics by the calls."""
    results = []
    for again in (None, Again()):
        problem = net()
        passes, found = Passes(problem, first_order, again), []
        for number in range(6):
            mixing = Softmax()(problem.alpha, state(problem, number))
            learned = passes.learn(
                Mixing({"g": mixing["g"].detach()}), state(problem, number).train
            )
            found.append([learned.loss, learned.metric, learned.gradient])
            with torch.no_grad():
                problem.alpha["g"].add_(0.1)
                for name, weight in problem.weights.items():
                    weight.sub_(0.1 * learned.gradient[name])  # type: ignore[arg-type]
        results.append([found, dict(problem.model.named_buffers()), problem.weights])
        if again is not None:
            assert again.calls == ["aside"] * WARM_UP + ["record"] + ["replay"] * 3
    assert same(*results)
    assert int(results[0][1]["1.num_batches_tracked"]) == 6  # type: ignore[call-overload,index]


# --- whole searches -----------------------------------------------------------------------------


@dataclass
class Told(Callback):
    """Keeps what the search says."""

    lines: list[str]

    def warning(self, text: str) -> None:
        if not text.startswith("alpha has decided"):  # the searches here are short
            self.lines.append(text)


def searched(lines: list[str], **options: Any) -> SearchResult:
    given: dict[str, Any] = {
        "channels": 2, "cells": 3, "nodes": 1, "batch_size": 4, "epochs": 2, "guard": "off",
        "subset": 60, "watch_fraction": 0.0,
    }  # fmt: skip
    return archgrad.search("darts-cnn", "digits", callbacks=[Told(lines)], **(given | options))


METHODS: dict[str, tuple[dict[str, Any], int, int]] = {  # options, recordings, notes
    "darts_2nd": ({"estimator": "finite_difference"}, 2, 0),
    "oles": ({"checks": 5}, 2, 0),
    "snas": ({}, 1, 1),
    "gdas": ({}, 0, 2),
}


@pytest.mark.parametrize(
    "method",
    [m if m in ("darts_2nd", "gdas") else pytest.param(m, marks=pytest.mark.slow) for m in METHODS],
)
def test_a_search_with_graphs_is_the_search_without(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, with a smaller batch at the end of each epoch; every note is said once."""
    options, recordings, notes = METHODS[method]
    plain = searched([], method=method, method_options=options)
    again, lines = Again(), list[str]()
    monkeypatch.setattr(bilevel, "recorder", lambda device: again)
    found = searched(lines, method=method, method_options=options, graphs="on")
    assert same(plain.alpha, found.alpha)
    for name in ("train_loss", "train_accuracy", "alpha_loss", "valid_loss"):
        values = [[line.get(name) for line in r.metrics] for r in (plain, found)]
        assert values[0] == values[1]
    assert again.calls.count("record") == recordings
    assert again.calls.count("replay") > 4 * recordings or not recordings
    assert len(lines) == len(set(lines)) == notes


def test_a_new_stage_is_recorded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    again = Again()
    monkeypatch.setattr(bilevel, "recorder", lambda device: again)
    stages = Stage(0.5), Stage(0.5, candidates=3)
    searched([], method=replace(archgrad.method("darts"), stages=stages), graphs="on")
    assert again.calls.count("record") == 4


def test_a_capture_that_fails_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, lines = searched([]), list[str]()
    monkeypatch.setattr(bilevel, "recorder", lambda device: Broken())
    assert same(searched(lines, graphs="on").alpha, plain.alpha)
    assert [line.partition(":")[2] for line in lines] == [" operation not permitted"] * 2


def test_a_search_on_a_cpu_says_that_there_are_no_graphs() -> None:
    lines: list[str] = []
    searched(lines, graphs="on", epochs=1)
    assert lines == ["graphs on: a GPU alone has CUDA graphs, not cpu"]


def test_the_loss_is_that_of_its_own_step() -> None:
    """A recorded pass writes its loss to the same place every time; the meter must copy it."""
    from archgrad.system.loops import Meter

    meter, place = Meter(1), torch.tensor(1.0)
    meter.add(loss=place)
    place.fill_(3.0)
    meter.add(loss=place)
    assert meter.means() == {"loss": 2.0}
