"""Latency against accuracy: searches of `proxyless` on `mbconv` under several limits.

A table of latencies is measured first, at the size of the networks. The limits lie between the
cheapest architecture and the dearest by prediction. Each search is followed by retrainings from
scratch; beside it stand random architectures within the same limit, retrained alike. What is done
is kept in the folder and not repeated. The latencies of all networks are measured at the end, by
--time, when the machine has nothing else to do.

    python benchmarks/tradeoff.py --data cifar10 --data-root DIR --image-size 16 --subset 10000
    python benchmarks/tradeoff.py --time            measures all networks found so far
    python benchmarks/tradeoff.py --report          writes its table into docs/cost.md
    python benchmarks/tradeoff.py --quick           digits at a tiny size; writes where --out says
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import archgrad
from archgrad.architecture import Architecture
from archgrad.costing.costs import CostTable
from archgrad.costing.latency import measure_latency, network_latency
from archgrad.errors import ArchgradError
from archgrad.parts.feasible import cheapest
from archgrad.spaces import SearchSpace
from archgrad.statistics import spread
from archgrad.storage.files import write
from archgrad.storage.folder import environment
from bench_report import markdown
from page import fill, keep, made

HERE = Path(__file__).parent
SIZE = {"channels": 16, "cells": 2}
HOW = {"epochs": 6, "train_epochs": 20, "train_batch": 32, "seeds": 2, "random": 2, "batch": 1}
QUICK = {"channels": 8, "cells": 1, "epochs": 1, "train_epochs": 1, "seeds": 1, "random": 1}
ALPHA = 0.03  # learning rate of alpha, one step of it a step: these searches are short
SHARES = (0.1, 0.3, 0.6, 1.0)  # of the way from the cheapest architecture to the dearest
DRAWS = 10_000


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, value in {**SIZE, **HOW}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-root")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--subset", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alpha-learning-rate", type=float, default=ALPHA)
    parser.add_argument("--time", action="store_true", help="measure the latencies")
    parser.add_argument("--quick", action="store_true", help="a tiny size")
    parser.add_argument("--report", action="store_true", help="the table of what was measured")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "tradeoff")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "cost.md")
    if parser.parse_known_args(arguments)[0].quick:
        parser.set_defaults(**QUICK)
    return parser.parse_args(arguments)


def data_options(options: argparse.Namespace) -> dict[str, Any]:
    names = ("data_root", "image_size", "subset")
    found = {name: getattr(options, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def space_of(options: argparse.Namespace) -> SearchSpace:
    loaded = archgrad.data.load(
        options.data,
        options.data_root,
        image_size=options.image_size,
        subset=options.subset,
    )
    channels, *size = loaded.shape
    return archgrad.space(
        "mbconv",
        channels=options.channels,
        cells=options.cells,
        in_channels=channels,
        image_size=tuple(size),
        classes=len(loaded.classes),
    )


def limits(table: CostTable, space: SearchSpace) -> list[float]:
    """Milliseconds, from near the cheapest architecture to the dearest."""
    least = cheapest(table, space.groups)
    most = table.fixed + sum(max(row) for g in space.groups for row in table.rows(g))
    return [round(least + share * (most - least), 4) for share in SHARES]


def within(table: CostTable, space: SearchSpace, limit: float, count: int) -> list[Architecture]:
    """Random architectures within the limit: uniform draws, those above it thrown away."""
    generator, found = torch.Generator().manual_seed(1), dict[Architecture, None]()
    for _ in range(DRAWS):
        drawn = space.random_architecture(generator)
        if table.predict(drawn) <= limit:
            found[drawn] = None
        if len(found) == count:
            break
    return list(found)


def trained(
    architecture: Architecture, table: CostTable, options: argparse.Namespace, seeds: int
) -> dict[str, Any]:
    """Predicted latency, and the accuracy of every retraining."""
    done = archgrad.train(
        architecture,
        options.data,
        **data_options(options),
        channels=options.channels,
        cells=options.cells,
        epochs=options.train_epochs,
        batch_size=options.train_batch,
        seeds=seeds,
        device=options.device,
    )
    return {
        "architecture": architecture.model_dump(mode="json"),
        "predicted_ms": table.predict(architecture),
        "accuracies": done.accuracies,
    }


def timed(options: argparse.Namespace) -> dict[str, Any]:
    """The table and what was found with the latency of every network, measured now."""
    path, space = options.out / "tradeoff.json", space_of(options)
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    batch = content["settings"]["batch"]
    for row in content["rows"]:
        for one in (row["found"], *row["random"]):
            architecture = Architecture.model_validate_json(json.dumps(one["architecture"]))
            one["measured_ms"] = network_latency(space, architecture, options.device, batch).median
    keep(path, content, indent=1)
    return content


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Table, searches and retrainings; what there is already is taken as it is."""
    space, out = space_of(options), options.out
    out.mkdir(parents=True, exist_ok=True)
    place = out / "latency.json"
    if not place.exists():
        made = measure_latency(space, device=options.device, batch=options.batch)
        write(place, made.to_json())
    table = CostTable.load(place)
    path = out / "tradeoff.json"
    settings = {**vars(options), "data_root": None}
    for name in ("out", "page", "report", "quick", "time"):
        settings.pop(name)
    content: dict[str, Any] = {
        "settings": settings,
        "environment": environment(options.device),
        "error": table.error,
        "rows": [],
    }
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["settings"] != settings:
            raise ArchgradError(f"{path} was made with other options; give another --out")
    for limit in limits(table, space)[len(content["rows"]) :]:
        result = archgrad.search(
            "mbconv",
            options.data,
            **data_options(options),
            method="proxyless",
            method_options={"alpha_learning_rate": options.alpha_learning_rate, "interval": 1},
            channels=options.channels,
            cells=options.cells,
            epochs=options.epochs,
            max_latency=f"{limit}ms",
            latency_table=str(place),
            device=options.device,
            seed=options.seed,
            guard="off",
        )
        found = trained(result.architecture, table, options, options.seeds)
        drawn = within(table, space, limit, options.random)
        others = [trained(one, table, options, 1) for one in drawn]
        content["rows"].append({"limit_ms": limit, "found": found, "random": others})
        keep(path, content, indent=1)
        print(table_of(content), flush=True)
    return content


