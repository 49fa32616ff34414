"""Retrainings side by side: one process each, which dies with its parent and can be resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from archgrad import measure, untrusted
from archgrad.data import Augmentation, Data
from archgrad.errors import ArchgradError
from archgrad.retraining.scratch import Paused, Score, late, load_data, retrain
from archgrad.retraining.training import Retraining, begun_with
from archgrad.searching.callbacks import Callback, EpochEnd
from archgrad.settings.data_config import DataConfig
from archgrad.settings.pool_config import RETRIES
from archgrad.settings.train_config import TrainConfig
from archgrad.storage.files import METRICS, RESULT
from archgrad.storage.folder import refuse_other
from archgrad.system.distributed import from_first, world
from archgrad.system.loops import resolve_device
from archgrad.workers import LocalCrew, made
from archgrad.workers.choosing import cores

Progress = Callable[[Sequence[int], Sequence[int], int], None]


def silent(done: Sequence[int], epochs: Sequence[int], workers: int) -> None:
    """No progress is told."""


def retrain_all(
    jobs: Sequence[Retraining],
    data: DataConfig,
    own: tuple[Data, Augmentation] | None = None,
    progress: Progress = silent,
    deadline: float = math.inf,
) -> Iterator[Score]:
    """Run retrainings side by side, each in a process of its own; yields each score as it comes.

    Scores do not depend on how many run at a time. Finished ones are read back, not repeated.
    `own`: data from Python, which no other process can load: then one after the other, here. So
    it is too where several processes do each one together.
    `progress` hears now and then how many epochs of each job are done, of how many, and how many
    jobs go on at a time. `deadline`: as in `retrain`; raises `Paused` where something is left to
    do.
    """
    scores = from_first(lambda: [_kept_score(job) for job in jobs])
    yield from filter(None, scores)
    open_jobs = [job for job, score in zip(jobs, scores, strict=True) if score is None]
    if not open_jobs:
        return
    workers = min(parallel_jobs(open_jobs[0].config), len(open_jobs))
    alone = workers == 1 or own is not None or not world().alone

    def meanwhile() -> None:
        done = [epochs_done([job]) for job in jobs]
        progress(done, [job.config.epochs for job in jobs], 1 if alone else workers)

    if alone:
        loaded, augmentation = own or load_data(data)
        hears = Epochs(meanwhile)
        for number, job in enumerate(open_jobs):
            if number and late(deadline):
                raise Paused
            yield retrain(
                job, loaded, augmentation=augmentation, callback=hears, deadline=deadline
            )[0]
        return
    calls = [(job, data, deadline) for job in open_jobs]
    paused = False
    done = made(
        LocalCrew(), _work, calls, workers,
        retries=RETRIES, meanwhile=meanwhile, deadline=deadline,
    )  # fmt: skip
    for _, future in done:
        if future.cancelled() or isinstance(future.exception(), Paused):
            paused = True
        else:
            yield future.result()
    if paused:
        raise Paused


class Epochs(Callback):
    """Calls after each epoch, and after each evaluation."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def epoch_end(self, event: EpochEnd) -> None:
        self.call()

    def evaluated(self, line: Mapping[str, Any], share: float) -> None:
        self.call()


def epochs_done(jobs: Sequence[Retraining]) -> int:
    """Whole epochs of all jobs together, finished and unfinished ones."""
    files = [job.folder / METRICS for job in jobs if job.folder is not None]
    return sum(file.read_bytes().count(b"\n") for file in files if file.is_file())


def _kept_score(job: Retraining) -> Score | None:
    """That of a finished retraining."""
    path = None if job.folder is None else job.folder / RESULT
    if path is None or not path.is_file():
        return None
    try:
        score: Score = untrusted.mapping_of_json(path)
        float(score[measure.of(score).name])
        kept = dict(score["begun_with"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchgradError(
            f"result {path} is damaged ({error}); remove it to repeat that retraining"
        ) from None
    refuse_other(kept, begun_with(job), path)
    return score


def parallel_jobs(config: TrainConfig) -> int:
    """How many retrainings run at a time: as configured, or one a CPU core, or one on a GPU."""
    if config.jobs:
        return config.jobs
    if resolve_device(config.device).type == "cuda":
        return 1
    return max(1, cores() // config.threads)


_load_once = lru_cache(maxsize=1)(load_data)  # a worker's jobs share their data


def _work(job: Retraining, data: DataConfig, deadline: float) -> Score:
    loaded, augmentation = _load_once(data)
    return retrain(job, loaded, augmentation=augmentation, deadline=deadline)[0]
