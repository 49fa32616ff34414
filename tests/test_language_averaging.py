"""Retraining of language models: averages of weights, the best epoch kept, resumption."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archgrad.errors import Diverged
from archgrad.retraining.averaging import Average, stalled
from archgrad.retraining.scratch import retrain
from archgrad.retraining.training import Training
from archgrad.searching.callbacks import Callback, EpochEnd
from helpers import same
from language_jobs import UNCERTAIN, job, lines, outcome, timeless, training_of

# --- averages ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "loss", "epochs", "expected"),
    [
        ([], 9.0, 1, False),
        ([1.0], 9.0, 1, False),  # no epoch is left but the last
        ([1.0, 5.0], 1.1, 1, True),
        ([1.0, 5.0], 1.0, 1, False),
        ([3.0, 1.0, 1.0], 2.0, 2, False),  # above the last two alone
        ([3.0, 1.0, 1.0], 3.1, 2, True),
        ([5.0, 4.0, 3.0, 2.0, 1.0], 4.5, 5, False),
        ([5.0, 4.0, 3.0, 2.0, 1.0, 1.0], 4.5, 5, False),
        ([4.0, 5.0, 3.0, 2.0, 1.0, 1.0], 4.5, 5, True),
    ],
)
def test_when_averaging_begins(
    losses: list[float], loss: float, epochs: int, expected: bool
) -> None:
    assert stalled(losses, loss, epochs) == expected


@given(losses=st.lists(st.floats(0, 9), max_size=8), epochs=st.integers(1, 4))
def test_a_loss_that_falls_never_begins_it(losses: list[float], epochs: int) -> None:
    falling = sorted(losses, reverse=True)
    assert not any(stalled(falling[:i], loss, epochs) for i, loss in enumerate(falling))


def test_an_average_of_decay_1_is_the_mean_of_the_iterates() -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    average, iterates = Average(model, 1.0), []
    for step in range(1, 6):
        with torch.no_grad():
            model.weight.copy_(torch.tensor([[step**2, -step]]))
        average.update()
        iterates.append(model.weight.detach().clone())
        torch.testing.assert_close(average.network.weight, sum(iterates) / step)


def iterates_of(training: Training) -> list[dict[str, torch.Tensor]]:
    found: list[dict[str, torch.Tensor]] = []
    step = training.optimizer.step

    def watched() -> None:
        step()
        found.append(copy.deepcopy(dict(training.network.state_dict())))

    training.optimizer.step = watched  # type: ignore[method-assign]
    return found


def test_averaged_sgd_is_judged_by_the_mean_of_the_steps_since_it_began() -> None:
    plain, training = training_of(), training_of(averaged=True)
    iterates, metrics = [], []
    training.valid_losses = [0.0] * 6  # so the first epoch has stalled
    for epoch in range(3):
        reference = plain.epoch(epoch)
        if epoch == 1:
            iterates = iterates_of(training)
        metrics.append(training.epoch(epoch))
        assert metrics[-1]["train_loss"] == reference["train_loss"]  # training does not see it
    assert [line["averaging"] for line in metrics] == [False, True, True]
    for name, value in training.result.state_dict().items():
        mean = sum(weights[name] for weights in iterates) / len(iterates)
        torch.testing.assert_close(value, mean)
    assert same(training.network.state_dict(), plain.network.state_dict())
    assert training.learning.validate(training.result) == metrics[-1]["valid_loss"]
    assert training.learning.validate(training.network) != metrics[-1]["valid_loss"]


AVERAGED = {"averaged": True, "non_monotone": 1, "epochs": 8, "learning_rate": 20.0}


def test_the_trigger_acts_on_what_was_validated(tmp_path: Path) -> None:
    score, network = retrain(job(tmp_path, **AVERAGED), UNCERTAIN)
    found = lines(tmp_path)
    losses = [line["valid_loss"] for line in found]
    first = next(e for e, loss in enumerate(losses) if stalled(losses[:e], loss, 1))
    assert 0 < first < 6
    assert [line["averaging"] for line in found] == [epoch > first for epoch in range(8)]
    later = retrain(job(**{**AVERAGED, "non_monotone": 6}), UNCERTAIN)[0]
    assert later["valid_loss"] != score["valid_loss"]  # it acts, and so does its number of epochs
    assert outcome(**{**AVERAGED, "averaged": False})[1] != score["valid_loss"]
    kept = job(tmp_path, **AVERAGED).network()
    assert same(dict(kept.state_dict()), dict(network.state_dict()))


# --- the best epoch ----------------------------------------------------------------------------


def test_the_best_epoch_is_tested_and_kept(tmp_path: Path) -> None:
    options = {**AVERAGED, "keep": "best"}
    score, network = retrain(job(tmp_path, **options), UNCERTAIN)
    found = lines(tmp_path)
    best = min(found, key=lambda line: line["valid_loss"])
    assert (score["kept_epoch"], score["valid_loss"]) == (best["epoch"], best["valid_loss"])
    assert best["epoch"] < 8
    last, _ = retrain(job(**AVERAGED), UNCERTAIN)
    assert last["train_loss"] == score["train_loss"]
    assert last["loss"] != score["loss"]
    shorter = job(**{**AVERAGED, "epochs": best["epoch"]})
    assert same(dict(retrain(shorter, UNCERTAIN)[1].state_dict()), dict(network.state_dict()))


class Breaking:
    """Spoils the weights before the passes of these epochs, counted from 1."""

    def __init__(self, training: Training, epochs: set[int]) -> None:
        begin = training.learning.begin

        def spoiled(epoch: int) -> None:
            begin(epoch)
            if epoch + 1 in epochs:
                with torch.no_grad():
                    training.network.bias.fill_(math.nan)

        training.learning.begin = spoiled  # type: ignore[method-assign]


def test_a_loss_that_is_not_finite_goes_back_to_the_best(tmp_path: Path) -> None:
    options = {"keep": "best", "epochs": 4, "averaged": True, "momentum": 0.5}
    training = training_of(tmp_path, **options)
    training.valid_losses = [0.0] * 6  # it averages from the second epoch on
    Breaking(training, {3})
    found = [training.epoch(epoch) for epoch in range(2)]
    best = copy.deepcopy(training.best)
    failed = training.epoch(2)
    assert best is not None
    assert failed["rolled_back_to"] == best["epoch"]
    assert "train_loss" not in failed and "valid_loss" not in failed
    assert same(dict(training.network.state_dict()), dict(best["model"]))
    assert (training.average is None) == (best["average"] is None)
    found.append(training.epoch(3))
    assert training.best is not None
    same_epoch = training.best["epoch"] == best["epoch"]
    assert not same_epoch or same(training.best, best)  # going on did not change it
    assert math.isfinite(found[-1]["valid_loss"])
    assert training.finish()["rollbacks"] == 1
    assert [line["epoch"] for line in lines(tmp_path)] == [1, 2, 3, 4]


def test_it_gives_up_after_three_times() -> None:
    training = training_of(keep="best")
    Breaking(training, {2, 3, 4, 5})
    for epoch in range(4):
        training.epoch(epoch)
    with pytest.raises(Diverged, match="3 times it went back to the best epoch"):
        training.epoch(4)
    for options, epoch in (({}, 2), ({"keep": "best"}, 1)):  # no best, or none yet
        training = training_of(**options)
        Breaking(training, {epoch})
        with pytest.raises(Diverged, match=f"retraining found, seed 0: .* in epoch {epoch}, step"):
            for number in range(epoch):
                training.epoch(number)


def test_a_callback_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Told(Callback):
        def __init__(self) -> None:
            self.texts: list[str] = []

        def warning(self, text: str) -> None:
            self.texts.append(text)

    made, told = Training.__init__, Told()

    def broken(self: Training, *arguments: Any) -> None:
        made(self, *arguments)
        Breaking(self, {2})

    monkeypatch.setattr(Training, "__init__", broken)
    score, _ = retrain(job(keep="best"), UNCERTAIN, callback=told)
    assert told.texts == ["epoch 2 diverged, back to 1"]
    assert score["rollbacks"] == 1


# --- going on ----------------------------------------------------------------------------------


class SimulatedKill(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_killed_retraining_resumes_to_the_same_weights(after: int, tmp_path: Path) -> None:
    """Before and after averaging began; with dropout, momentum and drawn lengths."""

    class Kill(Callback):
        def epoch_end(self, event: EpochEnd) -> None:
            if event.epoch == after:
                raise SimulatedKill

    options = {
        **AVERAGED, "keep": "best", "bptt_spread": 2.0, "dropout_hidden": 0.2, "momentum": 0.5,
        "dropout_words": 0.1, "slowness": 1.0, "learning_rate": 10.0,
    }  # fmt: skip
    made = job(tmp_path / "a", **options)
    with pytest.raises(SimulatedKill):
        retrain(made, UNCERTAIN, callback=Kill())
    resumed, network = retrain(made, UNCERTAIN)
    whole, other = retrain(job(tmp_path / "b", **options), UNCERTAIN)
    assert timeless(resumed) == timeless(whole)
    assert same(dict(network.state_dict()), dict(other.state_dict()))
    assert [*map(timeless, lines(tmp_path / "a"))] == [*map(timeless, lines(tmp_path / "b"))]
    averaging = [line["averaging"] for line in lines(tmp_path / "b")]
    assert not averaging[1] and averaging[-2]
