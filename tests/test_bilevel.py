"""The search loop: known order of steps, seeds, knobs, resume at every file boundary, faults."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import archgrad
from archgrad.data import ArraySource, Data
from archgrad.errors import ArchgradError, Diverged
from archgrad.preparing.prepared import Prepared, prepare
from archgrad.searching.callbacks import Callback, EpochEnd
from archgrad.searching.loaders import Loaders
from archgrad.searching.result import SearchResult
from archgrad.settings import config as configuration
from archgrad.settings.config import RunConfig, SearchConfig
from archgrad.settings.text_config import TextOptions
from archgrad.settings.units import LIMITS, OF_LIMITS
from archgrad.storage.folder import Run, load_checkpoint
from archgrad.verbs.deriving import derive
from helpers import same

TINY = {
    "channels": 2, "cells": 3, "nodes": 1, "epochs": 2, "batch_size": 20, "learning_rate": 0.1,
    "guard": "off",
}  # fmt: skip
SUBSET = 80


def tiny_config(**changes: object) -> RunConfig:
    return configuration.build({"data": {"subset": SUBSET}, "search": {**TINY, **changes}})


def searched(**changes: object) -> SearchResult:
    return prepare(tiny_config(**changes)).search()


def content(path: Path) -> dict[str, object]:
    """All of a run that must repeat: checkpoint, alphas, metrics without time and memory."""
    checkpoint = load_checkpoint(path / "checkpoints", torch.device("cpu"))
    metrics = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for line in metrics:
        del line["seconds"], line["memory_mb"]
    return {
        "checkpoint": checkpoint,
        "metrics": metrics,
        "alphas": (path / "alphas.jsonl").read_text(),
        "architecture": (path / "architecture.json").read_text(),
    }


def test_same_compares_what_it_says() -> None:
    assert same({"a": [torch.ones(2), 1]}, {"a": [torch.ones(2), 1]})
    assert not same({"a": [torch.ones(2)]}, {"a": [torch.tensor([1.0, 1.0 + 1e-7])]})


@pytest.mark.no_cover
@pytest.mark.parametrize("method", ["darts", "darts_2nd"])
def test_a_search_learns_moves_alpha_and_gives_a_valid_architecture(method: str) -> None:
    result = searched(method=method, epochs=6, batch_size=16, channels=8)
    losses = [line["train_loss"] for line in result.metrics]
    assert losses[-1] < losses[0] - 0.3
    assert result.metrics[-1]["valid_accuracy"] > 0.2  # ten classes
    still = {"alpha_learning_rate": 0.0}
    start = searched(channels=8, epochs=1, batch_size=40, method_options=still).alpha
    moved = [float((value - start[name]).abs().max()) for name, value in result.alpha.items()]
    assert min(moved) > 2e-3  # 18 steps, each about 3e-4
    result.space.validate(result.architecture)
    assert archgrad.Architecture.from_json(result.architecture.to_json()) == result.architecture
    network = result.derive(channels=4)
    assert network.eval()(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_a_search_leaves_the_global_random_state_and_threads_alone() -> None:
    torch.manual_seed(11)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    searched(epochs=1)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads


KNOBS: dict[str, object] = {
    "method": "darts_2nd",
    "method_options": {"alpha_learning_rate": 0.01},
    "channels": 3,
    "cells": 4,
    "nodes": 2,
    "edges_per_node": 1,
    "epochs": 1,
    "batch_size": 10,
    "train_fraction": 0.4,
    "watch_fraction": 0.3,
    "space": "s2",
    "learning_rate": 0.05,
    "final_learning_rate": 0.05,
    "momentum": 0.5,
    "weight_decay": 0.1,
    "clip": 0.01,
    "seed": 5,
    "precision": "bf16",
}


def fingerprint(result: SearchResult) -> object:
    return result.architecture, result.alpha, result.metrics[-1]["train_loss"]


@pytest.fixture(scope="module")
def usual() -> SearchResult:
    return searched()


def test_the_table_of_knobs_is_complete() -> None:
    elsewhere = {"device", "threads", "guard", "kernel", "recompute", "graphs"}  # no knobs of it
    elsewhere |= {*LIMITS, *OF_LIMITS}  # tests/test_budget.py
    elsewhere |= {"stem", "child_epochs", "table", "evaluations"}  # test_darts_cnn.py, baselines/
    elsewhere |= {"budget", "budget_seconds", "budget_epochs"}  # tests/test_fitting.py
    elsewhere |= {*TextOptions.model_fields, "second_order_clip"}  # of text
    elsewhere |= {"recipe"}  # tests/test_recipes.py
    assert set(KNOBS) | elsewhere == set(SearchConfig.model_fields)


@pytest.mark.no_cover
@pytest.mark.parametrize("knob", KNOBS)
def test_every_knob_changes_the_result(knob: str, usual: SearchResult) -> None:
    assert not same(fingerprint(searched(**{knob: KNOBS[knob]})), fingerprint(usual))


@pytest.mark.parametrize("change", [{"crop_padding": 0}, {"flip": True}, {"subset": 60}])
def test_every_data_knob_changes_the_result(change: dict[str, object], usual: SearchResult) -> None:
    config = configuration.build({"data": {"subset": SUBSET, **change}, "search": TINY})
    assert not same(fingerprint(prepare(config).search()), fingerprint(usual))


@pytest.mark.no_cover
def test_the_options_of_second_order_change_the_result() -> None:
    def alpha(**options: object) -> object:
        return searched(method="darts_2nd", epochs=1, method_options=options).alpha

    usual, differences = alpha(), alpha(estimator="finite_difference")
    assert not same(usual, alpha(alpha_weight_decay=5.0))
    assert not same(usual, differences)
    assert not same(differences, alpha(estimator="finite_difference", step=0.5))


class Untouchable(ArraySource):
    """A test part that must not be looked at."""

    def batches(self, *args: object, **options: object) -> Iterator[object]:  # type: ignore[override]
        raise AssertionError("the search touched the test part")


def test_the_test_part_is_never_looked_at() -> None:
    config = tiny_config(epochs=1)
    prepared = prepare(config)
    data = prepared.data
    assert isinstance(data.test, ArraySource)
    guarded = replace(data, test=Untouchable(data.test.x, data.test.labels))
    replace(prepared, data=guarded).search()


def test_metrics_hold_what_a_reader_needs(usual: SearchResult) -> None:
    expected = {
        "epoch", "learning_rate", "alpha_loss", "train_loss", "train_accuracy", "valid_loss",
        "valid_accuracy", "entropy", "skip_share", "seconds", "memory_mb",
        "parameter_free_share", "skips", "ranking", "operations", "classes", "spent",
        "moved",
    }  # fmt: skip
    assert set(usual.metrics[0]) == expected
    assert [line["epoch"] for line in usual.metrics] == [1, 2]
    assert usual.metrics[0]["learning_rate"] == 0.1
    assert usual.metrics[0]["entropy"] == pytest.approx(2.0794, abs=1e-3)  # ln 8: alpha near zero


@pytest.mark.parametrize(("fraction", "steps"), [(0.75, 4), (0.3, 2)])
def test_the_shorter_half_is_walked_again(fraction: float, steps: int) -> None:
    """80 images, batches of 16: every batch of the weights' half finds a partner."""
    config = tiny_config(train_fraction=fraction, batch_size=16)
    prepared = prepare(config)
    assert config.search is not None
    loaders = Loaders.of(prepared.data, config.search, prepared.augmentation, torch.device("cpu"))
    assert len(list(loaders.epoch(0))) == len(loaders.train) == steps
    if fraction == 0.75:  # 20 images of alpha's half: two passes, differently shuffled
        batches = [valid for _, valid in loaders.epoch(0)]
        assert not torch.equal(batches[0][0], batches[2][0])


