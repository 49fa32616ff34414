"""Retraining of language models: it learns a text, options count, what cannot be is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import archgrad
from archgrad.architecture import published
from archgrad.errors import ArchgradError
from archgrad.networks.recurrent import Regularization
from archgrad.preparing.prepared import retraining_space, search_space
from archgrad.retraining.language_learning import LanguageLearning
from archgrad.retraining.processes import _kept_score
from archgrad.retraining.scratch import check, load_data, retrain
from archgrad.retraining.sizing import retrained
from archgrad.retraining.training import learning_of
from archgrad.settings import config as configuration
from archgrad.settings.config import SearchConfig
from archgrad.settings.data_config import DataConfig
from archgrad.settings.train_config import TrainConfig
from archgrad.spaces.darts_cnn import DartsCNN
from archgrad.spaces.darts_rnn import DartsRNN
from language_jobs import ARCHITECTURE, CERTAIN, OFF, TINY, job, lines, outcome, training_of

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
    assert _kept_score(made) == score
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


@pytest.fixture(scope="module")
def usual() -> tuple[float, ...]:
    return outcome()


@pytest.mark.parametrize("knob", KNOBS)
def test_every_knob_changes_the_result(knob: str, usual: tuple[float, ...]) -> None:
    changed = {knob: KNOBS[knob]}
    assert outcome(**changed) != usual
    if knob.endswith("_batch_size") and knob != "batch_size":  # the model is the same
        assert outcome(**changed)[0] == usual[0]


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


def test_a_trained_model_leaves_with_its_words(tmp_path: Path) -> None:
    """From Python; in a run folder they are read from its data again."""
    options = {**TINY, "seeds": 1, "epochs": 1}
    result = archgrad.train(ARCHITECTURE, CERTAIN, **options)
    assert result.vocabulary == CERTAIN.classes
    archgrad.export(result, "source", tmp_path)
    assert json.loads((tmp_path / "vocabulary.json").read_text()) == list(CERTAIN.classes)


def test_text_of_another_task_is_still_text() -> None:
    """What it is follows from the data, not from who made the task."""
    other = replace(CERTAIN, task=replace(CERTAIN.task, share=None))
    assert learning_of(other) is learning_of(CERTAIN) is LanguageLearning
