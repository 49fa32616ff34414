"""Collapse: what plain DARTS ends with, and what the methods made against it do, in three spaces.

On S2 and S4 of RobustDARTS (arXiv:1909.09656) and on NAS-Bench-201 (arXiv:2001.00326), real
CIFAR-10: skip connections, noise and parameter-free operations of the derived cells, the dominant
eigenvalue, the guard's verdicts, and on NAS-Bench-201 the accuracy of the found cell in the
published table. Nothing is retrained.

Protocol, fixed before the runs; the same for every method:

- `SIZES` holds the sizes: ``small`` for two CPU cores and two hours, ``full`` for a GPU, ``tiny``
  for a dry run on random images. Weights see one half of the images, alpha nine tenths of the
  other; everything else is the published schedule (SGD 0.025 to 0.001, momentum 0.9, weight decay
  3e-4, clip 5; alpha as in each recipe).
- Alpha's learning rate is multiplied by ``alpha_factor``, published steps (50 epochs of 391) over
  steps here: Adam moves alpha by about its learning rate a step, so it can go as far as there. The
  noise of an estimate counts more than there, by about the root of the factor.
- Every method is of first order; `robust_darts` (L2, drop path) is published on second order, which
  costs over three times as much a step. DARTS-PT tunes ``tuning_epochs`` a round, PC-DARTS takes
  one channel in ``partial``, GAEA is its single-level form. Shapley-NAS is left out for its price.
- The small size was chosen by price, and by one look at plain DARTS: its mixing weights must leave
  the tie (entropy of 0.91 of the largest in S2, 0.90 in NAS-Bench-201, seed 0, 12 epochs).
- The guard only warns. Architectures are read off at the end, from alpha (DARTS-PT: from the
  supernet); test columns of the table are only reported.
- The floor is 20 random cells of the space, drawn with seed 0.

What is asked of the results is fixed as well: `collapse_report.questions`.

    ARCHGRAD_DATA=... python benchmarks/collapse.py --work DIR      run what is not yet done
    ARCHGRAD_DATA=... python benchmarks/collapse.py --report        table; writes docs/collapse.md

A run may be ended at any time; the same command with the same --work goes on. Jobs are ordered by
seed, so that every prefix is balanced. Without --work an unfinished job begins anew.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import archgrad
from archgrad.architecture import Architecture
from archgrad.data import Data, as_data, load
from archgrad.errors import ArchgradError
from archgrad.methods import Method, method
from archgrad.parts.hypergradient import first_order
from archgrad.searching.diagnostics import PARAMETER_FREE, SKIP
from archgrad.searching.guard import Guard
from archgrad.searching.result import SearchResult
from archgrad.storage.files import write
from archgrad.storage.folder import environment
from archgrad.workers.local import end_with_parent

SPACES = ("s2", "s4", "nas-bench-201")
SEARCH_STEPS = 50 * 391  # published: 25,000 images in batches of 64
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Size:
    """``stages``: cells of a stage of NAS-Bench-201; ``images`` None: all of CIFAR-10.

    ``partial``: PC-DARTS computes one channel in so many (4 in the paper, which needs 8 channels).
    """

    channels: int
    cells: int
    stages: int
    image_size: int
    images: int | None
    batch_size: int
    epochs: int
    tuning_epochs: int
    partial: int

    @property
    def alpha_factor(self) -> float:
        steps = self.epochs * math.ceil((self.images or 50_000) / 2 / self.batch_size)
        return SEARCH_STEPS / steps


SIZES = {
    "small": Size(4, 3, 1, 16, 4000, 32, 10, 1, 2),
    "full": Size(16, 8, 5, 32, None, 64, 50, 5, 4),
    "tiny": Size(4, 3, 1, 8, 80, 20, 2, 0, 2),
}


def methods(size: Size) -> dict[str, Method]:
    """The methods by name, alpha's learning rate scaled in all of them alike."""
    robust = {form: method("robust_darts", form=form) for form in ("l2", "drop_path")}
    found = {
        "darts": method("darts"),
        **{
            f"robust_darts {form}": replace(recipe, hypergradient=first_order)
            for form, recipe in robust.items()
        },
        **{
            name: method(name)
            for name in ("fair_darts", "darts_minus", "beta_darts", "sdarts_rs", "gaea")
        },
        **{name: method(name) for name in ("drnas", "gdas", "oles")},
        "pc_darts": method("pc_darts", k=size.partial),
        "darts_pt": method("darts_pt", tuning_epochs=size.tuning_epochs),
    }
    return {name: scaled(recipe, size.alpha_factor) for name, recipe in found.items()}


def scaled(recipe: Method, factor: float) -> Method:
    """The method with ``factor`` times the learning rate of alpha."""
    optimizer: Any = recipe.arch_optimizer
    rate = optimizer.learning_rate * factor
    return replace(recipe, arch_optimizer=replace(optimizer, learning_rate=rate))