# --- the run folder ---------------------------------------------------------------------------


class SimulatedKill(BaseException):
    """Ends a search where no handler of Exception can see it."""


def killed_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die at the given call of os.replace or os.fsync: the boundaries of every file written."""
    count = 0
    for name in ("replace", "fsync"):
        original = getattr(os, name)

        def wrapper(*args: object, _original: object = original) -> object:
            nonlocal count
            count += 1
            if count == call:
                raise SimulatedKill
            return _original(*args)  # type: ignore[operator]

        monkeypatch.setattr(os, name, wrapper)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    prepared, config = tiny_prepared()
    prepared.search(Run.create(path, config))
    return path


def tiny_prepared() -> tuple[Prepared, RunConfig]:
    config = tiny_config(method="darts", batch_size=40, space="s3")  # three candidates an edge
    return prepare(config), config


@pytest.mark.no_cover
def test_killed_at_every_file_boundary_and_resumed_equals_uninterrupted(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = content(uninterrupted)
    kills = 0
    while True:
        path = tmp_path / f"run-{kills}"
        with monkeypatch.context() as patch:
            prepared, config = tiny_prepared()
            killed_at(kills + 1, patch)
            try:
                prepared.search(Run.create(path, config))
                break
            except SimulatedKill:
                kills += 1
        if (path / "config.yaml").exists():  # else the run was never begun
            run = Run.open(path)
            prepare(run.config).search(run)
            assert same(content(path), expected), kills
    assert kills > 12  # config, environment, and five writes an epoch


def test_resuming_a_finished_search_changes_nothing(uninterrupted: Path) -> None:
    before = content(uninterrupted)
    run = Run.open(uninterrupted)
    result = prepare(run.config).search(run)
    assert same(content(uninterrupted), before)
    assert [line["epoch"] for line in result.metrics] == [1, 2]


def test_rerunning_from_its_configuration_repeats_the_run(
    uninterrupted: Path, tmp_path: Path
) -> None:
    config = configuration.load(uninterrupted / "config.yaml")
    prepare(config).search(Run.create(tmp_path / "again", config))
    assert same(content(tmp_path / "again"), content(uninterrupted))


def test_derive_gives_the_last_or_an_earlier_epoch(uninterrupted: Path) -> None:
    run = Run.open(uninterrupted)
    prepared = prepare(run.config)
    last = derive(run, prepared.method)
    assert last == archgrad.Architecture.load(uninterrupted / "architecture.json")
    assert derive(run, prepared.method, 2) == last
    derive(run, prepared.method, 1)
    with pytest.raises(ArchgradError, match="no epoch 9; expected 1 to 2"):
        derive(run, prepared.method, 9)


def test_a_checkpoint_of_another_search_is_refused(uninterrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(uninterrupted, tmp_path / "run")
    path = tmp_path / "run" / "config.yaml"
    path.write_text(path.read_text().replace("momentum: 0.9", "momentum: 0.8"))
    run = Run.open(tmp_path / "run")
    with pytest.raises(ArchgradError, match=r"was begun with other options than now given"):
        prepare(run.config).search(run)


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    x, y = torch.rand(40, 1, 8, 8), torch.arange(40) % 2
    options = {**TINY, "epochs": 1, "batch_size": 10}
    archgrad.search(data=(x, y), out=tmp_path / "run", **options)
    archgrad.search(data=(x, y), resume=tmp_path / "run")
    with pytest.raises(ArchgradError, match="was begun with other data than now given"):
        archgrad.search(data=(x.flip(0), y), resume=tmp_path / "run")


@pytest.mark.parametrize("damage", ["keys", "optimizer", "shape"])
def test_a_checkpoint_whose_parts_do_not_fit_is_named(
    damage: str, uninterrupted: Path, tmp_path: Path
) -> None:
    shutil.copytree(uninterrupted, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    kept = torch.load(last, weights_only=True)
    if damage == "keys":
        kept = {"format": kept["format"]}
    elif damage == "optimizer":
        kept["weight_optimizer"] = {}
    else:
        kept["alpha"] = {"normal": torch.zeros(1, 1)}
    torch.save(kept, last)
    run = Run.open(tmp_path / "run")
    with pytest.raises(ArchgradError, match=r"cannot be read \(parts of it|does not fit this run"):
        prepare(run.config).search(run)


def test_two_processes_cannot_work_in_one_folder(uninterrupted: Path) -> None:
    first, second = Run.open(uninterrupted), Run.open(uninterrupted)
    with first.working():
        with first.working():  # its own inner steps may
            pass
        with pytest.raises(ArchgradError, match="another process is working in"):
            prepare(second.config).search(second)
    prepare(second.config).search(second)


def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path) -> None:
    """A single step: the loss is finite before it, the weights are not after it."""
    config = tiny_config(batch_size=40, learning_rate=1e38, final_learning_rate=1e38, clip=1e38,
                         epochs=1)  # fmt: skip
    with pytest.raises(Diverged, match="became infinite or not a number in epoch 1, step 1"):
        prepare(config).search(Run.create(tmp_path / "run", config))
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_loss_that_is_not_finite_stops_with_the_step_and_keeps_what_was_done(
    tmp_path: Path,
) -> None:
    config = tiny_config(learning_rate=1e30, clip=1e30, epochs=3, final_learning_rate=1e30)
    with pytest.raises(Diverged, match=r"epoch 1, step \d+; no epoch was finished before"):
        prepare(config).search(Run.create(tmp_path / "a", config))

    class Poison(Callback):
        """Spoils the images after the first epoch."""

        def __init__(self, data: Data) -> None:
            self.data = data

        def epoch_end(self, event: EpochEnd) -> None:
            assert isinstance(self.data.train, ArraySource)
            self.data.train.x.fill_(float("nan"))

    config = tiny_config(epochs=3)
    prepared = prepare(config)
    assert isinstance(prepared.data.train, ArraySource)
    own = replace(
        prepared.data, train=ArraySource(prepared.data.train.x.clone(), prepared.data.train.labels)
    )
    halves = own.split(0.5)
    spoiled = replace(prepared, data=replace(own, train=halves[0], valid=halves[1]))
    with pytest.raises(Diverged) as caught:
        spoiled.search(Run.create(tmp_path / "b", config), Poison(spoiled.data))
    message = str(caught.value)
    assert "epoch 2, step 1" in message
    assert str(tmp_path / "b" / "checkpoints" / "last.pt") in message
    assert "learning rate below 0.1" in message
    kept = load_checkpoint(tmp_path / "b" / "checkpoints", torch.device("cpu"))
    assert kept is not None
    assert kept["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in kept["alpha"].values())
