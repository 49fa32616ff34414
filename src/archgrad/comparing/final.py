"""The test at the end of a comparison: the only place that reads test data."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import torch

from archgrad.benchmarks import TableObjective, nas_bench_201
from archgrad.comparing.jobs import TEST, Job
from archgrad.comparing.parts import Own, parts, with_test
from archgrad.data import Data
from archgrad.folder import write
from archgrad.loops import accuracy, resolve_device


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
        objective = TableObjective(nas_bench_201(table))
        for job in some:
            _keep(job, [objective.reported(job.architecture)], 0, 0.0)


def _test(jobs: Sequence[Job], data: Data) -> None:
    given = parts(jobs[0].config.data, (data, data.augmentation), jobs[0].selection)
    full = {job.name: job.retrainings(given)[1] for job in jobs}
    device = resolve_device(jobs[0].train.device)
    assert data.test is not None
    networks = [
        (job, retraining.network().to(device)) for job in jobs for retraining in full[job.name]
    ]
    right, seconds = [0.0] * len(networks), [0.0] * len(networks)
    batches = data.test.batches(256, normalization=data.normalization, device=device)
    with torch.no_grad():
        for inputs, target in batches.epoch(0):
            for index, (_, network) in enumerate(networks):
                started = time.perf_counter()
                right[index] += float(accuracy(network(inputs), target)) * len(target)
                seconds[index] += time.perf_counter() - started
    for job in jobs:
        mine = [i for i, (of, _) in enumerate(networks) if of is job]
        images = len(data.test)
        _keep(job, [right[i] / images for i in mine], images, sum(seconds[i] for i in mine))


def _keep(job: Job, accuracies: Sequence[float], images: int, seconds: float) -> None:
    content: Mapping[str, Any] = {"accuracies": accuracies, "images": images, "seconds": seconds}
    write(job.folder / TEST, json.dumps(content) + "\n")
