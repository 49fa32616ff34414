"""The baselines on the table of NAS-Bench-201: 100 look-ups a search, many searches.

A search sees `c10_val_12ep` alone. `c10_test` is read once, of the cell that it chose. Strategies
keep the options that they have by default. The baselines are those of the library, and so is the
loop that drives them (`archgrad.baselines.searching`).

    python benchmarks/tabular.py --data-root DIR    writes benchmarks/results/tabular.json
    python benchmarks/tabular.py --report           writes its table into docs/benchmarks.md
    python benchmarks/tabular.py --quick            3 runs a method; writes where --out says
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import archgrad
from archgrad.architecture import Architecture
from archgrad.baselines import BASELINES
from archgrad.baselines.beginning import TABLE_EVALUATIONS, LookUps
from archgrad.baselines.searching import baseline_search
from archgrad.benchmarks import Table, TableObjective, nas_bench_201
from archgrad.benchmarks.numbering import number
from archgrad.settings.config import SearchConfig
from archgrad.spaces import SearchSpace
from archgrad.statistics import spread
from archgrad.storage.folder import environment
from bench_report import markdown
from page import fill, keep, load, made

HERE = Path(__file__).parent
FILE = Path("nas-bench-201") / "nb201_cifar10.csv.gz"


@dataclass(frozen=True)
class Published:
    """Test accuracy in percent, mean and standard deviation of 500 runs (arXiv:2001.00326)."""

    mean: float
    spread: float


PUBLISHED = {
    "random": Published(93.70, 0.36),
    "evolution": Published(93.92, 0.30),
    "reinforce": Published(93.85, 0.37),
}
POINTS = (10, 25, 50, 100)  # evaluations at which the curve is shown


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-root", default=os.environ.get("ARCHGRAD_DATA"))
    parser.add_argument("--runs", type=int, default=500, help="searches a method, one a seed")
    parser.add_argument(
        "--evaluations", type=int, default=TABLE_EVALUATIONS, help="look-ups a search"
    )
    parser.add_argument("--quick", action="store_true", help="3 runs a method")
    parser.add_argument("--report", action="store_true", help="the table of what was measured")
    parser.add_argument("--out", type=Path, help="the folder of results")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "benchmarks.md")
    if parser.parse_known_args(arguments)[0].quick:
        parser.set_defaults(runs=3)
    else:
        parser.set_defaults(out=HERE / "results")
    options = parser.parse_args(arguments)
    if options.data_root is None and not options.report:
        parser.error("say with --data-root, or ARCHGRAD_DATA, which folder holds nas-bench-201/")
    return options


def searched(
    name: str, seed: int, evaluations: int, space: SearchSpace, objective: TableObjective
) -> tuple[Architecture, list[float]]:
    """The cell that a search chose, and the best validation score after each evaluation."""
    config = SearchConfig(space=space.name, method=name, seed=seed)
    found = baseline_search(space, BASELINES[name](), LookUps(objective), evaluations, config)
    return found.architecture, list(accumulate((line["score"] for line in found.metrics), max))


def of_method(
    name: str, options: argparse.Namespace, space: SearchSpace, objective: TableObjective
) -> dict[str, Any]:
    """All runs of a method: numbers of the chosen cells, accuracies in percent, a mean curve."""
    started = time.process_time()
    runs = [
        searched(name, seed, options.evaluations, space, objective) for seed in range(options.runs)
    ]
    seconds = time.process_time() - started
    cells = [cell for cell, _ in runs]
    return {
        "cells": [number(cell) for cell in cells],
        "validation": [round(100 * curve[-1], 4) for _, curve in runs],
        "test": [round(100 * objective.reported(cell), 4) for cell in cells],
        "curve": [round(100 * fmean(best), 3) for best in zip(*(curve for _, curve in runs))],
        "seconds": round(seconds, 1),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    table = nas_bench_201(Path(options.data_root) / FILE)
    objective, space = TableObjective(table), archgrad.space("nas-bench-201")
    content: dict[str, Any] = {
        "settings": {"runs": options.runs, "evaluations": options.evaluations},
        "environment": environment("cpu"),
        "table": whole(table, objective),
        "methods": {},
    }
    for name in PUBLISHED:
        content["methods"][name] = of_method(name, options, space, objective)
        print(f"{name}: {content['methods'][name]['seconds']} s", flush=True)
    if options.out is not None:
        keep(options.out / "tabular.json", content, indent=None)
    return content


def whole(table: Table, objective: TableObjective) -> dict[str, float]:
    """What no search of the table can exceed: the best cells by validation and by the test."""
    return {
        "validation_best": table.value(table.best(objective.score), objective.score),
        "test_of_validation_best": table.value(table.best(objective.score), objective.report),
        "test_best": table.value(table.best(objective.report), objective.report),
    }


def table_of(content: dict[str, Any]) -> str:
    """A line a method, in markdown."""
    s, limits = content["settings"], content["table"]
    points = [point for point in POINTS if point <= s["evaluations"]]
    rows = []
    for name, found in content["methods"].items():
        there = PUBLISHED[name]
        ours = fmean(found["test"])
        rows.append(
            [
                f"`{name}`",
                f"{ours:.2f} ± {spread(found['test']):.2f}",
                f"{there.mean:.2f} ± {there.spread:.2f}",
                f"{ours - there.mean:+.2f}",
                *(f"{found['curve'][point - 1]:.2f}" for point in points),
            ]
        )
    head = ["method", "test, %", "published", "difference"]
    head += [f"validation after {point}" for point in points]
    about = (
        f"{s['runs']} searches each, seeds 0 to {s['runs'] - 1}, of {s['evaluations']} look-ups: "
        "mean and sample standard deviation over them of `c10_test` of the cell that is best by "
        "`c10_val_12ep`, and the mean of the best `c10_val_12ep` so far. Of the whole table, the "
        f"best cell by `c10_val_12ep` ({limits['validation_best']:.2f} %) has "
        f"{limits['test_of_validation_best']:.2f} % in `c10_test`, where the best has "
        f"{limits['test_best']:.2f} %. {made(content['environment'])}."
    )
    return "\n".join([about, "", *markdown(head, rows)])


def main(arguments: Sequence[str]) -> None:
    options = parsed(arguments)
    if options.report:
        content = load((options.out or Path()) / "tabular.json")
        fill(options.page, "benchmarks/tabular.py --report", table_of(content))
    else:
        torch.set_num_threads(1)
        content = measure(options)
    print(table_of(content))


if __name__ == "__main__":
    main(sys.argv[1:])
