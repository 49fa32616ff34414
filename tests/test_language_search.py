"""Searches of recurrent cells: every method through one table, streams, penalties, every knob."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import archgrad
from archgrad import SearchResult
from archgrad.baselines import BASELINES
from archgrad.baselines.children import Children
from archgrad.baselines.value import Proposal
from archgrad.data import Data, TextSource, text_data
from archgrad.errors import ArchgradError
from archgrad.language import LANGUAGE, Segment
from archgrad.methods import RECIPES
from archgrad.networks.recurrent import Regularization
from archgrad.preparing.prepared import prepare, search_space
from archgrad.resources.planning import summary
from archgrad.searching.callbacks import Callback, EpochEnd
from archgrad.searching.loaders import Loaders
from archgrad.settings.config import SearchConfig, build
from archgrad.spaces.darts_rnn import DartsRNN
from archgrad.task import Task
from archgrad.tensors.trees import cut
from helpers import same

WORDS = ("the cat sees a dog that the bird hears and the dog sleeps while a cat eats " * 12).split()
SIZES: dict[str, Any] = {
    "hidden": 4, "nodes": 2, "epochs": 1, "batch_size": 8, "bptt": 6, "learning_rate": 5.0,
    "final_learning_rate": 5.0, "momentum": 0.0, "weight_decay": 1e-6, "clip": 0.25, "guard": "off",
    "watch_fraction": 0.0, "device": "cpu",
}  # fmt: skip
AROUND = {"pc_darts", "p_darts", "darts_minus"}  # methods that put parts around an edge
FEW = {"random_ws": {"samples": 8, "top": 1, "batches": 1}, "darts_pt": {"tuning_epochs": 0}}


@pytest.fixture(scope="module")
def text() -> Data:
    return text_data(WORDS, WORDS[30:150])


def searched(text: Data, method: str = "darts", **options: Any) -> SearchResult:
    return archgrad.search("darts-rnn", text, method=method, **{**SIZES, **options})


@pytest.mark.parametrize("method", [*RECIPES, *BASELINES])
def test_every_method_searches_or_says_why_not(text: Data, method: str) -> None:
    options: dict[str, Any] = {"method_options": FEW[method]} if method in FEW else {}
    if method in BASELINES:
        options["child_epochs"] = 1
    if method == "p_darts":
        options["epochs"] = 3
    if method in AROUND:
        with pytest.raises(ArchgradError, match="puts parts around the candidates"):
            searched(text, method, **options)
        return
    found = searched(text, method, **options).architecture
    DartsRNN(hidden=4, nodes=2, classes=len(text.classes)).derive(found)


@pytest.mark.parametrize("method", ["darts", "darts_2nd"])
def test_same_seed_same_run_and_resumed_the_same(text: Data, method: str, tmp_path: Path) -> None:
    class Stop(Callback):
        def epoch_end(self, event: EpochEnd) -> None:
            raise KeyboardInterrupt

    once = searched(text, method, epochs=2, bptt_spread=2.0, out=tmp_path / "once")
    with pytest.raises(KeyboardInterrupt):
        searched(text, method, epochs=2, bptt_spread=2.0, out=tmp_path / "cut", callbacks=[Stop()])
    again = archgrad.search("darts-rnn", text, method=method, resume=tmp_path / "cut")
    assert same(once.alpha, again.alpha)
    lines = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("once", "cut")
    ]
    for line in (*lines[0], *lines[1]):
        del line["seconds"], line["memory_mb"]
    assert lines[0] == lines[1]


KNOBS: dict[str, Any] = {
    "hidden": 5, "bptt": 9, "bptt_spread": 2.0, "dropout_output": 0.1, "dropout_hidden": 0.6,
    "dropout_input": 0.1, "dropout_embedding": 0.5, "dropout_words": 0.3, "activation": 2.0,
    "slowness": 2.0, "nodes": 3, "learning_rate": 2.0, "clip": 0.05, "batch_size": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def usual(text: Data) -> SearchResult:
    return searched(text)


@pytest.mark.parametrize("knob", KNOBS)
def test_every_knob_changes_the_result(text: Data, usual: SearchResult, knob: str) -> None:
    other = searched(text, **{knob: KNOBS[knob]})
    assert usual.metrics[-1]["train_loss"] != other.metrics[-1]["train_loss"]


@pytest.mark.parametrize("estimator", ["exact", "finite_difference"])
def test_clipping_within_the_second_order_changes_alpha(text: Data, estimator: str) -> None:
    options = {"method_options": {"estimator": estimator}}
    usual, other = (
        searched(text, "darts_2nd", **options, second_order_clip=clip) for clip in (None, 0.01)
    )
    assert not same(usual.alpha, other.alpha)


class Watched:
    """A task whose forward function notes what each pass began with and left."""

    def __init__(self) -> None:
        self.passes: list[tuple[Segment, Any]] = []

    def forward(self, model: Any, segment: Segment) -> Any:
        found = LANGUAGE.forward(model, segment)
        self.passes.append((segment, segment.memory.state))
        return found


@pytest.mark.parametrize("method", ["darts", "darts_2nd"])
def test_states_are_carried_through_both_streams(text: Data, method: str) -> None:
    watched = Watched()
    searched(replace(text, task=replace(LANGUAGE, forward=watched.forward)), method, bptt=3)
    streams: dict[int, list[tuple[Segment, Any]]] = {}
    for segment, left in watched.passes:
        streams.setdefault(id(segment.memory), []).append((segment, left))
    longest = [passes for passes in streams.values() if len(passes) > 4]
    assert len(longest) >= 2  # of the weights, of alpha; the evaluation has one too
    for passes in longest:
        begun = [segment for segment, _ in passes]
        assert begun[0].state is None
        for (before, left), (after, _) in pairwise(passes):
            if after.tokens is not before.tokens:  # a new segment
                assert after.state is left and not after.state.requires_grad
            else:  # another pass over the same
                assert after.state is before.state


def test_segments_take_their_share_of_the_learning_rate(
    text: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates, shares = [], []
    step = torch.optim.SGD.step

    def noted(optimizer: torch.optim.SGD, *args: Any) -> Any:
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args)

    def share(segment: Segment) -> float:
        shares.append(segment.share)
        return LANGUAGE.share(segment)  # type: ignore[misc]

    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    searched(replace(text, task=replace(LANGUAGE, share=share)), bptt_spread=3.0)
    assert rates == pytest.approx([5.0 * share for share in shares])
    assert len(set(shares)) > 1


def test_penalties_train_the_weights_and_are_no_part_of_any_loss(text: Data) -> None:
    usual, other = (searched(text, epochs=1, slowness=s, activation=s) for s in (0.0, 100.0))
    # so large a penalty moves the weights, but the losses stay cross-entropies near log V
    assert usual.metrics[0]["train_loss"] != other.metrics[0]["train_loss"]
    assert 0 < other.metrics[0]["train_loss"] < 4
    task = Task(penalty=lambda output: output.sum())
    one = torch.ones(3)
    assert float(task.trained(torch.tensor(2.0), one)) == 5.0
    assert float(Task().trained(torch.tensor(2.0), one)) == 2.0


def test_children_are_trained_as_a_supernet_is(text: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.SGD.step

    def noted(optimizer: torch.optim.SGD, *args: Any) -> Any:
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    scores = []
    for slowness in (0.0, 100.0):
        options = {"space": "darts-rnn", "slowness": slowness, "bptt_spread": 3.0}
        config = SearchConfig(**SIZES | options, child_epochs=1)
        space = search_space(config, text)
        found = space.random_architecture(torch.Generator().manual_seed(0))
        scores.append(Children(space, text, config).score(Proposal(found), 0))
    assert scores[0] != scores[1]  # the penalty
    segments = Loaders.of(text, config, text.augmentation, torch.device("cpu")).train.epoch(0)
    assert rates == [5.0 * segment.share for segment in segments] * 2
    assert len(set(rates)) > 1


def test_a_searched_cell_of_another_size_is_retrained(text: Data) -> None:
    found = searched(text, nodes=3)
    whole = replace(text, test=text.valid)
    options = {"hidden": 4, "epochs": 1, "seeds": 1, "batch_size": 8, "bptt": 6, "device": "cpu"}
    for what in (found, found.architecture):
        trained = archgrad.train(what, whole, **options)
        assert len(trained.networks[0].cell.weights) == 3


def test_a_budget_is_kept_and_used(text: Data) -> None:
    sizes = {name: value for name, value in SIZES.items() if name != "epochs"}
    two = searched(text, epochs=2).spent
    for budget, epochs in ((1.4 * two, 2), (0.9 * two, 1)):
        found = archgrad.search("darts-rnn", text, method="darts", budget=f"{budget:.0f}", **sizes)
        assert found.config.epochs == epochs
        assert found.spent <= budget


def test_a_plan_cuts_segments_in_time_and_says_so(text: Data, monkeypatch: Any) -> None:
    # as many texts as steps: the state is of all of them
    config = build({"data": {"data": "grammar"}, "search": {**SIZES, "batch_size": 6, "epochs": 1}})
    prepared = prepare(config)
    found = prepared.plan()
    assert found.batch_size == SIZES["bptt"]
    assert f"with {found.batch_size} steps in time a segment of" in summary(found)
    monkeypatch.setattr(
        "archgrad.resources.planning.available_mb", lambda device: found.memory_mb / 2
    )
    assert all("channels" not in option.options for option in prepared.plan().options)


def test_a_search_learns_a_text_that_repeats_itself(text: Data) -> None:
    off = {f"dropout_{name}": 0.0 for name in ("output", "hidden", "input", "embedding")}
    found = searched(text, hidden=16, epochs=40, **off, learning_rate=10.0, final_learning_rate=5.0)
    assert found.metrics[0]["valid_loss"] > 2
    assert found.metrics[-1]["valid_loss"] < 0.5


def test_as_many_steps_as_texts_can_be_cut_and_measured(text: Data) -> None:
    """Where both are alike, a state (B, H) must not be cut as the T steps of a segment are."""
    assert isinstance(text.train, TextSource)
    batches = replace(text.train, bptt=10).batches(10)
    segment = next(batches.epoch(0))._replace(state=torch.zeros(10, 4))
    assert len(segment.tokens) == 10
    short = cut(segment, 3)
    assert [len(part) for part in short[:3]] == [3, 3, 10] and short.memory is segment.memory
    options = {name: value for name, value in SIZES.items() if name != "epochs"}
    options |= {"batch_size": 5, "bptt": 5, "guard": "warn", "budget": "1M"}
    assert 5e5 < archgrad.search("darts-rnn", text, **options).spent <= 1e6


def test_alpha_has_its_own_text(text: Data) -> None:
    config = SearchConfig(**SIZES | {"space": "darts-rnn"})
    loaders = Loaders.of(text, config, text.augmentation, torch.device("cpu"))
    train, valid = next(loaders.epoch(0))
    assert train.memory is not valid.memory
    assert torch.equal(train.tokens[:, 0], text.train.tokens[:6])  # type: ignore[attr-defined]
    assert torch.equal(valid.tokens[:, 0], text.valid.tokens[:6])  # type: ignore[union-attr]
    assert loaders.examples == (len(text.train), len(text.valid or ()))


def test_images_and_text_are_kept_apart(text: Data) -> None:
    with pytest.raises(ArchgradError, match="space darts-cnn takes images"):
        archgrad.search("darts-cnn", text)
    with pytest.raises(ArchgradError, match="space darts-rnn takes text"):
        archgrad.search("darts-rnn", "digits")
    with pytest.raises(ArchgradError, match="no option channels"):
        searched(text, channels=32)


def test_a_space_from_python_is_taken_as_it_is(text: Data) -> None:
    space = DartsRNN(
        hidden=3, nodes=2, classes=len(text.classes), regularization=Regularization(output=0.1)
    )
    options = {k: v for k, v in SIZES.items() if k not in ("hidden", "nodes")}
    found = archgrad.search(space, text, **options)
    assert found.space == space
    with pytest.raises(ArchgradError, match="build the space for the data"):
        archgrad.search(replace(space, classes=5), text, **options)
