"""Retrainings side by side: the same scores, read back when finished, refused when damaged."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from archgrad.errors import ArchgradError
from archgrad.retraining.processes import epochs_done, parallel_jobs, retrain_all
from archgrad.retraining.scratch import Paused, load_data, retrain
from archgrad.retraining.training import Retraining
from archgrad.settings.train_config import TrainConfig
from helpers import DATA, TINY, job


def jobs(folder: Path, **changes: object) -> list[Retraining]:
    return [job(folder / f"seed-{seed}", seed, epochs=1, **changes) for seed in (0, 1)]


def test_processes_side_by_side_give_the_scores_of_one_after_the_other(tmp_path: Path) -> None:
    def by_seed(scores: Iterator[dict[str, object]]) -> list[dict[str, object]]:
        found = sorted(scores, key=lambda score: int(score["seed"]))  # type: ignore[call-overload]
        return [{**score, "seconds": 0} for score in found]

    alone = by_seed(retrain_all(jobs(tmp_path / "a", jobs=1), DATA))
    together = by_seed(retrain_all(jobs(tmp_path / "b", jobs=2), DATA))
    assert alone == together
    assert alone[0]["loss"] != alone[1]["loss"]
    # finished ones are read back, and the weights on disk give the network
    again = by_seed(retrain_all(jobs(tmp_path / "b", jobs=2), DATA))
    assert again == together
    network = jobs(tmp_path / "b")[0].network()
    assert network(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


@pytest.mark.slow
def test_processes_that_run_out_of_time_pause_after_an_epoch(tmp_path: Path) -> None:
    def made(count: int) -> list[Retraining]:
        return [job(tmp_path / f"seed-{s}", s, epochs=2, jobs=count) for s in (0, 1)]

    with pytest.raises(Paused):
        list(retrain_all(made(2), DATA, deadline=time.monotonic()))
    assert 1 <= epochs_done(made(2)) <= 2  # a waiting one may be left for the next call
    with pytest.raises(Paused):
        list(retrain_all(made(1), DATA, deadline=time.monotonic()))
    resumed = list(retrain_all(made(1), DATA))
    for score, seed in zip(resumed, (0, 1), strict=True):
        whole = retrain(job(None, seed, epochs=2), load_data(DATA)[0])[0]
        assert {**score, "seconds": 0} == {**whole, "seconds": 0}


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    made = jobs(tmp_path, jobs=1)
    assert made[0].folder is not None
    made[0].folder.mkdir(parents=True)
    (made[0].folder / "result.json").write_text('{"accuracy": ')
    with pytest.raises(ArchgradError, match=r"result\.json is damaged.*remove it"):
        list(retrain_all(made, DATA))


def test_jobs_default_to_one_a_core() -> None:
    config = TrainConfig(**TINY)  # type: ignore[arg-type]
    assert parallel_jobs(config) == len(os.sched_getaffinity(0))
    assert parallel_jobs(config.model_copy(update={"jobs": 3})) == 3
    assert parallel_jobs(config.model_copy(update={"threads": 1000})) == 1
