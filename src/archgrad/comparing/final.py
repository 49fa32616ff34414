"""The test at the end of a comparison: the only place that reads test data."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import groupby

import torch

from archgrad.comparing.jobs import TEST, Job, objective
from archgrad.comparing.parts import Own, parts, with_test
from archgrad.data import Data
from archgrad.folder import write
from archgrad.loops import resolve_device, seeded
from archgrad.precision import without_tf32


def final_test(jobs: Sequence[Job], own: Own | None = None) -> None:
    """Test every network that is trained and was not tested, in one pass over the test part.

    The only place of a comparison that reads test images, or a table's column of test accuracies.
    """
    left = [job for job in jobs if job.done and not (job.folder / TEST).is_file()]
    for data, group in groupby(left, key=lambda job: job.config.data):
        some = list(group)
        if (table := some[0].table) is None:
            _test(some, with_test(data, own))
            continue
        for job in some:
            _keep(job, [objective(table).reported(job.architecture)], 0, 0.0)


def _test(jobs: Sequence[Job], data: Data) -> None:
    assert data.test is not None
    given = parts(jobs[0].config.data, (data, data.augmentation), jobs[0].selection)
    train = jobs[0].train
    device = resolve_device(train.device)
    networks = [
        (job, retraining.network().to(device))
        for job in jobs
        for retraining in job.retrainings(given)[1]
    ]
    right, seconds = [0] * len(networks), [0.0] * len(networks)
    batches = data.test.batches(256, normalization=data.normalization, device=device)
    with torch.no_grad(), seeded(train.seed, train.threads, device), without_tf32():
        for inputs, target in batches.epoch(0):
            for index, (_, network) in enumerate(networks):
                started = time.perf_counter()
                right[index] += int((network(inputs).argmax(1) == target).sum())
                seconds[index] += time.perf_counter() - started
    images = len(data.test)
    for job in jobs:
        mine = [i for i, (of, _) in enumerate(networks) if of is job]
        _keep(job, [right[i] / images for i in mine], images, sum(seconds[i] for i in mine))


def _keep(job: Job, accuracies: Sequence[float], images: int, seconds: float) -> None:
    content = {"accuracies": accuracies, "images": images, "seconds": round(seconds, 3)}
    write(job.folder / TEST, json.dumps(content) + "\n")
