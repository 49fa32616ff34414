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

What is asked of the results is fixed as well: `questions`.

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
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import archgrad
from archgrad.architecture import Architecture
from archgrad.data import Data, as_data, load
from archgrad.diagnostics import PARAMETER_FREE, SKIP
from archgrad.errors import ArchgradError
from archgrad.folder import environment, write
from archgrad.guard import Guard
from archgrad.methods import Method, method
from archgrad.parts.hypergradient import first_order
from archgrad.processes import _end_with_parent
from archgrad.result import SearchResult
from archgrad.spaces import space
from archgrad.spaces.table import Table
from archgrad.statistics import spread

SPACES = ("s2", "s4", "nas-bench-201")
SEARCH_STEPS = 50 * 391  # published: 25,000 images in batches of 64
ACCURACY = "c10_test"
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
    cpu = options.device == "cpu"
    seconds = time.process_time() - clock if cpu else time.perf_counter() - started
    content = {
        **asdict(job),
        "size": asdict(size) | {"alpha_factor": size.alpha_factor},
        "seconds": round(seconds, 1) if fresh else None,  # of the processor, or the GPU's wall time
        "environment": environment(options.device),
        "architecture": json.loads(result.architecture.to_json()),
        "guard": verdicts(result),
        "epochs": [{key: line[key] for key in KEPT if key in line} for line in result.metrics],
    }
    write(options.out / f"{job.name}.json", json.dumps(content, indent=1) + "\n")
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
    *(
        "entropy",
        "operations",
        "skips",
        "skip_share",
        "parameter_free_share",
        "eigenvalue",
        "warnings",
    ),
)


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


# --- the report ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What is reported of one search, or of a random cell (without ``lines``)."""

    architecture: Architecture
    lines: Sequence[dict[str, Any]] = ()
    guard: Sequence[tuple[int, str]] = ()
    seconds: float | None = None

    def share(self, kind: str) -> float:
        counts = count(self.architecture)
        return counts[kind] / max(1, counts["operations"])

    @property
    def eigenvalues(self) -> list[float]:
        return [line["eigenvalue"] for line in self.lines if "eigenvalue" in line]


Outcomes = dict[tuple[str, str], dict[int, Outcome]]  # (space, method) -> seed -> outcome


def read(folder: Path) -> Outcomes:
    found: Outcomes = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault((content["space"], content["method"]), {})[content["seed"]] = Outcome(
            Architecture.from_json(json.dumps(content["architecture"])),
            content["epochs"],
            content["guard"],
            content["seconds"],
        )
    return found


def random_cells(name: str, number: int = 20) -> dict[int, Outcome]:
    generator = torch.Generator().manual_seed(0)
    sampler = space(name)
    return {i: Outcome(sampler.random_architecture(generator)) for i in range(number)}


def mean(values: Iterable[float | None], digits: int = 1) -> str:
    """Mean and sample standard deviation, of what there is."""
    given = [value for value in values if value is not None]
    if not given:
        return "-"
    if len(given) == 1:
        return f"{given[0]:.{digits}f}"
    return f"{fmean(given):.{digits}f} ± {spread(given):.{digits}f}"


def table_lines(found: Outcomes, size: Size, table: Table | None) -> Iterable[str]:
    """One table a space, in markdown."""
    for name in SPACES:
        accuracy = name == "nas-bench-201"
        columns = ["method", "seeds", "skips", "of them normal", "noise", "parameter-free",
                   *(["test accuracy in the table, %"] if accuracy else []), "entropy / most",
                   "eigenvalue first -> last", "guard (seeds, epoch)", "time / darts"]  # fmt: skip
        yield from ("", f"### {name}", "", f"| {' | '.join(columns)} |")
        yield "|---" * len(columns) + "|"
        price = [o.seconds for o in found.get((name, "darts"), {}).values() if o.seconds]
        rows = {m: found[name, m] for m in methods(size) if (name, m) in found}
        for row, outcomes in {**rows, "random cells": random_cells(name)}.items():
            them = [outcomes[seed] for seed in sorted(outcomes)]
            counts = [count(o.architecture) for o in them]
            total = mean((c["operations"] for c in counts), 0).removesuffix(" ± 0")
            times = [o.seconds / fmean(price) for o in them if o.seconds and price]
            cells = [
                row,
                str(len(them)),
                f"{mean(c['skips'] for c in counts)} of {total}",
                mean(c["normal_skips"] for c in counts),
                mean(c["noise"] for c in counts),
                mean((100 * o.share("free") for o in them), 0) + " %",
            ]
            if accuracy:
                cells.append(mean(table[o.architecture][ACCURACY] if table else None for o in them))
            ends = [o.eigenvalues for o in them if len(o.eigenvalues) > 1]
            cells += [
                mean((certainty(o) for o in them), 2),
                f"{mean((e[0] for e in ends), 2)} -> {mean((e[-1] for e in ends), 2)}",
                warned(them),
                mean(times, 2),
            ]
            yield f"| {' | '.join(cells)} |"
        if accuracy and table is not None:
            every = [row[ACCURACY] for row in table.rows.values()]
            yield ""
            yield f"The whole table: best {max(every):.2f} %, mean {fmean(every):.2f} %."


def certainty(outcome: Outcome) -> float | None:
    """Entropy of the mixing weights at the end, as a part of the largest possible."""
    if not outcome.lines:
        return None
    return float(outcome.lines[-1]["entropy"]) / math.log(outcome.lines[-1]["operations"])


