"""What the full-size parts of gpu.sh found, beside the published figures.

`gpu.sh` calls it after each piece, with the folder of the part's runs:

    python benchmarks/published.py compare DIR --out OUT     writes OUT/compare-DEVICE.json
    python benchmarks/published.py nas201 DIR --out OUT      with the table, where ARCHGRAD_DATA is
    python benchmarks/published.py evaluate DIR --out OUT
    python benchmarks/published.py ptb-search DIR --out OUT, and so ptb-evaluate
    python benchmarks/published.py --report                  tables into docs/benchmarks.md

A row of what was not run says "not measured". Test columns of the table are read of cells whose
search is over.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from archgrad.architecture import Architecture
from archgrad.benchmarks import TableObjective, nas_bench_201
from archgrad.statistics import spread
from archgrad.storage.files import read_lines
from archgrad.storage.folder import environment
from bench_report import markdown
from page import fill, keep, load, made
from tabular import FILE

HERE = Path(__file__).parent
NOT = "not measured"
PARTS = ("compare", "nas201", "evaluate", "ptb-search", "ptb-evaluate")
# test error on CIFAR-10 in percent, of the full retraining, as the papers of the methods have it
DARTS_CNN = {
    "darts": ("3.00 ± 0.14", "arXiv:1806.09055"),
    "darts_2nd": ("2.76 ± 0.09", "arXiv:1806.09055"),
    "pc_darts": ("2.57 ± 0.07", "arXiv:1907.05737"),
    "drnas": ("2.46 ± 0.03", "arXiv:2006.10355"),
}
# test accuracy on CIFAR-10 in percent, of the found cell in the benchmark: mean, spread, source
NAS_BENCH_201 = {
    "darts": (54.30, 0.00, "arXiv:2001.00326"),
    "darts_2nd": (54.30, 0.00, "arXiv:2001.00326"),
    "pc_darts": (93.41, 0.30, "arXiv:2006.10355"),
    "drnas": (94.36, 0.00, "arXiv:2006.10355"),
}
RELEASED = "2.63"  # test error of the published weights of DARTS_V2
# test perplexity on Penn Treebank after the full retraining
DARTS_RNN = {
    "DARTS_RNN_V1": "57.6 (arXiv:1806.09055)",
    "DARTS_RNN_V2": "55.7 (arXiv:1806.09055)",
}
SEARCH, RETRAINING, TEXT = 50, 600, 8000  # epochs; what is shorter is no result


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", nargs="?", choices=PARTS, help="what the folder holds")
    parser.add_argument("folder", nargs="?", type=Path, help="the runs of the part")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data-root", default=os.environ.get("ARCHGRAD_DATA"))
    parser.add_argument("--report", action="store_true", help="the tables of what was measured")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="the folder of results")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "benchmarks.md")
    options = parser.parse_args(arguments)
    if (options.part is None or options.folder is None) and not options.report:
        parser.error("give a part and its folder, or --report")
    return options


def gathered(part: str, folder: Path, data_root: str | None) -> list[dict[str, Any]]:
    """What each run of a part came to so far."""
    if part == "evaluate":
        return [
            retrained(path.parent) for path in sorted(folder.glob("found/seed-*/metrics.jsonl"))
        ]
    if part == "ptb-evaluate":
        places = sorted(folder.glob("*/found/seed-*/metrics.jsonl"))
        return [language(path.parent) for path in places]
    found = [searched(path.parent) for path in sorted(folder.glob("*/seed-*/config.yaml"))]
    table = Path(data_root or "") / FILE
    if part == "nas201" and data_root and table.is_file():
        objective = TableObjective(nas_bench_201(table))
        for run in found:
            if run["architecture"] is not None:
                cell = Architecture.from_json(run["architecture"])
                run["test"] = 100 * objective.reported(cell)
    return found


def searched(run: Path) -> dict[str, Any]:
    """Method, seed, the last epoch's line and, of a search that is over, its architecture."""
    lines, place = read_lines(run / "metrics.jsonl"), run / "architecture.json"
    cell = Architecture.load(place).to_json() if place.is_file() else None
    last = lines[-1] if lines else {}
    return {
        "method": run.parent.name,
        "seed": int(run.name.removeprefix("seed-")),
        "epochs": len(lines),
        "train": last.get("train_accuracy"),
        "valid": last.get("valid_accuracy"),
        "valid_loss": last.get("valid_loss"),
        "seconds": sum(line["seconds"] for line in lines),
        "architecture": cell,
    }


def retrained(run: Path) -> dict[str, Any]:
    """Seed, epochs, and of a retraining that is over the test accuracy."""
    lines, place = read_lines(run / "metrics.jsonl"), run / "result.json"
    score = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
    return {
        "seed": int(run.name.removeprefix("seed-")),
        "epochs": len(lines),
        "train": lines[-1]["train_accuracy"] if lines else None,
        "seconds": sum(line["seconds"] for line in lines),
        "test": 100 * score["accuracy"] if score else None,
    }