def table_of(content: dict[str, Any]) -> str:
    """A line a limit, in markdown."""
    s, e = content["settings"], content["environment"]
    rows = []
    for row in content["rows"]:
        found, others = row["found"], row["random"]
        means = [fmean(one["accuracies"]) for one in others]
        took = found.get("measured_ms")
        rows.append(
            [
                f"{row['limit_ms']:.3g}",
                f"{found['predicted_ms']:.3g}",
                milliseconds(found),
                "not measured" if took is None else "yes" if took <= row["limit_ms"] else "no",
                shown(found["accuracies"]),
                f"{shown(means)}" if means else "-",
                ", ".join(map(milliseconds, others)) or "-",
            ]
        )
    head = ["limit, ms", "predicted", "measured", "met", "accuracy, %", "random, %", "random, ms"]
    size = f", {s['image_size']} pixels a side" if s["image_size"] else ""
    about = (
        f"`proxyless` on `mbconv`, {s['channels']} channels, {s['cells']} layers a stage; "
        f"{s['data']}{size}, {s['subset'] or 'all'} training images; one search of {s['epochs']} "
        f"epochs a limit (alpha's learning rate {s['alpha_learning_rate']}), {s['train_epochs']} "
        f"epochs of retraining, {s['seeds']} seeds; random: {s['random']} architectures within the "
        f"limit, one seed each, mean and spread over them; latency of batch {s['batch']} on "
        f"{e['device']}, one thread; error of the table on random networks that it was not fitted "
        f"on {content['error']:.1%}, on the networks below: {error(content)}; torch {e['torch']}, "
        f"{made(e)}."
    )
    return "\n".join([about, "", *markdown(head, rows)])


def milliseconds(one: dict[str, Any]) -> str:
    return f"{one['measured_ms']:.3g}" if "measured_ms" in one else "not measured"


def error(content: dict[str, Any]) -> str:
    """How far the prediction is from the measurement, over all networks that were measured."""
    ones = [one for row in content["rows"] for one in (row["found"], *row["random"])]
    pairs = [(o["predicted_ms"], o["measured_ms"]) for o in ones if "measured_ms" in o]
    if not pairs:
        return "not measured"
    off = [abs(predicted - took) / took for predicted, took in pairs]
    return f"{fmean(off):.1%} on average, {max(off):.1%} at most, over {len(off)} networks"


def shown(accuracies: Sequence[float]) -> str:
    """Mean and sample standard deviation in percent."""
    mean = f"{100 * fmean(accuracies):.2f}"
    return mean if len(accuracies) < 2 else f"{mean} ± {100 * spread(accuracies):.2f}"


def main(arguments: Sequence[str]) -> None:
    options = parsed(arguments)
    if options.report:
        path = options.out / "tradeoff.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        fill(options.page, "benchmarks/tradeoff.py --report", table_of(content))
    else:
        torch.set_num_threads(1)
        content = timed(options) if options.time else measure(options)
    print(table_of(content))


if __name__ == "__main__":
    main(sys.argv[1:])
