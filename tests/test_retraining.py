"""Retraining from scratch: the recipe's parts, one test at the end, resume, processes."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archgrad.data import ArraySource
from archgrad.errors import ArchgradError, Diverged
from archgrad.networks.network import DropPath
from archgrad.retraining.schedules import learning_rate
from archgrad.retraining.scratch import Paused, check, load_data, retrain
from archgrad.retraining.training import Training
from archgrad.searching.callbacks import Callback, EpochEnd
from archgrad.settings.train_config import OF_TEXT, TrainConfig
from helpers import CELL, DATA, job, same


def score(**changes: object) -> dict[str, object]:
    return retrain(job(**changes), load_data(DATA)[0])[0]  # type: ignore[arg-type]


def test_it_learns_and_reports_what_it_did() -> None:
    result, network = retrain(job(epochs=25, channels=4), load_data(DATA)[0])
    assert result["accuracy"] > 0.5  # ten classes
    assert result["test_images"] == 359
    assert result["parameters"] == sum(p.numel() for p in network.parameters())
    assert not network.training
    data = load_data(DATA)[0]
    assert data.test is not None
    batches = data.test.batches(64, normalization=data.normalization).epoch(0)
    with torch.no_grad():
        right = sum(int((network(x).argmax(1) == y).sum()) for x, y in batches)
    assert right / 359 == result["accuracy"]


KNOBS: dict[str, object] = {
    "channels": 3,
    "cells": 4,
    "epochs": 1,
    "batch_size": 16,
    "learning_rate": 0.05,
    "momentum": 0.5,
    "weight_decay": 0.1,
    "clip": 0.01,
    "cutout": 4,
    "drop_path": 0.5,
    "label_smoothing": 0.3,
    "seed": 1,
    "precision": "bf16",
    "schedule": "step",
    "nesterov": True,
    "ema": 0.5,
}


def test_the_table_of_knobs_is_complete() -> None:
    # tested by themselves, or changing no result
    elsewhere = {
        "seeds", "device", "threads", "jobs", "auxiliary_weight", "compile", "memory_format",
        "recipe", "any_image_size", "stem", "decay", "decay_epochs", "tail_epochs",
        "warm_up_epochs", *OF_TEXT,
    }  # fmt: skip
    assert set(KNOBS) | elsewhere == set(TrainConfig.model_fields)


@pytest.fixture(scope="module")
def usual() -> dict[str, object]:
    return score()


@pytest.mark.parametrize("knob", KNOBS)
def test_every_knob_changes_the_result(knob: str, usual: dict[str, object]) -> None:
    other = score(**{knob: KNOBS[knob]})
    assert (other["train_loss"], other["loss"]) != (usual["train_loss"], usual["loss"])


def test_drop_path_rises_linearly_from_zero() -> None:
    made = job(epochs=4, drop_path=0.4)
    data, augmentation = load_data(DATA)
    training = Training(made, data, augmentation, torch.device("cpu"))
    rates = []
    for epoch in range(4):
        training.epoch(epoch)
        every = {m.rate for m in training.network.modules() if isinstance(m, DropPath)}
        assert len(every) == 1
        rates += every
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_the_learning_rate_falls_to_zero_as_a_cosine() -> None:
    data, augmentation = load_data(DATA)
    training = Training(job(epochs=4), data, augmentation, torch.device("cpu"))
    rates = [training.epoch(epoch)["learning_rate"] for epoch in range(4)]
    assert rates == pytest.approx([0.1, 0.1 * 0.853553, 0.05, 0.1 * 0.146447], rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"warm_up_epochs": 2},
        {"schedule": "linear", "tail_epochs": 1},
        {"schedule": "step", "decay": 0.5},
        {"schedule": "step", "decay": 0.5, "decay_epochs": 2},
    ],
)
def test_the_schedule_is_that_of_the_options(changes: dict[str, object]) -> None:
    data, augmentation = load_data(DATA)
    made = job(epochs=3, **changes)
    training = Training(made, data, augmentation, torch.device("cpu"))
    for epoch in range(3):
        rate = training.epoch(epoch)["learning_rate"]
        assert rate == learning_rate(made.config, epoch)
        assert rate == training.optimizer.param_groups[0]["lr"]


def test_gradients_are_not_clipped_at_0() -> None:
    tight, loose, none = (score(clip=clip)["loss"] for clip in (0.01, 1e9, 0))
    assert none == loose != tight


FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@pytest.mark.parametrize("order", FORMATS)
def test_weights_stand_in_the_memory_format(order: str) -> None:
    data, augmentation = load_data(DATA)
    training = Training(job(memory_format=order), data, augmentation, torch.device("cpu"))
    wide = next(w for w in training.network.parameters() if w.ndim == 4 and min(w.shape[:2]) > 1)
    assert wide.is_contiguous(memory_format=FORMATS[order])


def large_images() -> object:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(24, 1, 32, 32, generator=generator)
    y = torch.arange(24) % 2
    from archgrad.data import as_data

    return as_data((x, y, x[:8], y[:8]))


def test_the_auxiliary_head_changes_training_and_is_not_kept(tmp_path: Path) -> None:
    data = large_images()
    results = {}
    for weight in (0.0, 0.4):
        made = job(tmp_path / str(weight), auxiliary_weight=weight, epochs=1, batch_size=8)
        wide = replace(made, space=replace(made.space, image_size=(32, 32), classes=2))
        results[weight], _ = retrain(wide, data)  # type: ignore[arg-type]
        assert wide.network()(torch.zeros(2, 1, 32, 32)).shape == (2, 2)
    assert results[0.0]["loss"] != results[0.4]["loss"]
    assert results[0.0]["parameters"] == results[0.4]["parameters"]


def test_the_auxiliary_head_is_refused_where_the_image_is_too_small() -> None:
    made = job(auxiliary_weight=0.4)
    data, augmentation = load_data(DATA)
    with pytest.raises(ArchgradError, match="at least 29 pixels a side.*found 8x8"):
        check(made.space, CELL, made.config, data, augmentation)


def test_a_data_set_without_a_test_part_is_refused() -> None:
    data, augmentation = load_data(DATA)
    with pytest.raises(ArchgradError, match="no test part"):
        check(job().space, CELL, job().config, replace(data, test=None), augmentation)
    with pytest.raises(ArchgradError, match="no test part"):
        retrain(job(), replace(data, test=None))


def test_the_test_part_is_read_once_after_the_last_epoch() -> None:
    reads: list[int] = []

    class Counted(ArraySource):
        def batches(self, *args: object, **options: object) -> object:  # type: ignore[override]
            reads.append(epochs[-1])
            return super().batches(*args, **options)  # type: ignore[arg-type]

    epochs = [0]

    class Epochs(Callback):
        def epoch_end(self, event: EpochEnd) -> None:
            epochs.append(event.epoch)

    data = load_data(DATA)[0]
    assert isinstance(data.test, ArraySource)
    watched = replace(data, test=Counted(data.test.x, data.test.labels))
    retrain(job(epochs=3), watched, callback=Epochs())
    assert reads == [3]


class SimulatedKill(BaseException):
    pass


@pytest.mark.parametrize(("after", "ema"), [(1, 0.0), (2, 0.0), (1, 0.9)])
def test_a_killed_retraining_resumes_to_the_same_weights(
    after: int, ema: float, tmp_path: Path
) -> None:
    class Kill(Callback):
        def epoch_end(self, event: EpochEnd) -> None:
            if event.epoch == after:
                raise SimulatedKill

    made = job(tmp_path / "a", drop_path=0.2, ema=ema)
    data = load_data(DATA)[0]
    with pytest.raises(SimulatedKill):
        retrain(made, data, callback=Kill())
    assert (tmp_path / "a" / "checkpoints" / "last.pt").is_file()
    resumed, network = retrain(made, data)
    whole, other = retrain(job(drop_path=0.2, ema=ema), data)
    assert {**resumed, "seconds": 0} == {**whole, "seconds": 0}
    assert same(dict(network.state_dict()), dict(other.state_dict()))
    assert not (tmp_path / "a" / "checkpoints").exists()
    assert json.loads((tmp_path / "a" / "result.json").read_text()) == resumed


def test_pieces_of_a_retraining_give_the_whole(tmp_path: Path) -> None:
    made, data, calls = job(tmp_path / "a", epochs=3), load_data(DATA)[0], 0
    while calls < 3:
        calls += 1
        try:
            found = retrain(made, data, deadline=time.monotonic())[0]  # over before it begins
        except Paused:
            assert len((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()) == calls
    assert {**found, "seconds": 0} == {**score(epochs=3), "seconds": 0}
    in_time = retrain(job(epochs=3), data, deadline=time.monotonic() + 1e6)[0]
    assert {**in_time, "seconds": 0} == {**found, "seconds": 0}


def test_a_loss_that_is_not_finite_stops_with_the_step(tmp_path: Path) -> None:
    made = job(tmp_path, learning_rate=1e30, clip=1e30)
    with pytest.raises(Diverged, match=r"retraining found, seed 0: .* in epoch 1, step \d"):
        retrain(made, load_data(DATA)[0])


def test_a_retraining_without_a_folder_has_no_weights_on_disk() -> None:
    with pytest.raises(ArchgradError, match="left no weights on disk"):
        job().network()