def language(run: Path) -> dict[str, Any]:
    """Cell, seed, epochs, the best validation perplexity and, of what is over, that of the test."""
    lines, place = read_lines(run / "metrics.jsonl"), run / "result.json"
    score = load(place) if place.is_file() else {}
    valid = [line["valid_perplexity"] for line in lines if "valid_perplexity" in line]
    return {
        "cell": run.parents[1].name,
        "seed": int(run.name.removeprefix("seed-")),
        "epochs": len(lines),
        "valid": min(valid, default=None),
        "seconds": sum(line["seconds"] for line in lines),
        "test": score.get("perplexity"),
        "parameters": score.get("parameters"),
    }


def shown(values: Iterable[float | None]) -> str:
    """Mean and sample standard deviation of what there is."""
    given = [value for value in values if value is not None]
    if not given:
        return NOT
    mean = f"{fmean(given):.2f}"
    return mean if len(given) < 2 else f"{mean} ± {spread(given):.2f}"


def searches(content: dict[str, Any] | None) -> dict[str, list[dict[str, Any]]]:
    """The searches by method that are over, and of full length."""
    runs = [] if content is None else content["runs"]
    done = [run for run in runs if run["architecture"] is not None and run["epochs"] == SEARCH]
    return {name: [run for run in done if run["method"] == name] for name in DARTS_CNN}


def count(runs: Sequence[dict[str, Any]]) -> str:
    return str(len(runs)) if runs else NOT


def of_search(content: dict[str, Any] | None, retraining: dict[str, Any] | None) -> list[str]:
    rows = []
    for name, runs in searches(content).items():
        error, source = DARTS_CNN[name]
        halves = [shown(r[half] and 100 * r[half] for r in runs) for half in ("train", "valid")]
        row = [f"`{name}`", f"{error} ({source})", NOT, count(runs), *halves]
        rows.append(row)
    over = [run for run in trained(retraining) if run["epochs"] == RETRAINING]
    tests = [run["test"] for run in over if run["test"] is not None]
    ours = shown(100 - test for test in tests)
    rows.append(["`DARTS_V2`, retrained", f"{RELEASED} (arXiv:1806.09055)", ours, "-", "-", "-"])
    head = ["", "published test error, %", "here", "searches here", "supernet: weights' half, %"]
    return markdown([*head, "alpha's half, %"], rows)


def of_table(content: dict[str, Any] | None) -> list[str]:
    rows = []
    for name, runs in searches(content).items():
        mean, deviation, source = NAS_BENCH_201[name]
        tests = [run["test"] for run in runs if run.get("test") is not None]
        difference = f"{fmean(tests) - mean:+.2f}" if tests else "-"
        published = f"{mean:.2f} ± {deviation:.2f} ({source})"
        rows.append([f"`{name}`", published, shown(tests), difference, count(runs)])
    return markdown(["", "published test accuracy, %", "here", "difference", "searches here"], rows)


def of_text(content: dict[str, Any] | None) -> list[str]:
    """The published cells, and what was found here beside them."""
    runs = trained(content)
    rows = []
    for cell in dict.fromkeys([*DARTS_RNN, *(run["cell"] for run in runs)]):
        done = [run for run in runs if run["cell"] == cell and run["epochs"] == TEXT]
        both = [shown(run[part] for run in done) for part in ("valid", "test")]
        rows.append([f"`{cell}`", DARTS_RNN.get(cell, "-"), *both, count(done)])
    head = ["", "published test perplexity", "validation here", "test here", "retrainings here"]
    return markdown(head, rows)


def trained(content: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [] if content is None else content["runs"]


def unfinished(retraining: dict[str, Any] | None) -> list[str]:
    """What a retraining that is not of full length came to."""
    return [
        f"Retraining of `DARTS_V2`, seed {run['seed']}: {run['epochs']} epochs done, "
        f"{100 * run['train']:.2f} % of the training images right in the last."
        for run in trained(retraining)
        if 0 < run["epochs"] < RETRAINING
    ]


def report(folder: Path, device: str) -> str:
    """Both tables of what there is."""
    paths = {part: folder / f"{part}-{device}.json" for part in PARTS}
    found = {part: load(path) if path.is_file() else None for part, path in paths.items()}
    where = [
        f"`{part}`: {content['environment']['device']}, {made(content['environment'])}."
        for part, content in found.items()
        if content is not None
    ]
    lines = [
        f"CIFAR-10, searches of {SEARCH} epochs on `darts-cnn`, and a retraining of {RETRAINING}:",
        "",
        *of_search(found["compare"], found["evaluate"]),
        "",
        f"Searches of {SEARCH} epochs on `nas-bench-201`, `c10_test` of the found cells:",
        "",
        *of_table(found["nas201"]),
        "",
        f"Penn Treebank, recipe `darts-ptb`, {TEXT:,} epochs:",
        "",
        *of_text(found["ptb-evaluate"]),
    ]
    notes = [*unfinished(found["evaluate"]), *where]
    return "\n".join([*lines, "", *notes]).rstrip()


def main(arguments: Sequence[str]) -> None:
    options = parsed(arguments)
    if options.report:
        text = report(options.out, options.device)
        fill(options.page, "benchmarks/published.py --report", text)
        print(text)
        return
    content = {
        "environment": environment(options.device),
        "runs": gathered(options.part, options.folder, options.data_root),
    }
    keep(options.out / f"{options.part}-{options.device}.json", content)
    for run in content["runs"]:
        name = f"{run.get('method', run.get('cell', 'DARTS_V2'))}, seed {run['seed']}"
        print(f"{name}: {run['epochs']} epochs, {run['seconds']:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
