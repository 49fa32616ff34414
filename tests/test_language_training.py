"""Retraining of language models: it learns, averages, keeps the best, resumes; options count."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archgrad import config as configuration
from archgrad.architecture import Architecture, Cell, published
from archgrad.averaging import Average, stalled
from archgrad.config import DataConfig, SearchConfig, TrainConfig
from archgrad.data import Data
from archgrad.data.textdata import text_data
from archgrad.errors import ArchgradError, Diverged
from archgrad.loops import seeded
from archgrad.prepared import retraining_space, search_space
from archgrad.processes import _read_score
from archgrad.recurrent import Regularization
from archgrad.retraining import Retraining, Training, check, load_data, retrain
from archgrad.sizing import retrained
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.darts_rnn import DartsRNN
from helpers import same

CPU = torch.device("cpu")
ARCHITECTURE = Architecture(
    space="darts-rnn",
    cells=(
        Cell(name="recurrent", inputs=1, nodes=((("tanh", 0),), (("relu", 1),)), output=(1, 2)),
    ),
)
OFF = {f"dropout_{name}": 0.0 for name in ("output", "hidden", "input", "embedding", "words")}
TINY = {
    **OFF, "slowness": 0.0, "hidden": 6, "bptt": 5, "batch_size": 4, "epochs": 3, "momentum": 0.0,
    "learning_rate": 5.0, "schedule": "constant", "weight_decay": 1e-5, "clip": 0.25,
    "valid_batch_size": 2, "test_batch_size": 2,
}  # fmt: skip


def repeating(words: int) -> list[str]:
    return [*"abcde"] * (words // 5)


def noise(words: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(5, (words,), generator=generator).tolist()
    return [*range(5), *values]


CERTAIN = text_data(repeating(200), repeating(50), repeating(60))
UNCERTAIN = text_data(noise(120, 0), noise(60, 1), noise(60, 2))


def job(folder: Path | None = None, seed: int = 0, **changes: object) -> Retraining:
    config = TrainConfig.model_validate({**TINY, **changes})
    space = retrained(DartsRNN(nodes=2, classes=5), config)
    return Retraining("found", ARCHITECTURE, space, config, seed, folder)


def training_of(folder: Path | None = None, **changes: object) -> Training:
    with seeded(0, 1, CPU):
        return Training(job(folder, **changes), UNCERTAIN, UNCERTAIN.augmentation, CPU)


def timeless(score: Mapping[str, Any]) -> dict[str, Any]:
    return {**score, "seconds": 0}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# --- learning and judging ----------------------------------------------------------------------


def test_it_learns_a_text_that_repeats(tmp_path: Path) -> None:
    made = job(tmp_path, epochs=30, momentum=0.9, learning_rate=1.0)
    score, network = retrain(made, CERTAIN)
    assert 1 <= score["perplexity"] < 1.1 < 5
    assert score["perplexity"] == pytest.approx(math.exp(score["loss"]))
    assert score["test_tokens"] == 58  # of two texts of 30, all but the first
    assert (score["input_shape"], score["normalization"]) == ([], None)
    assert score["parameters"] == sum(p.numel() for p in network.parameters())
    assert not network.training
    assert CERTAIN.test is not None
    streams = CERTAIN.test.tokens.view(2, 30).t()
    with torch.no_grad():
        logits, _ = made.network()(streams[:-1])  # at once, without segments
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), streams[1:].flatten())
    assert float(loss) == pytest.approx(score["loss"], rel=1e-4)
    assert _read_score(tmp_path / "result.json", made) == score
    last = lines(tmp_path)[-1]
    assert last["valid_loss"] == score["valid_loss"] < 0.1
    assert last["valid_perplexity"] == pytest.approx(math.exp(last["valid_loss"]))
    assert (last["averaging"], score["kept_epoch"], score["rollbacks"]) == (False, 30, 0)


def test_without_a_test_part_it_is_validated_all_the_same() -> None:
    score, _ = retrain(job(epochs=1), replace(CERTAIN, test=None), tested=False)
    assert "perplexity" not in score and "loss" not in score
    assert score["valid_loss"] > 0


KNOBS: dict[str, object] = {
    "hidden": 5,
    "bptt": 7,
    "bptt_spread": 3.0,
    **dict.fromkeys(OFF, 0.5),
    "activation": 5.0,
    "slowness": 5.0,
    "epochs": 2,
    "batch_size": 3,
    "learning_rate": 1.0,
    "schedule": "cosine",
    "momentum": 0.5,
    "weight_decay": 0.1,
    "clip": 0.01,
    "ema": 0.5,
    "seed": 1,
    "precision": "bf16",
    "valid_batch_size": 3,
    "test_batch_size": 3,
}


def outcome(data: Data = UNCERTAIN, **changes: Any) -> tuple[float, ...]:
    score, _ = retrain(job(seed=changes.pop("seed", 0), **changes), data)
    return tuple(score[name] for name in ("train_loss", "valid_loss", "loss"))


@pytest.fixture(scope="module")
def usual() -> tuple[float, ...]:
    return outcome()


@pytest.mark.parametrize("knob", KNOBS)
def test_every_knob_changes_the_result(knob: str, usual: tuple[float, ...]) -> None:
    changed = {knob: KNOBS[knob]}
    assert outcome(**changed) != usual
    if knob.endswith("_batch_size") and knob != "batch_size":  # the model is the same
        assert outcome(**changed)[0] == usual[0]


def test_same_seed_same_result(usual: tuple[float, ...]) -> None:
    assert outcome() == usual


def test_a_step_takes_its_share_of_the_learning_rate() -> None:
    training, rates = training_of(bptt_spread=3.0), []
    step = training.optimizer.step

    def watched() -> None:
        rates.append(training.optimizer.param_groups[0]["lr"])
        step()

    training.optimizer.step = watched  # type: ignore[method-assign]
    lengths = [len(segment.tokens) for segment in training.batches.epoch(0)]
    assert training.epoch(0)["learning_rate"] == 5.0
    assert rates == pytest.approx([5.0 * length / 5 for length in lengths])
    assert len({*lengths}) > 1


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


def test_a_listener_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Listener:
        def __init__(self) -> None:
            self.notices: list[str] = []

        def step(self, done: int, steps: int) -> None: ...

        def epoch(self, metrics: Mapping[str, Any], epochs: int) -> None: ...

        def notice(self, text: str) -> None:
            self.notices.append(text)

    made, listener = Training.__init__, Listener()

    def broken(self: Training, *arguments: Any) -> None:
        made(self, *arguments)
        Breaking(self, {2})

    monkeypatch.setattr(Training, "__init__", broken)
    score, _ = retrain(job(keep="best"), UNCERTAIN, listener=listener)  # type: ignore[arg-type]
    assert listener.notices == ["epoch 2 diverged, back to 1"]
    assert score["rollbacks"] == 1


# --- going on ----------------------------------------------------------------------------------


class SimulatedKill(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_killed_retraining_resumes_to_the_same_weights(after: int, tmp_path: Path) -> None:
    """Before and after averaging began; with dropout, momentum and drawn lengths."""

    class Kill:
        def step(self, done: int, steps: int) -> None: ...

        def epoch(self, metrics: Mapping[str, Any], total: int) -> None:
            if metrics["epoch"] == after:
                raise SimulatedKill

    options = {
        **AVERAGED, "keep": "best", "bptt_spread": 2.0, "dropout_hidden": 0.2, "momentum": 0.5,
        "dropout_words": 0.1, "slowness": 1.0, "learning_rate": 10.0,
    }  # fmt: skip
    made = job(tmp_path / "a", **options)
    with pytest.raises(SimulatedKill):
        retrain(made, UNCERTAIN, listener=Kill())  # type: ignore[arg-type]
    resumed, network = retrain(made, UNCERTAIN)
    whole, other = retrain(job(tmp_path / "b", **options), UNCERTAIN)
    assert timeless(resumed) == timeless(whole)
    assert same(dict(network.state_dict()), dict(other.state_dict()))
    assert [*map(timeless, lines(tmp_path / "a"))] == [*map(timeless, lines(tmp_path / "b"))]
    averaging = [line["averaging"] for line in lines(tmp_path / "b")]
    assert not averaging[1] and averaging[-2]


# --- what is refused ---------------------------------------------------------------------------


def test_a_retraining_has_a_space_of_its_size() -> None:
    config = TrainConfig(hidden=9, dropout_words=0.3, cutout=0, batch_size=20)
    space = retraining_space(config, CERTAIN, "darts-rnn")
    assert space == DartsRNN(hidden=9, classes=5, regularization=Regularization.of(config))
    assert space.regularization.words == 0.3
    check(space, published("DARTS_RNN_V2"), config, CERTAIN, CERTAIN.augmentation)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 4}, "space darts-rnn has no option channels, found 4; leave it out"),
        ({"cells": 4}, "has no option cells, found 4"),
        ({"stem": "imagenet"}, "has no option stem"),
        ({"cutout": 4}, "has no option cutout"),
        ({"label_smoothing": 0.1}, "has no option label_smoothing"),
        ({"compile": "on"}, "has no option compile, found on"),
    ],
)
def test_options_of_images_are_refused_for_text(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchgradError, match=message):
        retrained(DartsRNN(classes=5), TrainConfig(**options))
    with pytest.raises(ArchgradError, match=message):
        retraining_space(TrainConfig(**options), CERTAIN, "darts-rnn")


@pytest.mark.parametrize("options", [{"keep": "best"}, {"averaged": True}, {"hidden": 3}])
def test_options_of_text_are_refused_for_images(options: dict[str, Any]) -> None:
    message = f"space darts-cnn has no option {next(iter(options))}, found"
    with pytest.raises(ArchgradError, match=message):
        retrained(DartsCNN(), TrainConfig(**options))
    with pytest.raises(ArchgradError, match=message):
        retraining_space(TrainConfig(**options), load_data(DataConfig(subset=100))[0], "darts-cnn")


def test_text_and_images_have_spaces_of_their_own() -> None:
    digits = load_data(DataConfig(subset=100))[0]
    with pytest.raises(ArchgradError, match="darts-rnn takes text, and the data set digits holds"):
        retraining_space(TrainConfig(), digits, "darts-rnn")
    with pytest.raises(ArchgradError, match="darts-cnn takes images, and the data set text holds"):
        search_space(SearchConfig(), CERTAIN)
    with pytest.raises(ArchgradError, match="space darts-cnn has no option bptt, found 9"):
        search_space(SearchConfig(bptt=9), digits)


def test_texts_that_cannot_be_judged_are_refused() -> None:
    made = job()
    for changes, part in (({"valid_batch_size": 30}, "valid"), ({"test_batch_size": 30}, "test")):
        config = made.config.model_copy(update=changes)
        with pytest.raises(ArchgradError, match=f"{part}: found .* tokens for a batch size of 30"):
            check(made.space, ARCHITECTURE, config, CERTAIN, CERTAIN.augmentation)
    lacking = replace(CERTAIN, valid=None)
    with pytest.raises(ArchgradError, match="has no validation part.*give one with valid="):
        check(made.space, ARCHITECTURE, made.config, lacking, CERTAIN.augmentation)


def test_a_grammar_is_learned_with_the_options_that_are_usual_for_it() -> None:
    config = configuration.build({"data": {"data": "grammar"}, "train": {}}, space="darts-rnn")
    assert config.train is not None
    data = load_data(config.data)[0]
    space = retraining_space(config.train, data, "darts-rnn")
    check(space, published("DARTS_RNN_V1"), config.train, data, data.augmentation)