# --- one job -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    space: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.space}-{self.method}-{self.seed}".replace(" ", "_")


def all_jobs(size: Size, seeds: int) -> list[Job]:
    names = methods(size)
    return [Job(s, m, seed) for seed in range(seeds) for m in names for s in SPACES]


@lru_cache(maxsize=1)
def data(size: Size, root: str | None) -> Data:
    if size == SIZES["tiny"]:
        shape = (size.images or 0, 3, size.image_size, size.image_size)
        images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        return as_data((images, torch.arange(len(images)) % 10))
    return load("cifar10", root, image_size=size.image_size, subset=size.images)


def do(job: Job, size: Size, options: argparse.Namespace) -> str:
    """Run or continue a job, write its result; a line about it."""
    folder = options.work / job.name
    recipe, images = methods(size)[job.method], data(size, options.data_root)
    fresh = not (folder / "config.yaml").is_file()
    started, clock = time.perf_counter(), time.process_time()
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)  # ended before it had begun
        result = archgrad.search(
            job.space,
            images,
            method=recipe,
            out=folder,
            seed=job.seed,
            device=options.device,
            channels=size.channels,
            cells=size.stages if job.space == "nas-bench-201" else size.cells,
            epochs=size.epochs,
            batch_size=size.batch_size,
        )
    else:
        result = archgrad.search(data=images, method=recipe, resume=folder)
    cpu, here = options.device == "cpu", environment(options.device)
    seconds = time.process_time() - clock if cpu else time.perf_counter() - started
    content = {
        **asdict(job),
        "size": asdict(size) | {"alpha_factor": size.alpha_factor},
        "seconds": round(seconds, 1) if fresh else None,  # of the processor, or the GPU's wall time
        "environment": {k: v for k, v in here.items() if k not in HERE_ALONE},
        "architecture": json.loads(result.architecture.to_json()),
        "guard": verdicts(result),
        "epochs": [{key: line[key] for key in KEPT if key in line} for line in result.metrics],
    }
    write(options.out / f"{job.name}.json", json.dumps(content) + "\n")
    counts = count(result.architecture)
    return f"{job.name:<36}{seconds:8.0f} s  {counts}"


def attempt(job: Job, size: Size, options: argparse.Namespace) -> str:
    """As `do`; a search that fails or diverges is told of, and the others go on."""
    try:
        return do(job, size, options)
    except ArchgradError as error:
        return f"{job.name}: {error}"


KEPT = (
    *("epoch", "train_accuracy", "valid_accuracy", "discrete_accuracy", "watch_accuracy"),
    *("entropy", "operations", "skips", "skip_share", "parameter_free_share"),
    *("eigenvalue", "warnings"),
)
HERE_ALONE = {"command", "process"}  # of the environment: says nothing to others


def verdicts(result: SearchResult) -> list[tuple[int, str]]:
    """(epoch, kind) of every finding of the guard, when it began."""
    groups = result.space.without(result.method.without).groups
    guard, lines = Guard.of(result.config.epochs, groups), result.metrics
    return [
        (lines[end - 1]["epoch"], finding.kind)
        for end in range(1, len(lines) + 1)
        for finding in guard.begun(lines[:end])
    ]


def count(architecture: Architecture) -> dict[str, int]:
    """Operations of all cells, and of the first (normal) cell."""
    cells = [cell.operations for cell in architecture.cells]
    every = [name for names in cells for name in names]
    return {
        "operations": len(every),
        "skips": every.count(SKIP),
        "normal_skips": cells[0].count(SKIP),
        "noise": every.count("noise"),
        "free": sum(name in PARAMETER_FREE for name in every),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--tiny", action="store_const", const="tiny", dest="size")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="searches at a time")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", help="jobs whose name contains this")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--data-root", default=os.environ.get("ARCHGRAD_DATA"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "collapse")
    parser.add_argument("--work", type=Path, help="folder of unfinished searches")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "collapse.md")
    options = parser.parse_args()
    size = SIZES[options.size]
    if options.report:
        from collapse_report import report

        print(report(size, options))
        return
    options.work = options.work or Path(tempfile.mkdtemp(prefix="collapse-"))
    options.out.mkdir(parents=True, exist_ok=True)
    jobs = [job for job in all_jobs(size, options.seeds) if options.only in job.name]
    waiting = [job for job in jobs if not (options.out / f"{job.name}.json").is_file()]
    print(f"{len(jobs) - len(waiting)} of {len(jobs)} done; searches in {options.work}", flush=True)
    context = get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, end_with_parent) as pool:
        for line in as_completed([pool.submit(attempt, job, size, options) for job in waiting]):
            print(line.result(), flush=True)


if __name__ == "__main__":
    main()
