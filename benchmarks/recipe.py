"""The retraining recipe against a known answer: cheap cells of NAS-Bench-201 after 12 epochs.

The table holds what each cell reached on the test images of CIFAR-10 after 12 epochs with a whole
cosine (`c10_test_12ep`, one training a cell). The same cells are trained here by
`archgrad train --recipe nas-bench-201 --epochs 12` on all 50,000 images.

The cells are chosen by cost and validation, without a look at any test: of those with at most
--most-flops, ranked by `c10_val_12ep`, the first of each of --cells equal parts. A call may be
ended at any time; the same command with the same --work goes on after the last whole epoch.

    python benchmarks/recipe.py --data-root DIR     writes benchmarks/results/recipe.json
    python benchmarks/recipe.py --report            writes its table into docs/recipes.md
    python benchmarks/recipe.py --quick             1,000 images, an epoch; writes where --out says
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

import archgrad
from archgrad.benchmarks import Table, nas_bench_201
from archgrad.benchmarks.numbering import string
from archgrad.costing.cost import cost
from archgrad.errors import ArchgradError
from archgrad.spaces.nas_bench_201 import from_string
from archgrad.statistics import spread
from archgrad.storage.files import write
from archgrad.storage.folder import environment
from bench_report import markdown
from page import fill, keep, load, made
from tabular import FILE

HERE = Path(__file__).parent
VALIDATION, TEST, FLOPS = "c10_val_12ep", "c10_test_12ep", "c10_flops_M"
IMAGES = 50_000
SIZE = {"cells": 3, "seeds": 1, "epochs": 12}
QUICK = {"cells": 2, "epochs": 1, "subset": 1000}


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, value in SIZE.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--most-flops", type=float, default=12, help="millions, as in the table")
    parser.add_argument("--subset", type=int, help="training images [all]")
    parser.add_argument("--data-root", default=os.environ.get("ARCHGRAD_DATA"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time")
    parser.add_argument("--piece-seconds", type=float, help="end a call after about so long")
    parser.add_argument("--quick", action="store_true", help="few images, one epoch")
    parser.add_argument("--report", action="store_true", help="the table of what was measured")
    parser.add_argument("--out", type=Path, help="the folder of results")
    parser.add_argument("--work", type=Path, help="the folder of the retrainings [under runs/]")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "recipes.md")
    if parser.parse_known_args(arguments)[0].quick:
        parser.set_defaults(**QUICK, work=Path("runs") / "recipe-quick")
    else:
        parser.set_defaults(out=HERE / "results", work=Path("runs") / "recipe")
    options = parser.parse_args(arguments)
    if options.data_root is None and not options.report:
        parser.error("say with --data-root, or ARCHGRAD_DATA, which folder holds the data")
    return options


def chosen(table: Table, most_flops: float, count: int) -> list[str]:
    """Of the cheap cells, the best of each of ``count`` equal parts of their ranking."""
    cheap = np.flatnonzero(table.column(FLOPS) <= most_flops)
    if len(cheap) < count:
        raise ArchgradError(
            f"{len(cheap)} cells have at most {most_flops:g} million FLOPs, and {count} are to be "
            "trained; raise --most-flops or take fewer --cells"
        )
    ranked = cheap[np.argsort(-table.column(VALIDATION)[cheap], kind="stable")]
    return [string(int(ranked[part * len(ranked) // count])) for part in range(count)]


@dataclass(frozen=True)
class Work:
    """The retrainings of one cell in a folder of their own."""

    cell: str
    folder: Path

    def train(self, options: argparse.Namespace) -> None:
        """Begin them, or go on with what is there."""
        command = [sys.executable, "-m", "archgrad", "train"]
        if (self.folder / "config.yaml").is_file():
            command += ["--resume", str(self.folder)]
        else:
            given = self.folder.with_suffix(".json")
            write(given, from_string(self.cell).to_json())
            command += [str(given), "--recipe", "nas-bench-201", "--data", "cifar10"]
            for name in ("data_root", "subset", "epochs", "seeds", "device", "jobs"):
                if (value := getattr(options, name)) is not None:
                    command += [f"--{name.replace('_', '-')}", str(value)]
            command += ["--out", str(self.folder)]
        if options.piece_seconds is not None:
            command += ["--piece-seconds", str(options.piece_seconds)]
        subprocess.run(command, check=True, stdout=sys.stderr)

    def scores(self) -> Iterator[dict[str, Any]]:
        """What is done, by seed."""
        for path in sorted(self.folder.glob("found/seed-*/result.json")):
            yield json.loads(path.read_text(encoding="utf-8"))


def settings(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in [*SIZE, "most_flops", "subset", "device"]}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train what is not trained yet; the results of all that is."""
    table = nas_bench_201(Path(options.data_root) / FILE)
    kept = options.work / "settings.json"
    if not kept.is_file():
        write(kept, json.dumps(settings(options)) + "\n")
    if json.loads(kept.read_text(encoding="utf-8")) != settings(options):
        raise ArchgradError(f"{options.work} was begun with other options; give another --work")
    content: dict[str, Any] = {
        "settings": settings(options),
        "environment": environment(options.device),
        "cells": [],
    }
    cells = chosen(table, options.most_flops, options.cells)
    for work in [Work(cell, options.work / f"cell-{i}") for i, cell in enumerate(cells)]:
        if len(list(work.scores())) < options.seeds:
            work.train(options)
        content["cells"].append(row(work, table))
        if options.out is not None:
            keep(options.out / "recipe.json", content)
        if len(list(work.scores())) < options.seeds:
            break  # the piece is over
    return content


