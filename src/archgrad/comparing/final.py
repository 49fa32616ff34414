"""The test at the end of a comparison: the only place that reads test data."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch

from archgrad.comparing.jobs import Job, objective
from archgrad.comparing.parts import Own, parts, with_test
from archgrad.data import Data
from archgrad.retraining.language_learning import tested
from archgrad.settings.train_config import TrainConfig
from archgrad.storage.files import TEST, write
from archgrad.system.loops import resolve_device, seeded
from archgrad.tensors.precision import without_tf32


class Tested(NamedTuple):
    """The `value` of a network on `examples`, images or tokens, and how long it took."""

    value: float
    examples: int
    seconds: float


def final_test(jobs: Sequence[Job], own: Own | None = None) -> None:
    """Test every network that is trained and was not tested, each once.

    All in one pass over test images; of a text, which each network reads with its own memory, one
    after the other. The only place of a comparison that reads a test part, or a table's column of
    test accuracies.
    """
    left = [job for job in jobs if job.done and not (job.folder / TEST).is_file()]
    for data, group in groupby(left, key=lambda job: job.config.data):
        some = list(group)
        if (table := some[0].table) is None:
            _test(some, with_test(data, own))
            continue
        for job in some:
            _keep(job, [Tested(objective(table).reported(job.architecture), 0, 0.0)])


def _test(jobs: Sequence[Job], data: Data) -> None:
    given = parts(jobs[0].config.data, (data, data.augmentation), jobs[0].selection)
    train = jobs[0].train
    device = resolve_device(train.device)
    networks = [
        (job, retraining.network().to(device))
        for job in jobs
        for retraining in job.retrainings(given)[1]
    ]
    judged = _read if data.of_text else _seen
    with torch.no_grad(), seeded(train.seed, train.threads, device), without_tf32():
        found = judged([network for _, network in networks], data, train, device)
    for job in jobs:
        _keep(job, [one for (of, _), one in zip(networks, found, strict=True) if of is job])


def _seen(
    networks: Sequence[Any], data: Data, train: TrainConfig, device: torch.device
) -> list[Tested]:
    """Accuracies, in one pass over the images."""
    assert data.test is not None
    right, seconds = [0] * len(networks), [0.0] * len(networks)
    batches = data.test.batches(256, normalization=data.normalization, device=device)
    for inputs, target in batches.epoch(0):
        for index, network in enumerate(networks):
            started = time.perf_counter()
            right[index] += int((network(inputs).argmax(1) == target).sum())
            seconds[index] += time.perf_counter() - started
    images = len(data.test)
    return [Tested(r / images, images, s) for r, s in zip(right, seconds, strict=True)]


def _read(
    networks: Sequence[Any], data: Data, train: TrainConfig, device: torch.device
) -> list[Tested]:
    """Perplexities."""
    found = []
    for network in networks:
        started = time.perf_counter()
        score = tested(network, data, train, device)
        seconds = time.perf_counter() - started
        found.append(Tested(score["perplexity"], score["test_tokens"], seconds))
    return found


def _keep(job: Job, found: Sequence[Tested]) -> None:
    content = {
        "values": [one.value for one in found],
        "examples": found[0].examples,
        "seconds": round(sum(one.seconds for one in found), 3),
    }
    write(job.folder / TEST, json.dumps(content) + "\n")
