"""A search of 2,000 tiny epochs: memory, open files, the run folder and seconds, epoch by epoch.

It runs as `archgrad search` does, display, guard and checkpoints included, in this process. Memory
is what the process holds after each epoch (on Linux), open files are its file descriptors. The
figures compare the epochs after the warm-up with the last ones.

    python benchmarks/long_run.py                      writes benchmarks/results/long_run.json
    python benchmarks/long_run.py --epochs 200         writes only where --out says
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from archgrad.preparing.prepared import prepare
from archgrad.progress.session import session
from archgrad.reporting.ending import leave_report
from archgrad.searching.callbacks import Callback, Callbacks, EpochEnd
from archgrad.settings import config as configuration
from archgrad.storage.files import ALPHAS, METRICS
from archgrad.storage.folder import Run, environment
from page import keep

HERE = Path(__file__).parent
EPOCHS = 2000
OPTIONS: dict[str, dict[str, Any]] = {
    "data": {"data": "digits", "subset": 60},
    "search": {
        "space": "darts-cnn", "method": "darts", "channels": 2, "cells": 3, "nodes": 1,
        "batch_size": 20, "device": "cpu", "threads": 1, "guard": "warn",
    },
}  # fmt: skip
CHECKPOINT = Path("checkpoints", "last.pt")
FILES = {"metrics": METRICS, "alphas": ALPHAS, "checkpoint": str(CHECKPOINT)}


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Watch(Callback):
    """What the process holds after each epoch, in arrays that are there from the beginning."""

    def __init__(self, folder: Path, epochs: int, memory: Callable[[], int] = resident) -> None:
        names = ("memory_bytes", "open_files", *FILES)
        self.seen = {name: array("q", bytes(8 * epochs)) for name in names}
        self.seconds = array("d", bytes(8 * epochs))
        self.folder, self.memory, self.last = folder, memory, time.perf_counter()

    def epoch_end(self, event: EpochEnd) -> None:
        """All figures of an epoch; its seconds are those since the one before."""
        at, now = event.epoch - 1, time.perf_counter()
        self.seconds[at], self.last = now - self.last, now
        self.seen["memory_bytes"][at] = self.memory()
        self.seen["open_files"][at] = len(os.listdir("/proc/self/fd"))
        for name, file in FILES.items():
            self.seen[name][at] = (self.folder / file).stat().st_size


def measure(epochs: int, folder: Path) -> dict[str, Any]:
    """Search in a new folder, and what was seen meanwhile."""
    sections = {**OPTIONS, "search": {**OPTIONS["search"], "epochs": epochs}}
    prepared = prepare(configuration.build(sections))
    run = Run.create(folder, prepared.config)
    watch = Watch(folder, epochs)
    with session(run) as (_, display):
        result = prepared.search(run, Callbacks([display, watch]))
    assert len(result.metrics) == epochs
    started = time.perf_counter()
    page = leave_report(folder)
    return {
        "options": sections,
        "environment": environment("cpu"),
        "figures": figures(watch),
        "lines": sum(1 for line in (folder / METRICS).open("rb") if json.loads(line)),
        "report_bytes": None if page is None else page.stat().st_size,
        "report_seconds": round(time.perf_counter() - started, 2),
        "every": (every := max(1, epochs // 100)),
        "course": {name: list(values[every - 1 :: every]) for name, values in watch.seen.items()},
    }


def figures(watch: Watch) -> dict[str, float]:
    """Growth from the end of the warm-up, a twentieth of the epochs, to the end."""
    epochs = len(watch.seconds)
    part = max(1, epochs // 20)
    first, last = slice(part, 2 * part), slice(epochs - part, epochs)
    memory, files = watch.seen["memory_bytes"], watch.seen["open_files"]
    grown = mean(memory[last]) - mean(memory[first])
    return {
        "epochs_compared": part,
        "memory_mb_after_warm_up": round(mean(memory[first]) / 1e6, 2),
        "memory_mb_at_the_end": round(mean(memory[last]) / 1e6, 2),
        "bytes_an_epoch": round(grown / (epochs - 2 * part), 1),
        "open_files_after_warm_up": max(files[first]),
        "open_files_at_the_end": max(files[last]),
        "seconds_an_epoch_after_warm_up": round(median(watch.seconds[first]), 4),
        "seconds_an_epoch_at_the_end": round(median(watch.seconds[last]), 4),
        "seconds_ratio": round(median(watch.seconds[last]) / median(watch.seconds[first]), 3),
        **{f"{n}_bytes_an_epoch": round(watch.seen[n][-1] / epochs) for n in ("metrics", "alphas")},
        "checkpoint_bytes_after_warm_up": watch.seen["checkpoint"][part],
        "checkpoint_bytes_at_the_end": watch.seen["checkpoint"][-1],
    }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, help="the folder of results")
    options = parser.parse_args(arguments)
    out = options.out or (HERE / "results" if options.epochs == EPOCHS else None)
    with tempfile.TemporaryDirectory() as folder:
        content = measure(options.epochs, Path(folder) / "run")
    if out is not None:
        keep(out / "long_run.json", content)
    print(json.dumps(content["figures"], indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