def row(work: Work, table: Table) -> dict[str, Any]:
    """A cell: what it costs, what the table says, and what it reached here, in percent."""
    scores = list(work.scores())
    found = cost(archgrad.space("nas-bench-201"), from_string(work.cell))
    return {
        "cell": work.cell,
        "multiply_adds": found.multiply_adds,
        "parameters": found.parameters,
        "table": {name: table.value(work.cell, name) for name in (VALIDATION, TEST)},
        "test": [round(100 * score["accuracy"], 4) for score in scores],
        "seconds": [score["seconds"] for score in scores],
    }


def table_of(content: dict[str, Any]) -> str:
    """A line a cell, in markdown."""
    s, cells = content["settings"], content["cells"]
    rows = []
    for found in cells:
        ours, there = found["test"], found["table"][TEST]
        mean = f"{fmean(ours):.2f}" if ours else "not measured"
        rows.append(
            [
                "`" + found["cell"].replace("|", r"\|") + "`",
                f"{found['multiply_adds'] / 1e6:.1f}",
                mean if len(ours) < 2 else f"{mean} ± {spread(ours):.2f}",
                f"{there:.2f}",
                f"{fmean(ours) - there:+.2f}" if ours else "-",
            ]
        )
    head = ["cell", "multiply-adds, M", "test here, %", f"`{TEST}`, %", "difference"]
    images = s["subset"] or IMAGES
    about = (
        f"Recipe `nas-bench-201`, {s['epochs']} epochs, {images:,} training images, "
        f"{s['seeds']} seed{'s' * (s['seeds'] > 1)}, {content['environment']['device']}; of the "
        f"cells with at most {s['most_flops']:g} million FLOPs, ranked by `{VALIDATION}`, the "
        f"first of each of {s['cells']} equal parts. {made(content['environment'])}."
    )
    return "\n".join([about, "", *markdown(head, rows)])


def main(arguments: Sequence[str]) -> None:
    options = parsed(arguments)
    if options.report:
        path = (options.out or Path()) / "recipe.json"
        text = table_of(load(path)) if path.is_file() else "Not measured."
        fill(options.page, "benchmarks/recipe.py --report", text)
        print(text)
    else:
        print(table_of(measure(options)))


if __name__ == "__main__":
    main(sys.argv[1:])