def warned(outcomes: Sequence[Outcome]) -> str:
    """Each kind of finding, in how many searches, and the epochs it first began."""
    first: dict[str, list[int]] = {}
    for outcome in outcomes:
        for kind in dict.fromkeys(kind for _, kind in outcome.guard):
            first.setdefault(kind, []).append(min(e for e, k in outcome.guard if k == kind))
    parts = [
        f"{kind} {len(epochs)} ({', '.join(map(str, epochs))})" for kind, epochs in first.items()
    ]
    return "; ".join(parts) or "-"


def questions(found: Outcomes, table: Table | None) -> Iterable[str]:
    """Which published findings appear: asked seed by seed, answered k of n."""

    def ask(text: str, name: str, test: Callable[[Outcome], bool]) -> str:
        answers = [test(outcome) for outcome in found.get((name, "darts"), {}).values()]
        return f"| {name} | {text} | {verdict(answers)} |"

    def quality(outcome: Outcome) -> float:
        """The less the worse: what collapse takes away, comparable within a space."""
        if outcome.architecture.space == "nas-bench-201" and table is not None:
            return table[outcome.architecture][ACCURACY]
        return -outcome.share("free")

    yield from ("", "| space | question | answer |", "|---|---|---|")
    for name, kind in (("s2", "skips"), ("s4", "noise")):
        yield ask(f"DARTS: more {kind} than half, a random cell's mean", name,
                  lambda o, kind=kind: o.share(kind) > 0.5)  # fmt: skip
        yield ask(f"DARTS: {kind} above three quarters", name,
                  lambda o, kind=kind: o.share(kind) > 0.75)  # fmt: skip
    name = "nas-bench-201"
    yield ask("DARTS: the cell of skips alone", name, lambda o: o.share("skips") == 1)
    yield ask("DARTS: more than 60 % skips", name, lambda o: o.share("skips") > 0.6)
    if table is not None:
        middle = fmean(row[ACCURACY] for row in table.rows.values())
        yield ask("DARTS: less accurate than the mean of the table", name,
                  lambda o: table[o.architecture][ACCURACY] < middle)  # fmt: skip
    for name in SPACES:
        yield ask("DARTS: last eigenvalue above 1.3 times the first", name, grown)
        yield ask("DARTS: the guard warns of shares or eigenvalue before the end", name, forewarned)
        plain = found.get((name, "darts"), {})
        better = "in the table than" if name == "nas-bench-201" else "(fewer parameter-free) than"
        for (where, other), outcomes in found.items():
            seeds = sorted(set(outcomes) & set(plain))
            if where == name and other != "darts" and seeds:
                gains = [quality(outcomes[s]) - quality(plain[s]) for s in seeds]
                answer = f"{verdict([g > 0 for g in gains])}; equal in {gains.count(0)}"
                yield f"| {name} | {other}: better {better} DARTS of the same seed | {answer} |"


def grown(outcome: Outcome) -> bool:
    """The eigenvalue, by RobustDARTS' ratio (arXiv:1909.09656) from the first reading to the last.

    Readings are few here, so without the means of its stopping rule.
    """
    values = outcome.eigenvalues
    return len(values) > 1 and values[-1] > 1.3 * values[0]


def forewarned(outcome: Outcome) -> bool:
    """The guard spoke of collapse before the last epoch."""
    return any(kind in COLLAPSE and epoch < len(outcome.lines) for epoch, kind in outcome.guard)


COLLAPSE = ("skip_share", "parameter_free_share", "eigenvalue")


def verdict(answers: Sequence[bool]) -> str:
    """In words: yes, no or mixed, with the counts."""
    word = "yes" if answers and all(answers) else "mixed" if any(answers) else "no"
    return f"{word}, {sum(answers)} of {len(answers)} seeds" if answers else "not measured"


def report(size: Size, options: argparse.Namespace) -> str:
    """The tables in markdown; a page that has their marks gets them written between."""
    found = read(options.out)
    path = Path(options.data_root or "") / "nas-bench-201" / "nb201_cifar10.csv.gz"
    table = Table.load(path) if options.data_root and path.is_file() else None
    text = "\n".join([*table_lines(found, size, table), *questions(found, table)])
    if options.page.is_file():
        page = options.page.read_text(encoding="utf-8")
        before, mark, rest = page.partition(BEGIN)
        _, end, after = rest.partition(END)
        if mark and end:
            write(options.page, f"{before}{mark}\n{text}\n\n{end}{after}")
    return text


BEGIN, END = "<!-- begin: benchmarks/collapse.py --report -->", "<!-- end -->"


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
        print(report(size, options))
        return
    options.work = options.work or Path(tempfile.mkdtemp(prefix="collapse-"))
    options.out.mkdir(parents=True, exist_ok=True)
    jobs = [job for job in all_jobs(size, options.seeds) if options.only in job.name]
    waiting = [job for job in jobs if not (options.out / f"{job.name}.json").is_file()]
    print(f"{len(jobs) - len(waiting)} of {len(jobs)} done; searches in {options.work}", flush=True)
    context = get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, _end_with_parent) as pool:
        for line in as_completed([pool.submit(attempt, job, size, options) for job in waiting]):
            print(line.result(), flush=True)


if __name__ == "__main__":
    main()
